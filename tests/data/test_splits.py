"""Splits: parts share nothing, groups stay whole, and the same seed gives the same split."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from criinet.data.dataset import Case, Dataset, open_dataset
from criinet.data.draws import Amount, make_split, without_test
from criinet.data.splits import Split, load_split, save_split
from criinet.errors import DataError


def build(count: int, masked: int, *, per_group: int = 1, order: int = 1, root: Path = Path("nowhere")) -> Dataset:
    """A dataset of names alone: the first ``masked`` cases have masks."""
    cases = [
        Case(f"c{i:03}", Path(f"c{i}.png"), Path(f"m{i}.png") if i < masked else None, f"g{i // per_group:03}")
        for i in range(count)
    ]
    if per_group == 1:
        cases = [Case(c.name, c.image, c.mask, c.name) for c in cases]
    return Dataset(root, "toy", ("background", "x"), "index", None, tuple(cases[::order]))


def parts(split: Split) -> list[set[str]]:
    return [set(split.labeled), set(split.unlabeled), set(split.val), set(split.test)]


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(1, 80),
    share=st.floats(0, 1),
    per_group=st.integers(1, 5),
    amount=st.sampled_from([None, "1", "3", "4%", "50%", "100%"]),
    seed=st.integers(0, 5),
)
def test_parts_are_disjoint_and_groups_stay_whole(count, share, per_group, amount, seed):
    masked = round(share * count)
    dataset = build(count, masked, per_group=per_group)
    try:
        split = make_split(dataset, amount, seed)
    except DataError as error:
        assert "no mask" in str(error) or "have masks" in str(error)
        return
    split.verify()
    sets = parts(split)
    assert sum(map(len, sets)) == len(set().union(*sets))
    assert split.labeled
    assert len(split.val) <= len(split.labeled)
    group = {case.name: case.group for case in dataset.cases}
    train, val, test = ({group[name] for name in names} for names in (split.train, split.val, split.test))
    assert train.isdisjoint(val | test)
    assert val.isdisjoint(test)
    left_out = {case.name for case in dataset.cases} - set().union(*sets)
    assert {group[name] for name in left_out} <= val | test
    masks = {case.name for case in dataset.labeled}
    assert masks.issuperset([*split.labeled, *split.val, *split.test])
    for name in split.labeled:
        assert masks & {n for n in group if group[n] == group[name]} <= set(split.labeled)
    assert make_split(dataset, amount, seed) == split
    assert make_split(build(count, masked, per_group=per_group, order=-1), amount, seed) == split


def test_a_share_and_a_count_are_of_the_training_cases():
    """100 masked cases: 20 test, 10 held for validation; 10 % of the other 70 is 7, so 7 validate and 3 go back."""
    split = make_split(build(100, 100), "10%")
    assert [len(part) for part in parts(split)] == [7, 66, 7, 20]
    assert len(make_split(build(100, 100), "12").labeled) == 12
    assert split.fraction == len(split.labeled) / len(split.train)


@pytest.mark.parametrize(("amount", "count"), [("2%", 8), ("4%", 15), ("10%", 37), ("20%", 70)])
def test_a_share_is_of_all_that_train(amount, count):
    """Of 500 masks 100 are for the test and 50 could validate; as few do as are labeled, and the others train."""
    split = make_split(build(500, 500), amount)
    assert (len(split.labeled), len(split.test)) == (count, 100)
    assert abs(len(split.labeled) - Amount.parse(amount).of(len(split.train))) <= 1
    assert len(split.val) == min(count, 50)


def test_few_validation_cases_leave_every_share_possible():
    """Of 100 masks 20 are for the test and 10 could validate: 2 do, 8 train without their mask, 70 are labeled."""
    split = make_split(build(100, 100), "100%", validation=2)
    assert [len(part) for part in parts(split)] == [70, 8, 2, 20]


def test_without_an_amount_all_masks_label():
    split = make_split(build(60, 40))
    assert [len(part) for part in parts(split)] == [28, 20, 4, 8]
    assert len(make_split(build(60, 40), validation=0).labeled) == 32
    assert len(make_split(build(60, 40), validation=2).val) == 2


def test_the_test_set_is_the_same_for_every_draw():
    dataset = build(60, 60)
    first, second = make_split(dataset, "5", 0), make_split(dataset, "9", 1)
    assert first.test == second.test
    assert first.labeled != second.labeled
    assert (second.draw, second.seed) == (1, 1)


@pytest.mark.parametrize("labeled", ["3", "9"])
def test_validation_is_another_for_another_draw(labeled):
    """Of 60 cases 6 are held out for it: all of them with 9 labels, 3 of them with 3."""
    dataset = build(60, 60)
    assert len({tuple(make_split(dataset, labeled, seed).val) for seed in range(5)}) > 1


def test_a_larger_draw_contains_the_smaller_one():
    dataset = build(60, 60)
    assert set(make_split(dataset, "3", 4).labeled) < set(make_split(dataset, "20", 4).labeled)


def test_few_masks_are_not_held_out():
    split = make_split(build(30, 9))
    assert (len(split.labeled), len(split.unlabeled), split.val, split.test) == (9, 21, [], [])


def test_a_split_without_test_cases_says_whether_the_masks_are_too_few():
    for few in (build(20, 9), build(20, 12, per_group=6)):
        assert without_test(few) == (
            "no test cases, so no Dice will be reported; "
            "holding some out needs at least 10 masks from at least 3 patients"
        )
    assert without_test(build(20, 10)) == "no test cases in the split, so no Dice will be reported"


def test_with_groups_an_amount_means_groups():
    """20 patients of 5: 4 for the test, 2 held for validation, 14 left; 20 % of 14 is 2.8, so 3 patients."""
    split = make_split(build(100, 100, per_group=5), "20%")
    assert split.groups
    assert len(split.labeled) == 3 * 5
    assert len(make_split(build(100, 100, per_group=5), "2").labeled) == 2 * 5


@pytest.mark.parametrize("text", ["", "many", "0.04", "-3", "4 cases", "%", "4%%"])
def test_a_bad_amount_shows_a_good_one(text):
    with pytest.raises(DataError, match="write a share like 4% or a count like 32"):
        make_split(build(20, 20), text)


def test_impossible_amounts_are_refused():
    with pytest.raises(DataError, match="labels no case"):
        Amount.parse("0%")
    with pytest.raises(DataError, match="labels no case"):
        Amount.parse("0")
    with pytest.raises(DataError, match="more than all"):
        Amount.parse("140%")
    with pytest.raises(DataError, match="50% of 94 training cases is 47, but 14 have masks in dataset toy; ask"):
        make_split(build(100, 20), "50%")
    with pytest.raises(DataError, match="47 labeled cases are asked for, but 14 have masks in dataset toy; ask"):
        make_split(build(100, 20), 47)
    with pytest.raises(DataError, match="no mask to train from"):
        make_split(build(20, 0))
    with pytest.raises(DataError, match="negative"):
        make_split(build(20, 20), seed=-1)
    assert Amount.parse("2.5 %").of(20) == 1


def test_an_amount_may_be_a_number_but_no_share_without_its_sign():
    assert Amount.parse(32) == Amount.parse("32")
    with pytest.raises(DataError, match=r"^'0\.04' is no amount of labeled cases; write a share like 4%"):
        Amount.parse("0.04")
    assert Amount.parse("12.5%").of(20) == 3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty real little files c000..c019, all with masks; case i has i foreground pixels."""
    for i in range(20):
        for kind, array in (("images", np.zeros((5, 5), np.uint8)), ("masks", (np.arange(25) < i).reshape(5, 5))):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / kind / f"c{i:03}.png")
    (tmp_path / "splits").mkdir()
    return tmp_path


def names(*numbers: int) -> list[str]:
    return [f"c{i:03}" for i in numbers]


def write_default(root: Path, **lists: list[str]) -> Path:
    path = root / "splits" / "default.json"
    path.write_text(json.dumps(lists))
    return path


def test_default_json_is_kept(root):
    (root / "masks" / "c011.png").unlink()
    write_default(root, train=names(*range(12)), val=names(12, 13, 14, 15), test=names(16, 17))
    split = make_split(open_dataset(root), "2", 3)
    assert split.test == names(16, 17)
    assert set(split.train) == set(names(*range(12)))
    assert len(split.labeled) == len(split.val) == 2
    assert set(split.val) < set(names(12, 13, 14, 15))
    whole = make_split(open_dataset(root))
    assert whole.labeled == names(*range(11))
    assert whole.unlabeled == ["c011"]
    assert whole.val == names(12, 13, 14, 15)


def test_default_json_may_name_the_labeled(root):
    write_default(root, labeled=names(1, 2), unlabeled=names(3, 4), val=names(5, 6, 7), test=names(8))
    split = make_split(open_dataset(root))
    assert (split.labeled, split.unlabeled, len(split.val), split.test) == (names(1, 2), names(3, 4), 2, names(8))
    assert len(make_split(open_dataset(root), "3").labeled) == 3


def test_labeled_and_validation_cases_are_drawn_independently(root):
    """Three of ten each: by the same random numbers they would stand at the same places of their lists."""
    write_default(root, train=names(*range(10)), val=names(*range(10, 20)))
    drawn = [make_split(open_dataset(root), "3", seed) for seed in range(3)]
    assert any([int(name[1:]) + 10 for name in s.labeled] != [int(name[1:]) for name in s.val] for s in drawn)


def test_while_developing_all_validation_cases_take_the_place_of_the_test(root):
    """The labeled cases are the same ones, and no test case is in the split."""
    write_default(root, train=names(*range(6)), val=names(6, 7, 8), test=names(9, 10))
    dataset = open_dataset(root)
    usual, split = make_split(dataset, "2", 1), make_split(dataset, "2", 1, measure="val")
    assert (split.labeled, split.unlabeled) == (usual.labeled, usual.unlabeled)
    assert (split.val, split.test) == ([], names(6, 7, 8))
    assert (len(usual.val), usual.test) == (2, names(9, 10))
    drawn = make_split(build(60, 60), "4", 1, measure="val")
    assert (drawn.val, len(drawn.test)) == ([], 6)
    assert set(make_split(build(60, 60), "4", 1).val) < set(drawn.test)
    assert drawn.test == make_split(build(60, 60), "8", 1, measure="val").test
    with pytest.raises(DataError, match="holds no case out for validation; name some in"):
        make_split(build(9, 9), measure="val")


@pytest.mark.parametrize(
    ("lists", "match"),
    [
        ({"train": ["c000", "gone", "lost"]}, "names case gone and 1 more"),
        ({"train": ["c000", "c001"], "test": ["c001"]}, "has case c001 in labeled and in test"),
        ({"train": ["c000"], "test": ["c019"]}, "has case c019 in test, but it has no mask"),
        ({"train": ["c019"]}, "no mask to train from|no labeled case"),
        ({"train": ["c000"], "tset": []}, "unknown key 'tset'.*Did you mean 'test'"),
        ({"train": "c000"}, "bad 'train'"),
        ({"val": []}, "is not a split"),
    ],
)
def test_a_default_that_does_not_fit_is_refused(root, lists, match):
    (root / "masks" / "c019.png").unlink()
    path = write_default(root, **lists)
    with pytest.raises(DataError, match=match):
        make_split(open_dataset(root))
    with pytest.raises(DataError, match=match):
        load_split(path, open_dataset(root))


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_group_in_train_and_in_what_measures_is_refused(root, part):
    (root / "groups.csv").write_text("case,group\n" + "".join(f"c{i:03},p{i // 2}\n" for i in range(20)))
    write_default(root, **{"train": names(0, 1, 2), part: names(3)})
    with pytest.raises(DataError, match=f"cases of group p1 in train and in {part}"):
        make_split(open_dataset(root))


def test_stratified_draws_span_small_and_large_foreground(root):
    """20 cases of growing foreground, all in train: 4 draws fall into 4 bins of 5, other cases of them by seed."""
    write_default(root, train=names(*range(20)))
    drawn = [make_split(open_dataset(root), "4", seed, stratify=True) for seed in range(5)]
    assert all([int(name[1:]) // 5 for name in split.labeled] == [0, 1, 2, 3] for split in drawn)
    assert all(split.stratified for split in drawn)
    assert len({tuple(split.labeled) for split in drawn}) > 1


def test_a_saved_split_comes_back_and_an_edited_one_does_not(root, tmp_path):
    dataset = open_dataset(root)
    path = tmp_path / "deep" / "split.json"
    split = make_split(dataset, "3", 7)
    save_split(split, path)
    assert load_split(path, dataset) == split
    content = json.loads(path.read_text())
    content["unlabeled"].append(content["test"].pop())
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="does not match its hash"):
        load_split(path, dataset)
    content["extra"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="unknown key 'extra'"):
        load_split(path, dataset)


def test_a_split_file_that_cannot_be_read_is_named(root):
    with pytest.raises(DataError, match=r"none\.json cannot be read"):
        load_split(root / "none.json", open_dataset(root))
    (root / "splits" / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json is not valid JSON"):
        load_split(root / "splits" / "bad.json", open_dataset(root))


def test_a_plain_file_labels_every_masked_training_case(root):
    (root / "masks" / "c000.png").unlink()
    path = write_default(root, train=names(0, 1, 2), val=names(3), test=names(4))
    split = load_split(path, open_dataset(root))
    assert (split.labeled, split.unlabeled, split.val, split.test) == (names(1, 2), names(0), names(3), names(4))


def test_unreadable_cases_are_left_out_of_a_split(root, tmp_path):
    whole = open_dataset(root)
    path = tmp_path / "split.json"
    split = make_split(whole, "3")
    save_split(split, path)
    lost = split.unlabeled[0]
    (root / "images" / f"{lost}.png").write_bytes(b"")
    rest = load_split(path, open_dataset(root, skip_bad=True))
    rest.verify()
    assert rest.unlabeled == split.unlabeled[1:]
    assert rest.hash != split.hash


@pytest.mark.real
def test_four_percent_of_a_real_set_of_patients_is_three(real_data):
    """ACDC has 70 training patients; 4 % is 2.8. Together they have at most 4 % or so of the slices."""
    dataset = open_dataset(real_data("acdc"))
    split = make_split(dataset, "4%", 0)
    assert len({dataset.case(name).group for name in split.labeled}) == 3
    assert (len(split.train), len(split.test)) == (1312, 380)
    assert 0 < len(split.val) <= len(split.labeled)


@pytest.mark.parametrize("part", ["val", "test"])
def test_an_unlabeled_case_of_a_group_that_measures_is_refused(root, part):
    (root / "groups.csv").write_text("case,group\n" + "".join(f"c{i:03},p{i // 2}\n" for i in range(20)))
    (root / "masks" / "c002.png").unlink()
    write_default(root, **{"train": names(0, 1, 2), part: names(3)})
    with pytest.raises(DataError, match=f"cases of group p1 in train and in {part}"):
        make_split(open_dataset(root))
