"""Reading and writing 2D images. Arrays are (H, W) or (H, W, 3), uint8, as a viewer would show them."""

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from criinet.data.bad_files import SKIPPABLE, BadFileError, in_a_sentence
from criinet.data.files import write_atomically
from criinet.errors import DataError, ShapeError

Pixels = NDArray[np.uint8]

MAX_PIXELS = 178_956_970
"""The most pixels of one image: the largest that Pillow opens unless its global limit is lifted."""

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
LOSSY = ("JPEG", "MPO")
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_GRAY_MODES = ("1", "L", "LA", "La", *DEEP_MODES)
_ORIENTATION = 0x0112
_TURNS = {
    5: "mirrored left to right and then turned by 90 degrees to the left",
    6: "turned by 90 degrees to the right",
    7: "mirrored left to right and then turned by 90 degrees to the right",
    8: "turned by 90 degrees to the left",
}
_FEWEST_LEVELS = 64
"""Of 256: a colour image of 16 bits that is darker everywhere was stretched to 14 bits or fewer."""


class TooManyPixelsError(BadFileError):
    """An image that has more than MAX_PIXELS."""


@dataclass(frozen=True)
class ImageHeader:
    """What an image's header tells without decoding it; ``size`` is (H, W) after EXIF rotation.

    same_size_turned: an EXIF tag turns or mirrors the stored pixels onto their own size, so that the size of a mask
        does not tell whether it was drawn before that or after.
    """

    size: tuple[int, int]
    gray: bool
    deep: bool
    same_size_turned: bool = False


class _PillowWarnings:
    """Silences Pillow's warnings while any thread reads; the filters are back once the last one is through."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._readers == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b")
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._filters.__exit__(None, None, None)


_quiet = _PillowWarnings()


def require_pixels(image: Any) -> Pixels:
    """Return an image from somebody's own program as (H, W) or (H, W, 3) uint8, as its file would be read.

    A Pillow image is turned upright by its EXIF tag. Gray of 16 bits is windowed, and an alpha channel that is opaque
    is dropped.

    Raises:
        DataError: if it is anything else; the message says how to convert it.
    """
    if isinstance(image, Image.Image):
        image = upright(_pixels(image), orientation_of(image))
    if not isinstance(image, np.ndarray):
        what, remedy = f"a {type(image).__name__}", "np.asarray(image) may make it one"
    elif image.size == 0:
        what, remedy = f"an array of shape {image.shape} without a pixel", "give one that has some"
    elif image.ndim == 2 and image.dtype.kind == "u" and image.dtype.itemsize == 2:
        return _window(image)
    elif image.ndim != 2 and image.shape[2:] not in ((3,), (4,)):
        what, remedy = f"an array of shape {image.shape}", "the last axis is red, green and blue, or left out of gray"
    elif image.dtype.kind == "f":
        what, remedy = f"an array of {image.dtype}", "(255 * image).round().astype(np.uint8) converts values of 0 to 1"
    elif image.dtype != np.uint8:
        what, remedy = f"an array of {image.dtype}", "bring its values to 0 to 255, and image.astype(np.uint8) does it"
    elif image.ndim == 3 and image.shape[2] == 4 and not (image[..., 3] == 255).all():
        what, remedy = "an array with transparent pixels", "image[..., :3] drops the transparency"
    else:
        return image if image.ndim == 2 else image[..., :3]
    raise DataError(f"an image is a file, a Pillow image or a NumPy array of uint8; this is {what}: {remedy}.")


@contextmanager
def opened(path: Path) -> Generator[Image.Image, None, None]:
    """Open an image for decoding; whatever Pillow raises in the body becomes one sentence about the file.

    Pillow gets a file, not a path: from a path it maps an uncompressed TIFF into memory and scrambles a rotated one.
    """
    huge = TooManyPixelsError(path, f"has over {MAX_PIXELS:,} pixels", "Crop it or scale it down", SKIPPABLE)
    damaged = "is damaged, cut short, of a kind that is not read, or not a PNG, JPEG, TIFF, BMP or WebP image"
    with in_a_sentence(path, damaged):
        try:
            with _quiet, path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise huge
                yield image
        except Image.DecompressionBombError as error:
            raise huge from error


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8. Pillow applies a TIFF's own, and a PNG's is read without decoding it."""
    return 1 if image.format == "TIFF" else int(Image.Image.getexif(image).get(_ORIENTATION, 1))


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn a stored (H, W, ...) array into what a viewer shows."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def read_header(path: Path) -> ImageHeader:
    """Read size, colour and depth of an image without decoding it.

    Raises:
        BadFileError: if the file is missing, no image, or too large.
    """
    with opened(path) as image:
        height, width = image.height, image.width
        orientation = orientation_of(image)
        size = (width, height) if orientation in _TURNS else (height, width)
        deep = image.mode in DEEP_MODES or _is_deep_colour(image)
        same = orientation in (2, 3, 4) or (orientation in _TURNS and height == width)
        return ImageHeader(size, image.mode in _GRAY_MODES, deep, same)


def image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) after EXIF rotation, from the header alone.

    Raises:
        BadFileError: if the file is missing, no image, or too large.
    """
    return read_header(path).size


def exif_turn(path: Path) -> str:
    """Return how a viewer turns the stored pixels of an image onto their side, as its EXIF tag says; "" if it does not.

    Raises:
        BadFileError: if the file is missing, no image, or too large.
    """
    with opened(path) as image:
        return _TURNS.get(orientation_of(image), "")


def is_gray(path: Path) -> bool:
    """Tell from the header alone whether ``read_image`` gives (H, W) instead of (H, W, 3).

    A palette image counts as colour, and so does an RGB file whose three channels happen to be equal.

    Raises:
        BadFileError: if the file is missing, no image, or too large.
    """
    return read_header(path).gray


def read_image(path: Path) -> Pixels:
    """Read an image upright, in 8 bits.

    Gray files of 16 or 32 bits are windowed: their 0.5 percentile becomes 0, their 99.5 percentile 255. Of colour files
    of 16 bits the upper eight count. Alpha is dropped and the colour beneath it kept. Palette and CMYK files become
    RGB; 1-bit files become 0 and 255.

    Returns:
        (H, W) uint8 for a gray file, (H, W, 3) uint8 RGB otherwise; the file's mode decides, not its content.

    Raises:
        BadFileError: if the file is missing, damaged, cut short, too large, no image, has several pages, or is a colour
            file of 16 bits whose upper ones say next to nothing.
    """
    with opened(path) as image:
        refuse_pages(image, path)
        deep_colour = _is_deep_colour(image)
        pixels = _pixels(image)
        if deep_colour and 0 < pixels.max() < _FEWEST_LEVELS:
            what = "is a colour image of 16 bits that uses the lower ones alone, so that it would be nearly black"
            raise BadFileError(path, what, "Save it with 8 bits a channel, or stretch its values to 65535")
        return upright(pixels, orientation_of(image))


def _pixels(image: Image.Image) -> Pixels:
    """Return what an opened image holds as (H, W) or (H, W, 3), as it is stored."""
    if image.mode in DEEP_MODES:
        return _window(np.asarray(image))
    if image.mode in _GRAY_MODES:
        return np.asarray(image.convert("L"))
    if "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))[..., :3]
    return np.asarray(image.convert("RGB"))


def read_page(path: Path, number: int) -> NDArray[Any]:
    """Read one page of a TIFF, from 0 on, with the values that are stored: (H, W) or (H, W, C).

    Raises:
        BadFileError: if the file cannot be read, or has not as many pages.
    """
    with opened(path) as image:
        pages = int(getattr(image, "n_frames", 1))
        if number >= pages:
            raise BadFileError(path, f"holds {pages} pages, of which 0 is the first", f"Choose below {pages}")
        image.seek(number)
        return np.asarray(image)


def write_tiff(path: Path, values: NDArray[Any]) -> None:
    """Write (H, W) or (H, W, 3) values as a TIFF of one page, with all their bits.

    Raises:
        StorageError: if the file cannot be written.
    """
    image = Image.fromarray(values)
    write_atomically(path, lambda file: image.save(file, format="TIFF"))


def _is_deep_colour(image: Image.Image) -> bool:
    """Tell whether an opened file, not decoded yet, holds colours of 16 bits, of which Pillow keeps the upper eight."""
    return image.mode in ("RGB", "RGBA") and any(";16" in str(tile) for tile in getattr(image, "tile", ()))


def refuse_pages(image: Image.Image, path: Path) -> None:
    pages = int(getattr(image, "n_frames", 1)) if image.format == "TIFF" else 1
    if pages > 1:
        raise BadFileError(path, f"holds {pages} pages", "Save each page as an image of its own")


def _window(values: NDArray[Any]) -> Pixels:
    """Map the 0.5 to 99.5 percentile of ``values`` to 0..255; values that are not finite become 0."""
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(values[finite], (0.5, 99.5))
    if high <= low:
        low, high = values[finite].min(), values[finite].max()
    scaled = (np.where(finite, values, low) - low) / (high - low if high > low else 1.0)
    return np.rint(255.0 * np.clip(scaled, 0.0, 1.0)).astype(np.uint8)


def write_gray(path: Path, array: Pixels) -> None:
    """Write (H, W) uint8 as a gray PNG.

    Raises:
        ShapeError: if ``array`` is not (H, W).
        StorageError: if the file cannot be written.
    """
    require_plane(array)
    image = Image.fromarray(array.astype(np.uint8, casting="same_kind"))
    write_atomically(path, lambda file: image.save(file, format="PNG"))


def require_plane(array: NDArray[Any]) -> None:
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(f"expected a non-empty array of (H, W), got {array.shape}")
