"""Data sets of 2D images: ISIC, Kvasir-SEG, BUSI, and any two folders of images and masks."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError, without_hints
from criinet.data.card import GROUPS, DatasetCard, read_card, read_groups
from criinet.data.encodings import read_encoding
from criinet.data.images import read_page
from criinet.data.importing.colours import read_key
from criinet.data.importing.plan import Content, ImportPlan, Item, Source, Wanted, Written, whole
from criinet.data.importing.sources import files_below, imported_here, masks_by_case, told, without_image
from criinet.data.kinds import (
    PICTURE_SUFFIXES,
    comparable,
    is_readable,
    is_volume,
    key_of,
    not_read,
    pages,
    stem_of,
    suffix_of,
    unmarked,
)
from criinet.data.layout import NOTE
from criinet.data.masks import read_object, read_raw_mask
from criinet.data.patient_folders import PairFolders, pair_folders
from criinet.data.splits import DEFAULT, read_split
from criinet.data.volumes import read_volume
from criinet.errors import DataError

_ISIC = re.compile(r"(?P<case>ISIC_\d+(_downsampled)?)(?P<mask>_segmentation)?", re.IGNORECASE)
_BUSI = re.compile(r"(?P<case>.+?)(?P<mask>_mask(_\d+)?)?")
_LISTS = {"train", "labeled", "unlabeled", "val", "test"}
_BUSI_FOLDERS = ("benign", "malignant", "normal")


def plan_isic(source: Path, _: Wanted) -> ImportPlan:
    """ISIC challenges: ``ISIC_*.jpg`` and ``ISIC_*_segmentation.png``, in any folders, in upper or lower case."""
    files = [path for path in _pictures_below(source) if path.name.upper().startswith("ISIC_")]
    found = {path: parts for path in files if (parts := _ISIC.fullmatch(stem_of(path)))}
    masks = masks_by_case(
        (path for path, parts in found.items() if parts["mask"]), lambda path: found[path]["case"].upper()
    )
    images = [path for path, parts in found.items() if not parts["mask"]]
    items = tuple(Item(stem_of(path), path, masks.get(stem_of(path).upper()), stem_of(path)) for path in images)
    others = [path.name for path in files if path not in found]
    left_out = told("files left out, as their names are those of neither images nor masks", others)
    left_out += without_image(masks, {item.name.upper() for item in items})
    card = {"name": "isic", "classes": ["background", "lesion"], "source": "ISIC challenge"}
    return ImportPlan(items, card, left_out=tuple(left_out))


def _pictures_below(source: Path) -> list[Path]:
    return [path for path in files_below(source) if suffix_of(path) in PICTURE_SUFFIXES]


def plan_kvasir(source: Path, _: Wanted) -> ImportPlan:
    """Kvasir-SEG: ``images`` and ``masks`` with files of the same name."""
    homes = [path.parents[1] for path in _pictures_below(source) if path.parent.name == "masks"]
    root = next((home for home in (source, *homes) if (home / "images").is_dir() and (home / "masks").is_dir()), source)
    items = _by_name("", root / "images", root / "masks")
    card = {"name": "kvasir-seg", "classes": ["background", "polyp"], "source": "Kvasir-SEG"}
    return ImportPlan(items, card, left_out=_not_taken([PairFolders("", root / "images", root / "masks")]))


def plan_busi(source: Path, _: Wanted) -> ImportPlan:
    """BUSI: folders benign, malignant and normal; an image may have several masks, which are joined."""
    images: list[Path] = []
    masks: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in _pictures_below(source):
        found = _BUSI.fullmatch(stem_of(path))
        if path.parent.name.lower() not in _BUSI_FOLDERS or found is None:
            continue
        if found["mask"]:
            masks[path.with_name(found["case"])].append(path)
        else:
            images.append(path)
    items: list[Item] = []
    for path in images:
        own = masks.pop(path.with_name(stem_of(path)), [])
        mask = None if not own else own[0] if len(own) == 1 else Written(".png", _joined(own, _marked))
        name = re.sub(r"\W+", "_", stem_of(path)).strip("_")
        items.append(Item(name, path, mask, name))
    card = {"name": "busi", "classes": ["background", "lesion"], "encoding": "binary255", "source": "BUSI"}
    joined = sum(isinstance(item.mask, Written) for item in items)
    left_out = [f"{joined} images have several masks, which are joined"] if joined else []
    left_out += without_image({path.name: path for own in masks.values() for path in own}, ())
    return ImportPlan(tuple(items), card, left_out=tuple(left_out))


def _marked(path: Path) -> NDArray[np.bool_]:
    return read_raw_mask(path).values > 0


def _joined(masks: Sequence[Path], read: Callable[[Path], NDArray[np.bool_]]) -> Callable[[], Content]:
    def make() -> Content:
        found = [read(path) for path in masks]
        if len({mask.shape for mask in found}) > 1:
            raise BadFileError(masks[1], f"has not the size of {masks[0].name}", "Correct or remove one of them")
        return np.where(np.any(found, axis=0), 255, 0).astype(np.uint8), None

    return make


def plan_pairs(source: Path, wanted: Wanted) -> ImportPlan:
    """Two folders, of images and of masks; a mask is named like its image, with or without ``_mask``, ``_seg``, ...

    Folders of patients in the two, or with the two in them, are gathered, and their images named like p1_a of p1/a.png.

    A groups.csv and a dataset.json beside them come along; without the first, folders of patients are the groups. Of
    masks in colour every colour becomes a class. If whatever is above 0 is the object, an image may have several masks,
    as ``_mask_1`` and ``_mask_2``, which are joined.

    Raises:
        DataError: if the two folders are not found, a mask has no image, two images share a name, or the colours are
            not those that are wanted.
    """
    made_here = imported_here(source, source.rglob(NOTE))
    folders = [each for each in pair_folders(source) if made_here.isdisjoint(each.images.parents)]
    if not folders:
        raise DataError(
            f"{source} needs a folder images and a folder masks, or both in a folder of each patient; rename yours so."
        )
    _require_no_strays(folders)
    items = tuple(item for each in folders for item in _by_name(*each, objects=wanted.any_value_is_object))
    if wanted.channel is not None:
        items = _of_one_page(source, items, wanted.channel)
    made: dict[str, Any] = {"encoding": "binary255"} if wanted.any_value_is_object else {}
    notes: tuple[str, ...] = ()
    drawn = [item.mask for item in items if isinstance(item.mask, Path) and not is_volume(item.mask)]
    card, left_out = _card_of_pairs(source)
    if not wanted.any_value_is_object and (key := read_key(source, drawn, wanted.structures, card)) is not None:
        items = tuple(replace(item, mask=key.mask(item.mask) if item.mask in drawn else item.mask) for item in items)
        made, notes = key.card, key.notes
    if (source / GROUPS).exists():
        group_of = read_groups(source, [item.name for item in items])
        items = tuple(replace(item, group=group_of[item.name]) for item in items)
    if drawn and not made:
        notes = _notes_of_check(card, drawn)
    named = {"name": re.sub(r"\W+", "-", source.resolve().name)} | _said(card, made)
    splits, unsplit = _split_of_pairs(source, items)
    return ImportPlan(items, named, splits, notes + left_out + unsplit + _not_taken(folders))


def _not_taken(folders: Sequence[PairFolders]) -> tuple[str, ...]:
    """Return sentences on what lies in folders of images and masks and is neither."""
    inside = [
        path for each in folders for folder in each[1:] if folder is not None for path in sorted(folder.iterdir())
    ]
    series = [path.name for path in inside if path.is_dir() and is_readable(path)]
    return (*not_read(inside), *told("folders of DICOM files left out, which import dicom takes", series))


def _split_of_pairs(source: Path, items: Sequence[Item]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return what the saved split of the source says, and a sentence if it cannot be used."""
    if not (source / DEFAULT).exists():
        return {}, ()
    try:
        with without_hints():
            found = read_split(source / DEFAULT).model_dump(include=_LISTS, exclude_none=True)
    except DataError as problem:
        return {}, (f"{DEFAULT} is left out: {problem}",)
    known = {comparable(item.name) for item in items}
    unknown = [name for names in found.values() for name in names if comparable(name) not in known]
    said = told(f"{DEFAULT} is left out, as it names cases that are not here", unknown)
    return {} if unknown else found, tuple(said)


def _of_one_page(source: Path, items: Sequence[Item], number: int) -> tuple[Item, ...]:
    """Take one page, or channel, of each image that has several.

    Raises:
        DataError: if no image has several, or a mask has, so that they are volumes.
    """
    deep = next((item.mask for item in items if isinstance(item.mask, Path) and is_volume(item.mask)), None)
    if deep is not None:
        raise BadFileError(deep, "is a volume, so that its image is one", "Leave out --channel")
    several = {item.image for item in items if isinstance(item.image, Path) and pages(item.image) > 1}
    if not several:
        raise DataError(f"{source} has no TIFF image of several pages or channels; leave out --channel.")

    def page_of(path: Path) -> Written:
        return Written(".tif", lambda: (read_page(path, number), None))

    return tuple(
        replace(item, image=page_of(item.image)) if isinstance(item.image, Path) and item.image in several else item
        for item in items
    )


def _notes_of_check(card: DatasetCard, masks: Sequence[Path]) -> tuple[str, ...]:
    """Return what the check of the new dataset will say of masks that are copied as they are."""
    notes: list[str] = []
    try:
        with without_hints():
            read_encoding(card, masks, warn=notes.append)
    except DataError as problem:
        return (f"masks are copied as they are, but {problem}",)
    return tuple(notes)


def _card_of_pairs(source: Path) -> tuple[DatasetCard, tuple[str, ...]]:
    """Return what dataset.json beside the folders says, and a sentence if it cannot be used."""
    try:
        return read_card(source), ()
    except BadFileError as problem:
        return DatasetCard(), (f"dataset.json is left out: {problem.without_hint}",)


def _said(card: DatasetCard, made: dict[str, Any]) -> dict[str, Any]:
    """Return what a card says that still holds.

    Args:
        made: what is to be said of masks that are made; empty where they are copied.
    """
    said = card.model_dump(mode="json", exclude_unset=True, include=set(type(card).model_fields))
    if not made:
        return said
    meaning = {"encoding", "ignore", "partial", "regions", *(() if len(card.classes or ()) == 2 else ("classes",))}
    return {key: value for key, value in said.items() if key not in meaning} | made


def _require_no_strays(folders: Sequence[PairFolders]) -> None:
    """Refuse masks beside the folders of patients that have masks, which would be of nobody."""
    known = {each.masks for each in folders if each.patient and each.masks is not None}
    for home in sorted({path.parent for path in known} - {each.images.parent for each in folders}):
        for path in sorted(home.iterdir()):
            if path not in known and not path.name.startswith(".") and (is_readable(path) or path.is_dir()):
                raise BadFileError(path, "is of no folder of images", "Name its folder like that of its images")


def _by_name(patient: str, images: Path, masks: Path | None, *, objects: bool = False) -> tuple[Item, ...]:
    """Pair the files of two folders by name; of a ``patient`` they are named after both.

    Args:
        objects: whatever is above 0 in a mask is the object, and several masks of an image are joined.

    Raises:
        DataError: if a folder is missing, or a mask has no image, or an image several masks that are not joined.
    """
    if not images.is_dir() or (masks is not None and not masks.is_dir()):
        raise DataError(f"{images} and {masks} must both be there; check the folder.")
    found: dict[str, Path] = {}
    for path in sorted(path for path in images.iterdir() if suffix_of(path) and is_readable(path)):
        if key_of(path) in found:
            raise BadFileError(path, f"has the same name as {found[key_of(path)].name}", "Rename or remove one of them")
        found[key_of(path)] = path
    drawn = [] if masks is None else [path for path in sorted(masks.iterdir()) if suffix_of(path) and is_readable(path)]
    named = {path: key_of(path) if key_of(path) in found else unmarked(path)[0] for path in drawn}
    of_one = bool(patient) and len(found) == 1 and found.keys().isdisjoint(named.values())
    if of_one and objects:  # A folder of one image, and of a mask for each object.
        named = dict.fromkeys(drawn, next(iter(found)))
    paired: dict[str, list[Path]] = {}
    for path, name in named.items():
        if name not in found:
            joins = "If all masks of this folder are of its one image, --any-value-is-object joins them; else rename "
            raise BadFileError(path, "has no image of the same name", f"{joins if of_one else 'Rename '}or remove it")
        paired.setdefault(name, []).append(path)
        if len(paired[name]) > 1 and not objects:
            remedy = "Where both show one kind of object, --any-value-is-object joins them; else rename or remove it"
            raise BadFileError(path, f"is a second mask of {name}, beside {paired[name][0].name}", remedy)
    case_of = {name: f"{patient}_{stem_of(path)}" if patient else stem_of(path) for name, path in found.items()}
    return tuple(
        Item(case_of[name], whole(path), _mask(paired.get(name, []), objects=objects), patient or case_of[name])
        for name, path in found.items()
    )


def _mask(paths: Sequence[Path], *, objects: bool) -> Source | None:
    """Return what becomes the mask of a case that has these."""
    if not paths or not objects:
        return whole(paths[0], labels=True) if paths else None
    if not any(map(is_volume, paths)):
        return Written(".png", _joined(paths, read_object))
    if len(paths) > 1:
        raise BadFileError(paths[1], f"is a second mask of a volume, beside {paths[0].name}", "Join them into one")

    def make() -> Content:
        found = read_volume(paths[0])
        return np.where(found.values > 0, 255, 0).astype(np.uint8), found.geometry

    return Written(".nii.gz", make)
