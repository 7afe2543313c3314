"""Reading and writing 2D images and masks. Arrays are (H, W) or (H, W, 3), uint8, as a viewer would show them."""

import colorsys
import io
import threading
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from criinet.data.files import write_atomically, write_bytes_atomically
from criinet.errors import DataError, ShapeError

Pixels = NDArray[np.uint8]
MaskEncoding = Literal["index", "binary255"]
"""How masks write classes: ``index`` is the class itself, ``binary255`` is 0 for background and 255 for foreground."""

MAX_PIXELS = 178_956_970
"""The most pixels of one image: the largest that Pillow opens unless its global limit is lifted."""

OKABE_ITO = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
IGNORE = -1
"""Class index of a pixel without ground truth, as ``criinet.types`` has it, for readers without torch."""

IGNORED_VALUE = 255
"""Stored in a mask of class indices where there is no ground truth, if dataset.json says ``"ignore": true``."""

AS_IGNORED = 'write "encoding": "index" and "ignore": true into dataset.json'
"""How to keep pixels of that value out."""

WHITE_ABOVE = 127
"""What is brighter is the foreground of a ``binary255`` mask."""

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_LOSSY = ("JPEG", "MPO")
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_GRAY_MODES = ("1", "L", "LA", "La", *_DEEP_MODES)
_ORIENTATION = 0x0112
_TURNS = {
    5: "mirrored left to right and then turned by 90 degrees to the left",
    6: "turned by 90 degrees to the right",
    7: "mirrored left to right and then turned by 90 degrees to the right",
    8: "turned by 90 degrees to the left",
}
THRESHOLD = "Threshold it at 128, so that it holds 0 for background and 255 for foreground alone"
"""What to do with gray edges."""

IMPORT_ANY_VALUE = "`criinet data import pairs FOLDER NEW --any-value-is-object`"
"""The command that makes masks of an object of whatever is above 0."""

_FEWEST_EDGE_VALUES = 5
_FEWEST_LEVELS = 64
"""Of 256: a colour image of 16 bits that is darker everywhere was stretched to 14 bits or fewer."""

LISTED = "`criinet data check DATASET` lists all such files"
"""The hint of a file that is one of perhaps many."""

SKIPPABLE = f"{LISTED} and --skip-bad goes on without them"
"""The same, of a file that can be done without."""


def _colors() -> tuple[tuple[int, int, int], ...]:
    far = (colorsys.hsv_to_rgb(0.618034 * i % 1.0, 0.65, 0.95) for i in range(256 - 1 - len(OKABE_ITO)))
    return ((0, 0, 0), *OKABE_ITO, *((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in far))


PALETTE: tuple[tuple[int, int, int], ...] = _colors()
"""RGB colour of each class: black, the seven of Okabe & Ito (2008) that colour-blind readers tell apart, then more."""


class BadFileError(DataError):
    """One file that cannot be used: which, what is wrong with it, and what to do.

    Args:
        path: the file.
        what: continues the sentence that the path begins, without a full stop ("is truncated").
        remedy: what to do, without a full stop ("Copy it again").
        hint: what helps besides, if anything, without a full stop; `criinet data check` leaves it out.
    """

    def __init__(self, path: Path, what: str, remedy: str, hint: str = "") -> None:
        super().__init__(path, what, remedy, hint)
        self.path = path
        self.what = what
        self.remedy = remedy
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.path} {self.what}. {'; '.join(filter(None, (self.remedy, self.hint)))}."

    @property
    def without_hint(self) -> str:
        """The sentence on a file that was left out already."""
        return f"{self.path} {self.what}. {self.remedy}."


@dataclass(frozen=True)
class ImageHeader:
    """What an image's header tells without decoding it; ``size`` is (H, W) after EXIF rotation."""

    size: tuple[int, int]
    gray: bool
    deep: bool


@dataclass(frozen=True)
class RawMask:
    """A decoded mask before its values are given a meaning.

    values: (H, W) uint8, as stored.
    lossy: the file is a JPEG, so only "above 127" means anything.
    zero_one: a palette or 1-bit file that holds 0 and 1 only, which reads the same in both encodings.
    """

    values: Pixels
    lossy: bool
    zero_one: bool


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
    """Return an image from somebody's own program if it is one: an (H, W) or (H, W, 3) uint8 array with a pixel.

    Raises:
        DataError: if it is anything else.
    """
    if not isinstance(image, np.ndarray):
        what = f"a {type(image).__name__}"
    elif image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        what = f"an array of shape {image.shape} and type {image.dtype}"
    elif image.size == 0:
        what = f"an array of shape {image.shape} without a pixel"
    else:
        return image
    raise DataError(f"an image is a NumPy array (H, W) or (H, W, 3) of uint8, this is {what}; convert it.")


@contextmanager
def in_a_sentence(path: Path, damaged: str) -> Generator[None, None, None]:
    """Turn whatever the body raises while it reads a file into one sentence about the file.

    Args:
        damaged: what is said of anything but a missing or forbidden file.

    Raises:
        BadFileError: in place of every error but our own and a lack of memory.
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise BadFileError(path, "does not exist", "Check the path") from error
    except PermissionError as error:
        raise BadFileError(path, "may not be read", "Change its permissions") from error
    except Exception as error:  # Decoders raise nearly anything on a damaged file.
        raise BadFileError(path, damaged, "Copy it again or remove it", SKIPPABLE) from error


@contextmanager
def _opened(path: Path) -> Generator[Image.Image, None, None]:
    """Open an image for decoding; whatever Pillow raises in the body becomes one sentence about the file.

    Pillow gets a file, not a path: from a path it maps an uncompressed TIFF into memory and scrambles a rotated one.
    """
    huge = BadFileError(path, f"has over {MAX_PIXELS:,} pixels", "Crop it or scale it down", SKIPPABLE)
    damaged = "is damaged, cut short, of a kind that is not read, or not a PNG, JPEG, TIFF, BMP or WebP image"
    with in_a_sentence(path, damaged):
        try:
            with _quiet, path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise huge
                yield image
        except Image.DecompressionBombError as error:
            raise huge from error


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8. Pillow applies a TIFF's own, and a PNG's is read without decoding it."""
    return 1 if image.format == "TIFF" else int(Image.Image.getexif(image).get(_ORIENTATION, 1))


def _upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
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
    with _opened(path) as image:
        height, width = image.height, image.width
        size = (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)
        deep = image.mode in _DEEP_MODES or _is_deep_colour(image)
        return ImageHeader(size, image.mode in _GRAY_MODES, deep)


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
    with _opened(path) as image:
        return _TURNS.get(_orientation(image), "")


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
    with _opened(path) as image:
        _refuse_pages(image, path)
        deep_colour = _is_deep_colour(image)
        if image.mode in _DEEP_MODES:
            pixels = _window(np.asarray(image))
        elif image.mode in _GRAY_MODES:
            pixels = np.asarray(image.convert("L"))
        elif "transparency" in image.info:
            pixels = np.asarray(image.convert("RGBA"))[..., :3]
        else:
            pixels = np.asarray(image.convert("RGB"))
        if deep_colour and 0 < pixels.max() < _FEWEST_LEVELS:
            what = "is a colour image of 16 bits that uses the lower ones alone, so that it would be nearly black"
            raise BadFileError(path, what, "Save it with 8 bits a channel, or stretch its values to 65535")
        return _upright(pixels, _orientation(image))


def _is_deep_colour(image: Image.Image) -> bool:
    """Tell whether an opened file, not decoded yet, holds colours of 16 bits, of which Pillow keeps the upper eight."""
    return image.mode in ("RGB", "RGBA") and any(";16" in str(tile) for tile in getattr(image, "tile", ()))


def _refuse_pages(image: Image.Image, path: Path) -> None:
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


def read_raw_mask(path: Path) -> RawMask:
    """Decode a mask upright without giving its values a meaning.

    A palette file yields its palette indices; where those are 0 for white and 1 for black, as programs save that sort
    colours by how often they occur, they are turned round. Gray files, and colour files whose channels are equal, yield
    their gray.

    Raises:
        BadFileError: if it cannot be read, has different colour channels, or values that are no integers in 0..255.
    """
    with _opened(path) as image:
        _refuse_pages(image, path)
        mode, lossy, orientation = image.mode, image.format in _LOSSY, _orientation(image)
        hidden = mode in ("LA", "RGBA") and bool(np.ptp(np.asarray(image.getchannel("A"))))
        values: NDArray[Any] = np.asarray(image.convert("L") if mode in ("LA", "La") else image)
        if mode == "P" and values.max() <= 1 and (image.getpalette("RGB") or [])[:6] == [255, 255, 255, 0, 0, 0]:
            values = 1 - values
    if mode in ("RGB", "RGBA", "RGBX"):
        if (np.ptp(values[..., :3], axis=2) > (32 if lossy else 0)).any():
            raise BadFileError(path, "is a mask in colour", "Save it as one gray channel that holds the class index")
        values = values[..., 0]
    if hidden and not np.ptp(values):
        what = "is a mask drawn in transparency, under which everything has one colour"
        raise BadFileError(path, what, "Save it as one gray channel that holds the class index")
    if values.ndim != 2 or values.dtype.kind not in "iub":
        remedy = (
            f"Save it as 8-bit gray that holds the class index; where all above 0 is the object, {IMPORT_ANY_VALUE}"
        )
        raise BadFileError(path, f"is a mask of mode {mode}", f"{remedy} does it")
    if values.min() < 0 or values.max() > 255:
        what = f"has values from {values.min()} to {values.max()}"
        remedy = (
            f"Save it as 8-bit gray that holds the class index; where all above 0 is the object, {IMPORT_ANY_VALUE}"
        )
        raise BadFileError(path, what, f"{remedy} does it")
    values = _upright(values.astype(np.uint8), orientation)
    return RawMask(values, lossy, mode in ("P", "1") and int(values.max()) <= 1)


def read_object(path: Path) -> NDArray[np.bool_]:
    """Decode a mask of any numbers upright, (H, W): whatever is above 0 is the object.

    So are instances that are numbered in 16 bits, 0 and 255 in floating point, and colours other than black.

    Raises:
        BadFileError: if it cannot be read, or is a JPEG, whose background is not quite 0.
    """
    with _opened(path) as image:
        _refuse_pages(image, path)
        if image.format in _LOSSY:
            raise BadFileError(path, "is a JPEG, whose background is not quite 0", "Save it as PNG")
        values = np.asarray(image) if image.mode in ("1", "L", "P", *_DEEP_MODES) else np.asarray(image.convert("RGB"))
        orientation = _orientation(image)
    return _upright(values if values.ndim == 2 else values.max(2), orientation) > 0


def contradiction(
    counts: NDArray[np.intp], *, lossy: bool, zero_one: bool, encoding: MaskEncoding, classes: Sequence[str]
) -> tuple[str, str] | None:
    """Say what in a mask contradicts the dataset's encoding, and the remedy; None if nothing does.

    Args:
        counts: (256,) pixels of each stored value.
        classes: names of the K classes, background first.
    """
    values = np.flatnonzero(counts)
    if encoding == "binary255":
        odd = [int(v) for v in values if v not in (0, 255)]
        if lossy and odd and values[-1] <= WHITE_ABOVE:
            what = f"is a JPEG mask whose brightest value is {values[-1]}, so that nothing in it is white"
            return what, "Save it as PNG with 0 for background and 255 for foreground"
        if lossy or zero_one or not odd:
            return None
        what = f"has the value {odd[0]}, but the masks of this dataset hold 0 and 255 only"
        if has_gray_edges(counts):
            what = f"has gray edges: {len(odd)} values between 0 and 255"
            return what, THRESHOLD
        if values[-1] == IGNORED_VALUE and odd[-1] < WHITE_ABOVE:
            return what, f"Where 255 says that nobody knows, {AS_IGNORED}; else save it as PNG with 0 and 255 alone"
        return what, "Save it as PNG with 0 for background and 255 for foreground"
    if lossy:
        return "is a JPEG, which blurs class indices", "Save it as PNG"
    if not values.size or values[-1] < len(classes):
        return None
    what = f"has class {values[-1]}, but the dataset has {len(classes)} classes: {', '.join(classes)}"
    if values[-1] == IGNORED_VALUE and len(values) > 1 and values[-2] < len(classes):
        both = '"encoding": "binary255"'
        return what, f"Where 255 is the object, write {both} into dataset.json; where nobody knows, {AS_IGNORED}"
    if len(classes) == 2 and (value := only_value(counts)):
        return what, f"Where {value} is the object, save the mask with 0 and 1; else add the class to dataset.json"
    return what, "Correct the mask, or add the class to dataset.json"


def has_gray_edges(counts: NDArray[np.intp]) -> bool:
    """Tell by the pixels of each value (256,) whether a mask seems to be of 0 and 255 with blurred edges.

    So it is if there are several values between them, on both sides of the middle, and fewer pixels of those. Classes
    that are told apart by their gray are few.
    """
    between = counts[1:255]
    many = np.count_nonzero(between) >= _FEWEST_EDGE_VALUES
    both_sides = between[:WHITE_ABOVE].any() and between[WHITE_ABOVE:].any()
    return bool(many and both_sides and counts[[0, 255]].all() and between.sum() < counts[[0, 255]].sum())


def only_value(counts: NDArray[np.intp]) -> int:
    """Return the value above 0 that pixels have, by their counts (256,); 0 if there are several, or none."""
    above = np.flatnonzero(counts[1:]) + 1
    return int(above[0]) if len(above) == 1 else 0


def read_mask(
    path: Path, encoding: MaskEncoding, classes: int, *, names: Sequence[str] = (), ignore: bool = False
) -> NDArray[Any]:
    """Read a mask upright as class indices.

    Args:
        encoding: ``index``, or ``binary255``, where values above 127 are class 1. JPEG masks are accepted only in the
            latter; any other file must then hold nothing but 0 and 255 (or 0 and 1, if it is a palette or 1-bit file).
        classes: K, the number of classes with background.
        names: the K class names, for messages.
        ignore: the value 255 means "no ground truth"; only with ``index``.

    Returns:
        (H, W) uint8 in [0, K), or int16 with IGNORE where there is no ground truth.

    Raises:
        BadFileError: if the file cannot be read, or its values contradict the encoding.
    """
    raw = read_raw_mask(path)
    problem = contradiction(
        value_counts(raw.values, ignore=ignore),
        lossy=raw.lossy,
        zero_one=raw.zero_one,
        encoding=encoding,
        classes=names or [str(k) for k in range(classes)],
    )
    if problem is not None:
        raise BadFileError(path, *problem)
    if encoding == "index" or raw.zero_one:
        return with_ignored(raw.values, raw.values == IGNORED_VALUE) if ignore else raw.values
    return (raw.values > WHITE_ABOVE).astype(np.uint8)


def value_counts(stored: Pixels, *, ignore: bool) -> NDArray[np.intp]:
    """Count the pixels of each stored value, (256,); those without ground truth are left out."""
    counts = np.bincount(stored.ravel(), minlength=256)
    if ignore:
        counts[IGNORED_VALUE] = 0
    return counts


def with_ignored(labels: Pixels, unknown: NDArray[np.bool_]) -> NDArray[Any]:
    """Return class indices with IGNORE where nothing is known: int16 if there is such a pixel, as they are if not."""
    return np.where(unknown, np.int16(IGNORE), labels.astype(np.int16)) if unknown.any() else labels


def write_mask(path: Path, mask: NDArray[Any], classes: int) -> None:
    """Write class indices as a palette PNG: the index is the class, and viewers show it in ``PALETTE``.

    Args:
        mask: (H, W) integers in [0, classes).
        classes: K, at most 256.

    Raises:
        ShapeError: if ``mask`` is not (H, W).
        ValueError: if a value is outside [0, classes).
        StorageError: if the file cannot be written.
    """
    write_bytes_atomically(path, encode_mask(mask, "index", classes))


def encode_mask(mask: NDArray[Any], encoding: MaskEncoding, classes: int) -> bytes:
    """Return a mask as a PNG: with a palette in encoding ``index``, gray in ``binary255``.

    Args:
        mask: (H, W) integers in [0, classes).
        classes: K, at most 256.

    Raises:
        ShapeError: if ``mask`` is not (H, W).
        ValueError: if a value is outside [0, classes).
    """
    _require_plane(mask)
    if mask.size and (mask.min() < 0 or mask.max() >= min(classes, 256)):
        raise ValueError(f"mask has values from {mask.min()} to {mask.max()}, outside [0, {min(classes, 256)})")
    if encoding == "binary255":
        image = Image.fromarray((mask > 0).astype(np.uint8) * np.uint8(255))
    else:
        image = Image.fromarray(mask.astype(np.uint8))
        image.putpalette([channel for color in PALETTE[:classes] for channel in color])
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


def write_gray(path: Path, array: Pixels) -> None:
    """Write (H, W) uint8 as a gray PNG.

    Raises:
        ShapeError: if ``array`` is not (H, W).
        StorageError: if the file cannot be written.
    """
    _require_plane(array)
    image = Image.fromarray(array.astype(np.uint8, casting="same_kind"))
    write_atomically(path, lambda file: image.save(file, format="PNG"))


def _require_plane(array: NDArray[Any]) -> None:
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(f"expected a non-empty array of (H, W), got {array.shape}")
