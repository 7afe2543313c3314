"""What an import will do, and the doing of it: whole files only, and the same again changes nothing."""

import filecmp
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.card import GROUPS
from criinet.data.files import csv_text, write_atomically, write_json, write_text_atomically
from criinet.data.geometry import Geometry
from criinet.data.images import write_tiff
from criinet.data.kinds import suffix_of
from criinet.data.masks import read_raw_mask, write_mask
from criinet.data.threads import Advance
from criinet.data.volumes import read_raw_labels, read_volume, write_volume
from criinet.errors import DataError
from criinet.registry import nearest

NOTE = ".import.json"
"""The file of a dataset that holds what was asked for when it was imported."""

_ANY_VALUE = "--any-value-is-object"


@dataclass(frozen=True)
class Wanted:
    """What to take of a source that holds more than one mask or image for each case.

    channel: of scans that have several; None: not said. structures: what becomes class 1, 2, ... of what was drawn.
    any_value_is_object: whatever is above 0 in a mask is the one object, instead of the number of a class.
    """

    channel: int | None = None
    structures: tuple[str, ...] = ()
    any_value_is_object: bool = False


Content = tuple[NDArray[Any], Geometry | None]
"""The values of a file that is made, and of a volume its geometry."""


@dataclass(frozen=True)
class Written:
    """A file that is made, not copied: a volume with its geometry, an image as TIFF, or a mask of class indices."""

    suffix: str
    make: Callable[[], Content]


Source = Path | Written
"""What becomes an image or a mask: a file that is copied as it is, or one that is made."""


def whole(path: Path, *, labels: bool = False) -> Source:
    """Return a file as it is, or, of a header with its pixels in another file, as one file."""
    if suffix_of(path) not in (".mhd", ".nhdr"):
        return path

    def make() -> Content:
        found = read_raw_labels(path) if labels else read_volume(path)
        return found.values, found.geometry

    return Written(".nii.gz", make)


@dataclass(frozen=True)
class Item:
    """One case: its name, image, mask (None: unlabeled) and group."""

    name: str
    image: Source
    mask: Source | None
    group: str


@dataclass(frozen=True)
class ImportPlan:
    """A dataset that an import will write.

    card: what dataset.json will say. splits: lists of case names by part, or empty.
    left_out: one sentence for each thing of the source that is not taken. wanted: what was asked for of the source.
    """

    items: tuple[Item, ...]
    card: Mapping[str, Any]
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    left_out: tuple[str, ...] = ()
    wanted: Wanted = Wanted()

    @property
    def files(self) -> int:
        """How many images and masks there will be."""
        return len(self.items) + sum(item.mask is not None for item in self.items)

    def summary(self) -> list[str]:
        """Say in a few lines what will be written."""
        masks = self.files - len(self.items)
        made = sum(isinstance(part, Written) for item in self.items for part in (item.image, item.mask))
        groups = len({item.group for item in self.items})
        lines = [
            f"{len(self.items)} images, {masks} with a mask, in {groups} groups",
            f"{self.files - made} files are copied as they are, {made} are converted",
        ]
        lines += [f"{key}: {', '.join(v) if isinstance(v, list | tuple) else v}" for key, v in self.card.items()]
        if self.splits:
            lines.append("split: " + ", ".join(f"{len(names)} {part}" for part, names in self.splits.items()))
        return [*lines, *self.left_out]


def counted(structures: Mapping[str, int]) -> str:
    """List what was drawn, and on how many scans."""
    return ", ".join(f"'{name}' (in {count})" for name, count in sorted(structures.items()))


def require_drawn(source: Path, wanted: Sequence[str], structures: Mapping[str, int], *, nothing: str) -> None:
    """Check that wanted structures are drawn somewhere, each wanted once.

    Args:
        structures: on how many scans each is drawn. nothing: what the source lacks if there is none.

    Raises:
        DataError: otherwise; it lists those that are.
    """
    for name in wanted:
        if name not in structures:
            there = f"holds {counted(structures)}; name one" if structures else f"holds {nothing}; drop --structure"
            raise DataError(f"no structure '{name}' is drawn in {source}, which {there}.{nearest(name, structures)}")
        if wanted.count(name) > 1:
            raise DataError(f"--structure {name} is given twice; give it once, a class has one number.")


def carry_out(plan: ImportPlan, root: Path, advance: Advance | None = None) -> int:
    """Write the dataset, dataset.json last, and return how many files were written; what is there already stays.

    What was asked for stands in NOTE: converted volumes are not made again to be compared.

    Raises:
        DataError: if two cases share a name, a file is there that an import would not have written, or what is there
            was imported with other wishes.
        StorageError: if a file cannot be written.
    """
    names = [item.name for item in plan.items]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"the source has two cases called {twice[0]}; rename one, or import them apart.")
    _require_own(root / "images", {f"{item.name}{_suffix(item.image)}" for item in plan.items})
    masked = [(item.name, item.mask) for item in plan.items if item.mask is not None]
    _require_own(root / "masks", {f"{name}{_suffix(mask)}" for name, mask in masked})
    _require_same_wishes(plan, root)
    written = 0
    for number, item in enumerate(plan.items, start=1):
        written += _place(item.image, root / "images", item.name)
        if item.mask is not None:
            written += _place(item.mask, root / "masks", item.name)
        if advance is not None:
            advance(number, len(plan.items))
    if any(item.group != item.name for item in plan.items):
        groups = csv_text({"case": item.name, "group": item.group} for item in plan.items)
        write_text_atomically(root / GROUPS, groups)
    if plan.splits:
        write_json(root / "splits" / "default.json", {part: list(names) for part, names in plan.splits.items()})
    if not (root / "dataset.json").exists():
        write_json(root / "dataset.json", plan.card)
    return written


def _visible(folder: Path) -> list[str]:
    """Return the sorted names of the files in a folder that are not hidden; none where there is no folder."""
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in found if not name.startswith(".")]


def _require_own(folder: Path, names: set[str]) -> None:
    """Refuse a folder that holds files of other names."""
    foreign = next((name for name in _visible(folder) if name not in names), None)
    if foreign is not None:
        raise DataError(f"{folder} holds {foreign}, which is not of this import; choose a new folder.")


def _require_same_wishes(plan: ImportPlan, root: Path) -> None:
    """Refuse a dataset of other classes or, once it holds a file, of other wishes, and note those of this import."""
    note, card = root / NOTE, root / "dataset.json"
    wanted = plan.wanted
    wishes: dict[str, Any] = {"channel": wanted.channel, "structures": list(wanted.structures)}
    wishes[_ANY_VALUE] = wanted.any_value_is_object
    begun = any(_visible(root / "images")) or any(_visible(root / "masks"))
    asked = wishes if begun else {}  # An import that failed at its first file binds nobody.
    for path, mine in ((note, asked), (card, {"classes": plan.card.get("classes")})):
        try:
            theirs: Any = json.loads(path.read_text(encoding="utf-8-sig")) if path.exists() else {}
        except ValueError as error:
            raise DataError(f"{path} is not valid JSON; mend it, or choose a new folder.") from error
        if path is note and isinstance(theirs, dict) and theirs:
            theirs = {_ANY_VALUE: False} | theirs
        for key, value in mine.items():
            if isinstance(theirs, dict) and key in theirs and theirs[key] != value:
                raise DataError(
                    f"{root} was imported with {key} {theirs[key]}, now {value} is asked; choose a new folder."
                )
    write_json(note, wishes)


def _suffix(source: Source) -> str:
    return source.suffix if isinstance(source, Written) else suffix_of(source)


def _place(source: Source, folder: Path, name: str) -> int:
    """Write one file; return 1 if it was not there yet.

    Raises:
        DataError: if another file of that name is there, or a mask that is not the one made now, or what is converted
            cannot be read.
    """
    path = folder / f"{name}{_suffix(source)}"
    if isinstance(source, Path):
        if path.exists():
            if filecmp.cmp(source, path, shallow=False):
                return 0
            raise DataError(f"{path} is there already and is not {source}; remove it, or choose a new folder.")
        with source.open("rb") as original:
            write_atomically(path, lambda file: shutil.copyfileobj(original, file))
        return 1
    if path.exists() and source.suffix != ".png":
        return 0
    try:
        values, geometry = source.make()
    except BadFileError as error:
        raise BadFileError(error.path, error.what, f"{error.remedy}, then import again") from error
    if path.exists():  # A picture is cheap to make again, and people draw again.
        if np.array_equal(read_raw_mask(path).values, values):
            return 0
        raise DataError(f"{path} is there already and is not what the source draws; remove it, or choose a new folder.")
    if source.suffix == ".tif":
        write_tiff(path, values)
    elif geometry is None:
        write_mask(path, values, 256)
    else:
        write_volume(path, values, geometry)
    return 1
