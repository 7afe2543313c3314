"""What the values of stored masks mean, told from dataset.json and from the masks themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.card import DatasetCard
from criinet.data.masks import (
    IMPORT_ANY_VALUE,
    THRESHOLD,
    MaskEncoding,
    MaskMeaning,
    contradiction,
    has_gray_edges,
    only_value,
    read_raw_mask,
    value_counts,
)
from criinet.data.sampling import evenly
from criinet.data.threads import in_threads
from criinet.data.volumes import Partial, annotated_slices, read_raw_labels
from criinet.errors import DataError

SAMPLED_MASKS = 32
"""How many masks are read to tell the encoding where dataset.json declares the classes."""
MOST_UNDECLARED_CLASSES = 32


@dataclass(frozen=True)
class MaskFacts:
    """What is remembered of a decoded mask: its size, the pixels of each stored value (256,), and how to read it.

    annotated: slices that hold labels, and of how many, where others seem to be unannotated.
    """

    size: tuple[int, ...]
    counts: NDArray[np.intp]
    lossy: bool
    zero_one: bool
    annotated: tuple[int, int] | None = None

    def contradicts(self, encoding: MaskEncoding, classes: Sequence[str]) -> tuple[str, str] | None:
        """Say what in the mask contradicts the encoding, and the remedy; None if nothing does."""
        return contradiction(self.counts, lossy=self.lossy, zero_one=self.zero_one, encoding=encoding, classes=classes)

    def class_counts(self, encoding: MaskEncoding, classes: int) -> NDArray[np.intp]:
        """Return the pixels of each class, (K,), of a mask that does not contradict the encoding."""
        if encoding == "index" or self.zero_one:
            return self.counts[:classes]
        return np.array([self.counts[:128].sum(), self.counts[128:].sum()])


def read_mask_facts(
    path: Path, dims: int = 2, *, image: Path | None = None, ignore: bool = False, partial: Partial = "auto"
) -> MaskFacts:
    """Decode a mask and keep what there is to know about its values.

    Args:
        image: the volume that it belongs to; see :func:`read_raw_labels`.

    Raises:
        BadFileError: if it cannot be read.
    """
    if dims == 3:
        values = read_raw_labels(path, image).values
        counts = value_counts(values, ignore=ignore)
        annotated = None if ignore and (values == 255).any() else annotated_slices(values, partial)
        seen = None if annotated is None else (int(annotated[1].sum()), len(annotated[1]))
        return MaskFacts(values.shape, counts, False, bool(values.max() <= 1), seen)
    raw = read_raw_mask(path)
    size = (raw.values.shape[0], raw.values.shape[1])
    return MaskFacts(size, value_counts(raw.values, ignore=ignore), raw.lossy, raw.zero_one)


def read_encoding(
    card: DatasetCard, masks: Sequence[Path], facts: Mapping[Path, MaskFacts] | None = None, *, dims: int = 2
) -> MaskMeaning:
    """Tell the encoding and the classes of a dataset from its card and its masks.

    Args:
        masks: of the cases that are used.
        facts: what is known of each mask already; None to read them here, as many as it takes.
        dims: 2 for images, 3 for volumes.

    Raises:
        DataError: if a mask that has to be read cannot be, or card and masks contradict each other.
    """
    if card.ignore and card.classes is None:
        raise DataError('dataset.json says "ignore": true but lists no classes; add "classes", background first.')
    if card.ignore:
        card = card.model_copy(update={"encoding": "index"})
    if card.encoding is not None and card.classes is not None:
        return _agree(card.encoding, card.classes)

    def read(path: Path) -> MaskFacts:
        return read_mask_facts(path, dims, ignore=card.ignore)

    seen = masks
    if facts is not None:
        known = [facts[path] for path in masks]
    elif card.classes is not None and len(masks) > SAMPLED_MASKS:
        seen = [masks[i] for i in evenly(len(masks), SAMPLED_MASKS)]
        known = in_threads(read, seen)
        if not any(mask.counts[1:].any() for mask in known):
            seen, known = masks, in_threads(read, masks)
    else:
        known = in_threads(read, masks)
    stored = sum((mask.counts for mask in known if not mask.lossy and not mask.zero_one), np.zeros(256, np.intp))
    lossy = any(mask.lossy for mask in known)
    binary = lossy or stored[255] > stored[1:255].sum()
    encoding = card.encoding or ("binary255" if binary else "index")
    value = only_value(np.sum([mask.counts for mask in known], axis=0)) if known else 0
    if card.encoding is None and len(card.classes or ("", "")) == 2 and MOST_UNDECLARED_CLASSES <= value < 255:
        first = next(path for path, mask in zip(seen, known, strict=True) if mask.counts[value])
        what = f"holds 0 and {value} alone, as all masks do that have an object"
        raise BadFileError(first, what, f"Save them with 0 and 255, or let {IMPORT_ANY_VALUE} do it")
    if card.classes is not None:
        return _agree(encoding, card.classes)
    if encoding == "binary255":
        return encoding, ("background", "foreground")
    tops = [int(np.flatnonzero(mask.counts)[-1]) for mask in known]
    top = max([1, *tops])
    if top >= MOST_UNDECLARED_CLASSES:
        high = [i for i, found in enumerate(tops) if found >= MOST_UNDECLARED_CLASSES]
        odd = next((i for i in high if known[i].counts[1:255].any()), high[0])
        what = f"holds values up to {tops[odd]}, where masks hold either 0 and 255 or class indices below "
        remedy = "Correct it, or list the classes in dataset.json"
        if has_gray_edges(known[odd].counts):
            remedy = f"Its edges are gray, it seems: {THRESHOLD[0].lower()}{THRESHOLD[1:]}"
        raise BadFileError(masks[odd], f"{what}{MOST_UNDECLARED_CLASSES}", remedy)
    return encoding, ("background", *(f"class {k}" for k in range(1, top + 1)))


def _agree(encoding: MaskEncoding, classes: tuple[str, ...]) -> MaskMeaning:
    if encoding == "binary255" and len(classes) > 2:
        raise DataError(
            f"dataset.json declares {len(classes)} classes ({', '.join(classes)}) but the masks are JPEG or hold "
            "0 and 255 only; save class indices 0, 1, 2, ... in the masks as PNG."
        )
    return encoding, classes
