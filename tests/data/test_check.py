"""The check finds every problem at once, and the contact sheet shows what is there."""

import json

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from criinet.data.check import check_dataset, joined
from criinet.data.contact_sheet import contact_sheet, draw_contours
from criinet.data.dataset import open_dataset
from criinet.data.images import image_size, read_image
from criinet.data.masks import PALETTE
from criinet.errors import DataError
from volume_sets import write_volumes


def shaded(value: int) -> np.ndarray:
    """Draw a 10x20 image of a value, one pixel apart."""
    image = np.full((10, 20), value, np.uint8)
    image[0, 0] += 100
    return image


@pytest.fixture
def root(tmp_path):
    """Six 10x20 images i0..i5; i0..i3 have index masks, the mask of i0 is empty and i2 has 50 px of class 2."""
    folder = tmp_path / "set"
    for name in ("images", "masks", "splits"):
        (folder / name).mkdir(parents=True)
    for i in range(6):
        Image.fromarray(shaded(10 * i)).save(folder / "images" / f"i{i}.png")
    for i in range(4):
        mask = np.zeros((10, 20), np.uint8)
        mask[:5, :10] = i
        Image.fromarray(mask).save(folder / "masks" / f"i{i}.png")
    (folder / "dataset.json").write_text('{"classes": ["background", "a", "b", "c"]}')
    return folder


def test_a_sound_dataset_is_counted(root):
    report = check_dataset(root)
    assert report.ok
    assert report.notes == ()
    assert (report.images, report.masks, report.unlabeled, report.groups) == (6, 4, 2, 6)
    assert (report.gray, report.rgb, report.deep, report.empty_masks) == (6, 0, 0, 1)
    assert report.sizes is not None
    assert (report.sizes.height, report.sizes.width, report.sizes.distinct) == ((10,) * 3, (20,) * 3, 1)
    assert [(c.name, c.cases) for c in report.classes] == [("background", 4), ("a", 1), ("b", 1), ("c", 1)]
    assert report.classes[2].pixels == pytest.approx(50 / 800)
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_every_problem_is_reported_not_only_the_first(root):
    (root / "images" / "i5.png").write_bytes(b"")
    (root / "masks" / "i0.png").write_bytes(b"")
    Image.fromarray(np.zeros((20, 10), np.uint8)).save(root / "masks" / "i1.png")
    Image.fromarray(np.full((10, 20), 7, np.uint8)).save(root / "masks" / "i2.png")
    Image.fromarray(np.zeros((10, 20), np.uint8)).save(root / "masks" / "stray.png")
    (root / "groups.csv").write_text("case,group\ni0,1\n")
    report = check_dataset(root)
    found = {problem.file: problem.what for problem in report.problems}
    assert found.keys() == {
        "images/i5.png",
        "masks/i0.png",
        "masks/i1.png",
        "masks/i2.png",
        "masks/stray.png",
        "groups.csv",
    }
    assert found["masks/i1.png"] == "is 10x20 but its image is 20x10"
    assert "Turn it by 90 degrees or remove it; resizing would distort it" in [one.remedy for one in report.problems]
    assert found["masks/i2.png"].startswith("has class 7, but the dataset has 4 classes")
    assert all(problem.remedy for problem in report.problems)
    assert not report.ok
    assert report.images == 5


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (5, lambda mask: np.rot90(np.fliplr(mask))),
        (6, lambda mask: np.rot90(mask, -1)),
        (7, lambda mask: np.rot90(np.fliplr(mask), -1)),
        (8, np.rot90),
    ],
)
def test_a_mask_that_was_not_turned_with_its_photo_is_to_be_turned_not_resized(root, orientation, turned):
    """What the message says to do with the stored pixels is what a viewer does with them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.random.default_rng(0).integers(0, 256, (10, 20)).astype(np.uint8)
    Image.fromarray(stored).save(root / "images" / "i1.png", exif=exif)
    np.testing.assert_array_equal(read_image(root / "images" / "i1.png"), turned(stored))
    (problem,) = check_dataset(root).problems
    assert problem.file == "masks/i1.png"
    side = "left" if orientation in (5, 8) else "right"
    mirrored = "mirrored left to right and then " if orientation in (5, 7) else ""
    shown = f"which viewers show {mirrored}turned by 90 degrees to the {side}, as its EXIF tag says"
    assert problem.what == f"is 20x10 but its image is 10x20, {shown}"
    assert problem.remedy == "Have the mask turned in the same way; resizing would distort it"


def test_a_turned_image_whose_size_does_not_tell_about_its_mask_is_noted(root):
    """i1 is turned by 180 degrees, i2 is square and turned by 90; i3 has a mask with the same tag, and i5 none."""
    for i, orientation in ((1, 3), (2, 6), (3, 3), (5, 3)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("images", "masks") if i == 3 else ("images",):
            path = root / kind / f"i{i}.png"
            Image.open(path).resize((10, 10) if i == 2 else (20, 10)).save(path, exif=exif)
    Image.open(root / "masks" / "i2.png").resize((10, 10)).save(root / "masks" / "i2.png")
    report = check_dataset(root)
    assert report.ok
    assert report.notes == (
        "images with an EXIF rotation that have masks: 2. The masks are taken as upright, as viewers show the images; "
        "look at the contact sheet",
    )


def test_splits_are_checked_too(root):
    (root / "splits" / "default.json").write_text('{"train": ["i0", "gone"]}')
    (problem,) = check_dataset(root).problems
    assert problem.file == "splits/default.json"
    assert "names case gone" in problem.what


def test_a_bad_card_is_a_problem_and_the_rest_is_still_counted(root):
    (root / "dataset.json").write_text("{")
    report = check_dataset(root)
    assert [problem.file for problem in report.problems] == ["dataset.json"]
    assert len(report.classes) == 4


def test_masks_without_a_meaning_are_a_problem(root):
    (root / "dataset.json").unlink()
    Image.fromarray(np.full((10, 20), 99, np.uint8)).save(root / "masks" / "i2.png")
    (problem,) = check_dataset(root).problems
    assert problem.file == "masks/i2.png"
    assert "values up to 99" in problem.what
    assert problem.remedy.startswith("Correct it")


def test_identical_images_and_foreign_files_are_notes(root):
    (root / "images" / "copy.png").write_bytes((root / "images" / "i1.png").read_bytes())
    (root / "images" / "scan.doc").write_bytes(b"")
    report = check_dataset(root)
    assert report.ok
    assert any("identical images of different groups: copy, i1" in note for note in report.notes)
    assert any("1 .doc" in note for note in report.notes)


def test_progress_is_told_and_a_missing_folder_raises(root):
    seen = []
    check_dataset(root, advance=lambda finished, total: seen.append((finished, total)))
    assert seen == [(i, 6) for i in range(1, 7)]
    with pytest.raises(DataError, match="does not exist"):
        check_dataset(root / "none")


def test_a_contour_is_two_pixels_inside_the_border():
    """A 7x7 square: its outer two rings are coloured, its inner 3x3 and everything outside are not."""
    mask = np.zeros((11, 12), np.uint8)
    mask[2:9, 3:10] = 2
    drawn = draw_contours(np.zeros((11, 12, 3), np.uint8), mask)
    colored = (drawn == PALETTE[2]).all(-1)
    assert colored.sum() == 49 - 9
    assert not colored[4:7, 5:8].any()
    assert not colored[mask == 0].any()


def test_the_contact_sheet_shows_contours_and_fits_its_count(root, tmp_path):
    """Four of six are three labeled ones, i2 with class 2 among them, and one without a mask."""
    dataset = open_dataset(root)
    contact_sheet(dataset, tmp_path / "four.png", count=4)
    contact_sheet(dataset, tmp_path / "all.png", count=100)
    four, six = read_image(tmp_path / "four.png"), read_image(tmp_path / "all.png")
    assert (four[60:] == PALETTE[2]).all(-1).any()
    assert not (four[:30] == PALETTE[2]).all(-1).any()
    assert six.shape[1] > four.shape[1]
    assert image_size(tmp_path / "all.png")[0] == four.shape[0]


def test_what_is_unknown_is_counted_and_hatched_on_the_contact_sheet(tmp_path):
    for part, value in (("images", 90), ("masks", 0)):
        (tmp_path / part).mkdir()
        pixels = np.full((64, 64), value, np.uint8)
        if part == "masks":
            pixels[:8, :8], pixels[32:] = 1, 255
        Image.fromarray(pixels).save(tmp_path / part / "a.png")
    (tmp_path / "dataset.json").write_text('{"classes": ["background", "a"], "encoding": "index", "ignore": true}')
    said = "masks with pixels marked as unknown: 1 of 1, 50.00% of the pixels of all masks"
    assert any(note.startswith(said) for note in check_dataset(tmp_path).notes)
    contact_sheet(open_dataset(tmp_path), tmp_path / "sheet.png")
    tile = read_image(tmp_path / "sheet.png")[58:250, 8:200]
    assert (tile[:90] == 90).all(-1).mean() > 0.9
    assert 0.4 < (tile[100:190] == 128).all(-1).mean() < 0.6
    assert 0.4 < (tile[100:190] == 90).all(-1).mean() < 0.6


@pytest.mark.real
@pytest.mark.slow
def test_a_real_set_of_patients_is_sound(real_data, tmp_path):
    """ACDC: 1902 slices of 100 patients, 61 empty masks, and two patients who are one."""
    root = real_data("acdc")
    report = check_dataset(root)
    assert report.ok
    assert (report.images, report.groups, report.empty_masks, len(report.classes)) == (1902, 100, 61, 4)
    assert any("patient074" in note and "patient076" in note for note in report.notes)
    contact_sheet(open_dataset(root), tmp_path / "sheet.png")


def test_what_looks_odd_is_noted(root):
    """A key that means nothing, values that skip classes, masks without any object, folders of images."""
    (root / "dataset.json").write_text('{"class": ["background", "a"], "xyz": "red", "note": "from 2 scanners"}')
    for i in range(4):
        mask = np.zeros((10, 20), np.uint8)
        mask[:5, :10] = 30 * (i > 1)
        Image.fromarray(mask).save(root / "masks" / f"i{i}.png")
    (root / "images" / "sub").mkdir()
    (root / "images" / "sub" / "i7.png").write_bytes((root / "images" / "i1.png").read_bytes())
    notes = check_dataset(root).notes
    below = root / "images" / "sub"
    assert f"folder {below} is not looked into, though it holds images or volumes (1); move them up" in notes
    assert "'class' in dataset.json means nothing. Did you mean 'classes'?" in notes
    assert "'xyz' in dataset.json means nothing." in notes
    assert not any("'note'" in note for note in notes), "it is for people"
    assert any(note.startswith("masks hold the values 0, 30 alone, so 29 of 30 classes are in none") for note in notes)
    for i in range(4):
        Image.fromarray(np.zeros((10, 20), np.uint8)).save(root / "masks" / f"i{i}.png")
    assert "all 4 masks are empty: there is nothing to learn from them" in check_dataset(root).notes


def test_the_mask_whose_values_do_not_fit_is_named(root):
    (root / "dataset.json").unlink()
    mask = np.zeros((10, 20), np.uint8)
    mask[0, :3] = 200
    Image.fromarray(mask).save(root / "masks" / "i2.png")
    (problem,) = check_dataset(root).problems
    assert (problem.file, problem.what[:21]) == ("masks/i2.png", "holds values up to 20")


def test_the_check_does_not_send_anyone_to_itself(root):
    (root / "images" / "i5.png").write_bytes(b"")
    (problem,) = check_dataset(root).problems
    assert problem.remedy == "Copy it again or remove it"


def test_the_contact_sheet_draws_any_name(root, tmp_path):
    """A line break cannot be drawn on one line."""
    (root / "images" / "i1.png").rename(root / "images" / "new\nline.png")
    (root / "masks" / "i1.png").rename(root / "masks" / "new\nline.png")
    (root / "dataset.json").write_text(json.dumps({"name": "x\ny", "classes": ["background", "a", "b", "c"]}))
    contact_sheet(open_dataset(root), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").exists()


def test_masks_that_are_full_or_mostly_full_are_noted(root):
    (root / "dataset.json").unlink()
    for i in range(4):
        Image.fromarray(np.full((10, 20), 255, np.uint8)).save(root / "masks" / f"i{i}.png")
    report = check_dataset(root)
    assert report.ok
    assert "all 4 masks are full, without a pixel of background: nothing can be told apart" in report.notes
    for i in range(4):
        mask = np.full((10, 20), 255, np.uint8)
        mask[: i + 1] = 0
        Image.fromarray(mask).save(root / "masks" / f"i{i}.png")
    note = "foreground covers 75% of a mask in the mean: are the masks inverted? Background is 0"
    assert note in check_dataset(root).notes


@pytest.mark.parametrize("suffix", [".json", ".gif"])
def test_without_a_readable_mask_no_class_is_made_up(root, suffix):
    (root / "dataset.json").unlink()
    for path in (root / "masks").iterdir():
        path.rename(path.with_suffix(suffix))
    report = check_dataset(root)
    assert (report.masks, report.classes, report.empty_masks) == (0, (), 0)
    assert any(
        note.startswith(f"no mask could be read: 4 {suffix}; training needs some, as PNG") for note in report.notes
    )


def test_masks_of_other_names_make_up_no_class(root):
    (root / "dataset.json").unlink()
    for path in (root / "masks").iterdir():
        path.rename(path.with_stem(f"x_{path.stem}"))
    report = check_dataset(root)
    assert report.classes == ()
    assert any(note.startswith("no mask could be read: 4 .png") for note in report.notes)
    assert len(report.problems) == 4


def test_a_dataset_without_masks_needs_no_word(root):
    for path in (root / "masks").iterdir():
        path.unlink()
    assert check_dataset(root).notes == ()


def as_tiff(path) -> None:
    """Store a volume as TIFF, which knows no voxel size, in place of NIfTI."""
    values = np.asarray(nib.load(path).dataobj).transpose(2, 1, 0)
    path.unlink()
    tifffile.imwrite(path.with_name(path.name.replace(".nii.gz", ".tif")), values, photometric="minisblack")


def test_volumes_have_the_voxels_that_dataset_json_says(tmp_path):
    root = write_volumes(tmp_path / "set", 4, masks=2)
    as_tiff(root / "images" / "v3.nii.gz")
    report = check_dataset(root)
    said = '1 of 4 volumes says no voxel size (v3.tif) and is taken as it is; add "spacing" to dataset.json'
    assert said in report.notes
    for i in range(3):
        as_tiff(root / "images" / f"v{i}.nii.gz")
    report = check_dataset(root)
    assert report.sizes is not None
    assert report.sizes.spacing == ()
    assert not [note for note in report.notes if "voxel size" in note]
    (root / "dataset.json").write_text('{"spacing": [2.0, 1.0, 1.0]}')
    report = check_dataset(root)
    assert report.ok
    assert report.sizes is not None
    assert report.sizes.spacing == ((2.0, 1.0, 1.0),)


def test_a_bad_spacing_of_volumes_is_one_problem(tmp_path):
    root = write_volumes(tmp_path / "set", 4, masks=2)
    (root / "dataset.json").write_text('{"spacing": [2.0, 1.0]}')
    (problem,) = check_dataset(root).problems
    assert problem.what == "has a bad 'spacing': 2 numbers for 3 axes"


def test_masks_that_are_no_volumes_are_to_become_nifti(tmp_path):
    root = write_volumes(tmp_path / "set", 4, masks=2)
    for i in range(2):
        (root / "masks" / f"v{i}.nii.gz").rename(root / "masks" / f"x{i}.nii.gz")
    advice = "training needs some, as NIfTI with class indices named like their images"
    assert f"no mask could be read: 2 .nii.gz; {advice}" in check_dataset(root).notes


def test_masks_that_were_refused_need_no_word_beside_their_problems(tmp_path):
    root = write_volumes(tmp_path / "set", 4, masks=2)
    for i in range(2):
        soft = nib.Nifti1Image(np.full((24, 20, 12), 0.5, np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
        nib.save(soft, root / "masks" / f"v{i}.nii.gz")
    report = check_dataset(root)
    assert len(report.problems) == 2
    assert report.notes == ()


def test_a_scan_that_lost_its_intercept_is_named(tmp_path):
    """In a scan that is cropped to the body, fat and noise still lie below 0."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)

    def scan(name, lowest, *, plus=0.0) -> None:
        values = np.maximum(rng.normal(-200, 400, (8, 8, 8)), lowest)
        values[0, 0] = (lowest, *[100] * 7)
        nib.save(nib.Nifti1Image(values + plus, np.eye(4)), tmp_path / "images" / f"{name}.nii.gz")

    for name, lowest in (("a", -1000), ("b", -3024), ("c", -1000), ("cropped", -140), ("offset", -1024)):
        scan(name, lowest)
    assert check_dataset(tmp_path).notes == ()
    scan("offset", -1024, plus=1024)
    (note,) = check_dataset(tmp_path).notes
    assert note == (
        "volumes without a value below 0, though 3 of 5 go below -500 as CT does: offset.nii.gz. "
        "Are they in HU? A fixed window fits HU alone"
    )
    for name in "abc":
        scan(name, 0)
    assert check_dataset(tmp_path).notes == ()


def test_volumes_with_voxels_that_are_no_number_are_named(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for name in "abc":
        values = rng.normal(size=(8, 8, 8))
        if name == "b":
            values[:2] = np.nan
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "images" / f"{name}.nii.gz")
    (note,) = check_dataset(tmp_path).notes
    assert note.startswith("volumes with voxels that are no finite number: 1, as b.nii.gz (25.00% of its voxels)")


def test_labeled_slices_that_stand_alone_unevenly_are_named(tmp_path):
    """Two of sixteen slices are too few for a pattern: nobody knows whether the others were annotated."""
    write_volumes(tmp_path, count=3)
    masks = sorted((tmp_path / "masks").iterdir())
    stored = nib.load(masks[0])
    labels = np.asarray(stored.dataobj).astype(np.uint8)
    kept = np.flatnonzero(labels.any((0, 1)))[[0, 2]]
    alone = np.zeros_like(labels)
    alone[:, :, kept] = labels[:, :, kept]
    nib.save(nib.Nifti1Image(alone, stored.affine), masks[0])
    (note,) = [note for note in check_dataset(tmp_path).notes if "alone" in note]
    assert f"as of {masks[0].name.removesuffix('.nii.gz')} (2 of {labels.shape[2]} slices)" in note
    assert '"partial": true' in note
    card = tmp_path / "dataset.json"
    known = json.loads(card.read_text()) if card.exists() else {}
    card.write_text(json.dumps({**known, "partial": False}))
    assert not [note for note in check_dataset(tmp_path).notes if "alone" in note]


def test_one_sentence_says_what_is_wrong_with_many_files_alike(root):
    """They differ in numbers and in names; what the masks hold that can be read is nothing to judge all of them by."""
    for i in range(1, 4):
        Image.fromarray(np.full((10, 20), 3 + i, np.uint8)).save(root / "masks" / f"i{i}.png")
    for value, name in enumerate(("scan", "x7b"), start=200):
        Image.fromarray(np.full((10, 20), value, np.uint8)).save(root / "images" / f"{name}.png")
        Image.fromarray(np.zeros((10, 20), np.uint8)).save(root / "masks" / f"{name}_mask.png")
    report = check_dataset(root)
    assert len(report.problems) == 5
    assert joined(report.problems) == [
        "masks/scan_mask.png (and likewise x7b_mask.png): has no image of the same name. Name it scan.png, if that is "
        "its image, or remove it.",
        "masks/i1.png (and likewise i2.png, i3.png): has class 4, but the dataset has 4 classes: background, a, b, c. "
        "Correct the mask, or add the class to dataset.json.",
    ]
    assert report.notes == ("images of a single value: 2, as scan.png; nothing can be seen in them",)
    assert joined(report.problems[:1]) == [str(report.problems[0])]
