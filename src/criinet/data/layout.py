"""Which files of a dataset folder are images, which are masks, and which have no place there."""

from dataclasses import dataclass, field
from pathlib import Path

from criinet.data.images import LISTED, BadFileError
from criinet.data.kinds import (
    SUFFIXES,
    VOLUME_SUFFIXES,
    is_companion,
    is_readable,
    is_volume,
    stem_of,
    suffix_of,
)
from criinet.errors import DataError


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
