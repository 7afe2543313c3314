"""Volumes as pictures: planes in the viewer's order, at their true proportions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from criinet.data.formats import Volume
from criinet.data.geometry import Geometry
from criinet.data.images import Pixels
from criinet.data.intensity import Limits, to_gray

Array = NDArray[Any]
_GAP = 4
LONGEST = 512
"""No plane is drawn larger than this, in pixels."""


def look_point(labels: Array | None, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the voxel through which planes are cut: the middle of the labeled voxels, or of the volume.

    Along each axis it is the slice with most labeled voxels, the middle one of equals.

    Args:
        labels: (D, H, W) class indices, or None.
    """
    if labels is None or not (labels > 0).any():
        return shape[0] // 2, shape[1] // 2, shape[2] // 2
    found: list[int] = []
    for axis in range(3):
        area = (labels > 0).sum(axis=tuple(other for other in range(3) if other != axis))
        best = np.flatnonzero(area == area.max())
        found.append(int(best[len(best) // 2]))
    return found[0], found[1], found[2]


def slice_of(array: Array, geometry: Geometry, at: tuple[int, int, int]) -> Array:
    """Return the axial plane through the stored voxel ``at``, as a viewer shows it: (h, w)."""
    axes = geometry.axes
    return axes.apply(array)[_turned(at, array.shape, geometry)[0]]


def _turned(at: Sequence[int], shape: Sequence[int], geometry: Geometry) -> list[int]:
    """Return a stored voxel's index in the viewer's order."""
    axes = geometry.axes
    return [
        shape[axis] - 1 - at[axis] if flip else at[axis] for axis, flip in zip(axes.order, axes.flipped, strict=True)
    ]


def gray_slice(volume: Volume, at: tuple[int, int, int], limits: Limits) -> Pixels:
    """Return the axial plane through ``at`` in 8 bits, stretched to square pixels; ``limits`` are black and white."""
    plane = to_gray(slice_of(volume.values, volume.geometry, at), limits)
    return _square(plane, _steps(volume.geometry)[1:], labels=False)


def square_slice(labels: Array, geometry: Geometry, at: tuple[int, int, int]) -> Pixels:
    """Return the axial plane of class indices through ``at``, on the grid of :func:`gray_slice`; IGNORE becomes 0."""
    plane = np.maximum(slice_of(labels, geometry, at), 0).astype(np.uint8)
    return _square(plane, _steps(geometry)[1:], labels=True)


def _steps(geometry: Geometry) -> tuple[float, float, float]:
    """Return the spacing in the viewer's order."""
    spacing = geometry.spacing
    order = geometry.axes.order
    return spacing[order[0]], spacing[order[1]], spacing[order[2]]


def _square(plane: Pixels, steps: Sequence[float], *, labels: bool, finest: float | None = None) -> Pixels:
    """Resize (h, w) uint8 so that its pixels are squares of ``finest``, by default the smaller of both steps."""
    unit = finest or min(steps)
    longest = max(side * step / unit for side, step in zip(plane.shape, steps, strict=True))
    unit *= max(1.0, longest / LONGEST)
    size = [max(1, round(side * step / unit)) for side, step in zip(plane.shape, steps, strict=True)]
    if tuple(size) == plane.shape:
        return plane
    method = Image.Resampling.NEAREST if labels else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((size[1], size[0]), method))


def three_planes(array: Pixels, geometry: Geometry, at: tuple[int, int, int], *, labels: bool) -> Pixels:
    """Lay the axial, the coronal and the sagittal plane through a voxel into one picture.

    Axial on the left; on the right coronal above sagittal, head up, the patient's right on the left of the first two.

    Args:
        array: (D, H, W) uint8 as stored.
        at: the voxel, in stored order.
        labels: whether values are classes, which are never mixed.

    Returns:
        (h, w) uint8; 0 between the planes.
    """
    turned, steps = geometry.axes.apply(array), _steps(geometry)
    d, h, w = _turned(at, array.shape, geometry)
    finest = max(min(steps), max(side * step for side, step in zip(turned.shape, steps, strict=True)) / LONGEST)
    axial = _square(turned[d], (steps[1], steps[2]), labels=labels, finest=finest)
    coronal = _square(turned[::-1, h], (steps[0], steps[2]), labels=labels, finest=finest)
    sagittal = _square(turned[::-1, :, w], (steps[0], steps[1]), labels=labels, finest=finest)
    right = max(coronal.shape[1], sagittal.shape[1])
    height = max(axial.shape[0], coronal.shape[0] + _GAP + sagittal.shape[0])
    sheet = np.zeros((height, axial.shape[1] + _GAP + right), np.uint8)
    sheet[: axial.shape[0], : axial.shape[1]] = axial
    left = axial.shape[1] + _GAP
    sheet[: coronal.shape[0], left : left + coronal.shape[1]] = coronal
    top = coronal.shape[0] + _GAP
    sheet[top : top + sagittal.shape[0], left : left + sagittal.shape[1]] = sagittal
    return sheet
