"""Whose images these are, told by the names of the cases alone."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from criinet.data.card import GROUPS
from criinet.data.files import csv_text, write_text_atomically
from criinet.data.kinds import comparable
from criinet.data.layout import read_layout
from criinet.errors import ConfigError, DataError

_SEPARATORS = re.compile(r"[-_. ]+")
_FEWEST = 3
"""Fewer parts than this are no patients: two hospitals, or a left and a right."""
_FEWEST_WORDS = 10
"""Fewer parts without a number than this are kinds of images, as benign and malignant."""


def patients_in(names: Sequence[str]) -> dict[str, str]:
    """Return the patient of every case whose name seems to begin with one, as patient001_slice_3; empty if none does.

    Of all beginnings that end before a ``_``, ``-``, ``.`` or space, the shortest are taken that are at least three,
    at most half as many as the names, and mostly shared by several names. So all frames of a patient are together, and
    names that are numbered through, as case_001, say nothing.
    """
    ends = {name: [found.start() for found in _SEPARATORS.finditer(name) if found.start()] for name in names}
    for depth in range(max(map(len, ends.values()), default=0)):
        found = {name: comparable(name[: end[depth]] if depth < len(end) else name) for name, end in ends.items()}
        if _seem_patients(Counter(found.values())):
            return found
    return {}


def _seem_patients(beginnings: Counter[str]) -> bool:
    """Tell by how many names begin alike whether each beginning may be a patient."""
    count = len(beginnings)
    numbered = sum(any(map(str.isdigit, beginning)) for beginning in beginnings)
    fewest = _FEWEST if 2 * numbered > count else _FEWEST_WORDS
    shared = sum(of > 1 for of in beginnings.values())
    return fewest <= count <= beginnings.total() / 2 and 2 * shared > count


def patients_by(pattern: str, names: Sequence[str]) -> dict[str, str]:
    """Return the patient of every case: what a regular expression finds in its name, or its first group if it has one.

    Raises:
        ConfigError: if it is no regular expression.
        DataError: if it finds nothing in a name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"--pattern {pattern} is no regular expression ({error}); write one like 'P[0-9]+'."
        ) from error
    found: dict[str, str] = {}
    for name in names:
        match = expression.search(name)
        patient = "" if match is None else (match[1] if expression.groups else match[0]) or ""
        if not patient.strip():
            raise DataError(f"--pattern {pattern} finds no patient in the name {name}; write one that fits every name.")
        found[name] = comparable(patient.strip())
    return found


def propose_groups(root: Path, pattern: str | None = None) -> dict[str, str]:
    """Return the patient of every case of a dataset folder by its name.

    Args:
        pattern: regular expression of the patient in a name; None: what the names share.

    Raises:
        DataError: if there are groups already, the folder is no dataset, or the names do not tell.
    """
    if (root / GROUPS).exists():
        raise DataError(f"{root / GROUPS} is there already; remove it, if it is to be written anew.")
    names = sorted(read_layout(root).images)
    found = patients_in(names) if pattern is None else patients_by(pattern, names)
    if not found:
        raise DataError(
            f"the names of {root / 'images'} do not tell patients apart; give a regular expression of the patient in a "
            f"name, as --pattern 'P[0-9]+', or write {root / GROUPS} with the columns case,group."
        )
    return found


def write_groups(root: Path, group_of: dict[str, str]) -> None:
    """Write groups.csv of a dataset.

    Raises:
        StorageError: if it cannot be written.
    """
    rows = ({"case": name, "group": group} for name, group in group_of.items())
    write_text_atomically(root / GROUPS, csv_text(rows))


def listed(groups: Iterable[str]) -> str:
    """Name the first three groups."""
    return first_names(sorted(set(groups)))


def first_names(names: Sequence[str]) -> str:
    """Name the first three."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
