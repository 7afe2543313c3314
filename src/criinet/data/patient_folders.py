"""Two folders of images and of masks, or a pair of them for each patient, by the names that people give them."""

import shlex
from pathlib import Path
from typing import NamedTuple

from criinet.data.kinds import comparable, is_readable, suffix_of

MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "segmentations", "groundtruth", "gt", "labelsTr")
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "data", "imagesTr")
_PARTS = ("train", "training", "val", "valid", "validation", "test", "testing")
"""Folders of a split, which are no patients."""


class PairFolders(NamedTuple):
    """A folder of images, and one of their masks, None where there are none; ``patient`` is "" if there is one pair."""

    patient: str
    images: Path
    masks: Path | None


def pair_folders(source: Path) -> list[PairFolders]:
    """Return images and masks of a folder, or those of its patients; none if there is no folder of masks.

    Patients are folders in both, images/p1/a.png and masks/p1/a.png, or hold both, p1/images/a.png and p1/masks/a.png.
    """
    images, masks = _named(source, IMAGE_FOLDERS), _named(source, MASK_FOLDERS)
    if images is not None and masks is not None:
        below = {comparable(path.name): path for path in folders_of_images(masks)}
        inside = [] if any(map(_is_file, images.iterdir())) else folders_of_images(images)
        found = [PairFolders(path.name, path, below.get(comparable(path.name))) for path in inside]
        return found if any(each.masks for each in found) else [PairFolders("", images, masks)]
    found = [
        PairFolders(path.name, inner, _named(path, MASK_FOLDERS))
        for path in _folders(source)
        if (inner := _named(path, IMAGE_FOLDERS)) is not None
    ]
    return found if any(each.masks for each in found) else []


def folders_of_images(folder: Path) -> list[Path]:
    """Return the folders in a folder that hold images or volumes, but for the slices of a volume, and for a split."""
    return [path for path in _folders(folder) if not is_readable(path) and any(map(is_readable, path.iterdir()))]


def gathered(source: Path) -> str:
    """Return the command that makes a dataset of folders of patients, "" where there are none."""
    of_patients = any(each.patient for each in pair_folders(source))
    return f"`criinet data import pairs {shlex.quote(str(source))} NEW`" if of_patients else ""


def _folders(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [path for path in found if path.name.lower() not in _PARTS]


def _named(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first folder in a folder that has one of these names, in upper or lower case."""
    found = {path.name.lower(): path for path in _folders(folder)}
    return next((found[name.lower()] for name in names if name.lower() in found), None)


def _is_file(path: Path) -> bool:
    return bool(suffix_of(path)) and is_readable(path)
