"""On the command line, volumes are as images are: one sentence for what is wrong, and nothing of a person anywhere."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import highdicom
import nibabel as nib
import numpy as np
import pytest

SMALL = [
    word
    for setting in (
        "network.name=unet",
        "network.channels=[4,8]",
        "network.dropout=[]",
        "data.kind=slices",
        "data.size=[16,16]",
        "trainer.iterations=2",
        "trainer.checks=1",
        "trainer.labeled_batch=2",
        "trainer.unlabeled_batch=2",
        "trainer.threads=1",
    )
    for word in ("--set", setting)
]
SECRETS = ("Mustermann", "19520304", "PAT-4711", "Charite-Nord", "ACC-0815")


def dicom_files() -> ModuleType:
    """Return the maker of small DICOM series."""
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
    return import_module("dicom_files")


def series(folder: Path, values: np.ndarray) -> None:
    """Write a CT series with a person's name in it."""
    dicom_files().write_series(folder, values, RescaleIntercept=-1000)


def nifti(path: str | Path, values: np.ndarray, affine: np.ndarray | None = None) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine), path)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Three volumes of 16x18x9 voxels, two of them with masks."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for i in range(3):
        mask = np.zeros((16, 18, 9), np.uint8)
        mask[4:12, 4:12, 2:7] = 1
        nifti(f"data/images/v{i}.nii.gz", (rng.normal(100, 9, mask.shape) + 80 * mask).astype(np.int16))
        if i < 2:
            nifti(f"data/masks/v{i}.nii.gz", mask)
    return tmp_path


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape or (16, 18, 9), np.uint8)


def float_mask() -> None:
    nifti("data/masks/v0.nii.gz", np.full((16, 18, 9), 0.3, np.float32))


def turned_mask() -> None:
    nifti("data/masks/v0.nii.gz", zeros(), np.diag([-1.0, 1.0, 2.0, 1.0]))


def other_spacing() -> None:
    nifti("data/masks/v0.nii.gz", zeros(), np.diag([1.0, 1.0, 3.0, 1.0]))


def moved_mask() -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[2, 3] = 4
    nifti("data/masks/v0.nii.gz", zeros(), affine)


def cut_image() -> None:
    path = Path("data/images/v0.nii.gz")
    path.write_bytes(path.read_bytes()[:300])


def lacking_slice() -> None:
    Path("data/images/v0.nii.gz").unlink()
    Path("data/masks/v0.nii.gz").unlink()
    series(Path("data/images/v0"), np.zeros((6, 8, 8), np.int16))
    positions = sorted(Path("data/images/v0").iterdir())
    import pydicom

    by_place = sorted(positions, key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))
    by_place[2].unlink()


def bad_spacing() -> None:
    Path("data/dataset.json").write_text(json.dumps({"classes": ["background", "organ"], "spacing": [1, 2]}))


def bad_region() -> None:
    card = {"classes": ["background", "organ"], "regions": {"all": ["liver"]}}
    Path("data/dataset.json").write_text(json.dumps(card))


BAD: dict[str, tuple[Callable[[], object], list[str]]] = {
    "a cut archive": (cut_image, ["images/v0.nii.gz is damaged, cut short, or no NIfTI file", "--skip-bad"]),
    "four dimensions": (
        lambda: nifti("data/images/v0.nii.gz", zeros(16, 18, 9, 4)),
        ["v0.nii.gz has 4 dimensions (16x18x9x4)", "each volume"],
    ),
    "a float mask": (
        float_mask,
        ["masks/v0.nii.gz is a mask with the value 0.3, which is no class", "nearest neighbour"],
    ),
    "a mask of another size": (
        lambda: nifti("data/masks/v0.nii.gz", zeros(16, 18, 8)),
        ["masks/v0.nii.gz is 16x18x8 but its image is 16x18x9"],
    ),
    "a mask of another orientation": (
        turned_mask,
        ["masks/v0.nii.gz is oriented LAS but its image RAS", "Resample it"],
    ),
    "a mask of another spacing": (other_spacing, ["has voxels of 3 x 1 x 1 mm but its image 2 x 1 x 1 mm"]),
    "a mask elsewhere": (moved_mask, ["lies 4 mm away from its image"]),
    "a missing slice": (lacking_slice, ["images/v0 lacks 1 slice between", "every 2.5 mm"]),
    "an image among volumes": (
        lambda: Path("data/images/photo.png").write_bytes(b"png"),
        ["photo.png is an image among volumes"],
    ),
    "a spacing of two numbers": (bad_spacing, ["bad 'spacing': 2 numbers for 3 axes"]),
    "a region of no class": (bad_region, ["region 'all' must have a name of its own and list foreground classes"]),
}


@pytest.mark.parametrize(("spoil", "fragments"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_with_a_volume_is_one_sentence(spoil, fragments, folder, criinet):
    spoil()
    found = criinet("train", "data", "--out", "run", *SMALL)
    assert found.code == 2
    for fragment in fragments:
        assert fragment in found.sentence
    assert not (folder / "run").exists()
    checked = criinet("data", "check", "data")
    assert checked.code == 2
    assert fragments[0].split("/")[-1] in checked.err
    assert "Traceback" not in checked.err


def test_check_tells_what_volumes_there_are(folder, criinet):
    found = criinet("data", "check", "data", "--sheet", "sheet.png")
    assert found.code == 0
    for words in ("volumes", "slices, height, width", "9, 18, 16; 1 sizes", "2 x 1 x 1"):
        assert words in found.out
    assert (folder / "sheet.png").exists()


def test_a_dry_run_of_an_import_writes_nothing(folder, criinet):
    (folder / "source").mkdir()
    (folder / "data" / "images").rename(folder / "source" / "images")
    (folder / "data" / "masks").rename(folder / "source" / "labels")
    dry = criinet("data", "import", "pairs", "source", "new", "--dry-run")
    assert (dry.code, (folder / "new").exists()) == (0, False)
    assert "3 images, 2 with a mask" in dry.out
    assert criinet("data", "import", "pairs", "source", "new").code == 0
    assert criinet("data", "check", "new").code == 0
    again = criinet("data", "import", "pairs", "source", "new")
    assert "0 files written, the other 5 were there already" in again.err
    wrong = criinet("data", "import", "pears", "source", "new")
    assert (wrong.code, "Did you mean 'pairs'?" in wrong.sentence) == (2, True)


@pytest.mark.slow
def test_nothing_of_a_person_leaves_the_headers(folder, criinet):
    """A run on DICOM: no file, no name of one and no line on the terminal holds what the headers say of a person."""
    rng = np.random.default_rng(0)
    for i in range(2):
        image = folder / "scans" / "images" / f"case{i}"
        values = rng.integers(0, 50, (6, 16, 16)).astype(np.int16)
        values[2:4, 4:9, 4:9] += 900
        series(image, values)
    from criinet.data.volumes import read_volume, write_labels

    scan = read_volume(folder / "scans" / "images" / "case0")
    write_labels(folder / "scans" / "masks" / "case0.nii.gz", (scan.values > -200).astype(np.uint8), scan.geometry)
    said = []
    for words in (
        ["data", "check", "scans"],
        ["train", "scans", "--out", "run", "--method", "crii", *SMALL],
        ["predict", "run", "scans", "--out", "masks", "--uncertainty", "--device", "cpu"],
    ):
        found = criinet(*words)
        assert found.code == 0, found.err
        said.append(found.out + found.err)
    for part in ("run", "masks"):
        for path in sorted((folder / part).rglob("*")):
            content = path.read_bytes() if path.is_file() else b""
            said.append(path.name + content.decode("latin-1"))
    assert not [secret for secret in SECRETS if any(secret in text for text in said)]
    assert json.loads((folder / "run" / "config.json").read_text())["dataset"]["spacing"] == pytest.approx(
        [2.5, 0.7, 0.8]
    )


def test_masks_of_dicom_scans_can_be_dicom_too(folder, criinet):
    assert criinet("train", "data", "--out", "run", "--method", "supervised", "--no-predict", *SMALL).code == 0
    series(folder / "ct" / "scan1", np.random.default_rng(0).integers(0, 99, (5, 16, 16)).astype(np.int16))
    assert criinet("predict", "run", "ct", "--out", "masks", "--dicom-seg").code == 0
    volume = highdicom.seg.segread(folder / "masks" / "scan1.dcm").get_volume(combine_segments=True)
    mask = np.asarray(nib.load(folder / "masks" / "scan1.nii.gz").dataobj).transpose(2, 1, 0)
    assert np.asarray(volume.array).sum() == mask.sum()
    refused = criinet("predict", "run", "data", "--out", "other", "--dicom-seg")
    assert (refused.code, (folder / "other").exists()) == (2, False)
    assert "is not DICOM" in refused.sentence


def test_a_scan_that_cannot_have_a_dicom_mask_stops_nothing_that_is_to_go_on(folder, criinet):
    """Nor leaves anything behind where it is to stop."""
    assert criinet("train", "data", "--out", "run", "--method", "supervised", "--no-predict", *SMALL).code == 0
    for name in ("scan1", "scan2", "scan3"):
        series(folder / "ct" / name, np.random.default_rng(0).integers(0, 99, (5, 16, 16)).astype(np.int16))
    dicom_files().remove_tags(folder / "ct" / "scan2", "ImagePositionPatient", "ImageOrientationPatient")
    refused = criinet("predict", "run", "ct", "--out", "masks", "--dicom-seg")
    assert (refused.code, (folder / "masks").exists()) == (2, False)
    assert "scan2 says not where its slices lie, so its mask cannot be a DICOM-SEG" in refused.sentence
    found = criinet("predict", "run", "ct", "--out", "masks", "--dicom-seg", "--skip-bad")
    assert found.code == 0, found.err
    written = sorted(path.name for path in (folder / "masks").iterdir() if path.name.startswith("scan"))
    assert written == ["scan1.dcm", "scan1.nii.gz", "scan2.nii.gz", "scan3.dcm", "scan3.nii.gz"]
    assert "note: ct/scan2 says not where its slices lie" in found.err


def test_a_run_on_volumes_is_not_exported(folder, criinet):
    assert criinet("train", "data", "--out", "run", "--method", "supervised", "--no-predict", *SMALL).code == 0
    refused = criinet("export", "run", "--out", "new/my.onnx")
    assert (refused.code, (folder / "new").exists()) == (2, False)
    assert "run was trained on volumes" in refused.sentence
    assert "`criinet predict run VOLUMES --out MASKS`" in refused.sentence


def test_folders_of_volumes_are_measured_in_mm(folder, criinet):
    nifti("found/a.nii.gz", np.roll(np.pad(np.ones((4, 4, 4), np.uint8), 4), 1, axis=2))
    nifti("truth/a.nii.gz", np.pad(np.ones((4, 4, 4), np.uint8), 4))
    assert criinet("evaluate", "--predictions", "found", "--targets", "truth", "--out", "res").code == 0
    (row,) = [r for r in json.loads((folder / "res" / "results.json").read_text())["rows"] if r["class"] != "mean"]
    assert row["hd95"] == pytest.approx(2.0)
    nifti("found/a.nii.gz", np.pad(np.ones((4, 4, 4), np.uint8), 4), np.diag([-1.0, 1.0, 2.0, 1.0]))
    refused = criinet("evaluate", "--predictions", "found", "--targets", "truth")
    assert "is oriented LAS but its target RAS" in refused.sentence
