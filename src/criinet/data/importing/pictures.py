"""Data sets of 2D images: ISIC, Kvasir-SEG, BUSI, and any two folders of images and masks."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.card import GROUPS, DatasetCard, read_card, read_groups
from criinet.data.encodings import read_encoding
from criinet.data.images import read_page
from criinet.data.importing.colours import read_key
from criinet.data.importing.plan import Content, ImportPlan, Item, Source, Wanted, Written, whole
from criinet.data.kinds import is_readable, is_volume, key_of, pages, stem_of, suffix_of, unmarked
from criinet.data.masks import read_object, read_raw_mask
from criinet.data.patient_folders import PairFolders, pair_folders
from criinet.data.volumes import read_volume
from criinet.errors import DataError


def plan_isic(source: Path, _: Wanted) -> ImportPlan:
    """ISIC challenges: ``ISIC_*.jpg`` and ``ISIC_*_segmentation.png``, in any folders."""
    masks = {path.name.removesuffix("_segmentation.png"): path for path in source.rglob("ISIC_*_segmentation.png")}
    images = sorted(path for path in source.rglob("ISIC_*.jpg"))
    items = tuple(Item(path.stem, path, masks.get(path.stem), path.stem) for path in images)
    return ImportPlan(items, {"name": "isic", "classes": ["background", "lesion"], "source": "ISIC challenge"})


def plan_kvasir(source: Path, _: Wanted) -> ImportPlan:
    """Kvasir-SEG: ``images`` and ``masks`` with files of the same name."""
    root = next((path.parent for path in [source / "masks", *sorted(source.rglob("masks"))] if path.is_dir()), source)
    items = _by_name("", root / "images", root / "masks")
    return ImportPlan(items, {"name": "kvasir-seg", "classes": ["background", "polyp"], "source": "Kvasir-SEG"})


def plan_busi(source: Path, _: Wanted) -> ImportPlan:
    """BUSI: folders benign, malignant and normal; an image may have several masks, which are joined."""
    items: list[Item] = []
    for folder in sorted(path for path in source.rglob("*") if path.name in ("benign", "malignant", "normal")):
        for path in sorted(folder.glob("*.png")):
            if "_mask" in path.stem:
                continue
            masks = sorted(folder.glob(f"{path.stem.replace('[', '[[]')}_mask*.png"))
            mask = None if not masks else masks[0] if len(masks) == 1 else Written(".png", _joined(masks, _marked))
            name = re.sub(r"\W+", "_", path.stem).strip("_")
            items.append(Item(name, path, mask, name))
    card = {"name": "busi", "classes": ["background", "lesion"], "encoding": "binary255", "source": "BUSI"}
    joined = sum(isinstance(item.mask, Written) for item in items)
    notes = (f"{joined} images have several masks, which are joined",) if joined else ()
    return ImportPlan(tuple(items), card, left_out=notes)


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
    folders = pair_folders(source)
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
    return ImportPlan(items, named, left_out=notes + left_out)


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
        read_encoding(card, masks, warn=notes.append)
    except DataError as problem:
        return (f"masks are copied as they are, but {problem}",)
    return tuple(notes)


def _card_of_pairs(source: Path) -> tuple[DatasetCard, tuple[str, ...]]:
    """Return what dataset.json beside the folders says, and a sentence if it cannot be used."""
    try:
        return read_card(source), ()
    except BadFileError as problem:
        return DatasetCard(), (f"dataset.json is left out: {problem}",)


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
    paired: dict[str, list[Path]] = {}
    for path in [] if masks is None else sorted(masks.iterdir()):
        if not suffix_of(path) or not is_readable(path):
            continue
        stem = key_of(path)
        name = stem if stem in found else unmarked(path)[0]
        if name not in found:
            raise BadFileError(path, "has no image of the same name", "Rename or remove it")
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
