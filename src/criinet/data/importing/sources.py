"""What lies in a source: its files, masks by the case that they belong to, and sentences on what is not taken."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from criinet.data.bad_files import BadFileError
from criinet.data.kinds import is_special, suffix_of
from criinet.data.layout import NOTE
from criinet.data.patients import first_names


def files_below(source: Path) -> list[Path]:
    """Return the files in a folder and in those below it, but for hidden ones and datasets that an import made there.

    A folder is no file, whatever its name ends with.
    """
    found = sorted(source.rglob("*"))
    made = imported_here(source, found)
    return [path for path in found if made.isdisjoint(path.parents) and _is_visible_file(path)]


def imported_here(source: Path, found: Iterable[Path]) -> set[Path]:
    """Return the datasets that imports made in a source, of what was found there."""
    return {path.parent for path in found if path.name == NOTE} - {source}


def readable_files(folder: Path) -> list[Path]:
    """Return the files of images and volumes that lie in a folder itself; none where there is no folder."""
    return [path for path in sorted(folder.glob("*")) if suffix_of(path) and _is_visible_file(path)]


def _is_visible_file(path: Path) -> bool:
    return not (path.name.startswith(".") or path.is_dir() or is_special(path))


def masks_by_case(masks: Iterable[Path], case_of: Callable[[Path], str]) -> dict[str, Path]:
    """Return masks by the cases that their names tell.

    Raises:
        BadFileError: if two are of one case.
    """
    found: dict[str, Path] = {}
    for path in masks:
        first = found.setdefault(case_of(path), path)
        if first is not path:
            raise BadFileError(path, f"is a second mask of one case, beside {first}", "Remove one of them")
    return found


def without_image(masks: Mapping[str, Path], cases: Iterable[str]) -> list[str]:
    """Return a sentence on the masks of cases that have no image; none if all have one."""
    return told(
        "masks left out, as no image has their name", [p.name for case, p in masks.items() if case not in cases]
    )


def told(what: str, names: Sequence[str]) -> list[str]:
    """Return a sentence that counts things and names the first; none if there are none."""
    return [f"{what}: {len(names)} ({first_names(names)})"] if names else []
