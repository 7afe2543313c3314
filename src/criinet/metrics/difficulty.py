"""How hard a case is, from its image and ground truth alone: no prediction is asked, so it can be frozen early."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from criinet.errors import ShapeError
from criinet.metrics.overlap import BoolArray, count
from criinet.metrics.surface import bounding_box, distance_to, surface, within

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

STRATA = {"contrast": "cnr", "boundary": "boundary_gradient", "size": "object_share"}
"""What cases are divided into quartiles by, and which of their measures says it."""

FEWEST_IN_QUARTERS = 8
"""Cases below which there are no quartiles: two in each say something of a quarter, one alone is itself."""

_RING_SHARE = 0.1
"""Width of the ring around an object, as a share of its equivalent diameter."""

_SIGMA = 1.0
"""Of the gaussian whose gradient is taken, in px."""

_REACH = 5
"""Pixels around a mask that its gaussian gradient reads: four sigma, and one more."""

_NOTHING = 1e-6
"""On the scale of 0 to 100, a difference that is rounding and not contrast."""


def lightness(image: NDArray[Any], axes: int) -> FloatArray:
    """Convert an image to the lightness of CIE L*a*b* (colour) or to gray of 0 to 100.

        L* = 116 f(Y) - 16,  f(Y) = Y^(1/3) above (6/29)^3, else Y / (3 (6/29)^2) + 4/29
        Y = 0.2126 R + 0.7152 G + 0.0722 B of linear light, white at 1 (IEC 61966-2-1, D65)

    Args:
        image: (H, W, 3) or (D, H, W, 3) sRGB, or without the last axis gray; uint8, or float in [0, 1]. Gray of any
            other dtype or range (HU, 16 bits, MR) is scaled from its own 0.5 and 99.5 percentiles.
        axes: number of spatial axes, 2 or 3: tells three gray slices from three colours.

    Returns:
        The image without colour axis, float64, 0 to 100.

    Raises:
        ShapeError: if the image is neither gray nor RGB with that many axes.
        ValueError: if a colour image is neither uint8 nor float in [0, 1].
    """
    colour = image.ndim == axes + 1 and image.shape[-1] == 3
    if not colour and image.ndim != axes:
        raise ShapeError(f"image is {image.shape}, neither gray nor RGB with {axes} spatial axes.")
    scaled = _to_unit(image)
    if scaled is None and colour:
        raise ValueError(f"colour image of {image.dtype} is outside [0, 1]. Give uint8, or float in [0, 1].")
    if not colour:
        return 100 * (_stretched(image) if scaled is None else scaled)
    if image.dtype == np.uint8:
        linear = _linear_light(np.arange(256) / 255).take(image)
    else:
        linear = _linear_light(image.astype(np.float64))
    luminance = 0.2126 * linear[..., 0] + 0.7152 * linear[..., 1] + 0.0722 * linear[..., 2]
    f = np.where(luminance > (6 / 29) ** 3, np.cbrt(luminance), luminance / (3 * (6 / 29) ** 2) + 4 / 29)
    return 116 * f - 16


def contrast_to_noise(image: NDArray[Any], mask: BoolArray) -> float:
    """Measure how far an object stands out from its surroundings.

        CNR = |mean_in - mean_ring| / sqrt((sd_in^2 + sd_ring^2) / 2)

    The ring is every pixel outside the object within 10 % of its equivalent diameter (of the disc or ball of the same
    size; at least 1 px). Lightness is that of :func:`lightness`; several objects are taken together.

    Args:
        image: (H, W), (D, H, W) gray or (H, W, 3) sRGB.
        mask: (H, W) or (D, H, W) bool, ground truth.

    Limitation: distances are in pixels or voxels whatever the spacing, so in a volume of thick slices the ring reaches
    further across slices than within them.

    Returns:
        >= 0, low is hard; 0 for an image that is flat there, inf for a contrast without noise; NaN if the mask is empty
        or leaves no ring.

    Raises:
        ShapeError: if the image does not fit the mask.
    """
    return _contrast(_checked_lightness(image, mask), mask)


def boundary_gradient(image: NDArray[Any], mask: BoolArray) -> float:
    """Measure how sharp the object's boundary is: the mean gradient magnitude of lightness along its contour.

        mean over contour pixels of |grad(gaussian(L*, sigma = 1 px))|

    The contour is the mask minus its 4- or 6-connected erosion, save where the object is only cut off by the border of
    the array: no edge is seen there.

    Limitation: sigma and gradient are per pixel or voxel whatever the spacing, so in a volume of thick slices an edge
    across slices weighs more than one within them.

    Args:
        image: (H, W), (D, H, W) gray or (H, W, 3) sRGB.
        mask: (H, W) or (D, H, W) bool, ground truth.

    Returns:
        >= 0, in L* per px, low is hard (blurred); NaN if the mask is empty or fills the array.

    Raises:
        ShapeError: if the image does not fit the mask.
    """
    return _sharpness(_checked_lightness(image, mask), mask)


def object_share(mask: BoolArray) -> float:
    """Return the fraction of the image that the object covers, in [0, 1]; small objects are hard."""
    return float(mask.mean())


def quartiles(values: Sequence[float] | FloatArray) -> IntArray:
    """Divide cases into four groups of equal size (within one) by rank.

    Args:
        values: (N,) float, low is hard, as of :func:`contrast_to_noise`.

    Returns:
        (N,) int64: 1 for the lowest (hardest) quarter to 4 for the highest; 0 for NaN, and for all where fewer than
        FEWEST_IN_QUARTERS are known. Where a cut falls among equal
        values, those that come first in the list (of test cases: the order of the split) are in the lower group: so
        groups stay of equal size, and the same list always gives the same ones.
    """
    numbers = np.asarray(values, dtype=np.float64)
    groups = np.zeros(numbers.shape, dtype=np.int64)
    known = np.flatnonzero(~np.isnan(numbers))
    order = known[np.argsort(numbers[known], kind="stable")]
    if len(order) >= FEWEST_IN_QUARTERS:
        groups[order] = 1 + 4 * np.arange(len(order)) // len(order)
    return groups


def contrast_and_gradient(image: NDArray[Any], mask: BoolArray, known: BoolArray) -> tuple[float, float]:
    """Return (:func:`contrast_to_noise`, :func:`boundary_gradient`), the image converted to lightness once for both.

    Where ``known`` is False there may be anything: it is no part of the ring, and there is no boundary towards it.
    """
    light = _checked_lightness(image, mask)
    return _contrast(light, mask, known), _sharpness(light, mask, known)


def _contrast(light: FloatArray, mask: BoolArray, known: BoolArray | None = None) -> float:
    """Measure the contrast-to-noise ratio on lightness."""
    pixels = count(mask)
    if pixels in (0, mask.size):
        return math.nan
    width = max(1.0, _RING_SHARE * _equivalent_diameter(pixels, mask.ndim))
    crop = bounding_box(mask, margin=math.ceil(width))
    mask, light = mask[crop], light[crop]
    ring = within(distance_to(mask), width) & ~mask
    if known is not None:
        ring &= known[crop]
    if not ring.any():
        return math.nan
    inside, outside = light[mask], light[ring]
    contrast = abs(float(inside.mean() - outside.mean()))
    noise = math.sqrt((float(inside.var()) + float(outside.var())) / 2)
    if contrast < _NOTHING:
        return 0.0
    return contrast / noise if noise >= _NOTHING else math.inf


def _sharpness(light: FloatArray, mask: BoolArray, known: BoolArray | None = None) -> float:
    """Measure the mean gradient of lightness along the contour."""
    contour = surface(mask, known, border_is_outside=False)
    if not contour.any():
        return math.nan
    crop = bounding_box(contour, margin=_REACH)
    gradient = ndimage.gaussian_gradient_magnitude(light[crop], _SIGMA, mode="nearest")
    return float(gradient[contour[crop]].mean())


def _checked_lightness(image: NDArray[Any], mask: BoolArray) -> FloatArray:
    """Return the image's lightness if it lies on the same grid as the mask."""
    if mask.dtype != np.bool_:
        raise TypeError(f"mask is {mask.dtype}, not bool. Compare it with one class first.")
    if image.shape[: mask.ndim] != mask.shape:
        raise ShapeError(f"image is {image.shape} but mask is {mask.shape}. They must share their spatial axes.")
    return lightness(image, mask.ndim)


def _to_unit(image: NDArray[Any]) -> FloatArray | None:
    """Scale uint8 to [0, 1] and keep float that is there already; None for anything else."""
    if image.dtype == np.uint8:
        return image / 255
    if np.issubdtype(image.dtype, np.floating) and image.size and image.min() >= 0 and image.max() <= 1:
        return image.astype(np.float64)
    return None


def _stretched(image: NDArray[Any]) -> FloatArray:
    """Scale so that the image's 0.5 and 99.5 percentiles become 0 and 1; a flat image becomes 0.

    A single hot voxel would else make all boundaries look blurred. What is not finite becomes 0.
    """
    values = image.astype(np.float64)
    finite = np.isfinite(values)
    some = values[finite]
    low, high = np.percentile(some, (0.5, 99.5), method="inverted_cdf") if some.size else (0.0, 0.0)
    if high <= low and some.size:
        low, high = some.min(), some.max()
    return np.where(finite, (values - low) / (high - low), 0.0) if high > low else np.zeros_like(values)


def _linear_light(srgb: FloatArray) -> FloatArray:
    """Undo the gamma of sRGB in [0, 1]."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _equivalent_diameter(pixels: int, axes: int) -> float:
    """Return the diameter of the disc (2 axes) or ball (3 axes) of that many pixels."""
    return 2 * (pixels * math.gamma(axes / 2 + 1)) ** (1 / axes) / math.sqrt(math.pi)
