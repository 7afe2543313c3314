"""An image that is stored twice is never both trained and tested on; without such images the draw is what it was."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from criinet.data.check import check_dataset
from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split, without_test
from criinet.data.notes import split_notes
from criinet.data.splits import Split, load_split
from criinet.data.twins import identical_images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty different images c00..c19 with masks."""
    rng = np.random.default_rng(0)
    for i in range(20):
        for kind, values in (("images", rng.integers(0, 256, (9, 9))), ("masks", np.eye(9) * 255)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / kind / f"c{i:02}.png")
    return tmp_path


def double(root: Path, *numbers: int) -> None:
    """Store images and their masks a second time, c07 as x07."""
    for i in numbers:
        for kind in ("images", "masks"):
            shutil.copy(root / kind / f"c{i:02}.png", root / kind / f"x{i:02}.png")


def test_files_of_one_size_are_told_apart_by_their_content(tmp_path):
    """Of five files of one size two are the same, two differ in the middle and one at its end."""
    body = bytes(range(256)) * 1024
    contents = {
        "a": body,
        "b": body,
        "c": body[: len(body) // 2] + b"?" + body[len(body) // 2 + 1 :],
        "d": b"?" * len(body),
        "e": body[:-1] + b"?",
        "f": body[:-1],
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.nii").write_bytes(content)
    assert identical_images({name: tmp_path / f"{name}.nii" for name in [*contents, "missing"]}) == (("a", "b"),)


def test_series_are_the_same_if_all_their_slices_are(tmp_path):
    for name, last in (("a", b"2"), ("b", b"2"), ("c", b"3")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").write_bytes(b"1")
        (tmp_path / name / "2").write_bytes(last)
    assert identical_images({name: tmp_path / name for name in "abc"}) == (("a", "b"),)


def test_copies_are_held_out_together(root):
    double(root, *range(20))
    dataset = open_dataset(root)
    assert len(dataset.twins) == 20
    for seed in range(5):
        split = make_split(dataset, "4", seed)
        parts = [{name[1:] for name in of} for of in (split.train, split.val, split.test)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 20
        assert (len(split.labeled), len(split.test), split.groups) == (4, 8, False)
        assert split_notes(dataset, split) == [
            "20 images are stored under several names (as c00 = x00), all copies of each in one of training, "
            "validation and test"
        ]
        development = make_split(dataset, "4", seed, measure="val")
        assert {name[1:] for name in development.train}.isdisjoint(name[1:] for name in development.test)


def test_a_split_without_copies_is_drawn_as_if_nobody_looked_for_them(root):
    dataset = open_dataset(root)
    assert dataset.together is dataset
    assert make_split(dataset, "4", 2).hash == "4dc3c022a9a2ebb9"


def test_blank_images_bind_nobody(root):
    for i in range(10):
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(root / "images" / f"c{i:02}.png")
    assert open_dataset(root).twins == ()


def test_groups_that_share_an_image_are_held_out_as_one(root):
    """c00 of p0 is c10 of p2, and c19 of p3 is c05 of p1: two groups are left, too few to hold one out."""
    (root / "groups.csv").write_text("case,group\n" + "".join(f"c{i:02},p{i // 5}\n" for i in range(20)))
    assert without_test(open_dataset(root)) == "no test cases in the split, so no Dice will be reported"
    shutil.copy(root / "images" / "c00.png", root / "images" / "c10.png")
    shutil.copy(root / "images" / "c05.png", root / "images" / "c19.png")
    dataset = open_dataset(root)
    assert {case.name: case.group for case in dataset.together.cases if case.name in ("c10", "c11", "c19", "c04")} == {
        "c04": "p0",
        "c10": "p0",
        "c11": "p0",
        "c19": "p1",
    }
    assert make_split(dataset).test == []
    assert without_test(dataset).startswith("no test cases, so no Dice will be reported; holding some out needs")


def test_a_given_split_with_an_image_on_both_sides_is_noted(root):
    double(root, 3)
    (root / "splits").mkdir()
    path = root / "splits" / "default.json"
    path.write_text(json.dumps({"train": ["c00", "c03", "c04"], "test": ["x03", "c05"]}))
    dataset = open_dataset(root)
    (note,) = split_notes(dataset, load_split(path, dataset))
    assert note == (
        "1 image is stored under several names (as c03 = x03), in two of training, validation and test, so that "
        "scores are too good; remove the copies, or keep them in one part"
    )
    assert f"splits/default.json: {note}" in check_dataset(root).notes
    assert split_notes(dataset, make_split(replace(dataset, root=root / "elsewhere"))) == [
        "1 image is stored under several names (as c03 = x03), all copies of each in one of training, validation and "
        "test"
    ]


@pytest.mark.parametrize(("count", "said"), [(3, "(as c0 = c1 = c2), all"), (30, "= c1 = c10 and 27 more), all")])
def test_of_many_copies_three_are_named(count, said, tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        for i in range(count):
            Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / part / f"c{i}.png")
    dataset = open_dataset(tmp_path)
    names = [case.name for case in dataset.cases]
    notes = split_notes(dataset, Split.of(dataset, names, [], [], [], seed=0))
    assert any(said in note for note in notes), notes
