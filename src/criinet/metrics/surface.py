"""Distances between the surfaces of two masks, and agreement near the contour.

The definitions, the same in every function here:

- The *surface* of a mask is the mask minus its erosion by the 4- (2D) or 6-neighbourhood (3D): the outermost layer of
  its own pixels. What lies beyond the border of the array counts as outside, so a mask that touches the border has a
  surface there.
- The *contour* runs between a surface pixel and the nearest pixel outside. A pixel's distance from it is the distance
  of pixel centres: of an inside pixel to the nearest outside pixel, of an outside pixel to the nearest inside one.
  The pixels on either side of the contour therefore have distance 1 (times the spacing).
- Distances are euclidean and exact, in units of ``spacing``: pixels without it, millimetres with the pixel's size in
  mm. Tolerances and widths are in the same units, so the same width selects other pixels when the spacing changes.
- Where ``known`` says that a pixel has no ground truth, it is neither inside nor outside: a mask has no surface and no
  contour towards it. So one annotated slice of a volume is measured in its plane, as an image of its own.
  A mask that fills all that is known has no surface, though it is not empty: distances, surface Dice and boundary IoU
  are then NaN, as nothing says where it ends.
- A miss (prediction empty, target not) and a false alarm (the reverse) have infinite distance, never 0. Two empty
  masks: NaN.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from criinet.errors import ShapeError
from criinet.metrics.overlap import BoolArray, check_masks, dice, iou

FloatArray = NDArray[np.float64]
Spacing = Sequence[float]

_SLACK = 1 + 1e-5
"""A distance of exactly the tolerance is within it, whatever the rounding of 3 * 0.1 or of the size of a voxel.

Files keep that size, and an affine, in 32 bits: of voxels of 1 mm that are turned, one read 1.0000000239 mm. A share of
1e-5 is above what that leaves (6e-8 a number) and below any difference of two distances that anybody means.
"""

_DIAGONAL_SHARE = 0.02
"""Width of the boundary region in Boundary IoU, as a share of the image diagonal (Cheng et al., section 5)."""


class SurfaceDistances(NamedTuple):
    """Distances from each surface pixel of one mask to the surface of the other, computed once for three metrics.

    pred_to_target: (number of surface pixels of the prediction,) float64, inf if the target is empty.
    target_to_pred: (number of surface pixels of the target,) float64, inf if the prediction is empty.
    """

    pred_to_target: FloatArray
    target_to_pred: FloatArray

    def hd95(self) -> float:
        """Return the larger of the two directed 95th percentiles; see :func:`hd95`."""
        distances = [d for d in self if d.size]
        if not distances:
            return math.nan
        if not all(np.isfinite(d).all() for d in distances):
            return math.inf
        return max(float(np.percentile(d, 95)) for d in distances)

    def assd(self) -> float:
        """Return the mean of all distances of both directions; see :func:`assd`."""
        pooled = np.concatenate(self)
        return float(pooled.mean()) if pooled.size else math.nan

    def surface_dice(self, tolerance: float) -> float:
        """Return the share of distances within ``tolerance``; see :func:`surface_dice`."""
        pooled = np.concatenate(self)
        return float(within(pooled, _positive(tolerance, "tolerance", zero=True)).mean()) if pooled.size else math.nan


def surface_distances(
    prediction: BoolArray, target: BoolArray, spacing: Spacing | None = None, known: BoolArray | None = None
) -> SurfaceDistances:
    """Measure the distance of each surface pixel of one mask to the nearest surface pixel of the other.

    Args:
        prediction, target: (H, W) or (D, H, W) bool.
        spacing: size of a pixel along each axis, in mm; None means 1, so distances are in px.
        known: where there is ground truth, bool of the same shape; None means everywhere. Masks are False elsewhere.

    Returns:
        (pred_to_target, target_to_pred): one distance per surface pixel, in row-major order. The mask that is empty has
        no surface, so its array has length 0 and the other array is all inf; both have length 0 if a mask fills all
        that is known.

    Raises:
        ShapeError: if the shapes differ or spacing has another number of axes.
    """
    check_masks(prediction, target)
    size = checked_spacing(spacing, target.ndim)
    union = prediction | target
    if not union.any():
        return SurfaceDistances(np.zeros(0), np.zeros(0))
    box = bounding_box(union, margin=1)
    truth = None if known is None else known[box]
    of_prediction, of_target = surface(prediction[box], truth), surface(target[box], truth)
    if endless(prediction, of_prediction) or endless(target, of_target):
        return SurfaceDistances(np.zeros(0), np.zeros(0))
    return SurfaceDistances(
        pred_to_target=distance_to(of_target, size)[of_prediction],
        target_to_pred=distance_to(of_prediction, size)[of_target],
    )


def hd95(prediction: BoolArray, target: BoolArray, spacing: Spacing | None = None) -> float:
    """Measure the 95 % Hausdorff distance: how far apart the surfaces are, save for their worst twentieth.

        hd95 = max(percentile_95(d(P -> T)), percentile_95(d(T -> P))),  linear interpolation

    Args:
        prediction, target: (H, W) or (D, H, W) bool.
        spacing: size of a pixel along each axis, in mm; None means 1, so the result is in px.

    Returns:
        Distance >= 0 in units of spacing, 0 is best; inf if one mask is empty; NaN if both are.

    Raises:
        ShapeError: if the shapes differ or spacing has another number of axes.

    Reference: Huttenlocher et al., TPAMI 1993 (the ranked distance); the same definition as MONAI.
    Differs: medpy and papers built on it take the 95th percentile of both directions *pooled*, which is another, often
        smaller number. The two must not stand in one table. Of a miss MONAI says NaN; here it is inf, and counted.
    """
    return surface_distances(prediction, target, spacing).hd95()


def assd(prediction: BoolArray, target: BoolArray, spacing: Spacing | None = None) -> float:
    """Measure the average symmetric surface distance.

        assd = (sum d(P -> T) + sum d(T -> P)) / (|surface P| + |surface T|)

    Args:
        prediction, target: (H, W) or (D, H, W) bool.
        spacing: size of a pixel along each axis, in mm; None means 1, so the result is in px.

    Returns:
        Distance >= 0 in units of spacing, 0 is best; inf if one mask is empty; NaN if both are.

    Raises:
        ShapeError: if the shapes differ or spacing has another number of axes.

    Differs: pools the pixels of both surfaces, as MONAI does; medpy takes the mean of the two directed means instead.
    """
    return surface_distances(prediction, target, spacing).assd()


def surface_dice(
    prediction: BoolArray, target: BoolArray, tolerance: float = 2.0, spacing: Spacing | None = None
) -> float:
    """Measure the share of both surfaces that lies within ``tolerance`` of the other (normalised surface distance).

        surface_dice = (|d(P -> T) <= tol| + |d(T -> P) <= tol|) / (|surface P| + |surface T|)

    Args:
        prediction, target: (H, W) or (D, H, W) bool.
        tolerance: acceptable distance, in units of spacing, >= 0.
        spacing: size of a pixel along each axis, in mm; None means 1, so tolerance is in px.

    Returns:
        Fraction in [0, 1], 1 is best; 0 if one mask is empty; NaN if both are.

    Raises:
        ShapeError: if the shapes differ or spacing has another number of axes.

    Reference: Nikolov et al., 2018, arXiv 1809.04430.
    Differs: every surface pixel weighs the same, as in MONAI with ``use_subvoxels=False``; the paper weighs surface
        elements by their area and places them between pixels.
    """
    return surface_distances(prediction, target, spacing).surface_dice(tolerance)


def boundary_iou(
    prediction: BoolArray, target: BoolArray, width: float | None = None, spacing: Spacing | None = None
) -> float:
    """Measure the overlap of the inner boundary regions: the pixels of each mask within ``width`` of its own contour.

        boundary_iou = |P_w and T_w| / |P_w or T_w|,  M_w = {pixels of M at most w from the outside of M}

    Args:
        prediction, target: (H, W) or (D, H, W) bool.
        width: of the region, in units of spacing; None means 2 % of the array's diagonal. Never under one pixel.
        spacing: size of a pixel along each axis, in mm; None means 1, so width is in px.

    Returns:
        Fraction in [0, 1], 1 is best; 0 if one mask is empty; NaN if both are. A width that reaches the middle of both
        masks gives their plain IoU.

    Raises:
        ShapeError: if the shapes differ or spacing has another number of axes.

    Reference: Cheng et al., CVPR 2021, arXiv 2103.16562, eq. 2.
    Differs: depth is euclidean; the authors' code erodes with a 3x3 square (chessboard depth) by a rounded width.
    """
    check_masks(prediction, target)
    regions = (inner_boundary(mask, inner_depth(mask, spacing), width, spacing) for mask in (prediction, target))
    return iou(*regions)


def band_dice(prediction: BoolArray, target: BoolArray, width: float = 5.0, spacing: Spacing | None = None) -> float:
    """Measure Dice inside the band of +-``width`` around the target's contour, where segmentation is hard.

    Args:
        prediction, target: (H, W) or (D, H, W) bool.
        width: of the band on either side, in units of spacing. Never under one pixel.
        spacing: size of a pixel along each axis, in mm; None means 1, so width is in px.

    Returns:
        Fraction in [0, 1], 1 is best; 0 for a miss; NaN if the target is empty, as there is no contour then.

    Raises:
        ShapeError: if the shapes differ or spacing has another number of axes.
    """
    check_masks(prediction, target)
    return band_scores(prediction, target, contour_distance(target, spacing), width, spacing)[0]


def band_error(prediction: BoolArray, target: BoolArray, width: float = 5.0, spacing: Spacing | None = None) -> float:
    """Measure the share of wrong pixels inside the band of +-``width`` around the target's contour.

    Args:
        prediction, target: (H, W) or (D, H, W) bool.
        width: of the band on either side, in units of spacing. Never under one pixel.
        spacing: size of a pixel along each axis, in mm; None means 1, so width is in px.

    Returns:
        Fraction in [0, 1], 0 is best; NaN if the target is empty, as there is no contour then.

    Raises:
        ShapeError: if the shapes differ or spacing has another number of axes.
    """
    check_masks(prediction, target)
    return band_scores(prediction, target, contour_distance(target, spacing), width, spacing)[1]


def surface(mask: BoolArray, known: BoolArray | None = None, *, border_is_outside: bool = True) -> BoolArray:
    """Return the outermost layer of the mask's own pixels: the mask minus its 4- or 6-connected erosion."""
    filled = mask if known is None else mask | ~known
    eroded: BoolArray = np.asarray(ndimage.binary_erosion(filled, border_value=not border_is_outside), dtype=np.bool_)
    return mask & ~eroded


def endless(mask: BoolArray, outline: BoolArray) -> bool:
    """Say whether a mask is not empty and yet has no outline, as it fills all that is known."""
    return bool(mask.any() and not outline.any())


def inner_depth(mask: BoolArray, spacing: Spacing | None = None, known: BoolArray | None = None) -> FloatArray:
    """Measure the distance of each pixel of the mask to the nearest pixel outside, beyond the border included.

    Returns:
        As ``mask``, float64: at least the smallest spacing inside the mask, 0 outside.
    """
    size = checked_spacing(spacing, mask.ndim)
    depth = np.zeros(mask.shape)
    if mask.any():
        box = bounding_box(mask) if known is None else (slice(None),) * mask.ndim
        outside = ~mask[box] if known is None else ~mask & known
        reached = distance_to(np.pad(outside, 1, constant_values=True), size)
        depth[box] = np.where(mask[box], reached[(slice(1, -1),) * mask.ndim], 0)
    return depth


def contour_distance(mask: BoolArray, spacing: Spacing | None = None, known: BoolArray | None = None) -> FloatArray:
    """Measure the distance of every pixel from the mask's contour.

    Returns:
        As ``mask``, float64: inside, the distance to the nearest outside pixel, beyond the border included; outside,
        the distance to the nearest pixel of the mask; inf where nothing is known, and everywhere if the mask is empty.
    """
    distance = np.where(mask, inner_depth(mask, spacing, known), distance_to(mask, spacing))
    return distance if known is None else np.where(known, distance, math.inf)


def inner_boundary(mask: BoolArray, depth: FloatArray, width: float | None, spacing: Spacing | None) -> BoolArray:
    """Select the pixels of the mask whose ``depth`` (of :func:`inner_depth`) is within the width of Boundary IoU."""
    size = checked_spacing(spacing, mask.ndim)
    diagonal = math.hypot(*(length * step for length, step in zip(mask.shape, size, strict=True)))
    chosen = _DIAGONAL_SHARE * diagonal if width is None else _positive(width, "width")
    return mask & within(depth, max(chosen, min(size)))


def band_scores(
    prediction: BoolArray, target: BoolArray, distance: FloatArray, width: float, spacing: Spacing | None = None
) -> tuple[float, float]:
    """Return (:func:`band_dice`, :func:`band_error`) from the target's :func:`contour_distance`, one for all widths."""
    limit = max(_positive(width, "width"), min(checked_spacing(spacing, target.ndim)))
    band = within(distance, limit)
    if not band.any():
        return math.nan, math.nan
    predicted, true = prediction[band], target[band]
    return dice(predicted, true), float((predicted != true).mean())


def distance_to(points: BoolArray, spacing: Spacing | None = None) -> FloatArray:
    """Measure the distance of every pixel to the nearest of ``points``: 0 on them, inf everywhere if there is none."""
    size = checked_spacing(spacing, points.ndim)
    if not points.any():
        return np.full(points.shape, math.inf)
    return np.asarray(ndimage.distance_transform_edt(~points, sampling=size), dtype=np.float64)


def bounding_box(mask: BoolArray, margin: int = 0) -> tuple[slice, ...]:
    """Return the smallest box around a mask that is not empty, with a margin as far as the array goes."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(max(int(used[0]) - margin, 0), int(used[-1]) + 1 + margin))
    return tuple(box)


def within(distance: FloatArray, limit: float) -> BoolArray:
    """Select the distances up to the limit, which itself is within."""
    return distance <= limit * _SLACK


def checked_spacing(spacing: Spacing | None, axes: int) -> tuple[float, ...]:
    """Return the size of a pixel along each axis, 1 for None.

    Raises:
        ShapeError: if spacing has another number of axes.
        ValueError: if a size is not finite and positive.
    """
    if spacing is None:
        return (1.0,) * axes
    if len(spacing) != axes:
        raise ShapeError(f"spacing {tuple(spacing)} has {len(spacing)} numbers for {axes} axes. Give one per axis.")
    return tuple(_positive(float(step), "spacing") for step in spacing)


def _positive(value: float, name: str, *, zero: bool = False) -> float:
    """Return the value if it is finite and positive (or 0, where that makes sense)."""
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} is {value}, but must be finite and {'>= 0' if zero else '> 0'}.")
    return value
