"""A folder is opened as a dataset, or one sentence says what is wrong with it, where, and what to do."""

import json
import os
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from criinet.data.card import read_card
from criinet.data.check import check_dataset
from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split
from criinet.data.importing import Wanted, carry_out, plan_import
from criinet.data.layout import read_layout
from criinet.data.mask_folders import masks_by_stem
from criinet.data.splits import load_split, save_split
from criinet.errors import DataError


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five images c0..c4 of 6x8; c0, c1 and c2 have masks of 0 and 255."""
    folder = tmp_path / "eyes"
    for i in range(5):
        save(folder / "images" / f"c{i}.png", np.arange(144).reshape(6, 8, 3) + 10 * i)
        if i < 3:
            mask = np.zeros((6, 8))
            mask[: i + 1] = 255
            save(folder / "masks" / f"c{i}.png", mask)
    return folder


def test_an_image_without_a_mask_is_unlabeled(root):
    dataset = open_dataset(root)
    assert [case.name for case in dataset.labeled] == ["c0", "c1", "c2"]
    assert [case.name for case in dataset.unlabeled] == ["c3", "c4"]
    assert (dataset.name, dataset.classes, dataset.encoding) == ("eyes", ("background", "foreground"), "binary255")
    assert not dataset.grouped
    assert dataset.read_mask(dataset.case("c1")).sum() == 2 * 8
    assert dataset.select(["c4", "c0"]) == (dataset.case("c4"), dataset.case("c0"))
    assert len(dataset) == 5
    assert "c4" in dataset
    assert "c5" not in dataset


def test_the_card_names_classes_spacing_and_source(root):
    card = {"name": "Eyes", "classes": ["background", "disc"], "spacing": 0.5, "licence": "CC0", "note": "ignored"}
    (root / "dataset.json").write_text(json.dumps(card))
    dataset = open_dataset(root)
    assert (dataset.name, dataset.classes, dataset.spacing) == ("Eyes", ("background", "disc"), (0.5, 0.5))
    assert (dataset.licence, dataset.source) == ("CC0", None)
    (root / "dataset.json").write_text('{"spacing": [0.5, 2]}')
    assert open_dataset(root).spacing == (0.5, 2.0)


def test_index_masks_without_a_card_name_their_classes(root):
    for i in range(3):
        save(root / "masks" / f"c{i}.png", np.full((6, 8), i))
    dataset = open_dataset(root)
    assert (dataset.encoding, dataset.classes) == ("index", ("background", "class 1", "class 2"))


def test_all_masks_are_read_when_the_sampled_ones_are_empty(root):
    """41 masks of which only the second holds 255: it is not among the 32 that are sampled first."""
    (root / "dataset.json").write_text('{"classes": ["background", "disc"]}')
    for path in (root / "masks").iterdir():
        path.unlink()
    for i in range(41):
        save(root / "images" / f"d{i:02}.png", np.zeros((4, 4)))
        save(root / "masks" / f"d{i:02}.png", np.full((4, 4), 255 * (i == 2)))
    assert open_dataset(root).encoding == "binary255"


def test_a_mask_that_contradicts_the_others_is_refused_when_read(root):
    (root / "dataset.json").write_text('{"classes": ["background", "a", "b"]}')
    for i in range(3):
        save(root / "masks" / f"c{i}.png", np.full((6, 8), 2 * i))
    dataset = open_dataset(root)
    assert dataset.read_mask(dataset.case("c1")).max() == 2
    with pytest.raises(DataError, match=r"c2\.png has class 4, but the dataset has 3 classes: background, a, b"):
        dataset.read_mask(dataset.case("c2"))
    with pytest.raises(DataError, match=r"c4\.png has no mask"):
        dataset.read_mask(dataset.case("c4"))


def test_an_unknown_case_names_the_nearest(root):
    with pytest.raises(DataError, match=r"no case 'c0\.png'.*Did you mean 'c0'"):
        open_dataset(root).case("c0.png")


def test_groups_come_from_the_csv(root):
    lines = ["case,patient,age", *(f"c{i},p{i // 2},50" for i in range(5)), "elsewhere,p9,1"]
    (root / "groups.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    dataset = open_dataset(root)
    assert [case.group for case in dataset.cases] == ["p0", "p0", "p1", "p1", "p2"]
    assert dataset.grouped
    other = root.parent / "other.csv"
    other.write_text("group,case\n" + "".join(f"g,c{i}\n" for i in range(5)))
    assert {case.group for case in open_dataset(root, groups=other).cases} == {"g"}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "lacks a header"),
        ("a,b\nc0,1\n", "lacks a header"),
        ("case,group\nc0,1\n", "lacks the case c1 and 3 more"),
        ("case,group\nc0\n", "empty field in line 2"),
        ("case,group\nc0,1\nc0,2\n", "puts case c0 in the groups 1 and 2"),
        ('case,group\n"c0,1\n', "not a CSV"),
    ],
)
def test_malformed_groups_are_refused(root, content, match):
    (root / "groups.csv").write_text(content)
    with pytest.raises(DataError, match=match):
        open_dataset(root)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a JSON object"),
        ('{"classes": ["disc"]}', "bad 'classes': list 2 to 256 different names"),
        ('{"classes": ["a", "a"]}', "bad 'classes'"),
        ('{"classes": "disc"}', "bad 'classes'"),
        (
            '{"classes": ["disc", "Background"]}',
            "the first name is that of the background, but 'disc' stands before it",
        ),
        ('{"classes": ["background", "=1+1"]}', r"bad 'classes': the name '=1\+1' begins with =, \+, - or @"),
        ('{"classes": ["background", "-a"]}', "bad 'classes': the name '-a' begins"),
        ('{"classes": ["background", "a\\nb"]}', "bad 'classes': .* or holds a control character"),
        ('{"classes": ["background", "a", "b"], "regions": {"@a": ["a", "b"]}}', "bad 'regions': the name '@a' begins"),
        ('{"partial": "some"}', "bad 'partial': input should be 'auto', 'yes' or 'no'"),
        ('{"spacing": -1}', "bad 'spacing'"),
        ('{"spacing": [1, 1, 1]}', "bad 'spacing'"),
        ('{"classes": ["background", "a", "b"]}', "declares 3 classes .* hold 0 and 255 only"),
    ],
)
def test_a_malformed_card_is_refused(root, content, match):
    (root / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=match):
        open_dataset(root)


@pytest.mark.parametrize(("said", "held"), [(True, "yes"), (False, "no"), ("auto", "auto")])
def test_a_card_holds_words_on_partial_masks_and_is_written_as_people_say_it(root, said, held):
    (root / "dataset.json").write_text(json.dumps({"partial": said}))
    card = read_card(root)
    assert card.partial == open_dataset(root).partial == held
    assert card.model_dump(mode="json", exclude_unset=True) == {"partial": said}


def test_folders_that_are_no_dataset_are_refused(root, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(tmp_path / "none")
    with pytest.raises(DataError, match="is not a dataset; put the images in"):
        open_dataset(root / "images")
    (tmp_path / "empty" / "images").mkdir(parents=True)
    (tmp_path / "empty" / "images" / "scan.doc").write_bytes(b"")
    with pytest.raises(DataError, match="has no images; put files of these kinds"):
        open_dataset(tmp_path / "empty")


def test_the_same_name_twice_is_refused(root):
    save(root / "images" / "c0.jpg", np.zeros((6, 8)))
    with pytest.raises(DataError, match=r"c0\.png has the same name as c0\.jpg"):
        open_dataset(root)
    dataset = open_dataset(root, skip_bad=True)
    assert dataset.dropped == {"c0"}
    assert len(dataset) == 4


def test_a_mask_without_an_image_is_refused(root):
    save(root / "masks" / "c3_mask.png", np.zeros((6, 8)))
    with pytest.raises(DataError, match=r"c3_mask\.png has no image of the same name.*Name it c3\.png"):
        open_dataset(root)
    assert len(open_dataset(root, skip_bad=True).skipped) == 1


def test_several_masks_of_one_image_are_to_be_joined(root):
    """Both cannot be named c3.png."""
    for number in (1, 2):
        save(root / "masks" / f"c3_mask_{number}.png", np.zeros((6, 8)))
    one, two = (str(problem) for problem in read_layout(root).problems)
    assert "c3_mask_1.png seems to be one of 2 masks of c3.png. Join them into one mask c3.png" in one
    assert f"`criinet data import pairs {root} NEW --any-value-is-object` does" in two
    save(root / "masks" / "c2_mask.png", np.zeros((6, 8)))
    assert "one of 2 masks of c2.png" in str(read_layout(root).problems[0])


def test_masks_that_all_have_a_mark_are_paired_by_one_command(root):
    for i in range(3):
        (root / "masks" / f"c{i}.png").rename(root / "masks" / f"c{i}_mask.png")
    for i, problem in enumerate(read_layout(root).problems):
        assert (
            problem.remedy
            == f"`criinet data import pairs {root} NEW` pairs all 3 that are named so; or name it c{i}.png"
        )


def test_a_mask_that_differs_in_upper_and_lower_case_is_named_like_its_image(root):
    (root / "images" / "c3.png").rename(root / "images" / "IMG3.PNG")
    save(root / "masks" / "img3.png", np.zeros((6, 8)))
    with pytest.raises(DataError, match=r"masks/img3\.png has no image of the same name\. Name it IMG3\.png"):
        open_dataset(root)


def test_names_of_a_mac_are_the_same_names(root):
    """Images, masks, groups and splits may write é and ñ as one character or as two; written names are the image's."""
    mac, other = (unicodedata.normalize(form, "Pólipo número 0 ñ") for form in ("NFD", "NFC"))
    assert mac != other
    (root / "images" / "c0.png").rename(root / "images" / f"{mac}.png")
    (root / "masks" / "c0.png").rename(root / "masks" / f"{other}.png")
    dataset = open_dataset(root)
    case = dataset.case(other)
    assert case is dataset.case(mac)
    assert (case.name, case.mask) == (mac, root / "masks" / f"{other}.png")
    assert masks_by_stem(root / "images").keys() & masks_by_stem(root / "masks").keys() == {other, "c1", "c2"}
    save_split(make_split(dataset), root / "of_a_run.json")
    rows = [f"{other},José\n", "c1,Jose\u0301\n", "c2,2\n", "c3,3\n", "c4,4\n"]
    (root / "groups.csv").write_text("".join(["case,group\n", *rows]), encoding="utf-8")
    dataset = open_dataset(root)
    assert dataset.case(mac).group == dataset.case("c1").group == "José"
    (root / "images" / f"{mac}.png").rename(root / "images" / f"{other}.png")
    dataset = open_dataset(root)
    (root / "mine.json").write_text(json.dumps({"train": [mac, "c1", "c2"]}), encoding="utf-8")
    for name in ("of_a_run.json", "mine.json"):
        split = load_split(root / name, dataset)
        assert set(split.labeled) == {other, "c1", "c2"}
    save(root / "images" / f"{mac}.png", np.zeros((6, 8)))
    with pytest.raises(DataError, match="has the same name as"):
        open_dataset(root)
    assert open_dataset(root, skip_bad=True).dropped == {other}


def test_values_that_are_neither_binary_nor_classes_ask_for_a_card(root):
    save(root / "masks" / "c0.png", np.full((6, 8), 77))
    with pytest.raises(DataError, match=r"c0\.png holds values up to 77"):
        open_dataset(root)


@pytest.mark.parametrize("card", [None, {"classes": ["background", "lesion"]}])
def test_masks_of_0_and_128_are_to_be_saved_with_255(root, card):
    """Listing the classes does not help, so nobody is sent there."""
    for i in range(3):
        save(root / "masks" / f"c{i}.png", np.eye(6, 8) * 128 * (i > 0))
    if card is not None:
        (root / "dataset.json").write_text(json.dumps(card))
    with pytest.raises(
        DataError, match=r"c1\.png holds 0 and 128 alone, as all .* Save them with 0 and 255, or let .criinet"
    ):
        open_dataset(root)


def test_one_mask_of_0_and_128_among_class_indices_is_to_be_saved_with_1(root):
    for i in range(3):
        save(root / "masks" / f"c{i}.png", np.eye(6, 8) * (128 if i == 1 else 1))
    (root / "dataset.json").write_text(json.dumps({"classes": ["background", "lesion"]}))
    dataset = open_dataset(root)
    with pytest.raises(DataError, match=r"has class 128.*Where 128 is the object, save the mask with 0 and 1"):
        dataset.read_mask(dataset.case("c1"))


@pytest.mark.parametrize("binary", [True, False])
def test_gray_edges_are_told_from_classes(root, binary):
    """Six grays between 0 and 255 are edges; three grays of equal steps are classes, and are not thresholded."""
    edges, steps = np.zeros((6, 8)), np.zeros((6, 8))
    edges[0, :6], edges[1:3] = (1, 40, 90, 140, 190, 254), 255
    steps[0], steps[1], steps[2] = 85, 170, 255
    for mask, is_edge in ((edges, True), (steps, False)):
        for i in range(3):
            save(root / "masks" / f"c{i}.png", (mask > 100) * 255 if binary else np.minimum(mask, 1))
        save(root / "masks" / "c1.png", mask if binary else np.where(mask == 255, 254, mask))
        with pytest.raises(DataError) as caught:
            dataset = open_dataset(root)
            dataset.read_mask(dataset.case("c1"))
        assert ("Threshold it at 128" in str(caught.value)) == (is_edge and binary), caught.value


def test_skip_bad_leaves_out_what_cannot_be_used_and_says_so(root):
    """A damaged image, a damaged mask, and a mask of another size go; an odd mask value goes; one good case stays."""
    (root / "dataset.json").write_text('{"classes": ["background", "disc"]}')
    save(root / "images" / "c5.png", np.zeros((6, 8)))
    save(root / "masks" / "c5.png", np.array([[0, 9] * 4] * 6))
    (root / "images" / "c3.png").write_bytes(b"no image")
    (root / "masks" / "c0.png").write_bytes(b"no mask")
    save(root / "masks" / "c1.png", np.zeros((8, 6)))
    save(root / "masks" / "c2.png", np.full((6, 8), 1))
    dataset = open_dataset(root, skip_bad=True)
    assert [case.name for case in dataset.cases] == ["c2", "c4"]
    assert dataset.dropped == {"c0", "c1", "c3", "c5"}
    assert len(dataset.skipped) == 4
    assert any("is 6x8 but its image is 8x6" in sentence for sentence in dataset.skipped)


def test_nothing_left_after_skipping_is_an_error(root):
    for path in (root / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="has no case that can be used"):
        open_dataset(root, skip_bad=True)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_groups_come_in_the_csv_of_any_country(root, delimiter):
    (root / "groups.csv").write_text(f"case{delimiter}group\n" + "".join(f"c{i}{delimiter}g\n" for i in range(5)))
    assert {case.group for case in open_dataset(root).cases} == {"g"}


def test_groups_in_another_encoding_say_so(root):
    (root / "groups.csv").write_text("case,group\n", encoding="utf-16")
    with pytest.raises(DataError, match="is not text in UTF-8"):
        open_dataset(root)


def test_images_in_a_folder_below_are_found_and_named(root):
    below = root / "images" / "sub"
    below.mkdir()
    for path in list((root / "images").glob("*.*")):
        path.rename(below / path.name)
    with pytest.raises(DataError, match=r"has no images; move those of .*sub into it"):
        open_dataset(root)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are not in UTF-8")
def test_names_that_are_not_in_utf8_are_problems_of_their_files(root):
    """As old archives give; they cannot be written to a split or shown on a page."""
    for part in ("images", "masks"):
        shutil.copy(root / part / "c0.png", os.fsencode(root / part) + b"/caf\xe9.png")
    with pytest.raises(
        DataError, match=r"caf\\xe9\.png has a name that is not in UTF-8, as old archives give\. Rename"
    ):
        open_dataset(root)
    opened = open_dataset(root, skip_bad=True)
    assert [case.name for case in opened.labeled] == ["c0", "c1", "c2"]
    json.dumps(opened.skipped).encode()


def numbered(count: int) -> np.ndarray:
    """Return a mask of 12x20 pixels with so many objects, two pixels each, numbered from 1 on."""
    mask = np.zeros((12, 20), np.uint8)
    for number in range(count):
        mask[2 * (number // 6), 3 * (number % 6) : 3 * (number % 6) + 2] = number + 1
    return mask


def numbered_set(folder: Path, *counts: int) -> Path:
    """Write images of 12x20 pixels with masks of so many numbered objects."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for i, count in enumerate(counts):
        save(folder / "images" / f"c{i}.png", np.arange(240).reshape(12, 20) + i)
        save(folder / "masks" / f"c{i}.png", numbered(count))
    return folder


@pytest.mark.parametrize("most", [7, 33])
def test_numbered_objects_are_no_classes(tmp_path, most):
    """Unless somebody says so, be they fewer than the classes that need no names or more."""
    root = numbered_set(tmp_path / "set", 5, most, 0, 6)
    with pytest.raises(DataError, match=rf"c1\.png holds the values 1 to {most}, each in one piece.*--any-value"):
        open_dataset(root)
    (problem,) = check_dataset(root).problems
    assert "these look like numbered objects, one number for each" in problem.what
    assert "masks are copied as they are, but" in plan_import("pairs", root).left_out[0]
    carry_out(plan_import("pairs", root, Wanted(any_value_is_object=True)), tmp_path / "one")
    assert open_dataset(tmp_path / "one").classes == ("background", "foreground")
    (root / "dataset.json").write_text(json.dumps({"classes": ["background", *map(str, range(most))]}))
    assert len(open_dataset(root).classes) == most + 1


def test_values_that_may_be_objects_or_classes_are_asked_about(tmp_path):
    """Few, or the same in all masks; classes of which one is missing here and there, or in pieces, need no word."""
    asked = "are they numbered objects, one number for each?"
    for folder, counts in (("few", (1, 3, 2)), ("same", (6, 6))):
        root = numbered_set(tmp_path / folder, *counts)
        (note,) = open_dataset(root).notes
        assert asked in note
        assert note in check_dataset(root).notes
    root = numbered_set(tmp_path / "classes", 6, 5, 7, 8)
    for path in (root / "masks").iterdir():
        mask = np.asarray(Image.open(path)).copy()
        mask[11] = np.arange(20) % mask.max() + 1
        save(path, mask)
    assert open_dataset(root).notes == check_dataset(root).notes == ()
    root = numbered_set(tmp_path / "missing", 3, 4, 4)
    save(root / "masks" / "c0.png", np.where(numbered(4) == 2, 0, numbered(4)))
    assert open_dataset(root).notes == ()


def test_high_values_are_listed_with_what_makes_classes_of_them(root):
    for i in range(3):
        save(root / "masks" / f"c{i}.png", np.array([[0, 0, 85, 85, 170, 170, 170, 0]] * 6))
    with pytest.raises(DataError, match=r"values up to 170.*to make classes of the values 85, 170, .*=#aaaaaa`"):
        open_dataset(root)
    for i in range(3):
        save(root / "masks" / f"c{i}.png", np.array([[0, 0, 1, 1, 1, 2, 2, 255]] * 6))
    with pytest.raises(DataError, match=r'if 255 says that nobody knows, list the classes and write "encoding"'):
        open_dataset(root)


def painted(root: Path, number: int, *colours: str) -> None:
    """Save a mask with a palette of these colours and a row of each of its numbers, the last in all rows left."""
    image = Image.fromarray(np.minimum(np.arange(6), len(colours) - 1).astype(np.uint8)[:, None].repeat(8, axis=1))
    image.putpalette([channel for colour in colours for channel in ImageColor.getrgb(colour)])
    image.save(root / "masks" / f"c{number}.png")


def test_numbers_of_palettes_that_a_program_chose_are_no_classes(root, tmp_path):
    """A palette sorted by how often colours occur: by them, red is class 1 in one mask and 2 in another."""
    for number, colours in enumerate((("black", "red", "blue"), ("black", "blue", "red"), ("black",))):
        painted(root, number, *colours)
    by_colour = 'makes classes of the colours; if the numbers are those of classes, write "encoding": "index"'
    with pytest.raises(
        DataError, match=rf"c1\.png holds #0000ff as number 1 .* and c0\.png as number 2\. .* {by_colour}"
    ):
        open_dataset(root)
    painted(root, 1, "yellow", "white", "black")
    with pytest.raises(DataError, match=r"c1\.png holds black as number 2 of its palette, where 0 is the background"):
        open_dataset(root)
    assert "black as number 2" in check_dataset(root).problems[0].what
    painted(root, 1, "red", "blue", "black")
    carry_out(plan_import("pairs", root), tmp_path / "new")
    dataset = open_dataset(tmp_path / "new")
    assert dataset.classes == ("background", "#0000ff", "#ff0000")
    assert dataset.read_mask(dataset.case("c1"))[:, 0].tolist() == [2, 1, 0, 0, 0, 0]
    (root / "dataset.json").write_text('{"encoding": "index"}')
    dataset = open_dataset(root)
    assert dataset.read_mask(dataset.case("c1"))[:, 0].tolist() == [0, 1, 2, 2, 2, 2]
    assert not plan_import("pairs", root).left_out


def test_palettes_of_two_colours_in_any_order_are_one_object(root):
    """Whichever of the two is number 0, black is the background; where the object has several colours, that is said."""
    for number, colours in enumerate((("red", "black"), ("black", "red"), ("black",))):
        painted(root, number, *colours)
    dataset = open_dataset(root)
    assert [int(dataset.read_mask(case).sum()) for case in dataset.labeled] == [8, 40, 0]
    assert dataset.notes == ()
    painted(root, 1, "black", "blue")
    (note,) = open_dataset(root).notes
    assert "one number in several colours (#ff0000, #0000ff), and the number counts" in note


def test_fixed_palettes_of_a_program_become_classes_by_their_colours(root):
    """Red is number 15 of one; but palettes that skip one class, or that dataset.json explains, stay as they are."""
    fixed = ["black", *(f"#0000{i:02x}" for i in range(1, 15)), "red"]
    for number in range(3):
        painted(root, number, *fixed)
        stored = Image.open(root / "masks" / f"c{number}.png")
        high = Image.fromarray(np.where(np.asarray(stored) > 3, 15, 0).astype(np.uint8))
        high.putpalette(stored.getpalette() or [])
        high.save(root / "masks" / f"c{number}.png")
    (note,) = check_dataset(root).notes
    assert note.endswith("NEW` makes classes of the colours of their palettes")
    assert plan_import("pairs", root).card["classes"] == ["background", "#ff0000"]
    (root / "dataset.json").write_text(json.dumps({"classes": ["background", *map(str, range(15))]}))
    assert len(plan_import("pairs", root).card["classes"]) == 16


def test_a_list_of_classes_begins_with_the_background(root):
    """A word for it in any data set; without one the classes are one short, or the first has the background's name."""
    for i in range(3):
        save(root / "masks" / f"c{i}.png", np.array([[0, 1, 2, 2]] * 6).repeat(2, axis=1))
    (root / "dataset.json").write_text('{"classes": ["disc", "cup"]}')
    dataset = open_dataset(root)
    with pytest.raises(DataError, match=r'has class 2, .* Write "background" first in the classes of dataset\.json'):
        dataset.read_mask(dataset.labeled[0])
    (root / "dataset.json").write_text('{"classes": ["rim", "disc", "cup"]}')
    note = "class 0 is called 'rim' in dataset.json, where the first name is that of the background"
    assert open_dataset(root).notes == check_dataset(root).notes == (note,)
    for first in ("Background", "_background_", "void", "Hintergrund"):
        (root / "dataset.json").write_text(json.dumps({"classes": [first, "disc", "cup"]}))
        assert open_dataset(root).notes == ()
    (root / "dataset.json").write_text('{"classes": ["unlabeled", "background", "cup"]}')
    assert open_dataset(root).classes[1] == "background"
