"""An image or a volume, whichever a dataset holds: one way to read either."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import LISTED, BadFileError
from criinet.data.formats import Volume
from criinet.data.geometry import Geometry, Spacing, size_text
from criinet.data.images import Pixels, exif_turn, image_size, read_image
from criinet.data.kinds import VOLUME_SUFFIXES, is_volume, suffix_of
from criinet.data.masks import MaskMeaning, read_mask
from criinet.data.volumes import Partial, read_labels, read_mask_header, read_volume, read_volume_header
from criinet.errors import DataError

Scan = Pixels | Volume
"""(H, W) or (H, W, 3) uint8, or a volume of (D, H, W)."""


def read_scan(path: Path, dims: int, spacing: Spacing | None = None) -> Scan:
    """Read an image (``dims`` 2) or a volume (3).

    Args:
        spacing: (d, h, w) in mm of a volume whose file does not know it.

    Raises:
        BadFileError: if it cannot be read, or is the other of the two.
    """
    if dims == 2:
        require_picture(path)
        return read_image(path)
    require_volume(path)
    return read_volume(path, spacing)


def read_target(
    path: Path,
    dims: int,
    meaning: MaskMeaning,
    *,
    image: Path | None = None,
    ignore: bool = False,
    partial: Partial = "auto",
) -> NDArray[Any]:
    """Read the mask of an image (``dims`` 2) or a volume (3) as class indices, IGNORE where there is no ground truth.

    Args:
        image, partial: of volumes; see :func:`read_labels`.
        ignore: the value 255 means "no ground truth".

    Returns:
        (H, W) or (D, H, W) uint8, or int16 if any is IGNORE.

    Raises:
        BadFileError: if the file cannot be read, or its values contradict their meaning.
    """
    if dims == 2:
        return read_mask(path, *meaning, ignore=ignore)
    return read_labels(path, *meaning, image=image, ignore=ignore, partial=partial)


def scan_shape(path: Path, dims: int) -> tuple[int, ...]:
    """Return (H, W) or (D, H, W) from the header.

    Raises:
        BadFileError: if it cannot be read, or is not of ``dims`` dimensions.
    """
    if dims == 2:
        require_picture(path)
        return image_size(path)
    require_volume(path)
    return read_volume_header(path).shape


def require_picture(path: Path) -> None:
    """Refuse a volume where images are meant, by its name alone.

    Raises:
        BadFileError: if it is one.
    """
    if path.is_dir() or suffix_of(path) in VOLUME_SUFFIXES:
        raise BadFileError(path, "is a volume, but images are expected here", "Keep images and volumes apart")


def require_volume(path: Path) -> None:
    """Refuse an image where volumes are meant.

    Raises:
        BadFileError: if it is one.
    """
    if not is_volume(path) and suffix_of(path) not in ("", ".tif", ".tiff"):
        raise BadFileError(path, "is an image, but volumes are expected here", "Keep images and volumes apart")


def require_voxels(values: Any) -> NDArray[Any]:
    """Return a volume from somebody's own program if it is one: a (D, H, W) array of numbers with a voxel.

    Raises:
        DataError: if it is anything else.
    """
    if isinstance(values, np.ndarray) and values.ndim == 3 and values.size > 0 and values.dtype.kind in "biuf":
        return values
    is_array = isinstance(values, np.ndarray)
    what = f"an array of shape {values.shape} and type {values.dtype}" if is_array else f"a {type(values).__name__}"
    raise DataError(f"a volume is a NumPy array (D, H, W) of numbers, this is {what}; convert it.")


def size_mismatch(
    mask: Path, mask_size: tuple[int, ...], image: Path, image_size: tuple[int, ...]
) -> BadFileError | None:
    """Return the problem of a mask whose (H, W) or (D, H, W) is not its image's, or None.

    Raises:
        BadFileError: if the header of an image cannot be read.
    """
    if mask_size == image_size:
        return None
    own, other = size_text(mask_size), size_text(image_size)
    what, remedy = f"is {own} but its image is {other}", "Resize or remove it"
    if mask_size == image_size[::-1] and len(image_size) == 2:
        remedy = "Turn it by 90 degrees or remove it; resizing would distort it"
        if turn := exif_turn(image):
            what = f"{what}, which viewers show {turn}, as its EXIF tag says"
            remedy = "Have the mask turned in the same way; resizing would distort it"
    return BadFileError(mask, what, remedy, LISTED)


def place_mismatch(mask: Path, own: Geometry, image: Geometry, shape: tuple[int, ...]) -> BadFileError | None:
    """Return the problem of a mask that does not lie where its image lies, or None."""
    difference = own.difference(image, shape)
    if difference is None:
        return None
    return BadFileError(mask, difference, "Resample it to the grid of its image", LISTED)


def mask_mismatch(
    mask: Path, image: Path, dims: int, sizes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
) -> BadFileError | None:
    """Return the problem of a mask that has not the size of its image, or as a volume lies elsewhere; or None.

    Args:
        sizes: of mask and image, where they were decoded; None reads them from the headers.

    Raises:
        BadFileError: if a header cannot be read.
    """
    if dims == 2:
        size, other_size = sizes or (scan_shape(mask, dims), scan_shape(image, dims))
        return size_mismatch(mask, size, image, other_size)
    require_volume(mask)
    own, other = read_mask_header(mask, image), read_volume_header(image)
    size, other_size = sizes or (own.shape, other.shape)
    return size_mismatch(mask, size, image, other_size) or place_mismatch(mask, own.geometry, other.geometry, size)


def spatial(scan: Any) -> tuple[int, ...]:
    """Return (H, W) of an image, (D, H, W) of a volume."""
    return scan.shape if isinstance(scan, Volume) else (scan.shape[0], scan.shape[1])
