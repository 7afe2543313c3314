"""What is no error but makes a score too good or a training useless, in sentences that several commands say."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from criinet.data.dataset import Dataset
from criinet.data.patients import listed, patients_in
from criinet.data.splits import Split

_NAMED = 3
"""So many names of one image are listed."""


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
    """Say what is in two parts of a split, or which images it has several times in one part."""
    twins = _twins(dataset, split)
    notes = leaks(dataset, split)
    if twins and not _torn(split, twins):
        notes.append(f"{_stored(twins)}, all copies of each in one of training, validation and test")
    return notes


def leaks(dataset: Dataset, split: Split) -> list[str]:
    """Say which patients, as names tell them where nobody gave groups, and which images are in two parts of a split."""
    notes = _torn_patients(dataset, split)
    if torn := _torn(split, _twins(dataset, split)):
        notes.append(
            f"{_stored(torn)}, in two of training, validation and test, so that scores are too good; remove the "
            "copies, or keep them in one part"
        )
    return notes


def _torn_patients(dataset: Dataset, split: Split) -> list[str]:
    """Say that nobody gave groups, and that patients, as names tell them, are in two parts of a split."""
    patients = {} if dataset.groups_given else patients_in([case.name for case in dataset.cases])
    torn = _torn(split, list(_members(patients).values()))
    if not torn:
        return []
    return [
        f"names look like {len(set(patients.values()))} patients ({listed(patients.values())}), of whom {len(torn)} "
        "have images in two of training, validation and test, so that scores may be too good. "
        f"{_command(dataset.root)} writes a groups.csv that keeps each in one"
    ]


def _twins(dataset: Dataset, split: Split) -> list[list[str]]:
    """Return the names of each image that a split has under several."""
    used = {*split.train, *split.val, *split.test}
    found = [[name for name in names if name in used] for names in dataset.twins]
    return [names for names in found if len(names) > 1]


def _stored(twins: Sequence[Sequence[str]]) -> str:
    count = "1 image is" if len(twins) == 1 else f"{len(twins)} images are"
    others = len(twins[0]) - _NAMED
    more = f" and {others} more" if others > 0 else ""
    return f"{count} stored under several names (as {' = '.join(twins[0][:_NAMED])}{more})"


def inverted_note(classes: Sequence[str], shares: Sequence[float]) -> list[str]:
    """Say that masks of one class look inverted, by the share of each mask that is no background."""
    if len(classes) != 2 or not shares or (mean := sum(shares) / len(shares)) <= 0.5:
        return []
    return [f"{classes[1]} covers {mean:.0%} of a mask in the mean: are the masks inverted? Background is 0"]


def alone_note(counts: Mapping[str, tuple[int, int]]) -> list[str]:
    """Say that labeled slices stand alone, and that the others count as background; ``counts`` is by mask."""
    if not counts:
        return []
    name, (seen, of) = next(iter(counts.items()))
    return [
        f"masks whose labeled slices all stand alone, though not evenly: {len(counts)}, as of {name} ({seen} of {of} "
        'slices); the other slices count as background. If nobody annotated those, write "partial": true in '
        "dataset.json"
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
