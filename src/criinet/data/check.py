"""Look at every file of a dataset, and show what is in it on one sheet."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from criinet.data.dataset import (
    Case,
    Dataset,
    DatasetCard,
    Layout,
    MaskFacts,
    build_dataset,
    in_threads,
    misplaced,
    read_card,
    read_encoding,
    read_groups,
    read_layout,
    read_mask_facts,
)
from criinet.data.files import write_atomically
from criinet.data.formats import Volume
from criinet.data.images import PALETTE, BadFileError, MaskEncoding, Pixels, read_header
from criinet.data.kinds import not_read, stem_of
from criinet.data.planes import gray_slice, look_point, square_slice
from criinet.data.scans import read_scan, spatial
from criinet.data.splits import load_split
from criinet.errors import DataError
from criinet.registry import nearest

T = TypeVar("T")
_Meaning = tuple[MaskEncoding, tuple[str, ...]]

_TILE = 192
_COLUMNS = 6
_LABEL = 22
_GAP = 8
_HEAD = 58
_CONTOUR = 2
_INK = (32, 32, 32)
_FAINT = (110, 110, 110)


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used: its path inside the dataset, what is wrong, and what to do."""

    file: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file} {self.what}. {self.remedy}."


@dataclass(frozen=True)
class Sizes:
    """The spread of image sizes: (least, median, most) of height and width in px, and how many different sizes.

    depth: of volumes, in slices. spacing: of volumes, the distinct (d, h, w) in mm at three decimals, where known.
    """

    height: tuple[int, int, int]
    width: tuple[int, int, int]
    distinct: int
    depth: tuple[int, int, int] | None = None
    spacing: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class ClassShare:
    """How much of the masks one class covers: fraction of all pixels, and the number of masks that have any of it."""

    name: str
    pixels: float
    cases: int


@dataclass(frozen=True)
class CheckReport:
    """What a dataset holds.

    dims: 2 for images, 3 for volumes.
    images, masks: readable files. unlabeled: readable images without a mask file.
    groups: number of groups (patients); equals ``images`` where there is no groups.csv.
    gray, rgb: images by channels. deep: images of more than 8 bits, which are windowed when read.
    empty_masks: masks that are all background.
    problems: every file that cannot be used.
    notes: what may be fine but is worth knowing, as identical images.
    """

    name: str
    root: str
    dims: int = 2
    images: int = 0
    masks: int = 0
    unlabeled: int = 0
    groups: int = 0
    gray: int = 0
    rgb: int = 0
    deep: int = 0
    empty_masks: int = 0
    encoding: MaskEncoding | None = None
    sizes: Sizes | None = None
    classes: tuple[ClassShare, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every file can be used."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"ok": self.ok}


@dataclass
class _CaseFacts:
    """What decoding one case told; ``size`` is None if the image cannot be read."""

    size: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    orientation: str = ""
    gray: bool = False
    deep: bool = False
    digest: str = ""
    mask: MaskFacts | None = None
    problems: list[BadFileError] = field(default_factory=list[BadFileError])


def check_dataset(
    root: Path, groups: Path | None = None, *, done: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Decode every image and mask of a dataset and report all problems, not only the first.

    Args:
        groups: a CSV with the columns case and group (or patient), instead of the folder's own groups.csv.
        done: called with (finished, total) after each case, for a progress bar.

    Raises:
        DataError: if there is no dataset to look at: the folder, its images/ or any image is missing.
    """
    layout = read_layout(root)
    problems: list[BadFileError] = list(layout.problems)
    names = sorted(layout.images)
    cards: list[BadFileError] = []
    card = _attempt(lambda: read_card(root), root / "dataset.json", cards) or DatasetCard()
    facts = dict(zip(names, in_threads(lambda name: _case_facts(name, layout, card), names, done), strict=True))
    problems += [problem for case in facts.values() for problem in case.problems] + cards
    meaning = _meaning(root, card, layout, facts, problems)
    group_of = _attempt(lambda: read_groups(root, names, groups), root / "groups.csv", problems) or {}
    if meaning is not None and group_of:
        bad = {name for name, case in facts.items() if case.problems}
        dropped = bad | {stem_of(problem.path) for problem in layout.problems}
        kept = [name for name in names if name not in bad]
        dataset = _attempt(
            lambda: build_dataset(root, layout, card, kept, meaning, groups, [], dropped), root, problems
        )
        if dataset is not None:
            for path in sorted((root / "splits").glob("*.json")):
                _attempt(partial(load_split, path, dataset), path, problems)
    return CheckReport(
        name=card.name or root.resolve().name,
        root=str(root),
        dims=layout.dims,
        groups=len(set(group_of.values())),
        problems=tuple(Problem(_inside(one.path, root), one.what, one.remedy) for one in problems),
        notes=(*_notes(layout, facts, group_of), *_notes_on_classes(card, facts, meaning)),
        **_figures(facts, layout),
        **_mask_figures(facts, meaning),
    )


def _case_facts(name: str, layout: Layout, card: DatasetCard) -> _CaseFacts:
    """Decode one case; whatever is wrong with it goes to its problems."""
    facts = _CaseFacts()
    path = layout.images[name]
    try:
        scan = read_scan(path, layout.dims)
        facts.size = spatial(scan)
        if isinstance(scan, Volume):
            values, facts.gray, facts.deep = scan.values, True, scan.values.dtype != np.uint8
            facts.spacing = scan.geometry.spacing if scan.geometry.known else None
            facts.orientation = scan.geometry.code if scan.geometry.known else ""
        else:
            header = read_header(path)
            values, facts.gray, facts.deep = scan, header.gray, header.deep
        facts.digest = hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()
    except BadFileError as problem:
        facts.problems.append(problem)
    mask = layout.masks.get(name)
    if mask is None:
        return facts
    try:
        rule = DatasetCard.words(card.partial)
        facts.mask = read_mask_facts(mask, layout.dims, ignore=card.ignore, partial=rule)
        mismatch = None if facts.size is None else misplaced(mask, facts.mask.size, path, facts.size, layout.dims)
    except BadFileError as problem:
        facts.problems.append(problem)
        return facts
    if mismatch is not None:
        facts.problems.append(mismatch)
    return facts


def _attempt(work: Callable[[], T], path: Path, problems: list[BadFileError]) -> T | None:
    """Return what ``work`` returns, or add its error to the problems."""
    try:
        return work()
    except BadFileError as problem:
        problems.append(problem)
    except DataError as error:
        what, _, remedy = str(error).rstrip(".").partition("; ")
        problems.append(BadFileError(path, f"cannot be used: {what}", remedy[:1].upper() + remedy[1:]))
    return None


def _meaning(
    root: Path, card: DatasetCard, layout: Layout, facts: dict[str, _CaseFacts], problems: list[BadFileError]
) -> _Meaning | None:
    """Tell encoding and classes from the masks that were read; masks that contradict them go to the problems."""
    known = {layout.masks[name]: case.mask for name, case in facts.items() if case.mask is not None}
    meaning = _attempt(lambda: read_encoding(card, list(known), known, dims=layout.dims), root / "masks", problems)
    if meaning is None:
        return None
    encoding, classes = meaning
    for name, case in facts.items():
        contradiction = None if case.mask is None else case.mask.contradicts(encoding, classes)
        if contradiction is not None:
            problem = BadFileError(layout.masks[name], *contradiction)
            case.problems.append(problem)
            problems.append(problem)
    return meaning


def _inside(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _figures(facts: dict[str, _CaseFacts], layout: Layout) -> dict[str, Any]:
    """Return the fields of the report that come from images."""
    readable = [case for case in facts.values() if case.size is not None]
    sizes = [case.size for case in readable if case.size is not None]
    return {
        "images": len(readable),
        "unlabeled": sum(case.size is not None and name not in layout.masks for name, case in facts.items()),
        "gray": sum(case.gray for case in readable),
        "rgb": sum(not case.gray for case in readable),
        "deep": sum(case.deep for case in readable),
        "sizes": _sizes(readable, sizes) if sizes else None,
    }


def _sizes(readable: Sequence[_CaseFacts], sizes: Sequence[tuple[int, ...]]) -> Sizes:
    return Sizes(
        height=_spread(size[-2] for size in sizes),
        width=_spread(size[-1] for size in sizes),
        distinct=len(set(sizes)),
        depth=_spread(size[0] for size in sizes) if len(sizes[0]) == 3 else None,
        spacing=tuple(
            sorted({tuple(round(step, 3) for step in case.spacing) for case in readable if case.spacing is not None})
        ),
    )


def _spread(values: Iterable[int]) -> tuple[int, int, int]:
    ordered = sorted(values)
    return ordered[0], ordered[len(ordered) // 2], ordered[-1]


def _mask_figures(facts: dict[str, _CaseFacts], meaning: _Meaning | None) -> dict[str, Any]:
    """Return the fields of the report that come from masks without a problem."""
    masks = [case.mask for case in facts.values() if case.mask is not None and not case.problems]
    if meaning is None:
        return {"masks": len(masks)}
    encoding, names = meaning
    counts = np.array([mask.class_counts(encoding, len(names)) for mask in masks]).reshape(len(masks), len(names))
    total = max(1, int(counts.sum()))
    return {
        "masks": len(masks),
        "empty_masks": int((counts[:, 1:].sum(1) == 0).sum()),
        "encoding": encoding,
        "classes": tuple(
            ClassShare(name, float(counts[:, k].sum() / total), int((counts[:, k] > 0).sum()))
            for k, name in enumerate(names)
        ),
    }


def _notes(layout: Layout, facts: dict[str, _CaseFacts], group_of: dict[str, str]) -> list[str]:
    """Return what is no error but worth knowing: identical images, and files that are not read."""
    same: dict[str, list[str]] = {}
    for name, case in facts.items():
        if case.digest:
            same.setdefault(case.digest, []).append(name)
    notes: list[str] = []
    for names in same.values():
        if len(names) > 1:
            apart = " of different groups" if len({group_of.get(name) for name in names}) > 1 else ""
            notes.append(f"identical images{apart}: {', '.join(names)}; keep them in one part of a split")
    some = {name: case.mask.annotated for name, case in facts.items() if case.mask and case.mask.annotated}
    if some:
        name, (seen, of) = next(iter(some.items()))
        notes.append(
            f"masks of some slices alone: {len(some)}, as of {name} ({seen} of {of} slices); the other slices count "
            'as not annotated. If they are background, write "partial": false in dataset.json'
        )
    turned = Counter(case.orientation for case in facts.values() if case.orientation)
    if len(turned) > 1:
        kinds = ", ".join(f"{count} {code}" for code, count in sorted(turned.items()))
        notes.append(f"volumes are stored in different orientations ({kinds}); they are turned alike when read")
    return [*notes, *not_read(layout.others)]


def _notes_on_classes(card: DatasetCard, facts: dict[str, _CaseFacts], meaning: _Meaning | None) -> list[str]:
    """Return what looks odd in dataset.json and in the values of the masks, though all of it can be used."""
    notes = [
        f"'{key}' in dataset.json means nothing.{nearest(key, DatasetCard.model_fields)}"
        for key in card.model_extra or ()
    ]
    known = [case.mask for case in facts.values() if case.mask is not None and not case.problems]
    if meaning is None or not known:
        return notes
    encoding, classes = meaning
    counts = np.sum([mask.class_counts(encoding, len(classes)) for mask in known], axis=0)
    if not counts[1:].any():
        return [*notes, f"all {len(known)} masks are empty: there is nothing to learn from them"]
    absent = int((counts[1:] == 0).sum())
    if card.classes is None and absent:
        values = ", ".join(map(str, np.flatnonzero(counts)))
        notes.append(
            f"masks hold the values {values} alone, so {absent} of {len(classes) - 1} classes are in none; list the "
            "classes in dataset.json, or count them from 1 on"
        )
    return notes


def contact_sheet(dataset: Dataset, path: Path, count: int = 24) -> None:
    """Write a PNG that shows ``count`` cases with the contours of their masks, labeled cases first.

    Cases are taken evenly along their names; at most a quarter is unlabeled while there are labeled ones to show.

    Raises:
        BadFileError: if one of the cases cannot be read.
        StorageError: if the file cannot be written.
    """
    unlabeled = min(len(dataset.unlabeled), max(count // 4, count - len(dataset.labeled)))
    cases = [*_evenly(dataset.labeled, count - unlabeled), *_evenly(dataset.unlabeled, unlabeled)]
    tiles = in_threads(lambda case: _tile(dataset, case), cases)
    columns = max(4, min(_COLUMNS, len(tiles)))
    rows = -(-len(tiles) // columns)
    width = _GAP + columns * (_TILE + _GAP)
    sheet = Image.new("RGB", (width, _HEAD + rows * (_TILE + _LABEL + _GAP)), "white")
    _draw_head(sheet, dataset, len(cases))
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        sheet.paste(tile, (_GAP + column * (_TILE + _GAP), _HEAD + row * (_TILE + _LABEL + _GAP)))
    write_atomically(path, lambda file: sheet.save(file, format="PNG"))


def _evenly(cases: Sequence[Case], count: int) -> list[Case]:
    if count <= 0 or not cases:
        return []
    return [cases[i] for i in np.linspace(0, len(cases) - 1, min(count, len(cases))).round().astype(int)]


def _draw_head(sheet: Image.Image, dataset: Dataset, shown: int) -> None:
    """Write the counts, and the classes in their colours, above the tiles."""
    draw = ImageDraw.Draw(sheet)
    groups = f", {len({case.group for case in dataset.cases})} groups" if dataset.grouped else ""
    skipped = f", {len(dataset.skipped)} left out as unreadable" if dataset.skipped else ""
    title = (
        f"{dataset.name}: {len(dataset)} images, {len(dataset.labeled)} with a mask, "
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
    pixels, mask = _flat(dataset, case)
    image = Image.fromarray(pixels).convert("RGB")
    scale = _TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = np.array(image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC))
    remark = " (no mask)"
    if mask is not None:
        small = draw_contours(small, np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)))
        remark = "" if mask.any() else " (empty)"
    tile = Image.new("RGB", (_TILE, _TILE + _LABEL), "white")
    draw = ImageDraw.Draw(tile)
    draw.rectangle((0, 0, _TILE - 1, _TILE - 1), fill=(236, 236, 236))
    tile.paste(Image.fromarray(small), ((_TILE - size[0]) // 2, (_TILE - size[1]) // 2))
    room = _TILE - _font(13).getlength(remark)
    name = _fitted(case.name, room, 13)
    draw.text((0, _TILE + 2), name, fill=_INK, font=_font(13))
    draw.text((_font(13).getlength(name), _TILE + 2), remark, fill=_FAINT, font=_font(13))
    return tile


def _flat(dataset: Dataset, case: Case) -> tuple[Pixels, NDArray[Any] | None]:
    """Return the image and its mask; of a volume the slice with the most labels."""
    scan = dataset.read_scan(case)
    mask = None if case.mask is None else dataset.read_mask(case)
    if not isinstance(scan, Volume):
        return scan, None if mask is None else np.maximum(mask, 0).astype(np.uint8)
    at = look_point(mask, scan.shape)
    return gray_slice(scan, at), None if mask is None else square_slice(mask, scan.geometry, at)


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
