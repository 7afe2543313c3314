"""Two folders of masks are compared file by file, each read in its own encoding."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from criinet.data.geometry import Geometry
from criinet.data.mask_folders import masks_by_stem, match_masks, paired_masks
from criinet.data.volumes import write_volume
from criinet.errors import DataError
from criinet.labels import IGNORE


def save(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask, np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases: truth in class indices 0 to 2, predictions the same."""
    for name, value in (("a", 1), ("b", 2)):
        mask = np.zeros((6, 9))
        mask[2:4, 3:6] = value
        save(tmp_path / "found" / f"{name}.png", mask)
        save(tmp_path / "truth" / f"{name}.png", mask)
    return tmp_path / "found", tmp_path / "truth"


def test_masks_of_one_stem_are_paired(folders):
    pairs = list(paired_masks(*folders))
    assert [name for name, *_ in pairs] == ["a", "b"]
    for _, found, target, classes, *_ in pairs:
        np.testing.assert_array_equal(found, target)
        assert classes == ("background", "class 1", "class 2")


@pytest.mark.parametrize("predicted", [1, 255])
@pytest.mark.parametrize("true", [1, 255])
def test_0_and_255_meet_class_indices(predicted, true, tmp_path):
    half = np.arange(12).reshape(3, 4) % 2
    save(tmp_path / "found" / "a.png", half * predicted)
    save(tmp_path / "truth" / "a.png", half * true)
    ((_, found, target, classes, *_),) = paired_masks(tmp_path / "found", tmp_path / "truth")
    np.testing.assert_array_equal(found, half)
    np.testing.assert_array_equal(target, half)
    assert len(classes) == 2


def test_formats_and_capitals_of_suffixes_may_differ(tmp_path):
    save(tmp_path / "found" / "a.tif", np.eye(5))
    save(tmp_path / "truth" / "a.PNG", np.eye(5) * 255)
    (tmp_path / "truth" / "readme.txt").write_text("no mask")
    ((name, found, target, *_),) = paired_masks(tmp_path / "found", tmp_path / "truth")
    assert name == "a"
    np.testing.assert_array_equal(found, target)


def test_predictions_without_a_target_are_left_out(folders):
    found, truth = folders
    (truth / "b.png").unlink()
    assert [name for name, *_ in paired_masks(found, truth)] == ["a"]


@pytest.mark.parametrize(("found_as", "true_as"), [("{}_mask", "{}"), ("{}", "{}_gt"), ("{}-seg", "{}_label")])
def test_a_mark_at_the_end_of_a_name_does_not_matter(folders, found_as, true_as):
    for folder, name in zip(folders, (found_as, true_as), strict=True):
        for path in list(folder.iterdir()):
            path.rename(path.with_stem(name.format(path.stem)))
    save(folders[0] / "c.png", np.zeros((6, 9)))
    matched, left = match_masks(*folders)
    assert [(found.stem, true.stem) for found, true in matched] == [
        (found_as.format(name), true_as.format(name)) for name in "ab"
    ]
    assert left == 1
    assert [pair.stem for pair in paired_masks(*folders)] == [true_as.format(name) for name in "ab"]


def test_the_very_name_goes_before_one_with_a_mark_and_two_marks_are_refused(folders):
    found, truth = folders
    save(found / "a_mask.png", np.zeros((9, 6)))
    assert [path.name for path, _ in match_masks(found, truth)[0]] == ["a.png", "b.png"]
    (found / "a.png").rename(found / "a_mask_1.png")
    assert [path.name for path, _ in match_masks(found, truth)[0]] == ["a_mask.png", "b.png"]
    save(found / "a_seg.png", np.zeros((9, 6)))
    with pytest.raises(DataError, match=r"a_mask\.png and a_seg\.png both seem to be predictions of a\.png\."):
        match_masks(found, truth)


def test_a_prediction_may_miss_a_class_or_everything(folders):
    found, truth = folders
    for name in ("a", "b"):
        save(found / f"{name}.png", np.zeros((6, 9)))
    for _, predicted, target, classes, *_ in paired_masks(found, truth):
        assert predicted.max() == 0 < target.max()
        assert len(classes) == 3


def test_a_target_without_a_prediction_is_named(folders):
    found, truth = folders
    (found / "b.png").unlink()
    with pytest.raises(DataError, match=r"found has no prediction for 1 of 2 targets, the first is b\."):
        list(paired_masks(found, truth))


def test_sizes_must_agree(folders):
    found, truth = folders
    save(found / "b.png", np.zeros((9, 6)))
    with pytest.raises(DataError, match=r"b\.png is 6x9 but its target is 9x6\. Predict at the image's own size"):
        list(paired_masks(found, truth))


def test_a_folder_of_masks_must_be_there_and_hold_some(tmp_path):
    with pytest.raises(DataError, match="nowhere is not a folder"):
        masks_by_stem(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(DataError, match=r"holds no masks\. Supported are png, jpg"):
        masks_by_stem(tmp_path)


def test_two_masks_of_one_case_are_refused(folders):
    found, _ = folders
    save(found / "a.bmp", np.zeros((6, 9)))
    with pytest.raises(DataError, match=r"a\.png and a\.bmp share a name"):
        masks_by_stem(found)


def test_a_class_too_many_is_told_beside_the_names_of_the_classes(folders):
    found, truth = folders
    truth = truth.rename(truth.parent / "masks")
    (truth.parent / "dataset.json").write_text('{"classes": ["background", "disc", "cup"]}')
    save(truth / "b.png", np.full((6, 9), 3))
    with pytest.raises(DataError, match=r"b\.png has class 3, but the dataset has 3 classes: background, disc, cup\."):
        list(paired_masks(found, truth))


def test_a_damaged_mask_is_named(folders):
    found, truth = folders
    (found / "a.png").write_bytes((found / "a.png").read_bytes()[:30])
    with pytest.raises(DataError, match=r"a\.png is damaged"):
        list(paired_masks(found, truth))


def save_volume(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, mask.astype(np.uint8), Geometry.unknown((2.0, 1.0, 1.0)))


def test_slices_that_nobody_annotated_are_unknown_in_a_target(tmp_path):
    organ = np.ones((13, 6, 7))
    sparse = np.where(np.arange(13)[:, None, None] % 4 == 1, organ, 0)
    save_volume(tmp_path / "found" / "a.nii.gz", organ)
    save_volume(tmp_path / "truth" / "a.nii.gz", sparse)
    ((_, found, target, *_),) = paired_masks(tmp_path / "found", tmp_path / "truth")
    np.testing.assert_array_equal(found, organ)
    np.testing.assert_array_equal(target, np.where(sparse, 1, IGNORE))


def test_dataset_json_says_what_its_masks_mean(tmp_path):
    mask = np.zeros((6, 9))
    mask[2:4, 3:6], mask[4:] = 1, 255
    save(tmp_path / "data" / "masks" / "a.png", mask)
    save(tmp_path / "found" / "a.png", mask == 1)
    (tmp_path / "data" / "dataset.json").write_text('{"classes": ["background", "cyst"], "ignore": true}')
    ((_, found, target, classes, *_),) = paired_masks(tmp_path / "found", tmp_path / "data" / "masks")
    assert classes == ("background", "cyst")
    np.testing.assert_array_equal(target[4:], IGNORE)
    np.testing.assert_array_equal(found, mask == 1)


def test_a_class_that_only_predictions_hold_keeps_the_names_of_the_others(tmp_path):
    save(tmp_path / "data" / "masks" / "a.png", np.eye(6))
    save(tmp_path / "found" / "a.png", 2 * np.eye(6))
    (tmp_path / "data" / "dataset.json").write_text('{"classes": ["background", "cyst"], "encoding": "index"}')
    (pair,) = paired_masks(tmp_path / "found", tmp_path / "data" / "masks")
    assert pair.classes == ("background", "cyst", "class 2")


def test_dataset_json_says_the_voxel_of_volumes_that_do_not_know_theirs(tmp_path):
    for folder in (tmp_path / "data" / "masks", tmp_path / "found"):
        folder.mkdir(parents=True)
        pages = [Image.fromarray(np.eye(6, dtype=np.uint8)) for _ in range(3)]
        pages[0].save(folder / "a.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "data" / "dataset.json").write_text('{"spacing": [2, 0.5, 0.5]}')
    (pair,) = paired_masks(tmp_path / "found", tmp_path / "data" / "masks")
    assert pair.spacing == (2, 0.5, 0.5)


def test_a_prediction_that_lies_elsewhere_is_told_to_go_where_its_target_is(tmp_path):
    """Folders of masks have no images."""
    for folder, step in (("found", 1.0), ("truth", 3.0)):
        (tmp_path / folder).mkdir()
        write_volume(tmp_path / folder / "a.nii.gz", np.ones((3, 4, 5), np.uint8), Geometry.unknown((step, 1.0, 1.0)))
    said = r"1 x 1 x 1 mm but its target 3 x 1 x 1 mm\. Resample it to the grid of its target\.$"
    with pytest.raises(DataError, match=said):
        list(paired_masks(tmp_path / "found", tmp_path / "truth"))


def test_a_spacing_of_other_axes_is_named(tmp_path):
    for folder in ("data/masks", "found"):
        save(tmp_path / folder / "a.png", np.eye(6))
    (tmp_path / "data" / "dataset.json").write_text('{"spacing": [2, 1, 1]}')
    with pytest.raises(DataError, match=r"dataset\.json has a bad 'spacing': 3 numbers for 2 axes\. Give height"):
        list(paired_masks(tmp_path / "found", tmp_path / "data" / "masks"))


def test_a_prediction_that_was_written_twice_counts_once(tmp_path):
    """As NIfTI and as DICOM-SEG; in a folder of another tool two files of one name stay a question."""
    save_volume(tmp_path / "a.nii.gz", np.eye(4)[None])
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(DataError, match=r"share a name"):
        masks_by_stem(tmp_path)
    (tmp_path / ".prediction.json").write_text("{}")
    assert masks_by_stem(tmp_path) == {"a": tmp_path / "a.nii.gz"}


def test_numbered_objects_are_no_classes_to_compare_unless_the_dataset_names_them(tmp_path):
    found, truth = tmp_path / "found", tmp_path / "set" / "masks"
    for name, most in (("a", 7), ("b", 6)):
        mask = np.zeros((20, 4))
        mask[: 2 * most : 2] = np.arange(1, most + 1)[:, None]
        for folder in (found, truth):
            save(folder / f"{name}.png", mask)
    with pytest.raises(DataError, match=r"a\.png holds the values 1 to 7, each in one piece.*numbered objects"):
        list(paired_masks(found, truth))
    names = ["background", *(f"vertebra {k}" for k in range(1, 8))]
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"classes": names}))
    assert [len(pair.classes) for pair in paired_masks(found, truth)] == [8, 8]
