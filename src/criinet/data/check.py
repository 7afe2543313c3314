"""Look at every file of a dataset, and report what is in it and what is wrong."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from criinet.data.bad_files import BadFileError
from criinet.data.card import GROUPS, DatasetCard, declared_spacing, read_card, read_groups
from criinet.data.dataset import Dataset, build_dataset
from criinet.data.encodings import MaskFacts, has_scattered_palette, read_encoding, read_mask_facts
from criinet.data.formats import Volume, VolumeHeader
from criinet.data.geometry import Spacing, voxel_of
from criinet.data.grid import oversized
from criinet.data.images import read_header
from criinet.data.kinds import comparable, key_of, not_read, stem_of, suffix_of
from criinet.data.layout import Layout, read_layout
from criinet.data.masks import IMPORT_COLOURS, MaskEncoding, MaskMeaning
from criinet.data.notes import alone_note, inverted_note, leaks, patients_note
from criinet.data.scans import mask_mismatch, read_scan, spatial
from criinet.data.splits import DEFAULT, load_split
from criinet.data.threads import Advance, in_threads
from criinet.data.volumes import without_voxel_size
from criinet.errors import DataError
from criinet.registry import nearest

T = TypeVar("T")
_NUMBERS_AND_NAMES = re.compile(r"[^\s/]+\.\w+|\d+")
AIR = -500.0
"""Hounsfield units below which hardly anything but air lies."""


@dataclass(frozen=True)
class Problem:
    """A file that cannot be used: its path inside the dataset, what is wrong, and what to do."""

    file: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file} {self.what}. {self.remedy}."


_NAMED = 3
"""How many files of those that share a sentence are named beside the first."""


def joined(problems: Sequence[Problem]) -> list[str]:
    """Return a sentence on each problem; files of one folder that differ in numbers and names alone share one."""
    alike: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        said = _NUMBERS_AND_NAMES.sub("", f"{problem.what}. {problem.remedy}")
        alike.setdefault((problem.file.rpartition("/")[0], said), []).append(problem)
    sentences: list[str] = []
    for first, *others in alike.values():
        names = [problem.file.rpartition("/")[2] for problem in others]
        left = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        more = f" (and likewise {', '.join(names[:_NAMED])}{left}):" if others else ""
        sentences.append(f"{first.file}{more} {first.what}. {first.remedy}.")
    return sentences


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
    groups: number of groups (patients); the number of cases where none are given.
    groups_given: whether groups.csv, or another file, says whose each case is.
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
    groups_given: bool = False
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
    """What decoding one case told; ``size`` is None if the image cannot be read, ``header``, ``least`` are of a volume.

    unknown: share of voxels that are no finite number. flat: every pixel has the same value.
    turned: an EXIF tag turns the image, and its size does not tell whether its mask was drawn on the turned one.
    """

    size: tuple[int, ...] | None = None
    header: VolumeHeader | None = None
    spacing: tuple[float, ...] | None = None
    least: float = math.nan
    unknown: float = 0.0
    flat: bool = False
    orientation: str = ""
    gray: bool = False
    deep: bool = False
    turned: bool = False
    digest: str = ""
    mask: MaskFacts | None = None
    problems: list[BadFileError] = field(default_factory=list[BadFileError])


def check_dataset(root: Path, groups: Path | None = None, *, advance: Advance | None = None) -> CheckReport:
    """Decode every image and mask of a dataset and report all problems, not only the first.

    Args:
        groups: a CSV with the columns case and group (or patient), instead of the folder's own groups.csv.
        advance: called with (finished, total) after each case, for a progress bar.

    Raises:
        DataError: if there is no dataset to look at: the folder, its images/ or any image is missing.
    """
    layout = read_layout(root)
    problems: list[BadFileError] = list(layout.problems)
    names = sorted(layout.images)
    cards: list[BadFileError] = []
    card = _attempt(lambda: read_card(root), root / "dataset.json", cards) or DatasetCard()
    card, voxel = _voxel(card, root, layout.dims, cards)
    looked_at = in_threads(lambda name: _case_facts(name, layout, card, voxel), names, advance)
    facts = dict(zip(names, looked_at, strict=True))
    _judge_grids(layout, facts)
    problems += [problem for case in facts.values() for problem in case.problems] + cards
    odd: list[str] = []
    meaning = _meaning(root, card, layout, facts, problems, odd)
    group_of = _attempt(lambda: read_groups(root, names, groups), root / GROUPS, problems) or {}
    given = groups is not None or (root / GROUPS).exists()
    of_patients = [] if given or (root / DEFAULT).exists() else patients_note(root, names)
    if meaning is not None and group_of:
        bad = {name for name, case in facts.items() if case.problems}
        dropped = {*map(comparable, bad), *(key_of(problem.path) for problem in layout.problems)}
        kept = [name for name in names if name not in bad]
        dataset = _attempt(
            lambda: build_dataset(root, layout, card, kept, meaning, groups, [], dropped), root, problems
        )
        if dataset is not None:
            of_patients += _leaks_of_splits(root, dataset, problems)
    return CheckReport(
        name=card.name or root.resolve().name,
        root=str(root),
        dims=layout.dims,
        groups=len(set(group_of.values())),
        groups_given=given,
        problems=tuple(Problem(_inside(one.path, root), one.what, one.remedy) for one in problems),
        notes=(
            *of_patients,
            *_notes(layout, facts, group_of),
            *odd,
            *_notes_on_classes(card, facts, None if _has_bad_mask(problems, root) else meaning),
        ),
        **_figures(facts, layout),
        **_mask_figures(facts, meaning),
    )


def _judge_grids(layout: Layout, facts: dict[str, _CaseFacts]) -> None:
    """Add to the problems of each volume that it has too many voxels on the grid that training picks."""
    headers = {layout.images[name]: case.header for name, case in facts.items() if case.header is not None}
    for path, problem in oversized(headers).items():
        facts[stem_of(path)].problems.append(problem)


def _leaks_of_splits(root: Path, dataset: Dataset, problems: list[BadFileError]) -> list[str]:
    """Say of every split what it has in two parts; one that cannot be read goes to the problems."""
    said: list[str] = []
    for path in sorted((root / "splits").glob("*.json")):
        split = _attempt(partial(load_split, path, dataset), path, problems)
        said += [] if split is None else [f"{_inside(path, root)}: {note}" for note in leaks(dataset, split)]
    return said


def _voxel(
    card: DatasetCard, root: Path, dims: int, problems: list[BadFileError]
) -> tuple[DatasetCard, Spacing | None]:
    """Return the card and the voxels that it declares; a spacing that is wrong goes to the problems, and is dropped."""
    declared = _attempt(lambda: declared_spacing(card, root, dims), root / "dataset.json", problems)
    if declared is None:
        return card.model_copy(update={"spacing": None}), None
    return card, voxel_of(declared, dims)


def _case_facts(name: str, layout: Layout, card: DatasetCard, voxel: Spacing | None) -> _CaseFacts:
    """Decode one case; whatever is wrong with it goes to its problems."""
    facts, header = _CaseFacts(), None
    path = layout.images[name]
    try:
        scan = read_scan(path, layout.dims, voxel)
        facts.size = spatial(scan)
        if isinstance(scan, Volume):
            values, facts.gray, facts.deep = scan.values, True, scan.values.dtype != np.uint8
            facts.header = scan.header
            facts.least = float(np.fmin.reduce(values, axis=None))
            facts.unknown = 0.0 if values.dtype.kind != "f" else float(1 - np.isfinite(values).mean())
            facts.spacing = scan.geometry.spacing if scan.geometry.known else None
            facts.orientation = scan.geometry.code if scan.geometry.known else ""
        else:
            header = read_header(path)
            values, facts.gray, facts.deep = scan, header.gray, header.deep
        facts.flat = bool((values == values.flat[0]).all())
        facts.digest = hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()
    except BadFileError as problem:
        facts.problems.append(problem)
    mask = layout.masks.get(name)
    if mask is None:
        return facts
    try:
        image = None if facts.size is None else path
        facts.turned = header is not None and header.same_size_turned and not read_header(mask).same_size_turned
        facts.mask = read_mask_facts(mask, layout.dims, image=image, ignore=card.ignore, partial=card.partial)
        mismatch = None if facts.size is None else mask_mismatch(mask, path, layout.dims, (facts.mask.size, facts.size))
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
    root: Path,
    card: DatasetCard,
    layout: Layout,
    facts: dict[str, _CaseFacts],
    problems: list[BadFileError],
    odd: list[str],
) -> MaskMeaning | None:
    """Tell encoding and classes from the masks that were read; masks that contradict them go to the problems.

    Args:
        odd: gets a sentence on whatever looks odd, though it can be used.
    """
    known = {layout.masks[name]: case.mask for name, case in facts.items() if case.mask is not None}

    def read() -> MaskMeaning:
        return read_encoding(card, list(known), known, dims=layout.dims, warn=odd.append)

    meaning = _attempt(read, root / "masks", problems)
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


def _mask_figures(facts: dict[str, _CaseFacts], meaning: MaskMeaning | None) -> dict[str, Any]:
    """Return the fields of the report that come from masks without a problem."""
    masks = [case.mask for case in facts.values() if case.mask is not None and not case.problems]
    if meaning is None or not masks:
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
    turned = sum(case.turned for case in facts.values())
    if turned:
        notes.append(
            f"images with an EXIF rotation that have masks: {turned}. The masks are taken as upright, as viewers show "
            "the images; look at the contact sheet"
        )
    notes += _notes_on_annotation({name: case.mask for name, case in facts.items() if case.mask})
    stored = Counter(case.orientation for case in facts.values() if case.orientation)
    if len(stored) > 1:
        kinds = ", ".join(f"{count} {code}" for code, count in sorted(stored.items()))
        notes.append(f"volumes are stored in different orientations ({kinds}); they are turned alike when read")
    flat = [layout.images[name].name for name, case in facts.items() if case.flat]
    if flat:
        notes.append(f"images of a single value: {len(flat)}, as {flat[0]}; nothing can be seen in them")
    if layout.dims == 3:
        notes += _notes_on_volumes({layout.images[name].name: case for name, case in facts.items() if case.size})
    if not any(case.mask for case in facts.values()) and (found := _without_an_image(layout)):
        kind = "PNG with 0 and 255" if layout.dims == 2 else "NIfTI with class indices"
        notes.append(f"no mask could be read: {found}; training needs some, as {kind} named like their images")
    return [*notes, *not_read(layout.others)]


def _notes_on_annotation(masks: Mapping[str, MaskFacts]) -> list[str]:
    """Return where masks, by case, say that nothing is known, and which seem to be of some slices alone."""
    notes: list[str] = []
    marked = [mask for mask in masks.values() if mask.unknown]
    if marked:
        share = sum(mask.unknown for mask in marked) / sum(math.prod(mask.size) for mask in masks.values())
        notes.append(
            f"masks with pixels marked as unknown: {len(marked)} of {len(masks)}, {share:.2%} of the pixels of all "
            "masks; they are neither trained on nor measured"
        )
    some = {name: mask.annotated for name, mask in masks.items() if mask.annotated}
    if some:
        name, (seen, of) = next(iter(some.items()))
        notes.append(
            f"masks of some slices alone: {len(some)}, as of {name} ({seen} of {of} slices); the other slices count "
            'as not annotated. If they are background, write "partial": false in dataset.json'
        )
    return notes + alone_note({name: mask.alone for name, mask in masks.items() if mask.alone})


def _notes_on_volumes(facts: dict[str, _CaseFacts]) -> list[str]:
    """Return what is odd about some volumes, by file: voxels of no known size or value, and CT that is hardly in HU.

    CT is told by the air in most of the volumes. Tissue alone has values below 0, too: fat, and noise. A volume that
    has none at all lost its intercept, or was scaled.
    """
    notes: list[str] = []
    unsized = [name for name, case in facts.items() if case.spacing is None]
    if 0 < len(unsized) < len(facts):
        notes.append(without_voxel_size(unsized, len(facts), "volumes"))
    unknown = [name for name, case in facts.items() if case.unknown]
    if unknown:
        notes.append(
            f"volumes with voxels that are no finite number: {len(unknown)}, as {unknown[0]} "
            f"({facts[unknown[0]].unknown:.2%} of its voxels); NaN is read as the darkest value"
        )
    with_air = sum(case.least < AIR for case in facts.values())
    positive = [name for name, case in facts.items() if case.least >= 0]
    if positive and 2 * with_air > len(facts):
        notes.append(
            f"volumes without a value below 0, though {with_air} of {len(facts)} go below {AIR:g} as CT does: "
            f"{', '.join(positive)}. Are they in HU? A fixed window fits HU alone"
        )
    return notes


def _without_an_image(layout: Layout) -> str:
    """Say what lies in masks/ and belongs to no image: how many files of each kind."""
    others = [path for path in (*layout.others, *(one.path for one in layout.problems)) if path.parent.name == "masks"]
    left = [path for path in others if not path.is_dir()]
    kinds = Counter(suffix_of(path) or path.suffix.lower() or "without suffix" for path in left)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _has_bad_mask(problems: Sequence[BadFileError], root: Path) -> bool:
    return any((root / "masks") in problem.path.parents for problem in problems)


def _notes_on_classes(card: DatasetCard, facts: dict[str, _CaseFacts], meaning: MaskMeaning | None) -> list[str]:
    """Return what looks odd in dataset.json and in the values of the masks, though all of it can be used.

    Args:
        meaning: None where it is not known, or some masks cannot be used: the others are not all.
    """
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
    if not counts[0]:
        return [*notes, f"all {len(known)} masks are full, without a pixel of background: nothing can be told apart"]
    shares = [1 - own[0] / max(1, own.sum()) for own in (mask.class_counts(encoding, len(classes)) for mask in known)]
    notes += inverted_note(classes, shares)
    absent = int((counts[1:] == 0).sum())
    if card.classes is None and absent:
        values = ", ".join(map(str, np.flatnonzero(counts)))
        notes.append(
            f"masks hold the values {values} alone, so {absent} of {len(classes) - 1} classes are in none; "
            + (
                f"{IMPORT_COLOURS} makes classes of the colours of their palettes"
                if has_scattered_palette(known)
                else "list the classes in dataset.json, or count them from 1 on"
            )
        )
    return notes
