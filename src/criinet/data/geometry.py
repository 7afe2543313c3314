"""Where the voxels of a volume lie in the patient. Arrays are (D, H, W); lengths are in mm."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Spacing = tuple[float, float, float]

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Between the axes of DICOM and ITK (left, posterior, superior) and those of NIfTI (right, anterior, superior)."""


def size_text(shape: Sequence[int]) -> str:
    """Write a shape, slowest axis first, as people say it: the width first, as in 640x480."""
    return "x".join(str(side) for side in reversed(shape))


class Axes(NamedTuple):
    """How a stored array becomes one that runs from feet to head, front to back, right to left, as scans are viewed.

    order: the stored axis that each new axis is. flipped: whether it then runs backwards.
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def apply(self, array: NDArray) -> NDArray:
        """Return a view of the last three axes of ``array`` in the viewer's order."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.order))
        return turned[(..., *(slice(None, None, -1 if flip else 1) for flip in self.flipped))]

    def undo(self, array: NDArray) -> NDArray:
        """Return a view of the last three axes of ``array`` in the stored order."""
        lead = array.ndim - 3
        turned = array[(..., *(slice(None, None, -1 if flip else 1) for flip in self.flipped))]
        back = np.argsort(self.order)
        return turned.transpose(*range(lead), *(lead + int(axis) for axis in back))


class NiftiForms(NamedTuple):
    """How a NIfTI file says where it lies, as it stands there: a mask that says it alike overlays it in every viewer.

    affine: (4, 4) in the order (w, h, d), in ``unit``. qform, sform: as ``affine``, None where its code is 0.
    """

    affine: Affine
    qform: Affine | None
    qform_code: int
    sform: Affine | None
    sform_code: int
    unit: str


@dataclass(frozen=True, eq=False)
class Geometry:
    """The affine map of a volume.

        (right, anterior, superior, 1) in mm = affine @ (d, h, w, 1)

    affine: (4, 4) float64.
    known: False where the file says nothing of lengths; the affine is then made up.
    forms: of a NIfTI file, what a file on the same grid should say.
    """

    affine: Affine
    known: bool = True
    forms: NiftiForms | None = None

    @classmethod
    def from_nifti(cls, affine: NDArray, forms: NiftiForms | None = None) -> "Geometry":
        """Take the affine of NIfTI, whose index order is (w, h, d)."""
        return cls(np.asarray(affine, np.float64)[:, [2, 1, 0, 3]], forms=forms)

    @classmethod
    def from_lps(cls, spacing: NDArray, origin: NDArray, direction: NDArray) -> "Geometry":
        """Take what ITK and DICOM say.

        Args:
            spacing: (3,) of (w, h, d). origin: (3,) of the first voxel. direction: (3, 3), a column for each axis.
        """
        affine = np.eye(4)
        affine[:3, :3] = np.asarray(direction, np.float64) * np.asarray(spacing, np.float64)
        affine[:3, 3] = origin
        return cls.from_nifti(LPS @ affine)

    @classmethod
    def unknown(cls, spacing: Spacing | None = None) -> "Geometry":
        """Make a geometry for a file that has none: the array is taken to run as scans are viewed."""
        step = spacing or (1.0, 1.0, 1.0)
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = step[0], -step[1], -step[2], 1
        return cls(affine, known=spacing is not None)

    @property
    def nifti(self) -> Affine:
        """The affine in NIfTI's index order (w, h, d)."""
        return self.affine[:, [2, 1, 0, 3]]

    @property
    def lps(self) -> Affine:
        """The affine to (left, posterior, superior) in index order (w, h, d), as DICOM and ITK have it."""
        return LPS @ self.nifti

    @property
    def spacing(self) -> Spacing:
        """Distance of neighbouring voxels along d, h, w in mm."""
        d, h, w = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(d), float(h), float(w)

    @property
    def axes(self) -> Axes:
        """How to turn the stored array to the viewer's order, to the nearest quarter turn."""
        from nibabel.orientations import io_orientation

        found = io_orientation(self.affine)
        order = tuple(int(np.flatnonzero(found[:, 0] == world)[0]) for world in (2, 1, 0))
        signs = [found[axis, 1] for axis in order]
        return Axes((order[0], order[1], order[2]), (bool(signs[0] < 0), bool(signs[1] > 0), bool(signs[2] > 0)))

    def problem(self) -> str | None:
        """Say what makes the affine no geometry at all; None if it is one."""
        if not np.isfinite(self.affine).all():
            return "has a geometry that is not finite"
        if abs(np.linalg.det(self.affine[:3, :3])) < 1e-12:
            return "has a geometry without volume: an axis has length 0 or two run alike"
        return None

    def difference(self, other: "Geometry", shape: tuple[int, ...]) -> str | None:
        """Say in which respect two geometries of arrays of ``shape`` differ; None if every voxel lies in one place.

        The same place is within a hundredth of a voxel. A geometry that is not known fits any.
        """
        if not (self.known and other.known):
            return None
        far = np.array(
            [[d, h, w, 1.0] for d in (0, shape[0] - 1) for h in (0, shape[1] - 1) for w in (0, shape[2] - 1)]
        )
        moved = np.abs(far @ (self.affine - other.affine).T).max()
        if moved <= 0.01 * min(self.spacing):
            return None
        if not np.allclose(self.spacing, other.spacing, rtol=1e-3):
            mine, theirs = (" x ".join(f"{step:.4g}" for step in g.spacing) for g in (self, other))
            return f"has voxels of {mine} mm but its image {theirs} mm"
        unit, reference = (g.affine[:3, :3] / np.array(g.spacing) for g in (self, other))
        if not np.allclose(unit, reference, atol=1e-3):
            return f"is oriented {self.code} but its image {other.code}, or turned against it"
        return f"lies {moved:.3g} mm away from its image"

    def corner_in(self, other: "Geometry") -> tuple[int, int, int] | None:
        """Return the voxel of ``other`` in which the first voxel lies, where the grids differ by whole voxels alone.

        None where axes or steps differ, voxels lie a quarter or more beside each other, or a geometry is not known.
        """
        if not (self.known and other.known):
            return None
        between = np.linalg.inv(other.affine) @ self.affine
        d, h, w = (int(at) for at in between[:3, 3].round())
        if not np.allclose(between[:3, :3], np.eye(3), atol=1e-3) or np.abs(between[:3, 3] - (d, h, w)).max() > 0.25:
            return None
        return d, h, w

    def begun_at(self, corner: Sequence[int]) -> "Geometry":
        """Return the geometry of the same grid that begins at another of its voxels (d, h, w)."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ corner
        return Geometry(affine, self.known)

    @property
    def code(self) -> str:
        """Where the axes w, h, d point to, as in "LPS"."""
        from nibabel.orientations import aff2axcodes

        return "".join(str(letter) for letter in aff2axcodes(self.nifti))


def voxel_of(spacing: Sequence[float] | None, dims: int) -> Spacing | None:
    """Return the declared spacing of a dataset as the voxel (d, h, w) in mm; None of images, and where none is said."""
    return (spacing[0], spacing[1], spacing[2]) if spacing and dims == 3 else None
