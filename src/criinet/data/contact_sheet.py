"""A dataset on one sheet: some of its images with the contours of their masks."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from criinet.data.dataset import Case, Dataset
from criinet.data.files import write_atomically
from criinet.data.formats import Volume
from criinet.data.images import Pixels
from criinet.data.intensity import limits_of
from criinet.data.masks import PALETTE
from criinet.data.planes import gray_slice, look_point, square_slice
from criinet.data.sampling import evenly
from criinet.data.threads import in_threads
from criinet.labels import IGNORE

_TILE = 192
_COLUMNS = 6
_LABEL = 22
_GAP = 8
_HEAD = 58
_CONTOUR = 2
_HATCH = 4
_HATCH_COLOUR = (128, 128, 128)
_INK = (32, 32, 32)
_FAINT = (110, 110, 110)
_SOFTWARE = "criinet contact sheet"


def contact_sheet(dataset: Dataset, path: Path, count: int = 24) -> None:
    """Write a PNG that shows ``count`` cases with the contours of their masks, labeled cases first.

    Cases are taken evenly along their names; at most a quarter is unlabeled while there are labeled ones to show.

    Raises:
        BadFileError: if one of the cases cannot be read.
        StorageError: if the file cannot be written.
    """
    unlabeled = min(len(dataset.unlabeled), max(count // 4, count - len(dataset.labeled)))
    cases = [
        part[i]
        for part, shown in ((dataset.labeled, count - unlabeled), (dataset.unlabeled, unlabeled))
        for i in evenly(len(part), shown)
    ]
    tiles = in_threads(lambda case: _tile(dataset, case), cases)
    columns = max(4, min(_COLUMNS, len(tiles)))
    rows = -(-len(tiles) // columns)
    width = _GAP + columns * (_TILE + _GAP)
    sheet = Image.new("RGB", (width, _HEAD + rows * (_TILE + _LABEL + _GAP)), "white")
    _draw_head(sheet, dataset, len(cases))
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        sheet.paste(tile, (_GAP + column * (_TILE + _GAP), _HEAD + row * (_TILE + _LABEL + _GAP)))
    written_by = PngInfo()
    written_by.add_text("Software", _SOFTWARE)
    write_atomically(path, lambda file: sheet.save(file, format="PNG", pnginfo=written_by))


def is_contact_sheet(path: Path) -> bool:
    """Return whether a file is a PNG that ``contact_sheet`` wrote."""
    try:
        with Image.open(path) as image:
            return image.info.get("Software") == _SOFTWARE
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return False


def _draw_head(sheet: Image.Image, dataset: Dataset, shown: int) -> None:
    """Write the counts, and the classes in their colours, above the tiles."""
    draw = ImageDraw.Draw(sheet)
    groups = f", {len({case.group for case in dataset.cases})} groups" if dataset.grouped else ""
    skipped = f", {len(dataset.skipped)} left out as unreadable" if dataset.skipped else ""
    kind = "images" if dataset.dims == 2 else "volumes"
    title = (
        f"{dataset.name}: {len(dataset)} {kind}, {len(dataset.labeled)} with a mask, "
        f"{len(dataset.unlabeled)} without{groups}{skipped}; {shown} shown"
    )
    draw.text((_GAP, 7), _fitted(title, sheet.width - 2 * _GAP, 17), fill=_INK, font=_font(17))
    x = float(_GAP)
    for name, color in zip((_fitted(name, sheet.width, 14) for name in dataset.classes[1:]), PALETTE[1:], strict=False):
        draw.rectangle((x, 36, x + 12, 48), fill=color)
        draw.text((x + 18, 33), name, fill=_INK, font=_font(14))
        x += 18 + _font(14).getlength(name) + 18


def _tile(dataset: Dataset, case: Case) -> Image.Image:
    """Draw one case: the image with the contours of its mask, in the middle of a square, and its name below."""
    pixels, mask, unknown = _flat(dataset, case)
    image = Image.fromarray(pixels).convert("RGB")
    scale = _TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = np.array(image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC))
    remark = " (no mask)"
    if mask is not None:
        small = small if unknown is None else hatched(small, unknown)
        small = draw_contours(small, np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)))
        remark = "" if mask.any() else " (empty)"
        remark = " (partly unknown)" if unknown is not None and unknown.any() else remark
    tile = Image.new("RGB", (_TILE, _TILE + _LABEL), "white")
    draw = ImageDraw.Draw(tile)
    draw.rectangle((0, 0, _TILE - 1, _TILE - 1), fill=(236, 236, 236))
    tile.paste(Image.fromarray(small), ((_TILE - size[0]) // 2, (_TILE - size[1]) // 2))
    room = _TILE - _font(13).getlength(remark)
    name = _fitted(case.name, room, 13)
    draw.text((0, _TILE + 2), name, fill=_INK, font=_font(13))
    draw.text((_font(13).getlength(name), _TILE + 2), remark, fill=_FAINT, font=_font(13))
    return tile


def _flat(dataset: Dataset, case: Case) -> tuple[Pixels, NDArray[Any] | None, NDArray[Any] | None]:
    """Return the image, its mask, and where that is unknown; of a volume the slice with the most labels."""
    scan = dataset.read_scan(case)
    mask = None if case.mask is None else dataset.read_mask(case)
    unknown = None if mask is None else (mask == IGNORE).astype(np.uint8)
    if not isinstance(scan, Volume):
        return scan, None if mask is None else np.maximum(mask, 0).astype(np.uint8), unknown
    at = look_point(mask, scan.shape)
    shown = gray_slice(scan, at, limits_of(scan))
    slices = [None if array is None else square_slice(array, scan.geometry, at) for array in (mask, unknown)]
    return shown, slices[0], slices[1]


def hatched(image: Pixels, unknown: NDArray[Any]) -> Pixels:
    """Hatch where there is no ground truth.

    Args:
        image: (H, W, 3) uint8.
        unknown: (h, w), not 0 where nobody knows; it is brought to the size of the image.

    Returns:
        (H, W, 3) uint8, a copy.
    """
    height, width = image.shape[:2]
    area = np.asarray(Image.fromarray(unknown.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST))
    rows, columns = np.indices((height, width))
    drawn = image.copy()
    drawn[(area > 0) & ((rows + columns) // _HATCH % 2 == 0)] = _HATCH_COLOUR
    return drawn


def draw_contours(image: Pixels, mask: NDArray[Any], width: int = _CONTOUR) -> Pixels:
    """Draw the inner border of every class, ``width`` px wide, in its colour of ``PALETTE``.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) class indices; 0 gets no border.

    Returns:
        (H, W, 3) uint8, a copy.
    """
    drawn = image.copy()
    for k in np.unique(mask[mask > 0]):
        region = mask == k
        inner = np.asarray(ndimage.binary_erosion(region, iterations=width, border_value=1), dtype=np.bool_)
        drawn[region & ~inner] = PALETTE[int(k)]
    return drawn


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib brings: Pillow's own has no accents."""
    import matplotlib as mpl

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _fitted(text: str, width: float, size: int) -> str:
    """Shorten ``text`` in its middle until it fits into ``width`` px."""
    text = "".join(letter if letter.isprintable() else "·" for letter in text)
    font, short, keep = _font(size), text, len(text)
    while font.getlength(short) > width and keep > 2:
        keep -= 1
        short = f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"
    return short
