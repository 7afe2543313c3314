"""Text files that list the cases of a part, as semi-supervised benchmarks publish their splits."""

import re
from collections.abc import Collection
from pathlib import Path

from criinet.data.bad_files import in_a_sentence
from criinet.data.importing.sources import told

_PARTS = ("train", "val", "test")
_NAMES = ("{}.list", "{}.txt", "{}_slices.list")


def read_lists(source: Path, cases: Collection[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the cases of each part, or nothing where the lists make no split, and sentences on what they name besides.

    A list of slices names their volumes; a name may lack the ``_norm`` that its file has.

    Raises:
        BadFileError: if a list is no text.
    """
    case_of = {case.removesuffix("_norm"): case for case in cases} | {case: case for case in cases}
    splits: dict[str, list[str]] = {}
    said: list[str] = []
    for part in _PARTS:
        path = next((path for name in _NAMES for path in sorted(source.rglob(name.format(part)))), None)
        listed = [] if path is None else _names_in(path)
        splits[part] = [case_of[name] for name in listed if name in case_of]
        said += told(f"names in {path} that no case has", [name for name in listed if name not in case_of])
    if splits["train"] and splits["test"]:
        return splits, said
    lacking = " and ".join(part for part in ("train", "test") if not splits[part])
    return {}, [*said, f"the lists make no split, as none has cases of {lacking}"] if any(splits.values()) else said


def _names_in(path: Path) -> list[str]:
    """Return what a list names, each once, without folders and suffixes."""
    with in_a_sentence(path, "is no text in UTF-8"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    files = (line.strip().rstrip("/").removesuffix("/mri_norm2.h5").rpartition("/")[2] for line in lines)
    return [name for name in dict.fromkeys(re.sub(r"(_slice_\d+)?(\.h5)?$", "", file) for file in files) if name]
