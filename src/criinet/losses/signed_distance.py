"""How far every pixel is from the border of a class, and back from distances to masks."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from criinet.labels import IGNORE
from criinet.losses.segmentation import check_shapes


@torch.no_grad()
def signed_distance(target: Tensor, classes: int) -> Tensor:
    """Measure the signed distance of every pixel to the border of each foreground class, normalised by image.

        inside c:   -d(x) / max d,   d = distance to the nearest pixel known not to be c
        elsewhere:  +d(x) / max d,   d = distance to the nearest pixel of c

    The largest d is that of the same side. Negative inside, positive outside, never zero: the border runs between
    pixels. A class that is absent is at +1 everywhere, one that fills the image at -1. Distances are Euclidean, in
    pixels.

    Args:
        target: (B, ...) int64 class indices, on any device; the work is done on the CPU.
        classes: K.

    Returns:
        (B, K - 1, ...) float32 in [-1, 1] on the target's device, one map for each class but the first. IGNORE pixels
        count as outside, and are no border to measure from the inside; leave them out of any loss.

    Reference: Xue et al., AAAI 2020, arXiv 1912.03849; Luo et al., AAAI 2021, arXiv 2009.04448.
    Differs: the authors' code puts zero on the inner border pixels, which are then of neither side.
    """
    masks: NDArray[np.int64] = target.cpu().numpy()
    maps = [[one_class(mask, c) for c in range(1, classes)] for mask in masks]
    return torch.from_numpy(np.array(maps, dtype=np.float32)).to(target.device)


def one_class(mask: NDArray[np.int64], c: int) -> NDArray[np.float32]:
    """Return the signed distance map of class ``c`` in one image (...)."""
    inside = mask == c
    outward = normalised_distance(~inside, ~inside)
    inward = normalised_distance(inside | (mask == IGNORE), inside)
    return np.where(inside, -inward, outward).astype(np.float32)


def normalised_distance(away: NDArray[np.bool_], side: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distance to the nearest pixel not ``away``, divided by the largest on ``side``; 1 where none is."""
    if away.all() or not side.any():
        return np.ones(away.shape)
    distance: NDArray[np.float64] = np.asarray(ndimage.distance_transform_edt(away))
    return distance / distance[side].max()


def signed_distance_loss(distance: Tensor, target: Tensor) -> Tensor:
    """Compute the mean squared error of predicted signed distances at pixels with ground truth.

        loss = mean over valid pixels and foreground classes of (z - signed_distance(y))^2

    Args:
        distance: (B, K - 1, ...) predicted, in [-1, 1]; computed in float32.
        target: (B, ...) int64 class indices; IGNORE is left out.

    Returns:
        Scalar in [0, 4]; 0 is best. Zero, with a gradient of zero, if no pixel is valid.

    Raises:
        ShapeError: if batch or spatial axes differ.

    Reference: Luo et al., AAAI 2021, arXiv 2009.04448.
    """
    check_shapes(distance, target)
    valid = (target != IGNORE).unsqueeze(1)
    squared = (distance.float() - signed_distance(target, distance.shape[1] + 1)).square()
    return torch.where(valid, squared, 0.0).sum() / (valid.sum() * distance.shape[1]).clamp(min=1)


def inside_probability(distance: Tensor, steepness: float) -> Tensor:
    """Turn signed distances, negative inside, into the probability to be inside: ``sigmoid(-steepness * distance)``.

    Args:
        distance: any shape, in [-1, 1]; computed in float32, where the sigmoid neither overflows nor turns to NaN.
        steepness: > 0; 1500 makes it a step, so that a gradient flows only where the distance is near zero.

    Returns:
        The same shape, in [0, 1]; 1 is inside.

    Reference: Luo et al., AAAI 2021, arXiv 2009.04448.
    """
    return torch.sigmoid(-steepness * distance.float())
