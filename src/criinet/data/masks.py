"""Reading and writing masks of images. Arrays are (H, W): class indices, upright as a viewer would show them."""

import colorsys
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from criinet.data.bad_files import BadFileError
from criinet.data.files import write_bytes_atomically
from criinet.data.images import DEEP_MODES, LOSSY, Pixels, opened, orientation_of, refuse_pages, require_plane, upright
from criinet.labels import IGNORE

MaskEncoding = Literal["index", "binary255"]
"""How masks write classes: ``index`` is the class itself, ``binary255`` is 0 for background and 255 for foreground."""

MaskMeaning = tuple[MaskEncoding, tuple[str, ...]]
"""How the masks of a dataset write classes, and the names of those, background first."""

OKABE_ITO = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))

IGNORED_VALUE = 255
"""Stored in a mask of class indices where there is no ground truth, if dataset.json says ``"ignore": true``."""

AS_IGNORED = 'write "encoding": "index" and "ignore": true into dataset.json'
"""How to keep pixels of that value out."""

WHITE_ABOVE = 127
"""What is brighter is the foreground of a ``binary255`` mask."""

THRESHOLD = "Threshold it at 128, so that it holds 0 for background and 255 for foreground alone"
"""What to do with gray edges."""

IMPORT_ANY_VALUE = "`criinet data import pairs FOLDER NEW --any-value-is-object`"
"""The command that makes masks of an object of whatever is above 0."""

IMPORT_COLOURS = "`criinet data import pairs FOLDER NEW`"
"""The command that makes classes of colours."""

BACKGROUND = "background"
_BACKGROUNDS = tuple(
    f"{BACKGROUND} bg back none nothing other others rest void empty unlabeled unlabelled unclassified outside air "
    "normal healthy hintergrund fond fondo sfondo fundo achtergrond".split()
)
BLACK = 0
RGB_TO_NUMBER = np.array([2**16, 2**8, 1], np.uint32)
"""By which red, green and blue are added up to 0xRRGGBB."""

_FEWEST_EDGE_VALUES = 5
_FEWEST_GRAYS = 32
"""A value below is the number of a class rather than a gray."""


def import_named(colour: str) -> str:
    """Return the command that makes classes of chosen colours, of which ``colour`` is one, in as many words."""
    return f"`criinet data import pairs FOLDER NEW --structure NAME={colour}`, with --structure once for each, does it"


def _colors() -> tuple[tuple[int, int, int], ...]:
    far = (colorsys.hsv_to_rgb(0.618034 * i % 1.0, 0.65, 0.95) for i in range(256 - 1 - len(OKABE_ITO)))
    return ((0, 0, 0), *OKABE_ITO, *((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in far))


PALETTE: tuple[tuple[int, int, int], ...] = _colors()
"""RGB colour of each class: black, the seven of Okabe & Ito (2008) that colour-blind readers tell apart, then more."""


@dataclass(frozen=True)
class RawMask:
    """A decoded mask before its values are given a meaning.

    values: (H, W) uint8, as stored.
    lossy: the file is a JPEG, so only "above 127" means anything.
    zero_one: a palette or 1-bit file that holds 0 and 1 only, which reads the same in both encodings.
    palette: the colour of each index of a palette file as 0xRRGGBB, empty of any other.
    """

    values: Pixels
    lossy: bool
    zero_one: bool
    palette: tuple[int, ...] = ()


def read_raw_mask(path: Path) -> RawMask:
    """Decode a mask upright without giving its values a meaning.

    A palette file yields its palette indices; where those are 0 for a colour and 1 for black, as programs save that
    sort colours by brightness or by how often they occur, they are turned round. Gray files, and colour files whose
    channels are equal, yield their gray.

    Raises:
        BadFileError: if it cannot be read, has different colour channels, or values that are no integers in 0..255.
    """
    with opened(path) as image:
        refuse_pages(image, path)
        mode, lossy, orientation = image.mode, image.format in LOSSY, orientation_of(image)
        hidden = _is_drawn_in_transparency(image)
        values: NDArray[Any] = np.asarray(image.convert("L") if mode in ("LA", "La") else image)
        palette = _palette(image)
        if len(palette) > 1 and values.max() <= 1 and palette[0] != BLACK == palette[1]:
            values, palette = 1 - values, (BLACK, palette[0])
    if hidden:
        what = "is a mask drawn in transparency, under which everything has one colour"
        remedy = f"Save it as one gray channel that holds the class index, or let {IMPORT_COLOURS} do it"
        raise BadFileError(path, what, remedy)
    if mode in ("RGB", "RGBA", "RGBX"):
        if _differ(values, lossy=lossy):
            way = f"name the colours, and {import_named('red')}" if lossy else f"let {IMPORT_COLOURS} do it"
            remedy = f"Save it as one gray channel that holds the class index, or {way}"
            raise BadFileError(path, "is a mask in colour", remedy)
        values = values[..., 0]
    numbers = values.ndim == 2 and values.dtype.kind in "iub"
    if not numbers or values.min() < 0 or values.max() > 255:
        what = f"has values from {values.min()} to {values.max()}" if numbers else f"is a mask of mode {mode}"
        otherwise = f"where all above 0 is the object, {IMPORT_ANY_VALUE} does it"
        raise BadFileError(path, what, f"Save it as 8-bit gray that holds the class index; {otherwise}")
    values = upright(values.astype(np.uint8), orientation)
    return RawMask(values, lossy, mode in ("P", "1") and int(values.max()) <= 1, palette)


def _palette(image: Image.Image) -> tuple[int, ...]:
    """Return the colours of a palette file as 0xRRGGBB, nothing of any other."""
    stored = image.getpalette("RGB") if image.mode == "P" else None
    channels = np.array(stored or [], np.uint32).reshape(-1, 3)
    return tuple((channels @ RGB_TO_NUMBER).tolist())


def is_palette(path: Path) -> bool:
    """Tell from the header whether a mask is a palette file.

    Raises:
        BadFileError: if it cannot be read.
    """
    with opened(path) as image:
        return image.mode == "P"


def _differ(values: NDArray[Any], *, lossy: bool) -> bool:
    """Tell whether the channels of (H, W, 3) or (H, W, 4) differ, alpha aside, by more than a JPEG makes them."""
    return bool((np.ptp(values[..., :3], axis=2) > (32 if lossy else 0)).any())


def _is_drawn_in_transparency(image: Image.Image) -> bool:
    """Tell whether an image has one colour, and its alpha more than one value."""
    if image.mode not in ("LA", "RGBA") or not np.ptp(np.asarray(image.getchannel("A"))):
        return False
    return not any(np.ptp(np.asarray(image.getchannel(band))) for band in image.getbands()[:-1])


def _shown(image: Image.Image) -> Pixels:
    """Return what an image shows on black, (H, W, 3).

    Of one drawn in transparency that is its colour where it is rather opaque, and white if that colour is black.
    """
    rgba = np.asarray(image.convert("RGBA"))
    if _is_drawn_in_transparency(image):
        opaque = rgba[..., 3] > rgba[..., 3].max() / 2
        colours = rgba[..., :3] if rgba[..., :3].any() else np.full_like(rgba[..., :3], 255)
        return np.where(opaque[..., None], colours, np.uint8(0))
    black = Image.new("RGBA", image.size, "black")
    return np.asarray(Image.alpha_composite(black, Image.fromarray(rgba)))[..., :3]


def is_in_colour(path: Path) -> bool:
    """Tell whether a mask's classes are colours: neither class indices nor black and white, or drawn in transparency.

    Raises:
        BadFileError: if it cannot be read.
    """
    with opened(path) as image:
        coloured = image.mode in ("RGB", "RGBA", "RGBX")
        differ = coloured and _differ(np.asarray(image), lossy=image.format in LOSSY)
        return differ or _is_drawn_in_transparency(image)


def is_lossy(path: Path) -> bool:
    """Tell from the header whether a mask is a JPEG.

    Raises:
        BadFileError: if it cannot be read.
    """
    with opened(path) as image:
        return image.format in LOSSY


def read_colours(path: Path) -> NDArray[np.uint32]:
    """Decode a mask in colour or gray upright: (H, W), each pixel as 0xRRGGBB; what is transparent is black.

    Raises:
        BadFileError: if it cannot be read, or has values beyond 8 bits.
    """
    with opened(path) as image:
        refuse_pages(image, path)
        if image.mode in DEEP_MODES:
            grays = np.asarray(image)
            if grays.dtype.kind == "f" or grays.min() < 0 or grays.max() > 255:
                what = f"is a mask of mode {image.mode} with values from {grays.min()} to {grays.max()}"
                raise BadFileError(path, what, "Save it as PNG with 8 bits and one colour for each class")
            return upright(grays.astype(np.uint32) * 0x010101, orientation_of(image))
        return upright(_shown(image).astype(np.uint32) @ RGB_TO_NUMBER, orientation_of(image))


def read_object(path: Path) -> NDArray[np.bool_]:
    """Decode a mask of any numbers upright, (H, W): whatever is above 0 is the object.

    So are instances that are numbered in 16 bits, 0 and 255 in floating point, and colours other than black; what is
    transparent is not.

    Raises:
        BadFileError: if it cannot be read, or is a JPEG, whose background is not quite 0.
    """
    with opened(path) as image:
        refuse_pages(image, path)
        if image.format in LOSSY:
            raise BadFileError(path, "is a JPEG, whose background is not quite 0", "Save it as PNG")
        values = np.asarray(image) if image.mode in ("1", "L", "P", *DEEP_MODES) else _shown(image)
        palette = _palette(image)
        if palette and palette[0] != BLACK and BLACK in (palette[i] for i in np.unique(values)):
            values = _shown(image)
        orientation = orientation_of(image)
    return upright(values if values.ndim == 2 else values.max(2), orientation) > 0


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
        gray = f"#{odd[-1]:02x}{odd[-1]:02x}{odd[-1]:02x}"
        way = f"where all above 0 is one kind of object, {IMPORT_ANY_VALUE} does it"
        way = way if odd[-1] < _FEWEST_GRAYS else f"to make classes of its grays, {import_named(gray)}"
        return what, f"Save it as PNG with 0 for background and 255 for foreground; or, {way}"
    if lossy:
        return "is a JPEG, which blurs class indices", "Save it as PNG"
    if not values.size or values[-1] < len(classes):
        return None
    what = f"has class {values[-1]}, but the dataset has {len(classes)} classes: {', '.join(classes)}"
    if values[-1] == IGNORED_VALUE and len(values) > 1 and values[-2] < len(classes):
        both = '"encoding": "binary255"'
        return what, f"Where 255 is the object, write {both} into dataset.json; where nobody knows, {AS_IGNORED}"
    if values[-1] == len(classes) and not is_background(classes[0]):
        return what, 'Write "background" first in the classes of dataset.json: class 0 is the background'
    if len(classes) == 2 and (value := only_value(counts)):
        return what, f"Where {value} is the object, save the mask with 0 and 1; else add the class to dataset.json"
    return what, "Correct the mask, or add the class to dataset.json"


def is_background(name: str) -> bool:
    """Tell whether a class is called like the background, in one of the words that data sets have for it."""
    return letters_of(name) in _BACKGROUNDS


def letters_of(name: str) -> str:
    """Return a name without signs, and in lower case."""
    return re.sub(r"[\W_]+", "", name.casefold())


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


def read_mask(path: Path, encoding: MaskEncoding, classes: Sequence[str], *, ignore: bool = False) -> NDArray[Any]:
    """Read the mask of an image upright as class indices.

    Args:
        encoding: ``index``, or ``binary255``, where values above 127 are class 1. JPEG masks are accepted only in the
            latter; any other file must then hold nothing but 0 and 255 (or 0 and 1, if it is a palette or 1-bit file).
        classes: the K names.
        ignore: the value 255 means "no ground truth"; only with ``index``.

    Returns:
        (H, W) uint8 in [0, K), or int16 with IGNORE where there is no ground truth.

    Raises:
        BadFileError: if the file cannot be read, or its values contradict the encoding.
    """
    raw = read_raw_mask(path)
    counts = value_counts(raw.values, ignore=ignore)
    problem = contradiction(counts, lossy=raw.lossy, zero_one=raw.zero_one, encoding=encoding, classes=classes)
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
    require_plane(mask)
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
