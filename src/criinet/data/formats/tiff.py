"""TIFF of several pages, by tifffile. It has no geometry: dataset.json gives the spacing."""

from pathlib import Path
from typing import Any

from criinet.data.bad_files import BadFileError
from criinet.data.formats.volume import Format, Volume, VolumeHeader, library, plain_values, reading, three_axes
from criinet.data.geometry import Geometry

_KIND = "TIFF file"


def _checked(path: Path, file: Any) -> VolumeHeader:
    page = file.pages[0]
    if page.samplesperpixel > 1 or page.photometric == 3:
        raise BadFileError(path, "is in colour", "Save one gray value for each voxel")
    sizes = {(other.shape, other.dtype) for other in file.pages}
    if len(sizes) > 1:
        raise BadFileError(path, "has pages of different sizes or depths", "Save each image as a file of its own")
    return VolumeHeader(three_axes(path, (len(file.pages), *page.shape)), Geometry.unknown())


def header(path: Path) -> VolumeHeader:
    """Read the shape; a page is a slice."""
    tifffile = library(path, "tifffile", "volumes")
    with reading(path, _KIND), tifffile.TiffFile(path) as file:
        return _checked(path, file)


def read(path: Path, *, labels: bool = False) -> Volume:  # noqa: ARG001
    """Read values; a page is a slice."""
    tifffile = library(path, "tifffile", "volumes")
    with reading(path, _KIND), tifffile.TiffFile(path) as file:
        found = _checked(path, file)
        values = plain_values(path, file.asarray(key=range(len(file.pages))).reshape(found.shape))
    return Volume(values, found.geometry)


FORMAT = Format(header, read)
