"""Outlines of annotation tools become the masks that were drawn, or a sentence says what is wrong with which file."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from criinet.data.dataset import open_dataset
from criinet.data.importing import Wanted, carry_out, plan_import
from criinet.data.importing.coco import RunLengths
from criinet.errors import DataError
from criinet.labels import IGNORE

HEIGHT, WIDTH = 12, 16
SQUARE = [0, 0, 4, 0, 4, 4, 0, 4]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(path.stem)).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    Image.fromarray(values).save(path)


def box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def filled(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[rows, columns] = True
    return mask


def labelme(path: Path, shapes: list[dict[str, object]], **said: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "5.4", "shapes": shapes, "imagePath": f"{path.stem}.png", "imageData": None}
    path.write_text(json.dumps(content | {"imageHeight": HEIGHT, "imageWidth": WIDTH} | said))


def shape(label: str, points: list[list[float]], kind: str = "polygon", **more: object) -> dict[str, object]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}} | more


def embedded(size: tuple[int, int], kind: str) -> str:
    """An image of (H, W) as LabelMe holds masks."""
    content = io.BytesIO()
    Image.fromarray(np.ones(size, np.uint8)).save(content, format=kind)
    return base64.b64encode(content.getvalue()).decode()


def coco(path: Path, segmentations: list[object], **said: object) -> None:
    """Two classes in turn on a.png; b.png is listed and bare."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}, {"id": 8, "file_name": "b.png"}]
    objects = [{"image_id": 7, "category_id": 1 + i % 2, "segmentation": s} for i, s in enumerate(segmentations)]
    classes = [{"id": 0, "name": "all"}, {"id": 2, "name": "cyst"}, {"id": 1, "name": "tumour"}]
    path.write_text(json.dumps({"images": images, "annotations": objects, "categories": classes} | said))


def packed(runs: list[int]) -> str:
    """Write run lengths as the COCO API does."""
    text = ""
    for i, run in enumerate(runs):
        value, more = run - (runs[i - 2] if i > 2 else 0), True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | 32 if more else bits))
    return text


def runs_of(mask: np.ndarray) -> list[int]:
    flat = np.concatenate([[False], mask.ravel(order="F")])
    ends = np.flatnonzero(np.diff(flat))
    return np.diff([0, *ends, mask.size]).tolist()


def imported(kind: str, root: Path, wanted: Wanted | None = None):
    carry_out(plan_import(kind, root / "source", wanted), root / "data")
    return open_dataset(root / "data")


def test_shapes_of_labelme_become_classes_and_later_ones_cover_earlier_ones(tmp_path):
    source = tmp_path / "source"
    for name in ("a", "b", "c", "deep/d"):
        picture(source / f"{name}.png")
    content = io.BytesIO()
    Image.fromarray(np.eye(3) > 0).save(content, format="PNG")
    mask = base64.b64encode(content.getvalue()).decode()
    shapes = [
        shape("tumour", box(2, 1, 6, 9)),
        shape("cyst", [[6, 9], [4, 7]], "rectangle"),
        shape("cyst", [[10, 3], [12, 3]], "circle"),
        shape("tumour", [[13, 9], [15, 11]], "mask", mask=mask),
        shape("_background_", box(2, 1, 3, 2)),
        shape("__ignore__", box(0, 11, 16, 12)),
        shape("tumour", [[1, 1]], "point"),
    ]
    labelme(source / "a.json", shapes)
    labelme(source / "b.json", [])
    labelme(source / "notes" / "of d.json", [shape("cyst", box(0, 0, 4, 4))], imagePath="..\\deep\\d.png")
    plan = plan_import("labelme", source)
    assert "left out, as they enclose nothing that is read: 1 point" in plan.left_out
    dataset = imported("labelme", tmp_path)
    assert (dataset.classes, dataset.ignore) == (("background", "cyst", "tumour"), True)
    assert [case.name for case in dataset.unlabeled] == ["c"]
    expected = np.where(filled(slice(1, 9), slice(2, 6)), 2, 0)
    expected[filled(slice(7, 9), slice(4, 6))] = 1
    down, across = np.ogrid[:HEIGHT, :WIDTH]
    expected[(across + 0.5 - 10) ** 2 + (down + 0.5 - 3) ** 2 <= 4] = 1
    for i in range(3):
        expected[9 + i, 13 + i] = 2
    expected[1, 2] = 0
    expected[11] = IGNORE
    np.testing.assert_array_equal(dataset.read_mask(dataset.case("a")), expected)
    assert not dataset.read_mask(dataset.case("b")).any()
    np.testing.assert_array_equal(dataset.read_mask(dataset.case("d")), filled(slice(0, 4), slice(0, 4)))


def test_outlines_and_runs_of_coco_become_classes_in_the_order_of_their_numbers(tmp_path):
    source, ring = tmp_path / "source", filled(slice(4, 9), slice(8, 14)) & ~filled(slice(5, 7), slice(9, 11))
    for name in ("train/a", "train/b", "c"):
        picture(source / f"{name}.png")
    two = [[x for point in outline for x in point] for outline in (box(0, 0, 3, 3), box(2, 2, 5, 4), [[9, 9]])]
    runs = {"size": [HEIGHT, WIDTH], "counts": packed(runs_of(ring))}
    coco(source / "annotations" / "instances.json", [two, runs])
    (source / "annotations" / "licence.json").write_text("[]")
    plan = plan_import("coco", source)
    assert plan.card["classes"] == ["background", "tumour", "cyst"]
    bare = "images unlabeled, as nothing is outlined on them, which need not mean that there is no object: 2"
    assert plan.left_out == (bare,)
    dataset = imported("coco", tmp_path)
    expected = (filled(slice(0, 3), slice(0, 3)) | filled(slice(2, 4), slice(2, 5))) + 2 * ring
    np.testing.assert_array_equal(dataset.read_mask(dataset.case("a")), expected)
    assert {case.name for case in dataset.unlabeled} == {"b", "c"}


def test_an_image_that_one_file_outlines_and_another_one_boxes_is_unlabeled(tmp_path):
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    coco(tmp_path / "1.json", [[SQUARE]])
    coco(tmp_path / "2.json", [None])
    coco(tmp_path / "3.json", [[SQUARE]], images=[{"id": 7, "file_name": "b.png"}])
    plan = plan_import("coco", tmp_path)
    assert [item.name for item in plan.items if item.mask is not None] == ["b"]
    assert plan.left_out == ("images unlabeled, as an object has a box alone: 1",)


FOREIGN = {
    "a folder that is not there": ("coco", ["siteA/a.png"], {"t.json": "siteB/a.png"}),
    "a path through another folder": ("coco", ["siteA/images/a.png"], {"t.json": "siteB/images/a.png"}),
    "a full path in this source": ("coco", ["siteA/a.png"], {"t.json": "{source}/siteB/a.png"}),
    "a folder of others' annotations": ("coco", ["siteA/a.png"], {"siteA/t.json": "a.png", "siteB/t.json": "a.png"}),
    "others' annotations and images": (
        "coco",
        ["siteA/images/a.png"],
        {"siteA/json/t.json": "a.png", "siteB/json/t.json": "images/a.png"},
    ),
    "a file of another patient": ("labelme", ["p1/a.png", "p1/b.png"], {"p1/b.json": "b.png", "p2/a.json": "a.png"}),
    "a file among images of its own": ("labelme", ["p1/a.png", "p2/b.png"], {"p2/a.json": "a.png"}),
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
def test_nothing_is_drawn_on_another_image_of_the_same_name(foreign, tmp_path):
    kind, images, files = foreign
    for image in images:
        picture(tmp_path / image)
    for file, said in files.items():
        named = said.format(source=tmp_path.as_posix())
        if kind == "coco":
            coco(tmp_path / file, [[SQUARE]], images=[{"id": 7, "file_name": named}])
        else:
            labelme(tmp_path / file, [shape("cyst", box(0, 0, 4, 4))], imagePath=named)
    with pytest.raises(DataError, match=r"which is not there; .*a\.png seems to be another image of that name"):
        plan_import(kind, tmp_path)


@pytest.mark.parametrize(
    ("image", "file", "said"),
    [
        ("a.png", "a.json", r"C:\Users\anna\pictures\a.png"),
        ("images/a.png", "jsons/a.json", "/home/anna/siteB/a.png"),
        ("images/a.png", "jsons/a.json", "a.png"),
        ("images/train/a.png", "annotations/train.json", "train/a.png"),
        ("images/a.png", "annotations/all.json", "set/images/a.png"),
        ("images/a.png", "all.json", "../../../upload/1/a.png"),
        ("a.png", "all.json", "images/a.png"),
        ("p1/renamed.png", "p1/renamed.json", "a.png"),
    ],
)
def test_an_image_that_was_moved_since_it_was_drawn_on_is_found(image, file, said, tmp_path):
    source = tmp_path / "one" / "two"
    picture(source / image)
    labelme(source / file, [shape("cyst", box(0, 0, 4, 4))], imagePath=said)
    assert plan_import("labelme", source).items[0].mask is not None


def test_an_image_of_a_files_own_name_goes_before_one_far_away(tmp_path):
    """Both were renamed, and what the file says is the name of another image now."""
    for name in ("p1/a", "p2/b"):
        picture(tmp_path / f"{name}.png")
    labelme(tmp_path / "p2" / "b.json", [shape("cyst", box(0, 0, 4, 4))], imagePath="a.png")
    assert [item.name for item in plan_import("labelme", tmp_path).items if item.mask is not None] == ["b"]


@pytest.mark.parametrize("kind", ["coco", "labelme"])
def test_two_who_drew_on_one_image_are_not_mixed(kind, tmp_path):
    picture(tmp_path / "images" / "a.png")
    for who in ("anna", "ben"):
        if kind == "coco":
            coco(tmp_path / who / "a.json", [[SQUARE]])
        else:
            labelme(tmp_path / who / "a.json", [shape("cyst", box(0, 0, 4, 4))], imagePath="../images/a.png")
    with pytest.raises(DataError, match=r"ben/a\.json draws on .*images/a\.png as .*anna/a\.json does\. Keep the one"):
        plan_import(kind, tmp_path)


def test_files_of_coco_may_list_the_same_images_if_one_draws_on_each(tmp_path):
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    images = [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "b.png"}]
    coco(tmp_path / "1.json", [[SQUARE]], images=images)
    coco(tmp_path / "2.json", [[SQUARE]], images=[images[0] | {"id": 8}, images[1] | {"id": 7}])
    assert all(item.mask is not None for item in plan_import("coco", tmp_path).items)


def test_two_images_of_one_name_are_refused(tmp_path):
    for name in ("p1/a.png", "p2/a.jpg"):
        picture(tmp_path / name)
    labelme(tmp_path / "p1" / "a.json", [shape("cyst", box(0, 0, 4, 4))])
    with pytest.raises(DataError, match=r"p2/a\.jpg has the same name as .*p1/a\.png\. Rename or remove one of them\."):
        plan_import("labelme", tmp_path)


def test_files_of_capital_letters_are_read(tmp_path):
    picture(tmp_path / "A.PNG")
    labelme(tmp_path / "A.JSON", [shape("cyst", box(0, 0, 4, 4))], imagePath="A.PNG")
    assert plan_import("labelme", tmp_path).items[0].mask is not None


def test_wanted_structures_are_the_classes_and_groups_come_along(tmp_path):
    source = tmp_path / "source"
    picture(source / "a.png")
    labelme(source / "a.json", [shape("tumour", box(0, 0, 4, 4)), shape("cyst", box(4, 0, 8, 4))])
    (source / "groups.csv").write_text("case,group\na,patient 1\n")
    dataset = imported("labelme", tmp_path, Wanted(structures=("tumour",)))
    assert (dataset.classes, dataset.cases[0].group) == (("background", "tumour"), "patient 1")
    np.testing.assert_array_equal(dataset.read_mask(dataset.cases[0]), filled(slice(0, 4), slice(0, 4)))


def test_more_drawings_are_added_and_a_changed_one_is_not_passed_over(tmp_path):
    source = tmp_path / "source"
    for name in "ab":
        picture(source / f"{name}.png")
    labelme(source / "a.json", [shape("cyst", box(0, 0, 4, 4))])
    assert len(imported("labelme", tmp_path).labeled) == 1
    labelme(source / "b.json", [shape("cyst", box(0, 0, 4, 4))])
    assert len(imported("labelme", tmp_path).labeled) == 2
    labelme(source / "a.json", [shape("cyst", box(0, 0, 4, 5))])
    with pytest.raises(DataError, match=r"a\.png is there already and is not what the source draws"):
        imported("labelme", tmp_path)


def test_four_corners_are_an_outline(tmp_path):
    """As X-AnyLabeling writes rectangles, upright or turned."""
    source, turned = tmp_path / "source", [[5, 0.5], [9.5, 5], [5, 9.5], [0.5, 5]]
    for kind in ("rectangle", "rotation", "polygon"):
        picture(source / f"{kind}.png")
        labelme(source / f"{kind}.json", [shape("cyst", turned, kind)])
    dataset = imported("labelme", tmp_path)
    drawn = [dataset.read_mask(case) for case in dataset.cases]
    assert drawn[0].sum(1).tolist() == [0, 2, 4, 6, 8, 8, 6, 4, 2, 0, 0, 0]
    assert all((mask == drawn[0]).all() for mask in drawn)


def test_an_image_whose_objects_may_not_all_be_outlined_is_unlabeled(tmp_path):
    drawn = {
        "outlined": [shape("cyst", box(0, 0, 4, 4)), shape("cyst", [[1, 1]], "point")],
        "unknown": [shape("cyst", box(0, 0, 4, 4)), shape("cyst", box(5, 5, 9, 9), "cuboid")],
        "pointed": [shape("cyst", [[1, 1]], "point")],
        "traced": [shape("cyst", box(0, 0, 4, 4), "linestrip")],
        "bare": [],
    }
    for name, shapes in drawn.items():
        picture(tmp_path / f"{name}.png")
        labelme(tmp_path / f"{name}.json", shapes)
    plan = plan_import("labelme", tmp_path)
    assert {item.name for item in plan.items if item.mask is not None} == {"outlined", "bare"}
    assert plan.left_out == (
        "left out, as they enclose nothing that is read: 1 cuboid, 1 linestrip, 2 point",
        "images unlabeled, as an object may be left out: pointed.png, traced.png, unknown.png",
    )


@pytest.mark.parametrize("label", ["background", "Background", "_background_"])
def test_an_outline_of_the_background_is_background(label, tmp_path):
    source = tmp_path / "source"
    picture(source / "a.png")
    labelme(source / "a.json", [shape("cyst", box(0, 0, 4, 4)), shape(label, box(0, 0, 4, 2))])
    dataset = imported("labelme", tmp_path)
    assert dataset.classes == ("background", "cyst")
    np.testing.assert_array_equal(dataset.read_mask(dataset.cases[0]), filled(slice(2, 4), slice(0, 4)))


@pytest.mark.parametrize("shapes", [[], [shape("__ignore__", box(0, 0, 4, 4))]])
def test_a_source_without_an_outline_of_an_object_is_refused(shapes, tmp_path):
    picture(tmp_path / "a.png")
    labelme(tmp_path / "a.json", shapes)
    with pytest.raises(DataError, match="has no image with an outline of an object; outline some, then import again"):
        plan_import("labelme", tmp_path)


def test_what_nobody_knows_is_not_added_to_a_dataset_that_knows_all(tmp_path):
    """Its dataset.json stays as it is, and would take 255 for a class."""
    source = tmp_path / "source"
    for name in "ab":
        picture(source / f"{name}.png")
    labelme(source / "a.json", [shape("cyst", box(0, 0, 4, 4))])
    imported("labelme", tmp_path)
    labelme(source / "b.json", [shape("__ignore__", box(0, 0, 4, 4))])
    with pytest.raises(DataError, match="was imported with ignore False, now True is asked; choose a new folder"):
        imported("labelme", tmp_path)
    assert len(open_dataset(tmp_path / "data").labeled) == 1


def test_json_too_deep_to_be_read_is_said_in_a_sentence(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "a.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(DataError, match=r"a\.json is not valid JSON"):
        plan_import("labelme", tmp_path)


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 99))))
def test_packed_and_plain_runs_are_the_mask(mask):
    runs = runs_of(mask)
    for counts in (runs, packed(runs)):
        np.testing.assert_array_equal(RunLengths(size=mask.shape, counts=counts).cover(mask.shape), mask)


def test_what_reaches_beyond_the_image_is_cut_off(tmp_path):
    source = tmp_path / "source"
    picture(source / "a.png")
    labelme(source / "a.json", [shape("cyst", box(-5, -5, 3, 99)), shape("cyst", box(20, 20, 30, 30))])
    dataset = imported("labelme", tmp_path)
    np.testing.assert_array_equal(dataset.read_mask(dataset.cases[0]), filled(slice(None), slice(0, 3)))


BAD_COCO = {
    "odd numbers": ([[[0, 0, 4, 0, 4, 4, 0]]], {}, "7 numbers are no x and y in turn"),
    "not a number": ([[[float("nan"), 0, 4, 0, 4, 4]]], {}, "annotations.0.segmentation"),
    "runs of another size": (
        [{"size": [2, 2], "counts": [1, 3]}],
        {},
        "has an object 'tumour' on a.png that cannot be read: its runs do not fill 16x12 pixels",
    ),
    "runs that are none": ([{"size": [HEIGHT, WIDTH], "counts": "~" * 99}], {}, "has an object 'tumour' on a.png"),
    "an unlisted category": ([[SQUARE]], {"categories": []}, "has an object of the category 1, which it does not list"),
    "an unlisted image": ([[SQUARE]], {"images": []}, "has an object on the image 7, which it does not list"),
    "a number that is text": (
        [[SQUARE]],
        {"images": [{"id": "7", "file_name": "a.png"}]},
        "has an object on the image 7, which it does not list",
    ),
    "two images of one number": (
        [[SQUARE]],
        {"images": [{"id": 7, "file_name": "a.png"}, {"id": 7, "file_name": "b.png"}]},
        "lists 2 entries of the image number 7.",
    ),
    "two categories of one number": (
        [[SQUARE]],
        {"categories": [{"id": 1, "name": "cyst"}, {"id": 1, "name": "tumour"}]},
        "lists 2 entries of the category number 1.",
    ),
    "an image under two numbers": (
        [[SQUARE]],
        {
            "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "./a.png"}],
            "annotations": [{"image_id": i, "category_id": 1, "segmentation": [SQUARE]} for i in (7, 8)],
        },
        "draws on {source}/a.png twice, under two numbers.",
    ),
    "another image": (
        [[SQUARE]],
        {"images": [{"id": 7, "file_name": "a.png", "height": 9, "width": 9}]},
        "was drawn on 9x9 pixels, and {source}/a.png has 16x12. Put back the image that it was drawn on.",
    ),
    "no image": (
        [[SQUARE]],
        {"images": [{"id": 7, "file_name": "z.png"}]},
        "has no image with an outline of an object: images listed and not there: 1",
    ),
    "a line alone": ([[[], [0, 0, 4, 4]]], {}, "images unlabeled, as an object has a box alone: 1"),
    "a box alone": ([None], {}, "images unlabeled, as an object has a box alone: 1"),
}


@pytest.mark.parametrize("bad", BAD_COCO.values(), ids=BAD_COCO.keys())
def test_what_is_wrong_with_a_coco_file_is_said_in_a_sentence(bad, tmp_path):
    segmentations, said, fragment = bad
    picture(tmp_path / "source" / "a.png")
    coco(tmp_path / "source" / "a.json", segmentations, **said)
    with pytest.raises(DataError) as refused:
        imported("coco", tmp_path)
    assert fragment.format(source=tmp_path / "source") in str(refused.value)
    assert not (tmp_path / "data" / "dataset.json").exists()


BAD_LABELME = {
    "no image": (shape("cyst", box(0, 0, 4, 4)), {"imagePath": "x.png"}, "was drawn on 'x.png', which is not there"),
    "another image": (shape("cyst", box(0, 0, 4, 4)), {"imageWidth": 99}, "was drawn on 99x12 pixels, and"),
    "no label": ({"points": box(0, 0, 4, 4)}, {}, "is no LabelMe file as it is known: shapes.0.label: field required"),
    "a mask that is none": (
        shape("cyst", [[0, 0], [2, 2]], "mask", mask="abc"),
        {},
        "a.json has a mask that is no PNG image.",
    ),
    "a mask of another format": (
        shape("cyst", [[0, 0], [2, 2]], "mask", mask=embedded((2, 2), "GIF")),
        {},
        "a.json has a mask that is no PNG image.",
    ),
    "a mask larger than its image": (
        shape("cyst", [[0, 0], [2, 2]], "mask", mask=embedded((9999, 2), "PNG")),
        {},
        "a.json has a mask of 2x9999 pixels on an image of 16x12. Save it again with LabelMe.",
    ),
}


@pytest.mark.parametrize("bad", BAD_LABELME.values(), ids=BAD_LABELME.keys())
def test_what_is_wrong_with_a_labelme_file_is_said_in_a_sentence(bad, tmp_path):
    drawn, said, fragment = bad
    picture(tmp_path / "source" / "a.png")
    labelme(tmp_path / "source" / ("other.json" if "imagePath" in said else "a.json"), [drawn], **said)
    with pytest.raises(DataError) as refused:
        plan_import("labelme", tmp_path / "source")
    assert fragment in str(refused.value)


def test_a_labelme_mask_that_is_cut_short_is_said_in_a_sentence(tmp_path):
    picture(tmp_path / "source" / "a.png")
    whole = base64.b64decode(embedded((9, 9), "PNG"))
    cut = base64.b64encode(whole[:-20]).decode()
    labelme(tmp_path / "source" / "a.json", [shape("cyst", [[0, 0], [9, 9]], "mask", mask=cut)])
    with pytest.raises(DataError, match=r"a\.json has a mask that is no PNG image\."):
        imported("labelme", tmp_path)


def test_a_dataset_inside_its_source_is_no_part_of_it(tmp_path):
    picture(tmp_path / "a.png")
    labelme(tmp_path / "a.json", [shape("cyst", box(0, 0, 4, 4))])
    for written in (2, 0):
        assert carry_out(plan_import("labelme", tmp_path), tmp_path / "data") == written


def test_a_folder_of_outlines_that_is_taken_for_a_dataset_is_told_what_makes_it_one(tmp_path):
    picture(tmp_path / "a.png")
    labelme(tmp_path / "a.json", [])
    with pytest.raises(DataError, match=r"is not a dataset; .*`criinet data import labelme .* NEW` \(or coco\) makes"):
        open_dataset(tmp_path)
