"""Masks in colour, as drawing programs save them: each colour is a class, and black is the background."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor

from criinet.data.bad_files import BadFileError
from criinet.data.card import DatasetCard
from criinet.data.encodings import has_scattered_palette, palette_problem, read_mask_facts
from criinet.data.importing.plan import Content, Written, counted, require_drawn
from criinet.data.masks import is_in_colour, is_palette, read_colours
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
    left_out: str

    @property
    def card(self) -> dict[str, Any]:
        """What dataset.json says of masks that are made by this key."""
        return {"classes": ["background", *self.classes], "encoding": "index"}

    def mask(self, path: Path) -> Written:
        """Return the mask of class indices that a mask in colour becomes; other colours are the background."""

        def make() -> Content:
            stored = read_colours(path)
            labels = np.zeros(stored.shape, np.uint8)
            for number, colour in enumerate(self.colours, start=1):
                labels[stored == int(colour[1:], 16)] = number
            return labels, None

        return Written(".png", make)


def read_key(source: Path, masks: Sequence[Path], wanted: Sequence[str], card: DatasetCard) -> ColourKey | None:
    """Return the classes of a source's masks; None if no mask is in colour and no colour is wanted.

    Args:
        card: what is said of the masks already; where it leaves that open, palettes count whose numbers mean nothing.
        wanted: COLOUR or NAME=COLOUR of class 1, 2, ..., as CSS writes colours; all others are the background. Without
            any, every colour but black is a class, in ascending order.

    Raises:
        BadFileError: if a mask among those in colour cannot be read, or has too many colours.
        DataError: if a wanted colour is none or nowhere, two have one name, or none is wanted and a mask has no black.
    """
    if not wanted and not any(in_threads(is_in_colour, masks)) and not _by_palettes(masks, card):
        return None
    found = in_threads(_colours, masks)
    counts = Counter(colour for colours in found for colour in colours)
    if wanted:
        named = [_named(text) for text in wanted]
        names, colours = tuple(name for name, _ in named), tuple(colour for _, colour in named)
        twice = [name for name, count in Counter(("background", *names)).items() if count > 1]
        if twice:
            raise DataError(f"two classes are called {twice[0]}; give each colour a name of its own with --structure.")
        require_drawn(source, colours, counts, nothing="no mask of an image")
        others = {colour: count for colour, count in counts.items() if colour not in (BACKGROUND, *colours)}
        return ColourKey(names, colours, f"background: {counted(others)}" if others else "")
    for path, seen in zip(masks, found, strict=True):
        if BACKGROUND not in seen and len(seen) > 1:
            what = f"has no black background but {', '.join(sorted(seen))}"
            raise BadFileError(path, what, "Say which colours are objects: --structure NAME=COLOUR, once for each")
    objects = tuple(sorted(set(counts) - {BACKGROUND}))
    return ColourKey(
        objects, objects, "each colour but black is a class; --structure NAME=COLOUR chooses and names them"
    )


def _by_palettes(masks: Sequence[Path], card: DatasetCard) -> bool:
    """Tell whether the colours of palette masks are to be the classes, for their numbers cannot be."""
    if card.encoding is not None or card.ignore:
        return False
    indexed = [path for path, is_so in zip(masks, in_threads(is_palette, masks), strict=True) if is_so]
    known = dict(zip(indexed, in_threads(read_mask_facts, indexed), strict=True))
    return palette_problem(known) is not None or (card.classes is None and has_scattered_palette(known.values()))


def _colours(path: Path) -> set[str]:
    """Return the colours of a mask, ``#rrggbb``."""
    values = np.unique(read_colours(path))
    if len(values) > _MOST_COLOURS:
        what = f"has {len(values)} colours, as where edges are blurred"
        raise BadFileError(path, what, "Save it as PNG with one colour for each class, without smooth edges")
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
