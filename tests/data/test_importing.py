"""Each published layout becomes a dataset folder that opens; a second import changes nothing."""

import gzip
import json
import re
import shutil
import unicodedata
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from dicom_files import SECRETS, write_contours, write_series
from PIL import Image

from criinet.data.check import check_dataset
from criinet.data.dataset import open_dataset
from criinet.data.importing import IMPORTERS, ImportPlan, Wanted, carry_out, plan_import
from criinet.data.importing.plan import Written
from criinet.data.inputs import images_in
from criinet.data.volumes import read_volume
from criinet.errors import DataError


def picture(path: Path, seed: int, top: int = 256) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, top, (12, 16)).astype(np.uint8)
    Image.fromarray(values if top > 2 else values * 255).save(path)


def scan(path: Path, seed: int, top: int = 1000, shape: tuple[int, ...] = (6, 7, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, top, shape)
    values = values.astype(np.uint8 if top < 10 else np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.5, 3.0, 1.0])), path)


def isic(root: Path) -> None:
    for i in range(3):
        picture(root / "Training_Input" / f"ISIC_{i}.jpg", i)
    picture(root / "Training_GroundTruth" / "ISIC_1_segmentation.png", 9, 2)


def kvasir(root: Path) -> None:
    for i in range(2):
        picture(root / "Kvasir-SEG" / "images" / f"cju{i}.jpg", i)
        picture(root / "Kvasir-SEG" / "masks" / f"cju{i}.jpg", i, 2)


def busi(root: Path) -> None:
    picture(root / "benign" / "benign (1).png", 0)
    picture(root / "benign" / "benign (1)_mask.png", 1, 2)
    picture(root / "benign" / "benign (1)_mask_1.png", 2, 2)
    picture(root / "normal" / "normal (1).png", 3)
    picture(root / "normal" / "normal (1)_mask.png", 3, 1)


def pairs(root: Path) -> None:
    picture(root / "images" / "a.png", 0)
    picture(root / "images" / "b.png", 1)
    picture(root / "labels" / "a_mask.png", 2, 2)


def acdc(root: Path) -> None:
    for patient in ("patient001", "patient002"):
        for frame in ("01", "12"):
            scan(root / "training" / patient / f"{patient}_frame{frame}.nii.gz", 1)
            scan(root / "training" / patient / f"{patient}_frame{frame}_gt.nii.gz", 2, 4)
        scan(root / "training" / patient / f"{patient}_4d.nii.gz", 3, shape=(6, 7, 5, 2))


def nnunet(root: Path) -> None:
    labels = {"background": 0, "tumour": [1, 2], "core": 2, "ignore": 3}
    card = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"}
    for i in range(2):
        scan(root / "imagesTr" / f"case_{i}_0000.nii.gz", i)
        scan(root / "labelsTr" / f"case_{i}.nii.gz", i, 4)
    scan(root / "imagesTs" / "case_9_0000.nii.gz", 9)
    (root / "dataset.json").write_text(json.dumps(card))


def msd(root: Path) -> None:
    card = {"name": "Prostate", "modality": {"0": "T2", "1": "ADC"}, "labels": {"0": "background", "1": "PZ"}}
    scan(root / "imagesTr" / "prostate_00.nii.gz", 0, shape=(6, 7, 5, 2))
    scan(root / "labelsTr" / "prostate_00.nii.gz", 0, 2)
    (root / "dataset.json").write_text(json.dumps(card))


def ssl4mis(root: Path) -> None:
    (root / "data" / "slices").mkdir(parents=True)
    for name in ("patient001_frame01", "patient002_frame01"):
        for path in (root / "data" / f"{name}.h5", root / "data" / "slices" / f"{name}_slice_1.h5"):
            with h5py.File(path, "w") as file:
                file["image"] = np.random.default_rng(0).random((5, 8, 9))
                file["label"] = np.random.default_rng(0).integers(0, 4, (5, 8, 9)).astype(np.uint8)
    (root / "train.list").write_text("patient001_frame01\n")
    (root / "test.list").write_text("patient002_frame01\n")


SQUARE = np.array([(x, y, 32.5) for x, y in ((-8.8, 20.4), (-6.4, 20.4), (-6.4, 22.4), (-8.8, 22.4))])
"""Around columns 2 to 4 and rows 1 to 3 of slice 1, in mm."""


def dicom(root: Path) -> None:
    values = np.random.default_rng(0).integers(0, 99, (4, 6, 7)).astype(np.int16)
    write_series(root / "Mustermann" / "a", values, series="1.2.1")
    write_series(root / "Mustermann" / "b", values, series="1.2.2")
    write_contours(root / "Mustermann" / "rs.dcm", "1.2.2", {"heart": [SQUARE]})
    write_series(root / "other", values, series="1.2.3", PatientID="PAT-2", names=[f"s{d}.dcm" for d in range(4)])
    (root / "other" / "s1.dcm").unlink()


def labelme(root: Path) -> None:
    picture(root / "a.png", 0)
    picture(root / "b.png", 1)
    shape = {"label": "lesion", "points": [[2, 2], [9, 2], [9, 9]]}
    (root / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": [shape]}))


def coco(root: Path) -> None:
    picture(root / "images" / "a.png", 0)
    picture(root / "images" / "b.png", 1)
    outlined = {"image_id": 1, "category_id": 1, "segmentation": [[2, 2, 9, 2, 9, 9]]}
    listed = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "lesion"}]}
    (root / "instances.json").write_text(json.dumps(listed | {"annotations": [outlined]}))


SOURCES = {
    "isic": (isic, 3, 1),
    "kvasir": (kvasir, 2, 2),
    "busi": (busi, 2, 2),
    "pairs": (pairs, 2, 1),
    "labelme": (labelme, 2, 1),
    "coco": (coco, 2, 1),
    "acdc": (acdc, 4, 4),
    "nnunet": (nnunet, 3, 2),
    "msd": (msd, 1, 1),
    "ssl4mis-h5": (ssl4mis, 2, 2),
    "dicom": (dicom, 2, 1),
}
WANTED = {"msd": {"channel": 1}, "dicom": {"structures": ("heart",)}}


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_every_kind_is_tested():
    assert set(SOURCES) == set(IMPORTERS)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_published_layout_becomes_a_dataset_and_again_changes_nothing(kind, tmp_path):
    make, images, masks = SOURCES[kind]
    make(tmp_path / "source")
    plan = plan_import(kind, tmp_path / "source", Wanted(**WANTED.get(kind, {})))
    assert plan.summary()[0].startswith(f"{images} images, {masks} with a mask")
    written = carry_out(plan, tmp_path / "data")
    assert written == images + masks
    dataset = open_dataset(tmp_path / "data")
    assert (len(dataset), len(dataset.labeled)) == (images, masks)
    for case in dataset.labeled:
        dataset.read_mask(case)
    before = files(tmp_path / "data")
    assert carry_out(plan_import(kind, tmp_path / "source", Wanted(**WANTED.get(kind, {}))), tmp_path / "data") == 0
    assert files(tmp_path / "data") == before


def test_an_interrupted_import_goes_on(tmp_path):
    acdc(tmp_path / "source")
    carry_out(plan_import("acdc", tmp_path / "source"), tmp_path / "data")
    whole = files(tmp_path / "data")
    (tmp_path / "data" / "dataset.json").unlink()
    (tmp_path / "data" / "masks" / "patient002_frame12.nii.gz").unlink()
    assert carry_out(plan_import("acdc", tmp_path / "source"), tmp_path / "data") == 1
    assert files(tmp_path / "data") == whole


def test_patients_are_groups_and_lists_are_splits(tmp_path):
    acdc(tmp_path / "source")
    carry_out(plan_import("acdc", tmp_path / "source"), tmp_path / "data")
    assert {case.group for case in open_dataset(tmp_path / "data").cases} == {"patient001", "patient002"}
    ssl4mis(tmp_path / "h5")
    plan = plan_import("ssl4mis-h5", tmp_path / "h5")
    assert plan.splits == {"train": ["patient001_frame01"], "val": [], "test": ["patient002_frame01"]}
    assert "2 files of slices are left out" in plan.left_out[0]


def test_regions_and_the_ignored_value_of_nnunet_are_kept(tmp_path):
    nnunet(tmp_path / "source")
    plan = plan_import("nnunet", tmp_path / "source")
    assert "regions: tumour (class 1, core)" in plan.summary()
    carry_out(plan, tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    assert dataset.classes == ("background", "class 1", "core")
    assert dataset.regions == {"tumour": ("class 1", "core")}
    assert (dataset.ignore, dataset.modality) == (True, "CT")
    assert set(np.unique(dataset.read_mask(dataset.case("case_0")))) == {-1, 0, 1, 2}


def test_several_masks_of_one_image_are_joined(tmp_path):
    busi(tmp_path / "source")
    plan = plan_import("busi", tmp_path / "source")
    assert "several masks, which are joined" in plan.left_out[0]
    carry_out(plan, tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    one, two = (
        np.asarray(Image.open(tmp_path / "source" / "benign" / f"benign (1)_mask{mark}.png")) > 0 for mark in ("", "_1")
    )
    np.testing.assert_array_equal(dataset.read_mask(dataset.case("benign_1")) > 0, one | two)
    (tmp_path / "source" / "benign" / "benign (1)_mask_1.png").unlink()
    assert not plan_import("busi", tmp_path / "source").left_out


def test_whatever_is_above_0_is_the_object_if_that_is_asked_for(tmp_path):
    """Instances numbered in 16 bits, 0 and 255 in floating point, colours, several masks of one image, and a volume."""
    source, truth = tmp_path / "source", np.eye(12, 16) > 0
    (source / "masks").mkdir(parents=True)
    drawn = {
        "a_cp_masks.png": (truth * np.arange(300, 316)).astype(np.uint16),
        "b.tif": (truth * 255).astype(np.float32),
        "c.png": truth[..., None] * np.array([0, 7, 0], np.uint8),
        "d_mask_1.png": (truth * 3).astype(np.uint8) * (np.arange(12) < 6)[:, None].astype(np.uint8),
        "d_mask_2.png": (truth * 9).astype(np.uint8) * (np.arange(12) >= 6)[:, None].astype(np.uint8),
    }
    for name, values in drawn.items():
        picture(source / "images" / f"{name[0]}.png", ord(name[0]))
        Image.fromarray(values).save(source / "masks" / name)
    (source / "dataset.json").write_text('{"classes": ["background", "cell"], "encoding": "index", "spacing": 0.5}')
    with pytest.raises(DataError, match=r"d_mask_2\.png is a second mask of d, .*--any-value-is-object joins them"):
        plan_import("pairs", source)
    wanted = Wanted(any_value_is_object=True)
    assert carry_out(plan_import("pairs", source, wanted), tmp_path / "data") == 8
    assert carry_out(plan_import("pairs", source, wanted), tmp_path / "data") == 0
    dataset = open_dataset(tmp_path / "data")
    assert (dataset.classes, dataset.encoding, dataset.spacing) == (("background", "cell"), "binary255", (0.5, 0.5))
    for case in dataset.labeled:
        np.testing.assert_array_equal(dataset.read_mask(case), truth)
    pairs(tmp_path / "binary")
    carry_out(plan_import("pairs", tmp_path / "binary"), tmp_path / "copied")
    with pytest.raises(DataError, match="imported with --any-value-is-object False, now True is asked"):
        carry_out(plan_import("pairs", tmp_path / "binary", wanted), tmp_path / "copied")
    scan(tmp_path / "scans" / "images" / "a.nii.gz", 0)
    scan(tmp_path / "scans" / "masks" / "a.nii.gz", 1)
    carry_out(plan_import("pairs", tmp_path / "scans", wanted), tmp_path / "volumes")
    volumes = open_dataset(tmp_path / "volumes")
    found = read_volume(tmp_path / "scans" / "masks" / "a.nii.gz").values > 0
    np.testing.assert_array_equal(volumes.read_mask(volumes.case("a")) == 1, found)
    Image.fromarray((truth * 255).astype(np.uint8)).save(source / "masks" / "d_mask_2.jpg")
    with pytest.raises(DataError, match="is a JPEG, whose background is not quite 0"):
        carry_out(plan_import("pairs", source, wanted), tmp_path / "new")


def coloured(root: Path, *colours: tuple[int, int, int], name: str = "a.png") -> np.ndarray:
    """Write an image, and a mask with a square of each colour on black; return the squares, 1, 2, ..."""
    picture(root / "images" / name, 0)
    squares = np.zeros((12, 16), np.uint8)
    for number in range(len(colours)):
        squares[3:6, 4 * number : 4 * number + 3] = number + 1
    (root / "masks").mkdir(exist_ok=True)
    Image.fromarray(np.array([(0, 0, 0), *colours], np.uint8)[squares]).save(root / "masks" / name)
    return squares


def test_every_colour_of_masks_in_colour_is_a_class(tmp_path):
    """Named and chosen if that is asked for; transparent pixels are background, and palettes show colours too."""
    source = tmp_path / "source"
    squares = coloured(source, (255, 0, 0), (0, 0, 255), (250, 250, 250))
    coloured(source, (0, 0, 255), (0, 0, 255), name="b.png")
    stored = Image.open(source / "masks" / "b.png")
    stored.quantize(2).save(source / "masks" / "b.png")
    stored.putalpha(Image.fromarray(np.where(squares == 1, 255, 0).astype(np.uint8)))
    stored.save(source / "masks" / "c.png")
    picture(source / "images" / "c.png", 0)
    (source / "dataset.json").write_text('{"name": "cells", "classes": ["background", "x"], "encoding": "binary255"}')
    assert carry_out(plan_import("pairs", source), tmp_path / "all") == 6
    found = open_dataset(tmp_path / "all")
    assert (found.name, found.encoding) == ("cells", "index")
    assert found.classes == ("background", "#0000ff", "#fafafa", "#ff0000")
    drawn = {"a": np.array([0, 3, 1, 2])[squares], "b": np.isin(squares, (1, 2)), "c": squares == 1}
    for case, expected in drawn.items():
        np.testing.assert_array_equal(found.read_mask(found.case(case)), expected)
    plan = plan_import("pairs", source, Wanted(structures=("vessel=blue", "#ff0000")))
    assert plan.left_out == ("background: '#fafafa' (in 1)",)
    carry_out(plan, tmp_path / "chosen")
    chosen = open_dataset(tmp_path / "chosen")
    assert chosen.classes == ("background", "vessel", "#ff0000")
    np.testing.assert_array_equal(chosen.read_mask(chosen.case("a")), np.array([0, 2, 1, 0])[squares])


@pytest.mark.parametrize(
    ("structures", "sentence"),
    [
        (
            ("green",),
            r"no structure '#008000' is drawn in .*, which holds '#000000' \(in 1\), '#ff0000' \(in 1\); name one",
        ),
        (("lesion=rde",), "--structure lesion=rde names no colour; give NAME=COLOUR"),
        (("=red",), "has no name before '='"),
        (("a=red", "a=black"), "two classes are called a;"),
        (("red", "x=#f00"), "--structure #ff0000 is given twice"),
    ],
)
def test_colours_that_are_not_there_are_refused(structures, sentence, tmp_path):
    coloured(tmp_path, (255, 0, 0))
    with pytest.raises(DataError, match=sentence):
        plan_import("pairs", tmp_path, Wanted(structures=structures))


def test_masks_in_colour_that_have_no_clear_classes_are_refused(tmp_path):
    coloured(tmp_path / "light", (255, 0, 0))
    light = Image.open(tmp_path / "light" / "masks" / "a.png")
    Image.fromarray(255 - np.asarray(light)).save(tmp_path / "light" / "masks" / "a.png")
    with pytest.raises(DataError, match=r"a\.png has no black background but #00ffff, #ffffff\. Say which colours"):
        plan_import("pairs", tmp_path / "light")
    coloured(tmp_path / "soft", (255, 0, 0))
    soft = Image.open(tmp_path / "soft" / "masks" / "a.png")
    soft.resize((160, 120)).save(tmp_path / "soft" / "masks" / "a.png")
    with pytest.raises(DataError, match=r"a\.png has \d+ colours, as where edges are blurred"):
        plan_import("pairs", tmp_path / "soft")
    light.resize((64, 64)).save(tmp_path / "soft" / "masks" / "a.jpg", quality=95)
    (tmp_path / "soft" / "masks" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.jpg is a JPEG, which blurs colours\. Save it as PNG"):
        plan_import("pairs", tmp_path / "soft")
    wanted = Wanted(structures=("red",), any_value_is_object=True)
    with pytest.raises(DataError, match="--structure takes colours apart that --any-value-is-object"):
        plan_import("pairs", tmp_path / "light", wanted)


def test_pairs_are_found_whatever_form_of_unicode_names_them(tmp_path):
    mac, other = (unicodedata.normalize(form, "Pólipo ñ") for form in ("NFD", "NFC"))
    picture(tmp_path / "source" / "images" / f"{mac}.png", 0)
    picture(tmp_path / "source" / "masks" / f"{other}_mask.png", 1, 2)
    carry_out(plan_import("pairs", tmp_path / "source"), tmp_path / "data")
    assert [case.name for case in open_dataset(tmp_path / "data").labeled] == [mac]
    assert (tmp_path / "data" / "masks" / f"{mac}.png").exists()


@pytest.mark.parametrize("outside", [True, False])
def test_folders_of_patients_are_gathered_as_groups(tmp_path, outside):
    """images/p1/a.png or p1/images/a.png becomes p1_a of p1; the third patient has no masks."""
    source = tmp_path / "source"

    def folder(kind: str, patient: str) -> Path:
        return source / kind / patient if outside else source / patient / kind

    for i, patient in enumerate(("p1", "p2", "p3")):
        for name in "ab":
            picture(folder("images", patient) / f"{name}.png", i)
            if patient != "p3":
                picture(folder("masks", patient) / f"{name}_mask.png", i, 2)
    command = f"`criinet data import pairs {source} NEW`"
    with pytest.raises(DataError, match=re.escape(command)):
        open_dataset(source)
    with pytest.raises(DataError, match=re.escape(command)):
        images_in(source)
    carry_out(plan_import("pairs", source), tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    assert {case.name: case.group for case in dataset.cases} == {
        f"p{i}_{name}": f"p{i}" for i in (1, 2, 3) for name in "ab"
    }
    assert [case.name for case in dataset.unlabeled] == ["p3_a", "p3_b"]
    assert dataset.groups_given
    image, mask = folder("images", "p2") / "b.png", folder("masks", "p2") / "b_mask.png"
    assert dataset.case("p2_b").image.read_bytes() == image.read_bytes()
    assert (tmp_path / "data" / "masks" / "p2_b.png").read_bytes() == mask.read_bytes()


def test_a_folder_of_each_image_with_a_mask_of_each_object_is_joined_if_that_is_asked_for(tmp_path):
    """As in DSB2018, whose masks are not named like their image."""
    source = tmp_path / "stage1_train"
    for name in ("i1", "i2"):
        picture(source / name / "images" / f"{name}.png", 0)
        for number in range(3):
            mask = np.zeros((12, 16), np.uint8)
            mask[4 * number : 4 * number + 2] = 255
            (source / name / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(source / name / "masks" / f"f{number}.png")
    said = r"f0\.png has no image of the same name\. If all masks of this folder are of its one image, --any-value-is"
    with pytest.raises(DataError, match=said):
        plan_import("pairs", source)
    wanted = Wanted(any_value_is_object=True)
    carry_out(plan_import("pairs", source, wanted), tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    for case in dataset.labeled:
        np.testing.assert_array_equal(dataset.read_mask(case)[:, 0], [1, 1, 0, 0] * 3)
    assert len(dataset.labeled) == 2
    picture(source / "i1" / "images" / "f0.png", 0)
    with pytest.raises(DataError, match=r"f1\.png has no image of the same name\. Rename or remove it"):
        plan_import("pairs", source, wanted)


def test_what_lies_among_pairs_and_is_not_taken_is_said(tmp_path):
    pairs(tmp_path / "source")
    picture(tmp_path / "source" / "labels" / "b.gif", 1, 2)
    picture(tmp_path / "source" / "images" / "more" / "q.png", 1)
    write_series(tmp_path / "source" / "images" / "ct", np.zeros((3, 6, 7), np.int16))
    assert plan_import("pairs", tmp_path / "source").left_out == (
        "files that are not read, for their kind: 1 .gif",
        f"folder {tmp_path / 'source' / 'images' / 'more'} is not looked into, though it holds images or volumes (1); "
        "move them up",
        "folders of DICOM files left out, which import dicom takes: 1 (ct)",
    )


def test_the_split_of_pairs_comes_along(tmp_path):
    pairs(tmp_path / "source")
    saved = tmp_path / "source" / "splits" / "default.json"
    saved.parent.mkdir()
    saved.write_text(json.dumps({"train": ["a"], "test": ["b"]}))
    plan = plan_import("pairs", tmp_path / "source")
    carry_out(plan, tmp_path / "data")
    written = json.loads((tmp_path / "data" / "splits" / "default.json").read_text())
    assert written == {"train": ["a"], "val": [], "test": ["b"]}
    for content, fragment in (
        ({"train": ["a", "z"]}, "default.json is left out, as it names cases that are not here: 1 (z)"),
        ({"train": ["a"], "tset": ["b"]}, "has the unknown key 'tset'"),
    ):
        saved.write_text(json.dumps(content))
        plan = plan_import("pairs", tmp_path / "source")
        assert not plan.splits
        assert fragment in plan.left_out[0]


def test_a_dataset_beside_the_folders_of_patients_is_no_patient(tmp_path):
    for kind in ("images", "masks"):
        picture(tmp_path / "p1" / kind / "a.png", 0, 2)
    for _ in range(2):
        plan = plan_import("pairs", tmp_path)
        assert [item.name for item in plan.items] == ["p1_a"]
        carry_out(plan, tmp_path / "new")


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("ISIC_0.jpg", "ISIC_0_Segmentation.png"),
        ("ISIC_0.JPG", "ISIC_0_segmentation.PNG"),
        ("ISIC_0.jpeg", "isic_0_segmentation.png"),
        ("ISIC_0_downsampled.png", "ISIC_0_downsampled_segmentation.png"),
    ],
)
def test_names_of_isic_may_be_in_upper_or_lower_case(image, mask, tmp_path):
    for path in (tmp_path / image, tmp_path / "truth" / mask):
        picture(path.with_suffix(path.suffix.lower()), 0, 2)
        path.with_suffix(path.suffix.lower()).rename(path)
    (tmp_path / "ISIC_1.jpg").mkdir()
    plan = plan_import("isic", tmp_path)
    assert [(item.image, item.mask) for item in plan.items] == [(tmp_path / image, tmp_path / "truth" / mask)]
    picture(tmp_path / "ISIC_0_superpixels.png", 0)
    picture(tmp_path / "ISIC_7_segmentation.png", 0, 2)
    assert plan_import("isic", tmp_path).left_out == (
        "files left out, as their names are those of neither images nor masks: 1 (ISIC_0_superpixels.png)",
        "masks left out, as no image has their name: 1 (ISIC_7_segmentation.png)",
    )


def test_what_macos_puts_beside_images_of_busi_is_no_case(tmp_path):
    busi(tmp_path)
    for name in ("._benign (1).png", "._benign (1)_mask.png"):
        (tmp_path / "benign" / name).write_bytes(b"x")
    picture(tmp_path / "benign" / "benign (9)_mask.png", 1, 2)
    plan = plan_import("busi", tmp_path)
    assert [item.name for item in plan.items] == ["benign_1", "normal_1"]
    assert plan.left_out[-1] == "masks left out, as no image has their name: 1 (benign (9)_mask.png)"


def test_masks_of_no_patient_and_folders_of_a_split_are_not_gathered(tmp_path):
    for kind in ("images", "masks"):
        picture(tmp_path / "source" / kind / "p1" / "a.png", 0, 2)
    picture(tmp_path / "source" / "masks" / "p2" / "a.png", 0, 2)
    with pytest.raises(
        DataError, match=r"masks/p2 is of no folder of images\. Name its folder like that of its images"
    ):
        plan_import("pairs", tmp_path / "source")
    for kind in ("images", "masks"):
        picture(tmp_path / "split" / "train" / kind / "a.png", 0, 2)
    with pytest.raises(
        DataError, match="needs a folder images and a folder masks, or both in a folder of each patient"
    ):
        plan_import("pairs", tmp_path / "split")


def test_a_dicom_tree_loses_its_people(tmp_path):
    """No name, number or date of a person is in a file, a file's name, or a sentence; broken series are named."""
    dicom(tmp_path / "source")
    plan = plan_import("dicom", tmp_path / "source", Wanted(structures=("heart",)))
    carry_out(plan, tmp_path / "data")
    everything = b"".join(name.encode() + content for name, content in files(tmp_path / "data").items())
    said = "\n".join(line.replace(str(tmp_path / "source"), "") for line in plan.summary())
    assert not [secret for secret in SECRETS if secret.encode() in everything or secret in said]
    assert any("lacks 1 slice between s0.dcm and s2.dcm" in line for line in plan.left_out)
    dataset = open_dataset(tmp_path / "data")
    assert len({case.group for case in dataset.cases}) == 1
    scan_again = read_volume(dataset.cases[0].image)
    np.testing.assert_array_equal(scan_again.values, np.random.default_rng(0).integers(0, 99, (4, 6, 7)))
    source = read_volume(tmp_path / "source" / "Mustermann" / "a")
    np.testing.assert_allclose(scan_again.geometry.affine, source.geometry.affine)


def nested(root: Path) -> None:
    root.mkdir()
    (root / "dataset.json").write_text("[" * 100_000)


BAD = {
    "an unknown kind": ("kvasirr", kvasir, "no import of kind 'kvasirr'. Did you mean 'kvasir'?"),
    "another layout": ("acdc", isic, "holds nothing that looks like acdc"),
    "channels without a choice": (
        "msd",
        msd,
        "2 channels (0 T2, 1 ADC), but one can be read; choose it with --channel",
    ),
    "a channel of msd that is not there": (
        "msd",
        msd,
        "{source} has no channel 9; choose one of 0 T2, 1 ADC.",
        {"channel": 9},
    ),
    "a channel of nnunet that is not there": (
        "nnunet",
        nnunet,
        "{source} has no channel 5; its only one is 0 CT; leave out --channel.",
        {"channel": 5},
    ),
    "no dataset.json": ("nnunet", isic, "is missing or names no labels"),
    "a dataset.json that is nested too deep": ("nnunet", nested, "is missing or names no labels"),
    "no two folders": ("pairs", isic, "needs a folder images and a folder masks"),
    "a structure that nobody drew": (
        "dicom",
        dicom,
        "no structure 'hart' is drawn in {source}, which holds 'heart' (in 1); name one. Did you mean 'heart'?",
        {"structures": ("hart",)},
    ),
    "a structure given twice": ("dicom", dicom, "--structure heart is given twice", {"structures": ("heart", "heart")}),
    "an option of another kind": (
        "isic",
        isic,
        "--channel says nothing to isic, only to msd and nnunet",
        {"channel": 0},
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_what_cannot_be_imported_is_said_in_a_sentence(bad, tmp_path):
    kind, make, fragment, *wanted = bad
    make(tmp_path / "source")
    with pytest.raises(DataError) as refused:
        plan_import(kind, tmp_path / "source", Wanted(**(wanted[0] if wanted else {})))
    assert fragment.format(source=tmp_path / "source") in str(refused.value)


def test_an_import_does_not_mix_with_other_files(tmp_path):
    pairs(tmp_path / "source")
    picture(tmp_path / "data" / "images" / "c.png", 5)
    with pytest.raises(DataError, match=r"holds c\.png, which is not of this import"):
        carry_out(plan_import("pairs", tmp_path / "source"), tmp_path / "data")
    (tmp_path / "data" / "images" / "c.png").rename(tmp_path / "data" / "images" / "a.png")
    with pytest.raises(DataError, match=r"a\.png is there already and is not"):
        carry_out(plan_import("pairs", tmp_path / "source"), tmp_path / "data")


def test_groups_of_pairs_come_along_and_two_images_of_one_name_are_refused(tmp_path):
    pairs(tmp_path / "source")
    names = sorted(item.name for item in plan_import("pairs", tmp_path / "source").items)
    (tmp_path / "source" / "groups.csv").write_text("case,group\n" + "".join(f"{name},p\n" for name in names))
    carry_out(plan_import("pairs", tmp_path / "source"), tmp_path / "data")
    assert {case.group for case in open_dataset(tmp_path / "data").cases} == {"p"}
    image = next(path for path in (tmp_path / "source").rglob("*") if path.is_file() and path.stem == names[0])
    picture(image.with_suffix(".bmp" if image.suffix != ".bmp" else ".png"), 5)
    with pytest.raises(DataError, match="has the same name as"):
        plan_import("pairs", tmp_path / "source")


@pytest.mark.parametrize(
    ("kind", "first", "then", "said"),
    [
        ("dicom", {"structures": ("heart",)}, {}, "structures"),
        ("msd", {"channel": 0}, {"channel": 1}, "channel 0, now 1 is asked"),
    ],
)
def test_an_import_with_other_wishes_does_not_pass_for_the_same(kind, first, then, said, tmp_path):
    """Converted files stay as they are, so that the classes of dataset.json would no longer be theirs."""
    make, *_ = SOURCES[kind]
    make(tmp_path / "source")
    carry_out(plan_import(kind, tmp_path / "source", Wanted(**first)), tmp_path / "data")
    before = files(tmp_path / "data")
    with pytest.raises(DataError, match=f"{said}|masks holds"):
        carry_out(plan_import(kind, tmp_path / "source", Wanted(**then)), tmp_path / "data")
    assert files(tmp_path / "data") == before


def test_an_import_that_failed_at_its_first_file_binds_nobody(tmp_path):
    """Its pixels are cut off, and come back with the next copy."""
    msd(tmp_path / "source")
    image = tmp_path / "source" / "imagesTr" / "prostate_00.nii.gz"
    whole = image.read_bytes()
    image.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"prostate_00\.nii\.gz is damaged.*then import again"):
        carry_out(plan_import("msd", tmp_path / "source", Wanted(channel=0)), tmp_path / "data")
    image.write_bytes(whole)
    assert carry_out(plan_import("msd", tmp_path / "source", Wanted(channel=1)), tmp_path / "data") == 2
    with pytest.raises(DataError, match="was imported with channel 1, now 0 is asked"):
        carry_out(plan_import("msd", tmp_path / "source", Wanted(channel=0)), tmp_path / "data")


def test_what_a_person_added_to_dataset_json_outlives_a_second_import(tmp_path):
    acdc(tmp_path / "source")
    carry_out(plan_import("acdc", tmp_path / "source"), tmp_path / "data")
    card = tmp_path / "data" / "dataset.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "partial": False}))
    carry_out(plan_import("acdc", tmp_path / "source"), tmp_path / "data")
    assert json.loads(card.read_text())["partial"] is False


def test_groups_and_a_split_that_a_person_wrote_outlive_a_second_import(tmp_path):
    """New groups are written with new files alone."""
    ssl4mis(tmp_path / "source")
    plan = plan_import("ssl4mis-h5", tmp_path / "source")
    carry_out(plan, tmp_path / "data")
    own = {"groups.csv": "case,group\n", "splits/default.json": "{}"}
    for name, text in own.items():
        assert (tmp_path / "data" / name).exists()
        (tmp_path / "data" / name).write_text(text)
    carry_out(plan, tmp_path / "data")
    assert {name: (tmp_path / "data" / name).read_text() for name in own} == own


def test_labels_of_nnunet_may_be_stored_otherwise_than_their_images(tmp_path):
    nnunet(tmp_path)
    labels = sorted((tmp_path / "labelsTr").glob("*.nii.gz"))
    for path in labels:
        path.with_name(path.name.removesuffix(".gz")).write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert sum(item.mask is not None for item in plan_import("nnunet", tmp_path).items) == len(labels) > 0


def test_labels_of_nnunet_may_be_strings_and_must_be_there(tmp_path):
    nnunet(tmp_path)
    card = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**card, "labels": {"background": "0", "liver": "1"}}))
    assert plan_import("nnunet", tmp_path).card["classes"] == ["background", "liver"]
    (tmp_path / "dataset.json").write_text(json.dumps({**card, "labels": {}}))
    with pytest.raises(DataError, match="has labels that are no table"):
        plan_import("nnunet", tmp_path)


def test_what_lacks_its_channel_image_or_number_is_said(tmp_path):
    nnunet(tmp_path)
    scan(tmp_path / "imagesTr" / "case_0_0001.nii.gz", 1)
    for stray in ("imagesTr/noch.nii.gz", "labelsTr/noch.nii.gz", "labelsTr/case_7_0000.nii.gz"):
        scan(tmp_path / stray, 1, 2)
    plan = plan_import("nnunet", tmp_path, Wanted(channel=1))
    assert [item.name for item in plan.items] == ["case_0"]
    assert plan.left_out == (
        "cases left out, as they have no channel 1: 1 (case_1)",
        "images left out, as no channel like _0000 ends their name: 1 (noch.nii.gz)",
        "masks left out, as no image has their name: 2 (case_7_0000.nii.gz, noch.nii.gz)",
        "cases left out, as they have no channel 1: 1 (case_9)",
    )


def test_pictures_of_nnunet_keep_the_ignored_value(tmp_path):
    source = tmp_path / "source"
    picture(source / "imagesTr" / "a_0000.png", 0)
    picture(source / "labelsTr" / "a.png", 1, 256)
    values = (np.asarray(Image.open(source / "labelsTr" / "a.png")) % 3).astype(np.uint8)
    Image.fromarray(values).save(source / "labelsTr" / "a.png")
    card = {"channel_names": ["R", "G", "B"], "labels": {"background": 0, "road": 1, "ignore": 2}}
    (source / "dataset.json").write_text(json.dumps(card))
    assert carry_out(plan_import("nnunet", source), tmp_path / "data") == 2
    dataset = open_dataset(tmp_path / "data")
    np.testing.assert_array_equal(dataset.read_mask(dataset.cases[0]), np.array([0, 1, -1])[values])


@pytest.mark.parametrize(
    ("said", "fragment"),
    [
        ({"labels": {"background": 0, "a": 1_000_000_000}}, "has a bad 'labels.a': input should be less than or equal"),
        ({"labels": {"background": 0, "a": -1}}, "has a bad 'labels.a': input should be greater than or equal to 0"),
        ({"labels": {"background": 0, "a": ["1", "x"]}}, "has a bad 'labels.a.1': input should be a valid integer"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "has bad labels: two names have the value 1"),
        ({"labels": {"background": 0, "ignore": [3]}}, "has bad labels: 'ignore' is one value, no list"),
        ({"labels": {"0.0": "background", "1.0": "a"}}, "has a bad 'labels.0.0': input should be a valid integer"),
        ({"labels": {"0": "background", "1": ["a", "b"]}}, "has a bad 'labels': a name is no text"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, "has a bad 'labels': two values are called 'a'"),
        ({"labels": {"background": 0, "a": 1}, "modality": 3}, "has a bad 'modality': input should be a valid dict"),
    ],
)
@pytest.mark.parametrize("kind", ["nnunet", "msd"])
def test_a_dataset_json_of_nnunet_that_cannot_hold_is_refused_by_its_key(kind, said, fragment, tmp_path):
    nnunet(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps(said))
    with pytest.raises(DataError) as refused:
        plan_import(kind, tmp_path)
    assert f"{tmp_path / 'dataset.json'} {fragment}" in str(refused.value)


@pytest.mark.parametrize("said", ["CT", ["CT"], {"0": "CT"}])
def test_the_only_modality_may_be_a_text_a_list_or_a_table(said, tmp_path):
    msd(tmp_path)
    scan(tmp_path / "imagesTr" / "prostate_00.nii.gz", 0)
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": said, "labels": {"0": "background", "1": "PZ"}}))
    assert plan_import("msd", tmp_path).card["modality"] == "CT"


def test_what_is_called_ignore_is_ignored_in_either_version(tmp_path):
    nnunet(tmp_path)
    labels = {"0": "background", "1": "kidney", "255": "ignore"}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    card = plan_import("nnunet", tmp_path).card
    assert (card["classes"], card["ignore"]) == (["background", "kidney"], True)


@pytest.mark.parametrize("modality", [{}, {"modality": {"0": "T2"}}])
def test_channels_of_msd_are_counted_in_the_files(modality, tmp_path):
    msd(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({**modality, "labels": {"0": "background", "1": "PZ"}}))
    with pytest.raises(DataError, match=r"has 2 channels .* choose it with --channel"):
        plan_import("msd", tmp_path)
    (item,) = plan_import("msd", tmp_path, Wanted(channel=1)).items
    assert isinstance(item.image, Written)
    values, _ = item.image.make()
    stored = np.asarray(nib.load(tmp_path / "imagesTr" / "prostate_00.nii.gz").dataobj)
    np.testing.assert_array_equal(values, stored[..., 1].transpose(2, 1, 0))
    scan(tmp_path / "imagesTr" / "prostate_01.nii.gz", 0)
    with pytest.raises(DataError, match=r"prostate_01\.nii\.gz has another number of channels \(1\) than prostate_00"):
        plan_import("msd", tmp_path, Wanted(channel=1))


@pytest.mark.parametrize(("image", "label"), [("c.nii", "c.nii.gz"), ("c.NII.GZ", "c.NII.GZ"), ("c.nii.gz", "c.nii")])
def test_scans_and_labels_of_msd_may_be_packed_or_not(image, label, tmp_path):
    scan(tmp_path / "imagesTr" / image.lower(), 0)
    scan(tmp_path / "labelsTr" / label.lower(), 0, 2)
    (tmp_path / "imagesTr" / image.lower()).rename(tmp_path / "imagesTr" / image)
    (tmp_path / "labelsTr" / label.lower()).rename(tmp_path / "labelsTr" / label)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "spleen"}}))
    (item,) = plan_import("msd", tmp_path).items
    assert (item.name, item.mask) == ("c", tmp_path / "labelsTr" / label)


def test_masks_of_acdc_are_found_by_name_wherever_they_lie(tmp_path):
    """Unpacked beside packed images, or in folders called like files, as Kaggle unpacks them."""
    scan(tmp_path / "p1" / "patient001_frame01.nii.gz", 1)
    scan(tmp_path / "p1" / "patient001_frame01_gt.nii", 2, 4)
    for mark in ("", "_gt"):
        name = f"patient002_frame01{mark}.nii"
        scan(tmp_path / "p2" / name / name, 2, 4)
    plan = plan_import("acdc", tmp_path)
    assert all(item.mask is not None for item in plan.items)
    assert len(plan.items) == 2
    (tmp_path / "p1" / "patient001_frame01.nii.gz").unlink()
    assert plan_import("acdc", tmp_path).left_out == (
        "masks left out, as no image has their name: 1 (patient001_frame01_gt.nii)",
    )


@pytest.mark.parametrize("kind", ["acdc", "isic", "kvasir", "busi", "dicom", "ssl4mis-h5"])
def test_a_dataset_within_its_source_is_no_part_of_it(kind, tmp_path):
    make, images, masks = SOURCES[kind]
    make(tmp_path)
    wanted = Wanted(**WANTED.get(kind, {}))
    assert carry_out(plan_import(kind, tmp_path, wanted), tmp_path / "A") == images + masks
    assert carry_out(plan_import(kind, tmp_path, wanted), tmp_path / "A") == 0


def h5(path: Path, top: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"] = np.random.default_rng(0).random((5, 8, 9))
        file["label"] = np.arange(5 * 8 * 9).reshape(5, 8, 9).astype(np.uint8) % (top + 1)


@pytest.mark.parametrize(
    ("name", "top", "classes"),
    [
        ("patient1", 3, ["background", "RV", "myocardium", "LV"]),
        ("patient1", 1, ["background", "foreground"]),
        ("case1", 3, ["background", "class 1", "class 2", "class 3"]),
    ],
)
def test_classes_of_hdf5_are_those_of_its_labels_and_its_modality_is_not_guessed(name, top, classes, tmp_path):
    h5(tmp_path / "data" / f"{name}.h5", top)
    (tmp_path / "data" / f"._{name}.h5").write_bytes(b"macOS")
    card = plan_import("ssl4mis-h5", tmp_path).card
    assert card == {"name": re.sub(r"\W+", "-", tmp_path.name), "classes": classes}


def test_folders_of_slices_are_known_by_the_end_of_their_name(tmp_path):
    h5(tmp_path / "ACDC_training_volumes" / "patient001_frame01.h5", 3)
    for i in range(2):
        h5(tmp_path / "ACDC_training_slices" / f"patient001_frame01_slice_{i}.h5", 3)
    plan = plan_import("ssl4mis-h5", tmp_path)
    assert [item.name for item in plan.items] == ["patient001_frame01"]
    assert plan.left_out == ("2 files of slices are left out: the volumes hold the same",)


@pytest.mark.parametrize("suffix", [".list", ".txt", "_slices.list"])
def test_lists_of_benchmarks_become_splits_and_unknown_names_are_said(suffix, tmp_path):
    for name in ("image0001_norm", "case 2", "c"):
        h5(tmp_path / "data" / f"{name}.h5", 1)
    slices = "_slice_1" if suffix.startswith("_") else ""
    (tmp_path / f"train{suffix}").write_text(f"image0001{slices}\n\ncase 2{slices}.h5\nlost{slices}\n")
    (tmp_path / f"test{suffix}").write_text(f"data/c{slices}")
    plan = plan_import("ssl4mis-h5", tmp_path)
    assert plan.splits == {"train": ["image0001_norm", "case 2"], "val": [], "test": ["c"]}
    assert plan.left_out == (f"names in {tmp_path / f'train{suffix}'} that no case has: 1 (lost)",)
    (tmp_path / f"test{suffix}").unlink()
    plan = plan_import("ssl4mis-h5", tmp_path)
    assert (plan.splits, plan.left_out[-1]) == ({}, "the lists make no split, as none has cases of test")
    (tmp_path / f"train{suffix}").write_bytes(b"\xff\xfe\xe4")
    with pytest.raises(DataError, match="is no text in UTF-8"):
        plan_import("ssl4mis-h5", tmp_path)


def test_headers_with_pixels_in_another_file_become_whole_files(tmp_path):
    """A header alone would be a dataset of nothing."""
    values = np.random.default_rng(0).integers(0, 2, (4, 6, 7)).astype(np.uint8)
    for folder, suffix in (("images", ".mhd"), ("masks", ".nhdr")):
        (tmp_path / "source" / folder).mkdir(parents=True)
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((0.5, 0.5, 3.0))
        sitk.WriteImage(image, str(tmp_path / "source" / folder / f"a{suffix}"))
    carry_out(plan_import("pairs", tmp_path / "source", Wanted()), tmp_path / "data")
    (case,) = open_dataset(tmp_path / "data").cases
    assert case.mask is not None
    for path in (case.image, case.mask):
        np.testing.assert_array_equal(read_volume(path).values, values)
        assert read_volume(path).geometry.spacing == (3.0, 0.5, 0.5)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_headers_of_nnunet_become_whole_files(suffix, tmp_path):
    values = np.random.default_rng(0).integers(0, 2, (4, 6, 7)).astype(np.uint8)
    source = tmp_path / "source"
    for folder, names in (("imagesTr", ("a_0000", "b_0000")), ("labelsTr", ("a",))):
        (source / folder).mkdir(parents=True)
        for name in names:
            image = sitk.GetImageFromArray(values)
            image.SetSpacing((0.5, 0.5, 3.0))
            sitk.WriteImage(image, source / folder / f"{name}{suffix}")
    card = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "liver": 1}, "file_ending": suffix}
    (source / "dataset.json").write_text(json.dumps(card))
    assert carry_out(plan_import("nnunet", source), tmp_path / "data") == 3
    assert carry_out(plan_import("nnunet", source), tmp_path / "data") == 0
    assert check_dataset(tmp_path / "data").problems == ()
    case, _ = open_dataset(tmp_path / "data").cases
    assert case.mask is not None
    for path in (case.image, case.mask):
        np.testing.assert_array_equal(read_volume(path).values, values)
        assert read_volume(path).geometry.spacing == (3.0, 0.5, 0.5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_images_of_hdf5_are_kept(dtype, tmp_path):
    ssl4mis(tmp_path / "source")
    for path in (tmp_path / "source" / "data").glob("*.h5"):
        with h5py.File(path, "a") as file:
            values = file["image"][:].astype(dtype)
            del file["image"]
            file["image"] = values
    carry_out(plan_import("ssl4mis-h5", tmp_path / "source", Wanted()), tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    np.testing.assert_array_equal(read_volume(dataset.cases[0].image).values, values.astype(np.float32))
    assert dataset.spacing_of(dataset.cases[0]) is None, "HDF5 says nothing of lengths"


def test_what_macos_puts_beside_a_file_is_no_case(tmp_path):
    nnunet(tmp_path / "source")
    (tmp_path / "source" / "imagesTr" / "._case_0_0000.nii.gz").write_bytes(b"x")
    assert [item.name for item in plan_import("nnunet", tmp_path / "source", Wanted()).items] == [
        "case_0", "case_1", "case_9",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".dcm", ".IMA", ""])
@pytest.mark.parametrize("length", [0, 60, "header"])
def test_a_dicom_file_that_is_cut_off_leaves_out_its_series(suffix, length, tmp_path):
    """A series that lacks a slice at its end looks whole."""
    for number in (1, 2):
        names = [f"s{d}{suffix}" for d in range(5)]
        write_series(
            tmp_path / "source" / str(number), np.zeros((5, 6, 7), np.int16), series=f"1.2.{number}", names=names
        )
    last = tmp_path / "source" / "1" / f"s4{suffix}"
    whole = last.read_bytes()
    last.write_bytes(whole[: whole.find(b"\x28\x00\x10\x00") if length == "header" else length])  # Before Rows.
    plan = plan_import("dicom", tmp_path / "source")
    assert len(plan.items) == 1
    (said,) = plan.left_out
    assert re.search(rf"left out series_.* files: .*{last.name} is damaged or cut short, so a slice is missing", said)
    shutil.rmtree(tmp_path / "source" / "2")
    with pytest.raises(DataError, match=r"has no series that makes a volume: left out .*so a slice is missing"):
        plan_import("dicom", tmp_path / "source")


def test_a_damaged_file_among_several_dicom_series_is_named(tmp_path):
    """Nobody can tell which of them it was of."""
    for number in (1, 2):
        names = [f"{number}{d}" for d in range(4)]
        write_series(tmp_path, np.zeros((4, 6, 7), np.int16), series=f"1.2.{number}", names=names)
    (tmp_path / "14").write_bytes(b"")
    plan = plan_import("dicom", tmp_path)
    assert len(plan.items) == 2
    assert plan.left_out == (f"left out: {tmp_path / '14'} is damaged or no DICOM file. Copy it again.",)


@pytest.mark.parametrize(
    ("kind", "called"),
    [
        ("1.2.840.10008.5.1.4.1.1.481.2", "RT Dose Storage"),
        ("1.2.840.10008.5.1.4.1.1.7", "Secondary Capture Image Storage"),
    ],
)
def test_what_is_made_beside_scans_is_no_case_and_does_not_hide_the_modality(kind, called, tmp_path):
    write_series(tmp_path / "scan", np.zeros((4, 6, 7), np.int16))
    write_series(tmp_path / "other", np.zeros((2, 6, 7), np.int16), Modality="OT")
    for path in (tmp_path / "other").iterdir():
        header = pydicom.dcmread(path)
        header.SOPClassUID = kind
        header.save_as(path)
    plan = plan_import("dicom", tmp_path)
    assert (len(plan.items), plan.card["modality"]) == (1, "CT")
    assert re.fullmatch(rf"left out series_\w+ of 2 files: .*other/im000\.dcm is {called}, no scan", plan.left_out[0])


def test_pictures_that_were_scanned_into_dicom_are_cases_where_there_is_nothing_else(tmp_path):
    """As the mammograms of CBIS-DDSM, whose films were scanned."""
    write_series(tmp_path, np.zeros((1, 6, 7), np.int16), Modality="MG")
    header = pydicom.dcmread(tmp_path / "im000.dcm")
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    header.save_as(tmp_path / "im000.dcm")
    plan = plan_import("dicom", tmp_path)
    assert (len(plan.items), plan.card["modality"], plan.left_out) == (1, "MG", ())


def test_a_slice_that_cannot_be_converted_says_how_to_go_on(tmp_path):
    folder = tmp_path / "source" / "1"
    write_series(folder, np.ones((5, 6, 7), np.int16), names=[f"s{d}.dcm" for d in range(5)])
    (folder / "s2.dcm").write_bytes((folder / "s2.dcm").read_bytes()[:-10])
    with pytest.raises(DataError, match=r"s2\.dcm is damaged.* then import again\.$"):
        carry_out(plan_import("dicom", tmp_path / "source", Wanted()), tmp_path / "data")


def test_grays_are_colours_too(tmp_path):
    """Classes that are told apart by their gray, in 8 bits or 16."""
    squares = coloured(tmp_path / "source", (85, 85, 85), (170, 170, 170), (255, 255, 255))
    grays = (squares * 85).astype(np.uint8)
    Image.fromarray(grays).save(tmp_path / "source" / "masks" / "a.png")
    picture(tmp_path / "source" / "images" / "b.png", 1)
    Image.fromarray(grays.astype(np.uint16)).save(tmp_path / "source" / "masks" / "b.tif")
    said = "masks are copied as they are, .*, to make classes of the values 85, 170, 255, .*--structure NAME=#ffffff"
    assert re.match(said, plan_import("pairs", tmp_path / "source").left_out[0])
    wanted = Wanted(structures=("rim=#555555", "cup=#aaaaaa", "disc=white"))
    carry_out(plan_import("pairs", tmp_path / "source", wanted), tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    assert dataset.classes == ("background", "rim", "cup", "disc")
    for case in dataset.cases:
        np.testing.assert_array_equal(dataset.read_mask(case), squares)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_blurred_colours_become_the_nearest_that_is_named(suffix, tmp_path):
    """By a JPEG, or by smooth edges; what is far from all of them, as a white frame and its edge, stays background."""
    squares = coloured(tmp_path / "source", (255, 0, 0), (0, 0, 255), (255, 255, 255))
    masks = tmp_path / "source" / "masks"
    large = Image.open(masks / "a.png").resize((160, 120), Image.Resampling.NEAREST)
    (masks / "a.png").unlink()
    soft = large if suffix == ".jpg" else large.resize((80, 60)).resize((160, 120))
    soft.save(masks / f"a{suffix}", **({"quality": 90} if suffix == ".jpg" else {}))
    with pytest.raises(DataError, match="each pixel takes the nearest: --structure NAME=COLOUR, once for each"):
        plan_import("pairs", tmp_path / "source")
    if suffix == ".jpg":
        with pytest.raises(DataError, match=r"is a mask in colour.*or name the colours, and .*--structure NAME=red"):
            open_dataset(tmp_path / "source")
    plan = plan_import("pairs", tmp_path / "source", Wanted(structures=("a=red", "b=blue")))
    assert re.fullmatch(r"[\d,]+ pixels of 1 blurred masks take the nearest of these colours", plan.left_out[-1])
    carry_out(plan, tmp_path / "data")
    dataset = open_dataset(tmp_path / "data")
    found = dataset.read_mask(dataset.cases[0])
    truth = np.array([0, 1, 2, 0])[squares].repeat(10, axis=0).repeat(10, axis=1)
    assert (found != truth).mean() < 0.01
    assert set(np.unique(found)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "2 pages"),
        ({"imagej": True, "metadata": {"axes": "CYX"}}, "2 channels"),
        ({"ome": True, "metadata": {"axes": "CYX"}}, "2 channels"),
        ({"imagej": True, "metadata": {"axes": "ZYX"}}, "2 pages"),
    ],
)
def test_one_channel_is_taken_of_images_whose_masks_are_flat(options, said, tmp_path):
    """Which count as volumes for their pages; the masks are not to blame. All 16 bits of a page are kept."""
    source = tmp_path / "source"
    values = np.random.default_rng(0).integers(0, 60000, (2, 12, 16)).astype(np.uint16)
    for part in ("images", "masks"):
        (source / part).mkdir(parents=True)
    for name in "ab":
        tifffile.imwrite(source / "images" / f"{name}.tif", values, photometric="minisblack", **options)
    picture(source / "masks" / "a.png", 0, 2)
    sentence = rf"a\.tif holds {said}, so that it counts as a volume, though its mask a\.png is flat\. .*--channel 0`"
    with pytest.raises(DataError, match=sentence):
        open_dataset(source)
    assert [problem.file for problem in check_dataset(source).problems] == ["images/a.tif"]
    plan = plan_import("pairs", source, Wanted(channel=1))
    assert carry_out(plan, tmp_path / "data") == 3
    assert carry_out(plan, tmp_path / "data") == 0
    dataset = open_dataset(tmp_path / "data")
    assert (dataset.dims, len(dataset.labeled)) == (2, 1)
    np.testing.assert_array_equal(np.asarray(Image.open(dataset.cases[0].image)), values[1])
    with pytest.raises(DataError, match="holds 2 pages, of which 0 is the first"):
        carry_out(plan_import("pairs", source, Wanted(channel=2)), tmp_path / "new")
    with pytest.raises(DataError, match="has no TIFF image of several pages or channels; leave out --channel"):
        plan_import("pairs", tmp_path / "data", Wanted(channel=0))
    (source / "masks" / "a.png").unlink()
    tifffile.imwrite(source / "masks" / "a.tif", (values > 30000).astype(np.uint8), photometric="minisblack")
    assert open_dataset(source).dims == 3
    with pytest.raises(DataError, match="is a volume, so that its image is one"):
        plan_import("pairs", source, Wanted(channel=0))


class Stopped(BaseException):
    """What ends a process."""


def stopped_after(files: int, plan: ImportPlan, root: Path) -> None:
    """Begin an import."""

    def stop(number: int, _: int) -> None:
        if number == files:
            raise Stopped

    with pytest.raises(Stopped):
        carry_out(plan, root, stop)


def test_a_stopped_import_is_no_dataset_until_it_goes_on_to_its_end(tmp_path):
    acdc(tmp_path / "source")
    plan, data = plan_import("acdc", tmp_path / "source"), tmp_path / "data"
    stopped_after(5, plan, data)
    for read in (open_dataset, check_dataset, lambda root: plan_import("pairs", root)):
        with pytest.raises(DataError, match="is not whole, as its import was stopped; import it again with the same"):
            read(data)
    assert carry_out(plan, data) == 3
    assert len(open_dataset(data).labeled) == 4


def test_an_import_that_fails_at_a_bad_file_is_not_finished(tmp_path):
    ssl4mis(tmp_path / "source")
    plan = plan_import("ssl4mis-h5", tmp_path / "source")
    (tmp_path / "source" / "data" / "patient002_frame01.h5").write_bytes(b"")
    with pytest.raises(DataError, match=r"patient002_frame01\.h5 .*, then import again\.$"):
        carry_out(plan, tmp_path / "data")
    with pytest.raises(DataError, match="is not whole"):
        open_dataset(tmp_path / "data")


def test_a_note_that_does_not_speak_of_an_end_is_of_a_whole_dataset(tmp_path):
    """As imports wrote it before they noted that."""
    acdc(tmp_path / "source")
    carry_out(plan_import("acdc", tmp_path / "source"), tmp_path / "data")
    note = tmp_path / "data" / ".import.json"
    older = json.loads(note.read_text())
    assert older.pop("finished") is True
    note.write_text(json.dumps(older))
    assert len(open_dataset(tmp_path / "data")) == 4


@pytest.mark.parametrize("shift", [0, 1], ids=["values", "place"])
def test_a_corrected_mask_that_is_converted_is_not_passed_over(shift, tmp_path):
    """And the dataset stays what it was, though another case has come to the source."""
    nnunet(tmp_path / "source")
    carry_out(plan_import("nnunet", tmp_path / "source"), tmp_path / "data")
    before = files(tmp_path / "data")
    path = tmp_path / "source" / "labelsTr" / "case_1.nii.gz"
    mask = nib.load(path)
    affine = mask.affine.copy()
    affine[0, 3] += shift
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj) if shift else np.asarray(mask.dataobj)[::-1], affine), path)
    scan(tmp_path / "source" / "imagesTs" / "case_0a_0000.nii.gz", 9)
    with pytest.raises(
        DataError, match=r"case_1\.nii\.gz is there already and is not what the source draws; remove it"
    ):
        carry_out(plan_import("nnunet", tmp_path / "source"), tmp_path / "data")
    assert files(tmp_path / "data") == before
    (tmp_path / "data" / "masks" / "case_1.nii.gz").unlink()
    assert carry_out(plan_import("nnunet", tmp_path / "source"), tmp_path / "data") == 2


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"0": "background", "1": "=kidney"}, r"the name '=kidney' begins with ="),
        ({"background": 0, "all": [0, 1], "core": 1}, "region 'all' must have a name of its own and list foreground"),
    ],
)
def test_a_source_that_says_what_no_dataset_can_is_refused(labels, sentence, tmp_path):
    nnunet(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": labels}))
    with pytest.raises(DataError, match=rf"{sentence}.*\. Correct it in the source\."):
        plan_import("nnunet", tmp_path)


def test_a_spacing_of_numbers_is_told_in_the_summary(tmp_path):
    pairs(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"spacing": [0.5, 0.7]}))
    assert "spacing: 0.5, 0.7" in plan_import("pairs", tmp_path).summary()


def test_an_image_that_is_no_file_is_named_before_anything_is_written(tmp_path):
    isic(tmp_path / "source")
    image = tmp_path / "source" / "Training_Input" / "ISIC_2.jpg"
    image.unlink()
    image.symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(DataError, match=r"ISIC_2\.jpg is no file, nor a link to one\."):
        carry_out(plan_import("isic", tmp_path / "source"), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_dataset_is_written_neither_into_its_source_nor_beside_a_foreign_card(tmp_path):
    nnunet(tmp_path / "source")
    plan = plan_import("nnunet", tmp_path / "source")
    with pytest.raises(DataError, match="is the source itself; choose a new folder"):
        carry_out(plan, tmp_path / "data" / ".." / "source")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_bytes((tmp_path / "source" / "dataset.json").read_bytes())
    with pytest.raises(DataError, match=r"holds a dataset\.json that is not of an import; choose a new folder"):
        carry_out(plan, tmp_path / "data")
    assert not (tmp_path / "source" / "images").exists()


def test_two_cases_of_one_name_are_refused(tmp_path):
    nnunet(tmp_path / "source")
    scan(tmp_path / "source" / "imagesTs" / "case_1_0000.nii.gz", 9)
    with pytest.raises(DataError, match="the source has two cases called case_1; rename one"):
        carry_out(plan_import("nnunet", tmp_path / "source"), tmp_path / "data")


def test_an_import_recommends_no_option_that_it_does_not_have(tmp_path):
    pairs(tmp_path)
    (tmp_path / "labels" / "a_mask.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"Copy it again or remove it\.$"):
        plan_import("pairs", tmp_path)
