"""Masks in colour, as drawing programs save them: each colour is a class, and black is the background."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from criinet.data.bad_files import BadFileError
from criinet.data.card import DatasetCard
from criinet.data.encodings import has_scattered_palette, palette_problem, read_mask_facts
from criinet.data.importing.plan import Content, Written, counted, require_drawn
from criinet.data.masks import WHITE_ABOVE, is_in_colour, is_lossy, is_palette, read_colours
from criinet.data.threads import in_threads
from criinet.errors import DataError

BACKGROUND = "#000000"
_MOST_COLOURS = 32
"""A mask of more has edges that a program blurred, or is no mask."""


@dataclass(frozen=True)
class ColourKey:
    """Which colour is which class: names of the classes but the background, and the colours ``#rrggbb`` of each."""

    classes: tuple[str, ...]
    colours: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def card(self) -> dict[str, Any]:
        """What dataset.json says of masks that are made by this key."""
        return {"classes": ["background", *self.classes], "encoding": "index"}

    def mask(self, path: Path) -> Written:
        """Return the mask of class indices that a mask in colour becomes."""

        def make() -> Content:
            return _labels(path, self.colours)[0], None

        return Written(".png", make)


def read_key(source: Path, masks: Sequence[Path], wanted: Sequence[str], card: DatasetCard) -> ColourKey | None:
    """Return the classes of a source's masks; None if no mask is in colour and no colour is wanted.

    Args:
        card: what is said of the masks already; where it leaves that open, palettes count whose numbers mean nothing.
        wanted: COLOUR or NAME=COLOUR of class 1, 2, ..., as CSS writes colours, which may be grays; all others are the
            background, and in blurred masks whatever is nearer to it. Without any, every colour but black is a class,
            in ascending order.

    Raises:
        BadFileError: if a mask among those in colour cannot be read, or has too many colours.
        DataError: if a wanted colour is none or nowhere, two have one name, or none is wanted and a mask has no black.
    """
    if not wanted and not any(in_threads(is_in_colour, masks)) and not _by_palettes(masks, card):
        return None
    if wanted:
        named = [_named(text) for text in wanted]
        names, colours = tuple(name for name, _ in named), tuple(colour for _, colour in named)
        seen = in_threads(lambda path: _seen(path, colours), masks)
        counts = Counter(colour for shown, _ in seen for colour in shown)
        twice = [name for name, count in Counter(("background", *names)).items() if count > 1]
        if twice:
            raise DataError(f"two classes are called {twice[0]}; give each colour a name of its own with --structure.")
        require_drawn(source, colours, counts, nothing="no mask of an image")
        others = {colour: count for colour, count in counts.items() if colour not in (BACKGROUND, *colours)}
        notes = [f"background: {counted(others)}"] if others else []
        rounded = [pixels for _, pixels in seen if pixels]
        if rounded:
            notes.append(f"{sum(rounded):,} pixels of {len(rounded)} blurred masks take the nearest of these colours")
        return ColourKey(names, colours, tuple(notes))
    found = in_threads(_colours, masks)
    counts = Counter(colour for colours in found for colour in colours)
    for path, seen in zip(masks, found, strict=True):
        if BACKGROUND not in seen and len(seen) > 1:
            what = f"has no black background but {', '.join(sorted(seen))}"
            raise BadFileError(path, what, "Say which colours are objects: --structure NAME=COLOUR, once for each")
    objects = tuple(sorted(set(counts) - {BACKGROUND}))
    note = "each colour but black is a class; --structure NAME=COLOUR chooses and names them"
    return ColourKey(objects, objects, (note,))


def _by_palettes(masks: Sequence[Path], card: DatasetCard) -> bool:
    """Tell whether the colours of palette masks are to be the classes, for their numbers cannot be."""
    if card.encoding is not None or card.ignore:
        return False
    indexed = [path for path, is_so in zip(masks, in_threads(is_palette, masks), strict=True) if is_so]
    known = dict(zip(indexed, in_threads(read_mask_facts, indexed), strict=True))
    return palette_problem(known) is not None or (card.classes is None and has_scattered_palette(known.values()))


def _labels(path: Path, colours: Sequence[str]) -> tuple[NDArray[np.uint8], int]:
    """Return the class indices of a mask in colour, (H, W), and how many of its pixels were rounded.

    A pixel of no class's colour is background. In a mask that is blurred, it has the class whose colour is nearest, if
    that is nearer than black and no channel is farther than half way.
    """
    stored = read_colours(path)
    values, where = np.unique(stored, return_inverse=True)
    known = np.array([0, *(int(colour[1:], 16) for colour in colours)], np.uint32)
    same = values[:, None] == known
    number = same.argmax(1)
    exact = same.any(1)
    blurred = len(values) > _MOST_COLOURS or is_lossy(path)
    if blurred:
        apart = np.abs(_channels(values)[:, None] - _channels(known))
        nearest = (apart**2).sum(2).argmin(1)
        near = apart[np.arange(len(values)), nearest].max(1) <= WHITE_ABOVE
        number = np.where(exact, number, np.where(near, nearest, 0))
    labels = number[where].reshape(stored.shape)
    return labels.astype(np.uint8), int((~exact)[where].sum()) if blurred else 0


def _channels(values: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return red, green and blue, (N, 3), of N colours 0xRRGGBB."""
    return (values[:, None].astype(np.int64) >> np.array([16, 8, 0])) & 255


def _seen(path: Path, colours: Sequence[str]) -> tuple[set[str], int]:
    """Return the colours ``#rrggbb`` of a mask, if it is blurred the known ones, and how many pixels are rounded."""
    labels, rounded = _labels(path, colours)
    if rounded:
        return {(BACKGROUND, *colours)[number] for number in np.unique(labels)}, rounded
    return {f"#{value:06x}" for value in np.unique(read_colours(path))}, 0


def _colours(path: Path) -> set[str]:
    """Return the colours of a mask that is not blurred, ``#rrggbb``."""
    remedy = "Save it as PNG with one colour for each class, without smooth edges; or say which colours are objects, "
    remedy = f"{remedy}and each pixel takes the nearest: --structure NAME=COLOUR, once for each"
    if is_lossy(path):
        raise BadFileError(path, "is a JPEG, which blurs colours", remedy)
    values = np.unique(read_colours(path))
    if len(values) > _MOST_COLOURS:
        raise BadFileError(path, f"has {len(values)} colours, as where edges are blurred", remedy)
    return {f"#{value:06x}" for value in values}


def _named(text: str) -> tuple[str, str]:
    """Return the name and the colour ``#rrggbb`` of NAME=COLOUR; a colour alone is its own name.

    Raises:
        DataError: if there is no such colour, or no name before the sign.
    """
    name, sign, colour = text.rpartition("=")
    try:
        red, green, blue = ImageColor.getrgb(colour.strip())[:3]
    except ValueError as error:
        raise DataError(
            f"--structure {text} names no colour; give NAME=COLOUR, as tumour=#ff0000 or tumour=red."
        ) from error
    if sign and not name.strip():
        raise DataError(f"--structure {text} has no name before '='; give NAME=COLOUR.")
    return name.strip() or colour.strip(), f"#{red:02x}{green:02x}{blue:02x}"
