"""A dataset is a folder: images/, masks/ for the labeled cases, and optionally dataset.json, groups.csv and splits/."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from criinet.data.geometry import Spacing
from criinet.data.images import (
    LISTED,
    BadFileError,
    MaskEncoding,
    contradiction,
    read_mask,
    read_raw_mask,
    value_counts,
)
from criinet.data.kinds import (
    SUFFIXES,
    VOLUME_SUFFIXES,
    is_companion,
    is_readable,
    is_volume,
    mask_suffix,
    not_read,
    stem_of,
    suffix_of,
)
from criinet.data.scans import Scan, place_mismatch, read_scan, size_mismatch, spatial
from criinet.data.volumes import Partial, annotated_slices, read_labels, read_raw_labels, read_volume_header
from criinet.errors import DataError
from criinet.registry import nearest

A = TypeVar("A")
B = TypeVar("B")
Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]

SAMPLED_MASKS = 32
"""How many masks are read to tell the encoding where dataset.json declares the classes."""
MOST_UNDECLARED_CLASSES = 32


@dataclass(frozen=True)
class Case:
    """One image, with the mask that belongs to it (None: unlabeled) and the group (patient) it comes from."""

    name: str
    image: Path
    mask: Path | None
    group: str


@dataclass(frozen=True)
class Dataset:
    """The cases of a dataset folder and what its masks mean.

    name: as in dataset.json, or the folder's.
    dims: 2 for images, 3 for volumes.
    classes: K names, background first; the position is the class index.
    spacing: (h, w) of a pixel, or (d, h, w) of the voxels of volumes whose files do not know theirs, in mm; None where
        unknown.
    cases: sorted by name.
    ignore: whether the value 255 in a mask of class indices means "no ground truth".
    partial: whether slices without a label are unannotated ones.
    regions: named unions of classes, which are measured beside the classes.
    modality: "CT", "MR", ..., where dataset.json says it.
    skipped: one sentence for each file that was left out as unreadable.
    dropped: names of the cases that were left out.
    unread: sentences on files and folders among the images and masks that nothing reads.
    """

    root: Path
    name: str
    classes: tuple[str, ...]
    encoding: MaskEncoding
    spacing: tuple[float, ...] | None
    cases: tuple[Case, ...]
    dims: int = 2
    ignore: bool = False
    partial: Partial = "auto"
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    modality: str | None = None
    licence: str | None = None
    source: str | None = None
    skipped: tuple[str, ...] = ()
    dropped: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.cases)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @cached_property
    def _by_name(self) -> Mapping[str, Case]:
        return {case.name: case for case in self.cases}

    @cached_property
    def labeled(self) -> tuple[Case, ...]:
        """The cases that have a mask."""
        return tuple(case for case in self.cases if case.mask is not None)

    @cached_property
    def unlabeled(self) -> tuple[Case, ...]:
        """The cases without a mask."""
        return tuple(case for case in self.cases if case.mask is None)

    @cached_property
    def grouped(self) -> bool:
        """Whether any case belongs to a group of another name than its own."""
        return any(case.group != case.name for case in self.cases)

    def case(self, name: str) -> Case:
        """Return the case called ``name``.

        Raises:
            DataError: if there is none; the message names the nearest.
        """
        if name not in self._by_name:
            raise DataError(
                f"dataset {self.name} has no case '{name}'.{nearest(name, self._by_name)} "
                f"A case is named like its file in {self.root / 'images'}, without the suffix."
            )
        return self._by_name[name]

    def select(self, names: Iterable[str]) -> tuple[Case, ...]:
        """Return the cases of these names, in their order.

        Raises:
            DataError: for a name that is not in the dataset.
        """
        return tuple(self.case(name) for name in names)

    @property
    def voxel(self) -> Spacing | None:
        """Size (d, h, w) in mm of the voxels of files that do not know theirs."""
        return (self.spacing[0], self.spacing[1], self.spacing[2]) if self.spacing and self.dims == 3 else None

    @property
    def mask_suffix(self) -> str:
        """The suffix of the masks that are written."""
        return mask_suffix(self.dims)

    def read_scan(self, case: Case) -> Scan:
        """Read the image or the volume of ``case``.

        Raises:
            BadFileError: if it cannot be read.
        """
        return read_scan(case.image, self.dims, self.voxel)

    def read_mask(self, case: Case) -> NDArray[Any]:
        """Read the mask of ``case``: (H, W) or (D, H, W) class indices, IGNORE where there is no ground truth.

        The dtype is uint8, or int16 if any is IGNORE.

        Raises:
            BadFileError: if the case has no mask, or one that is unreadable or contradicts the dataset's classes.
        """
        if case.mask is None:
            raise BadFileError(case.image, "has no mask", f"Add {self.root / 'masks' / case.name}{self.mask_suffix}")
        if self.dims == 3:
            return read_labels(case.mask, self.encoding, self.classes, ignore=self.ignore, partial=self.partial)
        return read_mask(case.mask, self.encoding, len(self.classes), names=self.classes, ignore=self.ignore)

    def spacing_of(self, case: Case) -> tuple[float, ...] | None:
        """Return the size of a pixel or voxel of ``case`` along each axis in mm, None where nobody knows."""
        if self.dims == 2:
            return self.spacing
        geometry = read_volume_header(case.image, self.voxel).geometry
        return geometry.spacing if geometry.known else None


class DatasetCard(BaseModel):
    """What dataset.json may say; other keys are kept as they are, and mean nothing."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str | None = None
    classes: tuple[str, ...] | None = None
    encoding: MaskEncoding | None = None
    spacing: Millimetres | tuple[Millimetres, Millimetres] | tuple[Millimetres, Millimetres, Millimetres] | None = None
    ignore: bool = False
    partial: Partial | bool = "auto"
    regions: Mapping[str, tuple[str, ...]] = {}
    modality: str | None = None
    licence: str | None = None
    source: str | None = None

    @field_validator("classes")
    @classmethod
    def _at_least_two_distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and (not 2 <= len(classes) <= 256 or len(set(classes)) < len(classes)):
            raise ValueError("list two or more different names, background first")
        return classes

    @staticmethod
    def words(partial: Partial | bool) -> Partial:
        """Return true and false as "yes" and "no"."""
        return partial if isinstance(partial, str) else ("yes" if partial else "no")

    @model_validator(mode="after")
    def _regions_of_classes(self) -> "DatasetCard":
        for region, members in self.regions.items():
            unknown = [name for name in members if name not in (self.classes or ())[1:]]
            if unknown or not members or region in (self.classes or ()):
                raise ValueError(f"region '{region}' must have a name of its own and list foreground classes")
        return self

    def spacing_along(self, dims: int) -> tuple[float, ...] | None:
        """Return the spacing along each of ``dims`` axes.

        Raises:
            ValueError: if it has another number of them.
        """
        if self.spacing is None or not isinstance(self.spacing, tuple):
            return None if self.spacing is None else (self.spacing,) * dims
        if len(self.spacing) != dims:
            raise ValueError(f"{len(self.spacing)} numbers for {dims} axes")
        return self.spacing


@dataclass
class Layout:
    """Which images and masks lie in a dataset folder, by case name, and which files have no place there.

    dims: 2 if the images are images, 3 if they are volumes.
    """

    dims: int = 2
    images: dict[str, Path] = field(default_factory=dict[str, Path])
    masks: dict[str, Path] = field(default_factory=dict[str, Path])
    problems: list[BadFileError] = field(default_factory=list[BadFileError])
    others: list[Path] = field(default_factory=list[Path])


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


def open_dataset(root: Path, *, skip_bad: bool = False, groups: Path | None = None) -> Dataset:
    """Open a dataset folder without decoding its images.

    Masks are read to tell their encoding: up to 32 where dataset.json declares the classes, all of them otherwise.
    Values 0 and 255 mean ``binary255``, others ``index``; a mask that contradicts this is refused when it is read.

    Args:
        skip_bad: decode every file now, leave out the cases that cannot be used, and list them in ``skipped``.
        groups: a CSV with the columns case and group (or patient), instead of the folder's own groups.csv.

    Raises:
        DataError: if the folder is missing or no dataset, or a file in it is misplaced, malformed or unreadable.
    """
    layout = read_layout(root)
    if layout.problems and not skip_bad:
        raise layout.problems[0]
    card = read_card(root)
    names = sorted(layout.images)
    facts, bad = _verify(layout, names, card) if skip_bad else ({}, {})
    names = [name for name in names if name not in bad]
    masks = [layout.masks[name] for name in names if name in layout.masks]
    encoding, classes = read_encoding(card, masks, facts if skip_bad else None, dims=layout.dims)
    for name in names:
        path = layout.masks.get(name)
        problem = facts[path].contradicts(encoding, classes) if path in facts else None
        if path is not None and problem is not None:
            bad[name] = BadFileError(path, *problem)
    skipped = [*layout.problems, *bad.values()]
    if len(bad) == len(layout.images):
        raise DataError(f"{root} has no case that can be used: {skipped[0]}")
    kept = [name for name in names if name not in bad]
    dropped = {*bad, *(stem_of(problem.path) for problem in layout.problems)} - set(kept)
    return build_dataset(root, layout, card, kept, (encoding, classes), groups, skipped, dropped)


def build_dataset(
    root: Path,
    layout: Layout,
    card: DatasetCard,
    names: Sequence[str],
    meaning: tuple[MaskEncoding, tuple[str, ...]],
    groups: Path | None,
    skipped: Sequence[BadFileError],
    dropped: Iterable[str],
) -> Dataset:
    """Put a dataset together from its parts; ``names`` are the cases to keep, ``meaning`` is encoding and classes.

    Raises:
        DataError: if the groups cannot be read.
    """
    group_of = read_groups(root, names, groups)
    spacing = declared_spacing(card, root, layout.dims)
    return Dataset(
        root=root,
        name=card.name or root.resolve().name,
        classes=meaning[1],
        encoding=meaning[0],
        spacing=spacing,
        cases=tuple(Case(name, layout.images[name], layout.masks.get(name), group_of[name]) for name in names),
        dims=layout.dims,
        ignore=card.ignore,
        partial=card.words(card.partial),
        regions=card.regions,
        modality=card.modality,
        licence=card.licence,
        source=card.source,
        skipped=tuple(str(problem) for problem in skipped),
        dropped=frozenset(dropped),
        unread=tuple(not_read(layout.others)),
    )


def read_layout(root: Path) -> Layout:
    """List the images and masks of a dataset folder; misplaced files are collected as problems, not raised.

    Raises:
        DataError: if the folder is missing, has no images/ folder, or has no images.
    """
    if not root.is_dir():
        raise DataError(f"dataset folder {root} does not exist; check the path.")
    layout = Layout()
    if not (root / "images").is_dir():
        raise DataError(f"{root} is not a dataset; put the images in {root / 'images'} and masks in {root / 'masks'}.")
    layout.images = _by_stem(root / "images", layout)
    if not layout.images and not layout.problems:
        below = next((path for path in layout.others if path.is_dir() and any(map(is_readable, path.iterdir()))), None)
        if below is not None:
            raise DataError(f"{root / 'images'} has no images; move those of {below} into it.")
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(f"{root / 'images'} has no images; put files of these kinds in it: {kinds}.")
    layout.masks = _by_stem(root / "masks", layout) if (root / "masks").is_dir() else {}
    twins = {stem_of(problem.path) for problem in layout.problems}
    for name in sorted(layout.masks.keys() - layout.images.keys()):
        path = layout.masks.pop(name)
        if name not in twins:
            likely = next((name[:end] for end in range(len(name), 0, -1) if name[:end] in layout.images), None)
            rename = f"Name it {likely}{suffix_of(path)}, if that is its image," if likely else "Name it like its image"
            layout.problems.append(
                BadFileError(path, "has no image of the same name", f"{rename} or remove it", LISTED)
            )
    layout.images = {name: path for name, path in layout.images.items() if name not in twins}
    _keep_apart(layout)
    return layout


def _keep_apart(layout: Layout) -> None:
    """Tell whether the dataset is of images or of volumes, by most files; what is of the other kind is a problem."""
    paths = [*layout.images.values()]
    volumes = [path.is_dir() or suffix_of(path) in VOLUME_SUFFIXES for path in paths]
    layout.dims = 3 if 2 * sum(volumes) > len(paths) or (paths and not any(volumes) and is_volume(paths[0])) else 2
    for part in (layout.images, layout.masks):
        for name, path in list(part.items()):
            volume = path.is_dir() or suffix_of(path) in VOLUME_SUFFIXES
            if suffix_of(path) in (".tif", ".tiff") or volume == (layout.dims == 3):
                continue
            what = "is an image among volumes" if layout.dims == 3 else "is a volume among images"
            layout.problems.append(BadFileError(path, what, "Keep images and volumes in datasets apart", LISTED))
            del part[name]
            if part is layout.images:
                layout.masks.pop(name, None)


def _by_stem(folder: Path, layout: Layout) -> dict[str, Path]:
    """Map stems to image files; a stem that occurs twice goes to the problems, other files to the others."""
    found: dict[str, Path] = {}
    twins: set[str] = set()
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"folder {folder} cannot be listed; change its permissions.") from error
    for path in paths:
        if not is_readable(path):
            layout.others += [] if is_companion(path) else [path]
            continue
        stem = stem_of(path)
        if stem in found:
            twins.add(stem)
            what = f"has the same name as {found[stem].name}"
            layout.problems.append(BadFileError(path, what, "Rename or remove one of the two", LISTED))
        else:
            found[stem] = path
    return {name: path for name, path in found.items() if name not in twins}


def declared_spacing(card: DatasetCard, root: Path, dims: int) -> tuple[float, ...] | None:
    """Return the spacing along each axis in mm that dataset.json says, None if it says none.

    Raises:
        BadFileError: if it has another number of axes.
    """
    try:
        return card.spacing_along(dims)
    except ValueError as error:
        remedy = "Give one number for each axis, slices first" if dims == 3 else "Give height and width"
        raise BadFileError(root / "dataset.json", f"has a bad 'spacing': {error}", remedy) from error


def read_card(root: Path) -> DatasetCard:
    """Read dataset.json, or return an empty card if there is none.

    Raises:
        BadFileError: if it is malformed.
    """
    path = root / "dataset.json"
    if not path.exists():
        return DatasetCard()
    example = 'Write for instance {"name": "my-images", "classes": ["background", "lesion"]}'
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadFileError(path, "cannot be read", "Change its permissions") from error
    except ValueError as error:
        raise BadFileError(path, f"is not valid JSON ({error})", example) from error
    if not isinstance(content, dict):
        raise BadFileError(path, "is not a JSON object", example)
    try:
        return DatasetCard.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        key = problem["loc"][0] if problem["loc"] else "regions"
        reason = problem["msg"].removeprefix("Value error, ")
        raise BadFileError(path, f"has a bad '{key}': {reason[0].lower()}{reason[1:]}", example) from error


def read_groups(root: Path, names: Sequence[str], given: Path | None = None) -> dict[str, str]:
    """Read the group of every case from ``given`` or groups.csv; without either, every case is its own group.

    Rows of cases that are not in ``names`` are ignored.

    Raises:
        BadFileError: if the file is missing, malformed, contradicts itself, or lacks a case.
    """
    path = given or root / "groups.csv"
    if given is None and not path.exists():
        return {name: name for name in names}
    groups: dict[str, str] = {}
    for line, case, group in _group_rows(path):
        if not case or not group:
            raise BadFileError(path, f"has an empty field in line {line}", "Give every case a group")
        if groups.setdefault(case, group) != group:
            what = f"puts case {case} in the groups {groups[case]} and {group} (line {line})"
            raise BadFileError(path, what, "Keep one row for each case")
    missing = [name for name in names if name not in groups]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadFileError(path, f"lacks the case {missing[0]}{more}", "Add a row for every image, without its suffix")
    return {name: groups[name] for name in names}


def _group_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line, case, group) of a groups CSV."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        delimiter = max(",;\t", key=lines[0].count) if lines else ","
        rows = list(csv.reader(lines, strict=True, delimiter=delimiter))
    except OSError as error:
        raise BadFileError(path, "cannot be read", "Check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise BadFileError(path, "is not text in UTF-8", "Save it again as CSV in UTF-8") from error
    except csv.Error as error:
        raise BadFileError(path, "is not a CSV file", "Write the columns case,group") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    column = next((name for name in ("group", "patient") if name in header), None)
    if "case" not in header or column is None:
        raise BadFileError(path, "lacks a header with case and group", "Begin it with the line case,group")
    case_at, group_at = header.index("case"), header.index(column)
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        padded = [*row, *[""] * len(header)]
        yield line, padded[case_at].strip(), padded[group_at].strip()


def read_encoding(
    card: DatasetCard, masks: Sequence[Path], facts: Mapping[Path, MaskFacts] | None = None, *, dims: int = 2
) -> tuple[MaskEncoding, tuple[str, ...]]:
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

    if facts is not None:
        known = [facts[path] for path in masks]
    elif card.classes is not None and len(masks) > SAMPLED_MASKS:
        chosen = np.linspace(0, len(masks) - 1, SAMPLED_MASKS).round().astype(int)
        known = in_threads(read, [masks[i] for i in chosen])
        if not any(mask.counts[1:].any() for mask in known):
            known = in_threads(read, masks)
    else:
        known = in_threads(read, masks)
    stored = sum((mask.counts for mask in known if not mask.lossy and not mask.zero_one), np.zeros(256, np.intp))
    lossy = any(mask.lossy for mask in known)
    binary = lossy or stored[255] > stored[1:255].sum()
    encoding = card.encoding or ("binary255" if binary else "index")
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
        raise BadFileError(masks[odd], f"{what}{MOST_UNDECLARED_CLASSES}", remedy)
    return encoding, ("background", *(f"class {k}" for k in range(1, top + 1)))


def _agree(encoding: MaskEncoding, classes: tuple[str, ...]) -> tuple[MaskEncoding, tuple[str, ...]]:
    if encoding == "binary255" and len(classes) > 2:
        raise DataError(
            f"dataset.json declares {len(classes)} classes ({', '.join(classes)}) but the masks are JPEG or hold "
            "0 and 255 only; save class indices 0, 1, 2, ... in the masks as PNG."
        )
    return encoding, classes


def read_mask_facts(path: Path, dims: int = 2, *, ignore: bool = False, partial: Partial = "auto") -> MaskFacts:
    """Decode a mask and keep what there is to know about its values.

    Raises:
        BadFileError: if it cannot be read.
    """
    if dims == 3:
        values = read_raw_labels(path).values
        counts = value_counts(values, ignore=ignore)
        annotated = None if ignore and (values == 255).any() else annotated_slices(values, partial)
        seen = None if annotated is None else (int(annotated[1].sum()), len(annotated[1]))
        return MaskFacts(values.shape, counts, False, bool(values.max() <= 1), seen)
    raw = read_raw_mask(path)
    size = (raw.values.shape[0], raw.values.shape[1])
    return MaskFacts(size, value_counts(raw.values, ignore=ignore), raw.lossy, raw.zero_one)


def _verify(
    layout: Layout, names: Sequence[str], card: DatasetCard
) -> tuple[dict[Path, MaskFacts], dict[str, BadFileError]]:
    """Decode everything; return what the good masks hold, and the problem of each bad case."""

    def verify(name: str) -> MaskFacts | BadFileError | None:
        try:
            shape = spatial(read_scan(layout.images[name], layout.dims))
            if name not in layout.masks:
                return None
            facts = read_mask_facts(layout.masks[name], layout.dims, ignore=card.ignore)
            return misplaced(layout.masks[name], facts.size, layout.images[name], shape, layout.dims) or facts
        except BadFileError as problem:
            return problem

    results = dict(zip(names, in_threads(verify, names), strict=True))
    facts = {layout.masks[name]: result for name, result in results.items() if isinstance(result, MaskFacts)}
    return facts, {name: result for name, result in results.items() if isinstance(result, BadFileError)}


def misplaced(
    mask: Path, size: tuple[int, ...], image: Path, image_size: tuple[int, ...], dims: int
) -> BadFileError | None:
    """Return the problem of a mask that has not the size of its image, or as a volume lies elsewhere; or None."""
    wrong = size_mismatch(mask, size, image_size)
    if wrong is not None or dims == 2:
        return wrong
    own, other = read_volume_header(mask).geometry, read_volume_header(image).geometry
    return place_mismatch(mask, own, other, size)


def in_threads(work: Callable[[A], B], items: Sequence[A], done: Callable[[int, int], None] | None = None) -> list[B]:
    """Apply ``work`` to every item in a pool of threads and return the results in order.

    Args:
        done: called with (finished, total) after each item, in order.
    """
    results: list[B] = []
    with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool:
        for result in pool.map(work, items):
            results.append(result)
            if done is not None:
                done(len(results), len(items))
    return results
