"""The training grid: how many voxels of another size hold the same box of tissue. Arrays are (D, H, W)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from criinet.data.bad_files import SKIPPABLE, BadFileError
from criinet.data.formats import Volume, VolumeHeader
from criinet.data.formats.volume import MAX_VOXELS
from criinet.data.geometry import Axes, Geometry, Spacing

Shape = tuple[int, int, int]
TRUE_SIZE = "Write its voxel size again, for instance from the original scan, or crop it"
"""What to do about a volume that is too large on the training grid."""


@dataclass(frozen=True)
class Grid:
    """The training grid of one volume: the same box of tissue, in the viewer's order, in voxels of another size.

    axes: from the stored order to the viewer's. source: (D, H, W) in the viewer's order. shape: on the training grid.
    """

    axes: Axes
    source: Shape
    shape: Shape


def training_grid(stored: Shape, geometry: Geometry, spacing: Spacing | None) -> Grid:
    """Return the grid of a volume for training at ``spacing``; None keeps its own voxels.

    n' = max(1, round(n s / s')) along each axis
    """
    axes, steps = geometry.axes, in_viewers_order(geometry)
    source = [stored[axis] for axis in axes.order]
    shape = [max(1, round(n * step / new)) for n, step, new in zip(source, steps, spacing or steps, strict=True)]
    return Grid(axes, (source[0], source[1], source[2]), (shape[0], shape[1], shape[2]))


def grid_of(volume: Volume | VolumeHeader, spacing: Spacing | None) -> Grid:
    """Return the grid of a volume for training at ``spacing``; one of unknown voxels keeps its own."""
    return training_grid(volume.shape, volume.geometry, spacing if volume.geometry.known else None)


def in_viewers_order(geometry: Geometry) -> Spacing:
    """Return the size (d, h, w) of a voxel in mm along the viewer's axes."""
    d, h, w = (geometry.spacing[axis] for axis in geometry.axes.order)
    return d, h, w


def median_spacing(headers: Sequence[VolumeHeader]) -> Spacing | None:
    """Return the median (d, h, w) in mm, in the viewer's order, of the files that know theirs; None if none does."""
    known = [header.geometry for header in headers if header.geometry.known]
    if not known:
        return None
    d, h, w = np.median([in_viewers_order(geometry) for geometry in known], axis=0)
    return float(d), float(h), float(w)


def oversize(volume: Volume | VolumeHeader, spacing: Spacing | None) -> str | None:
    """Say of a volume that it would have more than MAX_VOXELS voxels on its grid for training; None if it has not.

    A file may state voxels of any size: 12 slices of 40x36 voxels of 300 mm would be 2400 of 8000x7200 at 1.5 mm.
    """
    shape = grid_of(volume, spacing).shape
    if spacing is None or prod(shape) <= MAX_VOXELS:
        return None
    own, wanted = (
        " x ".join(f"{step:.4g}" for step in steps) for steps in (in_viewers_order(volume.geometry), spacing)
    )
    sides = " x ".join(map(str, shape))
    return f"has voxels of {own} mm, so that it would be {sides} voxels of {wanted} mm, over {MAX_VOXELS:,}"


def require_grid(path: Path, volume: Volume | VolumeHeader, spacing: Spacing | None) -> None:
    """Check that a volume has at most MAX_VOXELS voxels on its grid for training at ``spacing``.

    Raises:
        BadFileError: otherwise.
    """
    what = oversize(volume, spacing)
    if what is not None:
        raise BadFileError(path, what, TRUE_SIZE, SKIPPABLE)


def oversized(headers: Mapping[Path, VolumeHeader]) -> dict[Path, BadFileError]:
    """Return the problem of each volume that has too many voxels at the median voxel of all, which training picks."""
    spacing = median_spacing(list(headers.values()))
    found = {path: oversize(header, spacing) for path, header in headers.items()}
    return {path: BadFileError(path, what, TRUE_SIZE) for path, what in found.items() if what is not None}
