"""The largest connected component of every class; pixels that touch at a corner are connected."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the component of a mask (H, W) or (D, H, W) that has most pixels; of equal ones, the one that ends first."""
    named: Any = ndimage.label(mask, np.ones([3] * mask.ndim))
    found, count = named
    if count < 2:
        return mask
    sizes = np.bincount(found.ravel())[1:]
    largest = 1 + np.flatnonzero(sizes == sizes.max())
    ends: Any = ndimage.maximum(np.arange(found.size).reshape(found.shape), found, largest)
    return found == largest[np.argmin(ends)]


def largest_components(label: Tensor, classes: int) -> Tensor:
    """Keep the largest connected component of every foreground class; what else was foreground is background.

    Args:
        label: (B, ...) int64 in [0, K); of a GPU's it waits for the values, as components are found on the CPU.
        classes: K.

    Returns:
        (B, ...) int64, on the device of ``label``.

    Reference: Bai et al., CVPR 2023, arXiv 2305.00673, section 3.
    """
    given = label.cpu().numpy()
    kept = np.zeros_like(given)
    for image, largest in zip(given, kept, strict=True):
        for c in range(1, classes):
            largest[largest_component(image == c)] = c
    return torch.from_numpy(kept).to(label.device)
