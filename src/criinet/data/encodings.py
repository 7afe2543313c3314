"""What the values of stored masks mean, told from dataset.json and from the masks themselves."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.card import DatasetCard
from criinet.data.masks import (
    AS_IGNORED,
    IGNORED_VALUE,
    IMPORT_ANY_VALUE,
    IMPORT_COLOURS,
    THRESHOLD,
    MaskEncoding,
    MaskMeaning,
    contradiction,
    has_gray_edges,
    import_named,
    is_background,
    only_value,
    read_raw_mask,
    value_counts,
)
from criinet.data.objects import largest_shares
from criinet.data.sampling import evenly
from criinet.data.threads import in_threads
from criinet.data.volumes import Partial, annotated_slices, lone_slices, read_raw_labels
from criinet.errors import DataError

SAMPLED_MASKS = 32
"""How many masks are read to tell the encoding where dataset.json declares the classes."""
MOST_UNDECLARED_CLASSES = 32
_FEWEST_NUMBERED = 6
"""Masks of numbered objects are taken for such, not for classes, from this number on."""
_MOSTLY = 0.9
_MOST_LISTED = 8
_IN_THE_CARD = "them in dataset.json, background first"


@dataclass(frozen=True)
class MaskFacts:
    """What is remembered of a decoded mask: its size, the pixels of each stored value (256,), and how to read it.

    annotated: slices that hold labels, and of how many, where others seem to be unannotated.
    alone: the same where others count as background, though no two that hold labels are neighbours.
    pieces: of three values above 0 or more, how many lie mostly in one connected piece each; 0 of a volume.
    colours: of a palette file whose colours tell its indices apart, the colour ``#rrggbb`` of each index that it holds.
    """

    size: tuple[int, ...]
    counts: NDArray[np.intp]
    lossy: bool
    zero_one: bool
    annotated: tuple[int, int] | None = None
    alone: tuple[int, int] | None = None
    pieces: int = 0
    colours: Mapping[int, str] = field(default_factory=dict[int, str])

    @property
    def unknown(self) -> int:
        """Pixels that the mask marks as without ground truth."""
        return math.prod(self.size) - int(self.counts.sum())

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
        alone = lone_slices(values) if partial == "auto" and annotated is None and not ignore else None
        return MaskFacts(values.shape, counts, False, bool(values.max() <= 1), seen, alone)
    raw = read_raw_mask(path)
    size = (raw.values.shape[0], raw.values.shape[1])
    counts = value_counts(raw.values, ignore=ignore)
    several = not raw.lossy and np.count_nonzero(counts[1:]) > 2
    pieces = sum(share > _MOSTLY for share in largest_shares(raw.values).values()) if several else 0
    return MaskFacts(size, counts, raw.lossy, raw.zero_one, pieces=pieces, colours=_colours_of(raw.palette, counts))


def _colours_of(palette: Sequence[int], counts: NDArray[np.intp]) -> dict[int, str]:
    """Return the colour of each index that a mask holds; none where the palette does not tell them apart."""
    held = [int(index) for index in np.flatnonzero(counts)]
    told_apart = {0, *held}
    if not palette or max(told_apart) >= len(palette) or len({palette[i] for i in told_apart}) < len(told_apart):
        return {}
    return {index: f"#{palette[index]:06x}" for index in held}


def read_encoding(
    card: DatasetCard,
    masks: Sequence[Path],
    facts: Mapping[Path, MaskFacts] | None = None,
    *,
    dims: int = 2,
    named: bool = False,
    warn: Callable[[str], None] | None = None,
) -> MaskMeaning:
    """Tell the encoding and the classes of a dataset from its card and its masks.

    Args:
        masks: of the cases that are used.
        facts: what is known of each mask already; None to read them here, as many as it takes.
        dims: 2 for images, 3 for volumes.
        named: the classes have names elsewhere, so that numbers are those of classes and not of objects.
        warn: called with a sentence on whatever looks odd, though it can be used.

    Raises:
        DataError: if a mask that has to be read cannot be, card and masks contradict each other, or the masks number
            objects.
    """
    if card.ignore and card.classes is None:
        raise DataError('dataset.json says "ignore": true but lists no classes; add "classes", background first.')
    if card.classes is not None and not is_background(card.classes[0]) and warn is not None:
        warn(f"class 0 is called '{card.classes[0]}' in dataset.json, where the first name is that of the background")
    encoding = "index" if card.ignore else card.encoding
    if encoding is not None and card.classes is not None:
        return _agree(encoding, card.classes)
    if facts is None:
        known = _decoded(masks, dims, some=card.classes is not None)
    else:
        known = {path: facts[path] for path in masks}
    if encoding is None:
        problem = palette_problem(known)
        if problem is not None:
            raise problem
        several = _colours_of_one_number(known.values())
        if several and warn is not None:
            warn(
                f"masks hold one number in several colours ({', '.join(several)}), and the number counts; if the "
                f"colours are classes, {import_named(several[0])}"
            )
        encoding = _encoding_of(known.values())
        if card.classes is None or len(card.classes) == 2:
            _refuse_one_odd_value(known)
    if card.classes is not None:
        return _agree(encoding, card.classes)
    if encoding == "binary255":
        return encoding, ("background", "foreground")
    if not named:
        _refuse_numbered_objects(known, warn)
    return encoding, _classes_of(known)


def _decoded(masks: Sequence[Path], dims: int, *, some: bool) -> dict[Path, MaskFacts]:
    """Return what is in masks; of many with ``some`` only in a sample, unless that is empty.

    Raises:
        BadFileError: if one cannot be read.
    """

    def read(path: Path) -> MaskFacts:
        return read_mask_facts(path, dims)

    if some and len(masks) > SAMPLED_MASKS:
        sample = [masks[i] for i in evenly(len(masks), SAMPLED_MASKS)]
        found = in_threads(read, sample)
        if any(mask.counts[1:].any() for mask in found):
            return dict(zip(sample, found, strict=True))
    return dict(zip(masks, in_threads(read, masks), strict=True))


def _encoding_of(known: Collection[MaskFacts]) -> MaskEncoding:
    """Tell the encoding: 0 and 255 where a mask is a JPEG, or where 255 is more common than what lies between."""
    plain = (mask.counts for mask in known if not mask.lossy and not mask.zero_one)
    stored = sum(plain, np.zeros(256, np.intp))
    binary = any(mask.lossy for mask in known) or stored[255] > stored[1:255].sum()
    return "binary255" if binary else "index"


def palette_problem(known: Mapping[Path, MaskFacts]) -> BadFileError | None:
    """Return the problem of palette masks whose numbers are in an order that some program chose, or None.

    So they are where one colour has two numbers, or black has another than 0.
    """
    first: dict[str, tuple[int, Path]] = {}
    for path, mask in known.items():
        for number, colour in mask.colours.items():
            other, where = first.setdefault(colour, (number, path))
            what = f"holds {colour} as number {number} of its palette, and {where.name} as number {other}"
            if colour == "#000000" and number:
                what = f"holds black as number {number} of its palette, where 0 is the background"
            elif other == number:
                continue
            remedy = f"{IMPORT_COLOURS} makes classes of the colours; if the numbers are those of classes, write"
            return BadFileError(path, what, f'{remedy} "encoding": "index" into dataset.json')
    return None


def _colours_of_one_number(known: Collection[MaskFacts]) -> list[str]:
    """Return the colours that one number of palettes has in several masks; none if each number has one colour alone."""
    colours: dict[int, dict[str, None]] = {}
    for mask in known:
        for number, colour in mask.colours.items():
            colours.setdefault(number, {})[colour] = None
    return next((list(several) for several in colours.values() if len(several) > 1), [])


def has_scattered_palette(known: Collection[MaskFacts]) -> bool:
    """Tell whether palette masks hold few of the numbers up to their highest, as where a program has fixed colours."""
    held = {number for mask in known for number in mask.colours}
    return bool(held) and 2 * len(held) <= max(held) and not held <= {0, 255}


def _refuse_one_odd_value(known: Mapping[Path, MaskFacts]) -> None:
    """Refuse masks of one object whose value is neither the number of a class nor 255.

    Raises:
        BadFileError: if they are such; it names the first that holds the value.
    """
    value = only_value(np.sum([mask.counts for mask in known.values()], axis=0)) if known else 0
    if MOST_UNDECLARED_CLASSES <= value < 255:
        first = next(path for path, mask in known.items() if mask.counts[value])
        what = f"holds 0 and {value} alone, as all masks do that have an object"
        raise BadFileError(first, what, f"Save them with 0 and 255, or let {IMPORT_ANY_VALUE} do it")


def _refuse_numbered_objects(known: Mapping[Path, MaskFacts], warn: Callable[[str], None] | None) -> None:
    """Refuse masks that seem to number objects, and ask where they may just as well be of classes.

    Numbers of objects begin at 1 in every mask and end where the objects end, but for a few that somebody deleted, and
    each is one piece. Classes may be so, too, where they are few or the same in all masks.

    Raises:
        BadFileError: if they are many, and not as many in each mask; it names the mask with most.
    """
    drawn = {path: mask for path, mask in known.items() if mask.counts[1:].any()}
    own = {path: np.count_nonzero(mask.counts[1:]) for path, mask in drawn.items()}
    tops = {path: int(np.flatnonzero(mask.counts)[-1]) for path, mask in drawn.items()}
    several = [path for path, values in own.items() if values > 2]
    in_pieces = sum(drawn[path].pieces for path in several) >= _MOSTLY * sum(own[path] for path in several)
    if not several or not in_pieces or sum(own.values()) < _MOSTLY * sum(tops.values()):
        return
    most = max(tops, key=lambda path: tops[path])
    differ, many = len(set(own.values())) > 1, tops[most] >= _FEWEST_NUMBERED
    if differ and many:
        what = f"holds the values 1 to {tops[most]}, each in one piece, and other masks fewer: these look like"
        remedy = f"{IMPORT_ANY_VALUE} makes one class of them; if the numbers are those of classes, list {_IN_THE_CARD}"
        raise BadFileError(most, f"{what} numbered objects, one number for each", remedy)
    if warn is not None and (many or (differ and own == tops)):
        warn(
            f"masks hold the values 1 to {tops[most]} at most, each in one piece: are they numbered objects, "
            f"one number for each? Then {IMPORT_ANY_VALUE} makes one class of them; if classes, list {_IN_THE_CARD}"
        )


def _classes_of(known: Mapping[Path, MaskFacts]) -> tuple[str, ...]:
    """Number the classes of masks of class indices that nobody named.

    Raises:
        BadFileError: if there seem to be too many; it names the first mask that is not of 0 and 255 alone.
    """
    tops = {path: int(np.flatnonzero(mask.counts)[-1]) for path, mask in known.items()}
    high = [path for path, top in tops.items() if top >= MOST_UNDECLARED_CLASSES]
    if high:
        odd = next((path for path in high if known[path].counts[1:255].any()), high[0])
        what = f"holds values up to {tops[odd]}, where masks hold either 0 and 255 or class indices below "
        raise BadFileError(odd, f"{what}{MOST_UNDECLARED_CLASSES}", _way_of_high_values(known, odd))
    return ("background", *(f"class {k}" for k in range(1, max([1, *tops.values()]) + 1)))


def _way_of_high_values(known: Mapping[Path, MaskFacts], odd: Path) -> str:
    """Say what to do with masks whose values are too high for classes that nobody named.

    Args:
        odd: the mask that the sentence is about.
    """
    if has_gray_edges(known[odd].counts):
        return f"Its edges are gray, it seems: {THRESHOLD[0].lower()}{THRESHOLD[1:]}"
    values = np.flatnonzero(np.sum([mask.counts for mask in known.values()], axis=0)[1:]) + 1
    objects = f"if all above 0 is one kind of object, {IMPORT_ANY_VALUE} makes one class of it"
    if 2 * len(values) > values[-1]:
        return f"Correct it; or, if the values are those of classes, list {_IN_THE_CARD}; {objects}"
    listed = ", ".join(map(str, values[:_MOST_LISTED])) + (", ..." if len(values) > _MOST_LISTED else "")
    if values[-1] == IGNORED_VALUE and len(values) > 1 and values[-2] < MOST_UNDECLARED_CLASSES:
        objects = f"{objects}; if 255 says that nobody knows, list the classes and {AS_IGNORED}"
    way = import_named(f"#{values[-1]:02x}{values[-1]:02x}{values[-1]:02x}")
    return f"Correct it; or, to make classes of the values {listed}, {way}; {objects}"


def _agree(encoding: MaskEncoding, classes: tuple[str, ...]) -> MaskMeaning:
    if encoding == "binary255" and len(classes) > 2:
        raise DataError(
            f"dataset.json declares {len(classes)} classes ({', '.join(classes)}) but the masks are JPEG or hold "
            "0 and 255 only; save class indices 0, 1, 2, ... in the masks as PNG."
        )
    return encoding, classes
