"""What an import will do, and the doing of it: whole files only, and the same again changes nothing."""

import filecmp
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from criinet.data.bad_files import BadFileError, in_a_sentence, without_hints
from criinet.data.card import GROUPS, DatasetCard, what_is_bad
from criinet.data.files import csv_text, read_json, write_atomically, write_json, write_text_atomically
from criinet.data.geometry import Geometry
from criinet.data.images import write_tiff
from criinet.data.kinds import suffix_of
from criinet.data.layout import FINISHED, NOTE
from criinet.data.masks import read_raw_mask, write_mask
from criinet.data.splits import DEFAULT
from criinet.data.threads import Advance
from criinet.data.volumes import read_raw_labels, read_volume, write_volume
from criinet.errors import DataError
from criinet.registry import nearest

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
    source: the folder that it was made of, None if nobody says.
    """

    items: tuple[Item, ...]
    card: Mapping[str, Any]
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    left_out: tuple[str, ...] = ()
    wanted: Wanted = Wanted()
    source: Path | None = None

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
        lines += [f"{key}: {_listed(value)}" for key, value in self.card.items()]
        if self.splits:
            lines.append("split: " + ", ".join(f"{len(names)} {part}" for part, names in self.splits.items()))
        return [*lines, *self.left_out]


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} ({_listed(parts)})" for name, parts in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def require_card(source: Path, card: Mapping[str, Any]) -> None:
    """Check that dataset.json can be what a source says.

    Raises:
        DataError: otherwise.
    """
    try:
        DatasetCard.model_validate(card)
    except ValidationError as error:
        key, reason = what_is_bad(error)
        said = shorten(_listed(card.get(key)), 100)
        what = f"{source} makes a dataset of bad {key} ({said}): {reason}"
        raise DataError(f"{what}. Correct it in the source.") from error


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


@without_hints()
def carry_out(plan: ImportPlan, root: Path, advance: Advance | None = None) -> int:
    """Write the dataset and return how many files were written; what is there already stays.

    Nothing is written before all that is there is found to be of this import: a mask is made again to be compared, an
    image that is converted is not. What was asked for stands in NOTE, and that it is not finished until it is.

    Raises:
        DataError: if two cases share a name, ``root`` is the source, a file is there that an import would not have
            written, or what is there was imported with other wishes.
        StorageError: if a file cannot be written.
    """
    wishes = _require_own(plan, root)
    files = [
        (source, root / part / f"{item.name}{_suffix(source)}")
        for item in plan.items
        for part, source in (("images", item.image), ("masks", item.mask))
        if source is not None
    ]
    done = count(1)

    def step() -> None:
        if advance is not None:
            advance(next(done), len(files))

    missing: list[tuple[Source, Path]] = []
    for source, path in files:
        if _is_there(source, path):
            step()
        else:
            missing.append((source, path))
    if missing:
        write_json(root / NOTE, wishes | {FINISHED: False})
    for source, path in missing:
        _write(source, path)
        step()
    _write_tables(plan, root, anew=bool(missing))
    write_json(root / NOTE, wishes | {FINISHED: True})
    return len(missing)


def _write_tables(plan: ImportPlan, root: Path, *, anew: bool) -> None:
    """Write what is said of all files, unless it is there: groups (``anew`` with new files), a split, dataset.json."""
    if any(item.group != item.name for item in plan.items) and (anew or not (root / GROUPS).exists()):
        groups = csv_text({"case": item.name, "group": item.group} for item in plan.items)
        write_text_atomically(root / GROUPS, groups)
    if plan.splits and not (root / DEFAULT).exists():
        write_json(root / DEFAULT, {part: list(names) for part, names in plan.splits.items()})
    if not (root / "dataset.json").exists():
        write_json(root / "dataset.json", plan.card)


def _require_own(plan: ImportPlan, root: Path) -> dict[str, Any]:
    """Refuse a folder that holds what is not of this import, and return what is wished."""
    if plan.source is not None and plan.source.resolve() == root.resolve():
        raise DataError(f"{root} is the source itself; choose a new folder for the dataset.")
    if (root / "dataset.json").exists() and not (root / NOTE).exists():
        raise DataError(f"{root} holds a dataset.json that is not of an import; choose a new folder.")
    twice = sorted(name for name, times in Counter(item.name for item in plan.items).items() if times > 1)
    if twice:
        raise DataError(f"the source has two cases called {twice[0]}; rename one, or import them apart.")
    _require_no_others(root / "images", {f"{item.name}{_suffix(item.image)}" for item in plan.items})
    masked = [(item.name, item.mask) for item in plan.items if item.mask is not None]
    _require_no_others(root / "masks", {f"{name}{_suffix(mask)}" for name, mask in masked})
    return _require_same_wishes(plan, root)


def _visible(folder: Path) -> list[str]:
    """Return the sorted names of the files in a folder that are not hidden; none where there is no folder."""
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in found if not name.startswith(".")]


def _require_no_others(folder: Path, names: set[str]) -> None:
    """Refuse a folder that holds files of other names."""
    foreign = next((name for name in _visible(folder) if name not in names), None)
    if foreign is not None:
        raise DataError(f"{folder} holds {foreign}, which is not of this import; choose a new folder.")


def _require_same_wishes(plan: ImportPlan, root: Path) -> dict[str, Any]:
    """Refuse a dataset of other classes or, once it holds a file, of other wishes, and return those of this import."""
    wanted = plan.wanted
    wishes: dict[str, Any] = {"channel": wanted.channel, "structures": list(wanted.structures)}
    wishes[_ANY_VALUE] = wanted.any_value_is_object
    begun = any(_visible(root / "images")) or any(_visible(root / "masks"))
    asked = wishes if begun else {}  # An import that failed at its first file binds nobody.
    meant = {"classes": plan.card.get("classes")} | ({"ignore": True} if plan.card.get("ignore") else {})
    for path, mine, unsaid in ((root / NOTE, asked, _ANY_VALUE), (root / "dataset.json", meant, "ignore")):
        theirs = read_json(path, "Change its permissions", "Mend it, or choose a new folder") if path.exists() else {}
        theirs = {unsaid: False} | theirs if isinstance(theirs, dict) and theirs else {}
        for key, value in mine.items():
            if key in theirs and theirs[key] != value:
                raise DataError(
                    f"{root} was imported with {key} {theirs[key]}, now {value} is asked; choose a new folder."
                )
    return wishes


def _suffix(source: Source) -> str:
    return source.suffix if isinstance(source, Written) else suffix_of(source)


def _is_there(source: Source, path: Path) -> bool:
    """Tell whether a file is there; of what is converted, only masks are made again to be compared.

    Raises:
        DataError: if another file of that name is there, a mask that is not the one made now, or the source is no file.
    """
    if isinstance(source, Path):
        if not source.is_file():
            what = "is no file, nor a link to one"
            raise BadFileError(source, what, "Remove it, or put the file there, then import again")
        if path.exists() and not filecmp.cmp(source, path, shallow=False):
            raise DataError(f"{path} is there already and is not {source}; remove it, or choose a new folder.")
    elif path.exists() and path.parent.name == "masks" and not _holds(path, *_made(source)):
        raise DataError(f"{path} is there already and is not what the source draws; remove it, or choose a new folder.")
    return path.exists()


def _holds(path: Path, values: NDArray[Any], geometry: Geometry | None) -> bool:
    """Tell whether a mask that was written is this one."""
    if geometry is None:
        return np.array_equal(read_raw_mask(path).values, values)
    found = read_raw_labels(path)
    return np.array_equal(found.values, values) and found.geometry.difference(geometry, values.shape) is None


def _made(source: Written) -> Content:
    """Return the content of a file that is made, which cannot be left out if something is wrong with it."""
    try:
        return source.make()
    except BadFileError as error:
        raise BadFileError(error.path, error.what, f"{error.remedy}, then import again") from error


def _write(source: Source, path: Path) -> None:
    """Write one file.

    Raises:
        DataError: if its source cannot be read.
        StorageError: if it cannot be written.
    """
    if isinstance(source, Path):
        with in_a_sentence(source, "cannot be read"):
            original = source.open("rb")
        with original:
            write_atomically(path, lambda file: shutil.copyfileobj(original, file))
        return
    values, geometry = _made(source)
    if source.suffix == ".tif":
        write_tiff(path, values)
    elif geometry is None:
        write_mask(path, values, 256)
    else:
        write_volume(path, values, geometry)
