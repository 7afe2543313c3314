"""Which files of a dataset folder are images, which are masks, and which have no place there."""

import os
import shlex
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from criinet.data.bad_files import LISTED, BadFileError
from criinet.data.files import read_json
from criinet.data.kinds import (
    SUFFIXES,
    VOLUME_SUFFIXES,
    comparable,
    is_companion,
    is_readable,
    is_volume,
    key_of,
    pages_of,
    stem_of,
    suffix_of,
    unmarked,
)
from criinet.data.patient_folders import folders_of_images, gathered
from criinet.errors import DataError

NOTE = ".import.json"
"""The file of a dataset that holds what was asked for when it was imported."""

FINISHED = "finished"
"""Its key that says whether all of it was written; older notes lack it."""


@dataclass
class Layout:
    """Which images and masks lie in a dataset folder, by case name, and which files have no place there.

    A case is named like its image, to which a mask belongs whose name is the same in any Unicode form.

    dims: 2 if the images are images, 3 if they are volumes.
    """

    dims: int = 2
    images: dict[str, Path] = field(default_factory=dict[str, Path])
    masks: dict[str, Path] = field(default_factory=dict[str, Path])
    problems: list[BadFileError] = field(default_factory=list[BadFileError])
    others: list[Path] = field(default_factory=list[Path])


def read_layout(root: Path) -> Layout:
    """List the images and masks of a dataset folder; misplaced files are collected as problems, not raised.

    Raises:
        DataError: if the folder is missing, has no images/ folder, has no images, or its import was stopped.
    """
    if not root.is_dir():
        raise DataError(f"dataset folder {root} does not exist; check the path.")
    require_finished(root)
    layout = Layout()
    if not (root / "images").is_dir():
        if command := gathered(root):
            raise DataError(f"{root} is not a dataset; if its folders are of patients, {command} makes one of them.")
        where = f"put the images in {root / 'images'} and masks in {root / 'masks'}"
        raise DataError(f"{root} is not a dataset; {where}{_of_outlines(root)}.")
    images = _by_key(root / "images", layout)
    layout.images = {stem_of(path): path for path in images.values()}
    if not layout.images and not layout.problems:
        if command := gathered(root):
            raise DataError(f"{root / 'images'} has no images but folders of them; {command} makes a dataset of all.")
        below = folders_of_images(root / "images")
        if below:
            apart = " and its like, under names of their own," if len(below) > 1 else ""
            raise DataError(
                f"{root / 'images'} has no images; move those of {below[0]}{apart} into it{_of_outlines(root)}."
            )
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(f"{root / 'images'} has no images; put files of these kinds in it: {kinds}.")
    masks = _by_key(root / "masks", layout) if (root / "masks").is_dir() else {}
    twins = {key_of(problem.path) for problem in layout.problems}
    layout.problems += _strays(root, masks, images, twins)
    layout.masks = {stem_of(images[key]): path for key, path in masks.items() if key in images}
    layout.images = {name: path for name, path in layout.images.items() if comparable(name) not in twins}
    _keep_apart(layout)
    return layout


def require_finished(root: Path) -> None:
    """Check that a folder, if an import writes it, is whole.

    Raises:
        DataError: otherwise.
    """
    path = root / NOTE
    note = read_json(path, "Change its permissions", "Remove it, or import into a new folder") if path.exists() else {}
    if isinstance(note, dict) and note.get(FINISHED) is False:
        raise DataError(f"{root} is not whole, as its import was stopped; import it again with the same command.")


def _of_outlines(root: Path) -> str:
    """Continue a sentence on a folder that is no dataset, where it holds what annotation tools write."""
    files = [path.name for folder in (root, root / "annotations") for path in folder.glob("*.json")]
    if files in ([], ["dataset.json"]):
        return ""
    command = f"`criinet data import labelme {shlex.quote(str(root))} NEW`"
    return f"; or, if outlines are drawn in its JSON files, {command} (or coco) makes a dataset"


def _strays(
    root: Path, masks: Mapping[str, Path], images: Mapping[str, Path], twins: Collection[str]
) -> list[BadFileError]:
    """Return what is wrong with each mask that has no image of its name, and the image that is likely meant."""
    folded = {key.casefold(): path for key, path in images.items()}
    strays = [path for key, path in masks.items() if key not in images and key not in twins]
    likely = {path: found for path in strays if (found := _nearest_image(key_of(path), folded)) is not None}
    meant = Counter([*likely.values(), *(images[key] for key in masks if key in images)])
    marked = [path for path in strays if unmarked(path)[0] in images and not unmarked(path)[1]]
    command = f"`criinet data import pairs {shlex.quote(str(root))} NEW"
    problems: list[BadFileError] = []
    for path in strays:
        image = likely.get(path)
        name = f"{'' if image is None else stem_of(image)}{suffix_of(path)}"
        what, remedy = "has no image of the same name", f"Name it {name}, if that is its image, or remove it"
        if image is None:
            remedy = "Name it like its image or remove it"
        elif meant[image] > 1:
            what = f"seems to be one of {meant[image]} masks of {image.name}"
            remedy = (
                f"Join them into one mask {name}: if all show one kind of object, {command} --any-value-is-object` does"
            )
        elif path in marked and 2 * len(marked) > len(masks) > 1:
            remedy = f"{command}` pairs all {len(marked)} that are named so; or name it {name}"
        problems.append(BadFileError(path, what, remedy, LISTED))
    return problems


def _nearest_image(key: str, folded: Mapping[str, Path]) -> Path | None:
    """Return the image whose name is the longest beginning of a mask's, in upper or lower case, if there is one."""
    key = key.casefold()
    return next((folded[key[:end]] for end in range(len(key), 0, -1) if key[:end] in folded), None)


def _keep_apart(layout: Layout) -> None:
    """Tell whether the dataset is of images or of volumes, by most files; what is of the other kind is a problem."""
    paths = [*layout.images.values()]
    volumes = [path.is_dir() or suffix_of(path) in VOLUME_SUFFIXES for path in paths]
    by_pages = bool(paths) and not any(volumes) and is_volume(paths[0])
    layout.dims = 3 if 2 * sum(volumes) > len(paths) or by_pages else 2
    if by_pages:
        _keep_from_flat_masks(layout)
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


def _keep_from_flat_masks(layout: Layout) -> None:
    """Make a problem of each image that counts as a volume for its pages, though its mask has one; the mask goes."""
    for name, mask in list(layout.masks.items()):
        image = layout.images[name]
        if is_volume(image) and not is_volume(mask):
            command = f"`criinet data import pairs {shlex.quote(str(image.parent.parent))} NEW --channel 0`"
            what = f"holds {pages_of(image)}, so that it counts as a volume, though its mask {mask.name} is flat"
            remedy = f"{command} takes the first of each image, 1 the second, and so on"
            layout.problems.append(BadFileError(image, what, remedy, LISTED))
            del layout.masks[name]


def _by_key(folder: Path, layout: Layout) -> dict[str, Path]:
    """Map comparable names to files; a name that occurs twice goes to the problems, other files to the others."""
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
        readable = os.fsencode(path).decode("utf-8", "backslashreplace")
        if readable != str(path):
            what = "has a name that is not in UTF-8, as old archives give"
            layout.problems.append(BadFileError(Path(readable), what, "Rename it", LISTED))
            continue
        key = key_of(path)
        if key in found:
            twins.add(key)
            what = f"has the same name as {found[key].name}"
            layout.problems.append(BadFileError(path, what, "Rename or remove one of the two", LISTED))
        else:
            found[key] = path
    return {key: path for key, path in found.items() if key not in twins}
