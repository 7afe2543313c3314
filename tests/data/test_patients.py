"""Patients are told by the names of their images where nobody says whose they are, and nobody is told by a number."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from criinet.data.check import check_dataset
from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split
from criinet.data.notes import split_notes
from criinet.data.patients import patients_by, patients_in, propose_groups, write_groups
from criinet.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        ([f"patient{p:03}_frame{f:02}_slice_{s}" for p in range(6) for f in (1, 9) for s in range(3)], 6),
        ([f"{p:03}-{s}" for p in range(4) for s in range(2)], 4),
        ([f"study.P{p}.{side}" for p in range(9) for side in ("left", "right")], 9),
        ([f"clip {p} frame {s}" for p in range(3) for s in range(5)], 3),
        ([f"{word * 2}_{s}" for word in "abcdefghij" for s in range(2)], 10),
        ([*(f"p{p}_{s}" for p in range(5) for s in range(4)), "p5", "p6"], 7),
    ],
)
def test_the_shortest_beginning_that_several_names_share_is_the_patient(names, patients):
    found = patients_in(names)
    assert found.keys() == set(names)
    assert len(set(found.values())) == patients


@pytest.mark.parametrize(
    "names",
    [
        [f"case_{i:03}" for i in range(700)],
        [f"ISIC_{i:07}_x" for i in range(50)],
        [f"{kind}_{i}" for kind in ("benign", "malignant", "normal") for i in range(50)],
        [f"{hospital}_{i}" for hospital in ("A1", "B2") for i in range(50)],
        [f"p{i}_1" for i in range(20)],
        [f"cju{i * 7919:x}" for i in range(50)],
        [f"_{i}" for i in range(50)],
        ["a"],
        [],
    ],
)
def test_numbers_kinds_and_hospitals_are_no_patients(names):
    assert patients_in(names) == {}


def test_a_pattern_finds_the_patient_in_a_name():
    assert patients_by("P[0-9]+", ["xP1y", "P22-z"]) == {"xP1y": "P1", "P22-z": "P22"}
    assert patients_by("(?:a|b)_([0-9])", ["a_1x", "b_1y"]) == {"a_1x": "1", "b_1y": "1"}
    with pytest.raises(DataError, match="P finds no patient in the name q; write one that fits every name"):
        patients_by("P", ["P", "q"])
    with pytest.raises(ConfigError, match=r"--pattern \( is no regular expression"):
        patients_by("(", ["P"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four different images, all with masks, of each of six patients, as their names say and nothing else does."""
    rng = np.random.default_rng(0)
    for name in (f"p{p}_{s}" for p in range(6) for s in range(4)):
        for kind, values in (("images", rng.integers(0, 256, (9, 9))), ("masks", np.eye(9) * 255)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / kind / f"{name}.png")
    return tmp_path


def test_without_groups_it_is_said_that_patients_are_torn_apart(root):
    look = "names look like 6 patients (p0, p1, p2, ...)"
    report = check_dataset(root)
    assert not report.groups_given
    assert [note[: len(look)] for note in report.notes] == [look]
    assert f"`criinet data groups {root}` writes one" in report.notes[0]
    dataset = open_dataset(root)
    (note,) = split_notes(dataset, make_split(dataset))
    assert note.startswith(f"{look}, of whom ")
    assert "have images in two of training, validation and test, so that scores may be too good" in note


def test_groups_written_from_the_names_keep_patients_together_and_nothing_is_said(root):
    write_groups(root, propose_groups(root))
    report, dataset = check_dataset(root), open_dataset(root)
    assert (report.groups, report.groups_given, report.notes) == (6, True, ())
    split = make_split(dataset)
    assert split.groups
    assert split_notes(dataset, split) == []
    with pytest.raises(DataError, match=r"groups\.csv is there already; remove it"):
        propose_groups(root)


def test_a_split_that_keeps_patients_together_needs_no_word(root):
    (root / "splits").mkdir()
    train, test = ([f"p{p}_{s}" for p in of for s in range(4)] for of in ((0, 1, 2, 3), (4, 5)))
    (root / "splits" / "default.json").write_text(f'{{"train": {train}, "test": {test}}}'.replace("'", '"'))
    dataset = open_dataset(root)
    assert split_notes(dataset, make_split(dataset)) == []
    assert check_dataset(root).notes == ()
    train[0], test[0] = test[0], train[0]
    (root / "splits" / "default.json").write_text(f'{{"train": {train}, "test": {test}}}'.replace("'", '"'))
    (note,) = check_dataset(root).notes
    assert note.startswith("splits/default.json: names look like 6 patients (p0, p1, p2, ...), of whom 2 have images")


def test_names_that_do_not_tell_want_a_pattern(root):
    for path in [*root.glob("*/*.png")]:
        path.rename(path.with_name(f"case_{path.name.replace('_', '')}"))
    with pytest.raises(DataError, match=r"do not tell patients apart; give a regular expression .* --pattern"):
        propose_groups(root)
    assert len(set(propose_groups(root, "p[0-9]").values())) == 6
