"""What is no error but makes a score too good or a training useless, in sentences that several commands say."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from criinet.data.dataset import Dataset
from criinet.data.patients import listed, patients_in
from criinet.data.splits import Split


def patients_note(root: Path, names: Sequence[str]) -> list[str]:
    """Say that names look like patients where nobody gave groups."""
    patients = set(patients_in(names).values())
    if not patients:
        return []
    return [
        f"names look like {len(patients)} patients ({listed(patients)}); without groups.csv their images are drawn "
        f"apart, so that a patient may be in training and test. {_command(root)} writes one"
    ]


def split_notes(dataset: Dataset, split: Split) -> list[str]:
    """Say what a person should know of a split: who is in two parts of it."""
    if dataset.groups_given:
        return []
    patients = patients_in([case.name for case in dataset.cases])
    torn = _torn(split, list(_members(patients).values()))
    if not torn:
        return []
    return [
        f"names look like {len(set(patients.values()))} patients ({listed(patients.values())}), of whom {len(torn)} "
        "have images in two of training, validation and test, so that scores may be too good. "
        f"{_command(dataset.root)} writes a groups.csv that keeps each in one"
    ]


def _command(root: Path) -> str:
    return f"`criinet data groups {shlex.quote(str(root))}`"


def _members(group_of: dict[str, str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for name, group in group_of.items():
        members.setdefault(group, []).append(name)
    return members


def _torn(split: Split, sets: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Return the sets of names that are in two of training, validation and test."""
    parts = {name: part for part in ("train", "val", "test") for name in getattr(split, part)}
    return [names for names in sets if len({parts[name] for name in names if name in parts}) > 1]
