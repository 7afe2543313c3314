"""A dataset is a folder: images/, masks/ for the labeled cases, and optionally dataset.json, groups.csv and splits/."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.card import GROUPS, DatasetCard, declared_spacing, read_card, read_groups
from criinet.data.encodings import MaskFacts, read_encoding, read_mask_facts
from criinet.data.formats import Volume, VolumeHeader
from criinet.data.geometry import Spacing, voxel_of
from criinet.data.grid import oversized
from criinet.data.kinds import comparable, key_of, mask_suffix, not_read, stem_of
from criinet.data.layout import Layout, read_layout
from criinet.data.masks import MaskEncoding, MaskMeaning
from criinet.data.scans import Scan, mask_mismatch, read_scan, read_target, spatial
from criinet.data.threads import in_threads
from criinet.data.twins import identical_images
from criinet.data.volumes import Partial, read_volume_header
from criinet.errors import DataError
from criinet.registry import nearest


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
    dropped: names of the cases that were left out, in Unicode's form NFC.
    groups_given: whether groups.csv, or another file, says whose each case is.
    notes: sentences on what may be fine but is worth knowing, as files among the images and masks that nothing reads.
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
    groups_given: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.cases)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and comparable(name) in self._by_name

    @cached_property
    def _by_name(self) -> Mapping[str, Case]:
        return {comparable(case.name): case for case in self.cases}

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

    @cached_property
    def twins(self) -> tuple[tuple[str, ...], ...]:
        """The names of the cases of each image that is stored under several."""
        return identical_images({case.name: case.image for case in self.cases})

    @cached_property
    def together(self) -> "Dataset":
        """The dataset with the groups made one that share an image; itself if none do."""
        owner: dict[str, str] = {}

        def of(group: str) -> str:
            while group in owner:
                group = owner[group]
            return group

        for names in self.twins:
            first, *others = sorted({of(case.group) for case in self.select(names)})
            owner |= dict.fromkeys(others, first)
        return replace(self, cases=tuple(replace(case, group=of(case.group)) for case in self.cases)) if owner else self

    def case(self, name: str) -> Case:
        """Return the case called ``name``, in any Unicode form.

        Raises:
            DataError: if there is none; the message names the nearest.
        """
        if name not in self:
            raise DataError(
                f"dataset {self.name} has no case '{name}'.{nearest(stem_of(Path(name)), self._by_name)} "
                f"A case is named like its file in {self.root / 'images'}, without the suffix."
            )
        return self._by_name[comparable(name)]

    def kept(self, names: Iterable[str]) -> list[str]:
        """Return the names without those of dropped cases, as their images spell them; unknown ones as they are."""
        left = [name for name in names if comparable(name) not in self.dropped]
        return [self._by_name[comparable(name)].name if name in self else name for name in left]

    def select(self, names: Iterable[str]) -> tuple[Case, ...]:
        """Return the cases of these names, in their order.

        Raises:
            DataError: for a name that is not in the dataset.
        """
        return tuple(self.case(name) for name in names)

    @property
    def voxel(self) -> Spacing | None:
        """Size (d, h, w) in mm of the voxels of files that do not know theirs."""
        return voxel_of(self.spacing, self.dims)

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
        meaning = self.encoding, self.classes
        return read_target(case.mask, self.dims, meaning, image=case.image, ignore=self.ignore, partial=self.partial)

    def spacing_of(self, case: Case) -> tuple[float, ...] | None:
        """Return the size of a pixel or voxel of ``case`` along each axis in mm, None where nobody knows."""
        if self.dims == 2:
            return self.spacing
        geometry = read_volume_header(case.image, self.voxel).geometry
        return geometry.spacing if geometry.known else None


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
    voxel = voxel_of(declared_spacing(card, root, layout.dims), layout.dims)
    facts, bad = _verify(layout, names, card, voxel) if skip_bad else ({}, {})
    names = [name for name in names if name not in bad]
    masks = [layout.masks[name] for name in names if name in layout.masks]
    notes = not_read(layout.others)
    meaning = read_encoding(card, masks, facts if skip_bad else None, dims=layout.dims, warn=notes.append)
    for name in names:
        path = layout.masks.get(name)
        problem = facts[path].contradicts(*meaning) if path in facts else None
        if path is not None and problem is not None:
            bad[name] = BadFileError(path, *problem)
    skipped = [*layout.problems, *bad.values()]
    if len(bad) == len(layout.images):
        raise DataError(f"{root} has no case that can be used: {skipped[0].without_hint}")
    kept = [name for name in names if name not in bad]
    dropped = {*map(comparable, bad), *(key_of(problem.path) for problem in layout.problems)}
    dropped -= set(map(comparable, kept))
    return build_dataset(root, layout, card, kept, meaning, groups, skipped, dropped, notes)


def _verify(
    layout: Layout, names: Sequence[str], card: DatasetCard, voxel: Spacing | None
) -> tuple[dict[Path, MaskFacts], dict[str, BadFileError]]:
    """Decode everything; return what the good masks hold, and the problem of each bad case."""
    headers: dict[Path, VolumeHeader] = {}

    def verify(name: str) -> MaskFacts | BadFileError | None:
        try:
            scan = read_scan(layout.images[name], layout.dims, voxel)
            shape = spatial(scan)
            if isinstance(scan, Volume):
                headers[layout.images[name]] = scan.header
            if name not in layout.masks:
                return None
            mask, image = layout.masks[name], layout.images[name]
            facts = read_mask_facts(mask, layout.dims, image=image, ignore=card.ignore)
            return mask_mismatch(mask, image, layout.dims, (facts.size, shape)) or facts
        except BadFileError as problem:
            return problem

    results = dict(zip(names, in_threads(verify, names), strict=True))
    facts = {layout.masks[name]: result for name, result in results.items() if isinstance(result, MaskFacts)}
    bad = {name: result for name, result in results.items() if isinstance(result, BadFileError)}
    return facts, {stem_of(path): problem for path, problem in oversized(headers).items()} | bad


def build_dataset(
    root: Path,
    layout: Layout,
    card: DatasetCard,
    names: Sequence[str],
    meaning: MaskMeaning,
    groups: Path | None,
    skipped: Sequence[BadFileError],
    dropped: Iterable[str],
    notes: Iterable[str] = (),
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
        partial=card.partial,
        regions=card.regions,
        modality=card.modality,
        licence=card.licence,
        source=card.source,
        skipped=tuple(problem.without_hint for problem in skipped),
        dropped=frozenset(dropped),
        groups_given=groups is not None or (root / GROUPS).exists(),
        notes=tuple(notes),
    )
