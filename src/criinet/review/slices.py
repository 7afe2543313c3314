"""A case in slices, as the canvas shows them: of a volume from feet to head, as viewers do; an image is one slice."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from criinet.data.dataset import Case, Dataset
from criinet.data.formats import Volume
from criinet.data.geometry import Geometry
from criinet.data.images import Pixels
from criinet.data.intensity import limits_for_people, to_gray
from criinet.data.planes import gray_slice, look_point
from criinet.data.scans import Scan, scan_shape, spatial
from criinet.data.settings import DataConfig
from criinet.data.volumes import read_volume_header

Array = NDArray[Any]


@dataclass(frozen=True)
class Slices:
    """How the stored pixels of a case lie in slices.

    stored: (H, W), or (D, H, W) of a volume, in the file's own order.
    geometry: of a volume; None of an image.
    """

    stored: tuple[int, ...]
    geometry: Geometry | None

    @classmethod
    def of(cls, scan: Scan) -> "Slices":
        """Take what was read."""
        return cls(spatial(scan), scan.geometry if isinstance(scan, Volume) else None)

    @classmethod
    def read(cls, dataset: Dataset, case: Case) -> "Slices":
        """Read the header of a case.

        Raises:
            BadFileError: if it cannot be read.
        """
        if dataset.dims == 2:
            return cls(scan_shape(case.image, 2), None)
        header = read_volume_header(case.image, dataset.voxel)
        return cls(header.shape, header.geometry)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) as shown."""
        if self.geometry is None:
            return 1, self.stored[0], self.stored[1]
        d, h, w = self.geometry.axes.order
        return self.stored[d], self.stored[h], self.stored[w]

    @property
    def aspect(self) -> float:
        """How much higher than wide a pixel is shown; 1 where nobody knows, as an unknown geometry's steps are."""
        if self.geometry is None:
            return 1.0
        _, h, w = self.geometry.axes.order
        return self.geometry.spacing[h] / self.geometry.spacing[w]

    def shown(self, stored: Array) -> Array:
        """Return stored pixels in slices: a view (D, H, W, ...) of (D, H, W), (H, W) or (H, W, 3)."""
        return stored[None] if self.geometry is None else self.geometry.axes.apply(stored)

    def in_file(self, slices: Array) -> Array:
        """Return slices (D, H, W) in the file's own order: the other way of ``shown``."""
        return slices[0] if self.geometry is None else self.geometry.axes.undo(slices)


def gray_values(scan: Scan, config: DataConfig) -> Pixels:
    """Return an image as it is, a volume in 8 bits, windowed as a whole; both in the file's own order."""
    if not isinstance(scan, Volume):
        return scan
    return to_gray(scan.values, limits_for_people(scan, config.intensity, config.range))


def middle_slice(scan: Scan, config: DataConfig) -> Pixels:
    """Return an image as it is, of a volume the middle slice in 8 bits with square pixels."""
    if not isinstance(scan, Volume):
        return scan
    return gray_slice(scan, look_point(None, scan.shape), limits_for_people(scan, config.intensity, config.range))
