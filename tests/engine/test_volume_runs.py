"""One command from volumes to masks that overlay them, by slices and by boxes, with measures in mm."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch

from criinet.config import MethodConfig, merge
from criinet.data.dataset import open_dataset
from criinet.data.formats import Volume
from criinet.data.geometry import Geometry
from criinet.data.inputs import Part
from criinet.data.predictions import Outputs, VolumePrediction
from criinet.data.settings import DataConfig
from criinet.data.store import Store, centres, load_store
from criinet.engine import trainer
from criinet.engine.build import load
from criinet.engine.evaluator import evaluate
from criinet.engine.examples import pictures
from criinet.engine.folder import RunFolder
from criinet.engine.prediction import predict_folder, predict_unlabeled
from criinet.engine.predictor import Predictor
from criinet.engine.shift import SHIFTS
from criinet.engine.training import train
from criinet.errors import ConfigError, DataError
from criinet.labels import IGNORE
from criinet.methods import Method, Prediction
from criinet.report import write_report
from volume_sets import write_volumes

KINDS: dict[str, dict[str, Any]] = {
    "slices": {"kind": "slices", "size": [32, 32]},
    "volumes": {"kind": "volumes", "size": [8, 16, 16]},
}


def tiny(kind: str, **trainer: Any) -> dict[str, Any]:
    return {
        "network": {"name": "unet", "channels": [4, 8], "dropout": []},
        "data": KINDS[kind],
        "trainer": {"iterations": 4, "checks": 2, "labeled_batch": 2, "unlabeled_batch": 2, "threads": 1, **trainer},
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_volumes_go_from_training_to_a_report(kind, balls, tmp_path):
    run = train(balls, tmp_path / "run", labeled="2", method="crii", settings=tiny(kind), device="cpu")
    assert predict_unlabeled(run.root, device="cpu") == 2
    for path in sorted(run.predictions.glob("*.nii.gz")):
        mask, image = nib.load(path), nib.load(balls / "images" / path.name)
        assert mask.shape == image.shape
        np.testing.assert_array_equal(mask.affine, image.affine)
    results = evaluate(run.root, device="cpu")
    assert {row["class"] for row in results["rows"]} == {"organ 1", "organ 2", "mean"}
    assert results["run"]["kind"] == kind
    page = write_report([run.root], run.root / "report.html").read_text()
    assert "distances in mm" in page
    example = json.loads(run.examples.read_text())["examples"][0]
    with np.load(run.root / example["file"]) as arrays:
        sizes = {arrays[name].shape[:2] for name in arrays.files}
    assert len(sizes) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_on_volumes_goes_on_bit_for_bit(kind, balls, tmp_path):
    def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
        return torch.load(folder.checkpoint("last"), weights_only=True)["method"]

    options: dict[str, Any] = {"labeled": "2", "method": "fixmatch", "device": "cpu"}
    whole = train(balls, tmp_path / "whole", settings=tiny(kind), **options)

    def stop(step, _):
        if step == 4:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        train(balls, tmp_path / "cut", settings=tiny(kind), watch=stop, **options)
    cut = train(balls, tmp_path / "cut", resume=True, settings={}, device="cpu")
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(cut)[name], tensor, rtol=0, atol=0)


def test_rounds_on_volumes_label_every_unlabeled_volume(balls, tmp_path):
    for kind in KINDS:
        settings = tiny(kind, iterations=6)
        run = train(balls, tmp_path / kind, labeled="2", method="st++", settings=settings, device="cpu")
        state = torch.load(run.checkpoint("round_1"), weights_only=True)
        assert [label.ndim for label in state["labels"]] == [3, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_validation_volumes_choose_a_shift_as_wholes(kind, balls, tmp_path, monkeypatch):
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(trainer, "choose_shift", lambda dice: seen.append(tuple(dice.shape)) or 0.5)
    run = train(balls, tmp_path / "run", labeled="2", method="supervised", settings=tiny(kind), device="cpu")
    held_out = len(json.loads(run.split.read_text())["val"])
    assert seen == [(held_out, len(SHIFTS), 2)] * 2
    assert load(run.root, device="cpu").shift == 0.5


class ByVoxel(Method):
    """Says of every voxel what its own gray value says, so that windows, blending and grids cannot matter."""

    classes = 2

    def __init__(self, opinions: int = 2) -> None:
        torch.nn.Module.__init__(self)
        self.config, self.opinions = MethodConfig(weights={}), opinions

    def predict(self, image):
        logits = torch.cat([image * 4 - 2, 2 - image * 4], dim=1)
        return Prediction(logits.softmax(1), (logits / 2).softmax(1) if self.opinions == 2 else None)


def ramp(shape: tuple[int, int, int]) -> np.ndarray:
    return np.linspace(0, 1000, int(np.prod(shape))).reshape(shape).astype(np.int16)


@pytest.mark.parametrize("shape", [(1, 40, 33), (9, 5, 7), (20, 31, 18), (37, 16, 16)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turned", [False, True])
def test_windows_of_volumes_leave_no_seams(kind, shape, turned):
    """Blended windows say of a voxel what its own gray value says, wherever it lies and however it is stored."""
    affine = np.array([[0, 0, -1, 5], [0, 2.0, 0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]]) if turned else np.eye(4)
    data = DataConfig(window="patch", channels=1, intensity="range", range=(0, 1000), **KINDS[kind])
    predictor = Predictor(ByVoxel(), data, ("background", "organ"), keep_probs=True)
    values = ramp(shape)
    found = predictor.predict(Volume(values, Geometry.from_nifti(affine)))
    gray = torch.from_numpy(np.round(values / 1000 * 255)).float() / 255
    by_hand = torch.stack([gray * 4 - 2, 2 - gray * 4]).softmax(0)
    torch.testing.assert_close(found.probs.float(), by_hand, atol=2e-3, rtol=0)
    np.testing.assert_array_equal(found.mask, by_hand.argmax(0).numpy())
    differ = (by_hand - torch.stack([gray * 2 - 1, 1 - gray * 2]).softmax(0))[0].abs().numpy() * 255
    maps = found.uncertainty_maps()
    assert set(maps) == {"entropy", "disagreement"}
    np.testing.assert_allclose(maps["disagreement"], differ, atol=1)
    np.testing.assert_array_equal(found.coarse_mask, found.mask)


def test_a_volume_is_brought_to_the_training_spacing_and_back():
    """A bright half of 12 mm keeps its border within a voxel, whatever the voxels of either side."""
    values = np.zeros((12, 10, 24), np.int16)
    values[:, :, 12:] = 1000
    geometry = Geometry.from_nifti(np.diag([1.0, 1.0, 2.0, 1.0]))
    data = DataConfig(
        window="patch", channels=1, intensity="range", range=(0, 1000), spacing=(1, 2, 2), **KINDS["volumes"]
    )
    found = Predictor(ByVoxel(), data, ("organ", "background")).predict(Volume(values, geometry))
    np.testing.assert_array_equal(found.mask[:, :, :11], 1)
    np.testing.assert_array_equal(found.mask[:, :, 13:], 0)


def test_memory_of_a_prediction_does_not_grow_with_the_number_of_slices(monkeypatch):
    """What is blended at a time is as large for 512 slices as for 128."""
    sizes: list[int] = []
    plain = torch.cat

    def watched(parts, **options):
        sizes.append(max(part.numel() for part in parts))
        return plain(parts, **options)

    monkeypatch.setattr(torch, "cat", watched)
    data = DataConfig(window="patch", channels=1, intensity="range", range=(0, 1000), **KINDS["volumes"])
    largest = []
    for depth in (128, 512):
        sizes.clear()
        Predictor(ByVoxel(), data, ("background", "organ"), uncertainty=False).predict(ramp((depth, 16, 16)))
        largest.append(max(sizes))
    assert largest[0] == largest[1]


def test_windows_of_a_partly_annotated_volume_hold_ground_truth():
    mask = np.full((30, 20, 20), IGNORE, np.int16)
    mask[7], mask[7, 4:8, 4:8] = 0, 1
    config = DataConfig(window="patch", channels=1, foreground=0.3, **KINDS["slices"])
    config = config.model_copy(update={"size": (16, 16)})
    image = torch.zeros(1, 30, 20, 20, dtype=torch.uint8)
    store = Store((image,), (torch.from_numpy(mask),), config, (centres(mask, 2),))
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = store.draw([0], rng)
        assert drawn[0].shape == (1, 1, 16, 16)
        assert (drawn[1] != IGNORE).any()


def test_every_fourth_annotated_slice_trains_and_the_others_are_filled_in(tmp_path):
    """The annotated slices come back as they are; the rest, which was not annotated, is predicted."""
    root = write_volumes(tmp_path / "data", 3, masks=1, spacings=((1.0, 1.0, 1.0),))
    path = root / "masks" / "v0.nii.gz"
    mask = nib.load(path)
    labels = np.asarray(mask.dataobj).copy()
    kept = [z for z in range(labels.shape[2]) if labels[:, :, z].any()][::4]
    labels[:, :, [z for z in range(labels.shape[2]) if z not in kept]] = 0
    assert len(kept) == 3
    nib.save(nib.Nifti1Image(labels, mask.affine), path)
    notes: list[str] = []
    run = train(root, tmp_path / "run", method="supervised", settings=tiny("volumes"), device="cpu", warn=notes.append)
    assert notes == ["1 of 1 labeled cases have ground truth in a part alone, 12.5% on average"]
    assert predict_unlabeled(run.root, device="cpu") == 3
    filled = np.asarray(nib.load(run.predictions / "v0.nii.gz").dataobj)
    np.testing.assert_array_equal(filled[:, :, kept], labels[:, :, kept])


def test_a_class_that_no_labeled_case_has_is_named_before_training(balls, tmp_path):
    card = json.loads((balls / "dataset.json").read_text())
    root = tmp_path / "data"
    root.mkdir()
    for part in ("images", "masks", "splits"):
        (root / part).symlink_to(balls / part)
    (root / "dataset.json").write_text(json.dumps({**card, "classes": [*card["classes"], "spleen"]}))
    notes: list[str] = []
    train(
        root,
        tmp_path / "run",
        labeled="2",
        method="supervised",
        settings=tiny("slices"),
        device="cpu",
        warn=notes.append,
    )
    assert len(notes) == 1
    assert notes[0].startswith("class 'spleen' is in none of the 2 labeled cases")


def test_empty_masks_alone_teach_nothing(tmp_path):
    root = write_volumes(tmp_path / "data", 2, masks=1)
    mask = nib.load(root / "masks" / "v0.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), root / "masks" / "v0.nii.gz")
    with pytest.raises(DataError, match="none of the 1 labeled cases has a pixel of organ 1"):
        train(root, tmp_path / "run", settings=tiny("slices"), device="cpu")
    assert not (tmp_path / "run").exists()


def test_regions_are_measured_as_unions_and_stay_out_of_the_mean(balls, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    for part in ("images", "masks", "splits"):
        (root / part).symlink_to(balls / part)
    card = json.loads((balls / "dataset.json").read_text())
    regions = {"both": ["organ 1", "organ 2"]}
    (root / "dataset.json").write_text(json.dumps({**card, "regions": regions}))
    run = train(root, tmp_path / "run", labeled="2", method="supervised", settings=tiny("slices"), device="cpu")
    results = evaluate(run.root, device="cpu")
    last = {row["class"]: row for row in results["rows"] if row["checkpoint"] == "last"}
    assert list(last) == ["organ 1", "organ 2", "both", "mean"]
    assert last["mean"]["dice"] == pytest.approx((last["organ 1"]["dice"] + last["organ 2"]["dice"]) / 2)
    assert write_report([run.root], run.root / "report.html").exists()


def test_distances_are_in_mm(balls, tmp_path, monkeypatch):
    """A prediction that is one slice too high is up to 2 mm off where slices are 2 mm apart, not up to 1."""
    run = train(balls, tmp_path / "run", labeled="2", method="supervised", settings=tiny("volumes"), device="cpu")
    dataset = open_dataset(balls)
    test = dataset.case("v5")
    assert dataset.spacing_of(test) == pytest.approx((2.0, 1.25, 1.0))

    def moved(_, scans):
        for scan in scans:
            yield VolumePrediction(np.roll(dataset.read_mask(test), 1, axis=0), None, scan.geometry, {})

    monkeypatch.setattr(Predictor, "predict_many", moved)
    results = evaluate(run.root, device="cpu")
    assert all(1.25 <= row["hd95"] <= 2.0 + 1e-6 for row in results["rows"])


def test_maps_and_probabilities_of_volumes_lie_where_the_volume_lies(balls, tmp_path):
    run = train(balls, tmp_path / "run", labeled="2", method="crii", settings=tiny("slices"), device="cpu")
    predict_folder(
        run.root, balls / "images" / "v1.nii.gz", tmp_path / "out", outputs=Outputs(True, True), device="cpu"
    )
    image = nib.load(balls / "images" / "v1.nii.gz")
    for name in ("v1.nii.gz", "uncertainty/v1_entropy.nii.gz", "uncertainty/v1_disagreement.nii.gz"):
        written = nib.load(tmp_path / "out" / name)
        np.testing.assert_array_equal(written.affine, image.affine)
        assert written.shape == image.shape
    with np.load(tmp_path / "out" / "probabilities" / "v1.npz") as saved:
        assert saved["probabilities"].shape == (3, *reversed(image.shape))
    mask = load(run.root, device="cpu").predict(balls / "images" / "v1.nii.gz").mask
    np.testing.assert_array_equal(mask.transpose(2, 1, 0), np.asarray(nib.load(tmp_path / "out" / "v1.nii.gz").dataobj))


def test_the_report_draws_a_volume_through_the_fixed_window_of_the_run():
    """Of a volume from -1000 to 1000 the window from 0 to 200 alone is told apart; without one every value is."""
    values = np.linspace(-1000, 1000, 16**3).reshape(16, 16, 16).astype(np.float32)
    scan = Volume(values, Geometry.unknown((1.0, 1.0, 1.0)))
    predicted = VolumePrediction(np.zeros(values.shape, np.uint8), None, scan.geometry, {})

    def inside(**data: Any) -> np.ndarray:
        config = DataConfig(kind="slices", **data)
        axial = pictures(predicted, scan, None, config)["image"][:16, :16, 0]
        return (axial > 0) & (axial < 255)

    between = (values[8] > 0.4) & (values[8] < 199.6)
    assert 0 < between.mean() < 1
    np.testing.assert_array_equal(inside(intensity="range", range=(0.0, 200.0)), between)
    assert inside(intensity="z-score").all()
    assert inside(intensity="window").all()


@pytest.fixture(scope="session")
def stacks(tmp_path_factory) -> Path:
    """TIFF stacks, which do not know their voxels, in data/, and a run in mm on them in run/."""
    root = tmp_path_factory.mktemp("stacks")
    values = np.random.default_rng(0).integers(0, 255, (6, 40, 44)).astype(np.uint8)
    for name in ("a", "b", "c"):
        for part, pages in (("images", values), ("masks", (values > 200).astype(np.uint8))):
            path = root / "data" / part / f"{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            if (part, name) != ("masks", "c"):
                tifffile.imwrite(path, pages, photometric="minisblack")
    (root / "data" / "dataset.json").write_text('{"spacing": [3.0, 0.5, 0.5]}')
    settings = merge(tiny("slices"), {"data": {"spacing": [3.0, 1.0, 1.0]}})
    train(root / "data", root / "run", method="supervised", settings=settings, device="cpu")
    return root


def test_files_that_do_not_know_their_voxels_are_predicted_as_they_were_trained(stacks, tmp_path):
    """By the run's own predictions and by `criinet predict` alike."""
    run = RunFolder(stacks / "run")
    predict_unlabeled(run.root, device="cpu")
    predict_folder(run.root, stacks / "data" / "images", tmp_path / "out", device="cpu")
    own, other = (nib.load(folder / "c.nii.gz") for folder in (run.predictions, tmp_path / "out"))
    np.testing.assert_array_equal(own.affine, other.affine)
    np.testing.assert_array_equal(np.asarray(own.dataobj), np.asarray(other.dataobj))
    np.testing.assert_allclose(own.header.get_zooms(), (0.5, 0.5, 3.0))


@pytest.mark.parametrize("given", [".", "images", "images/c.tif"])
def test_files_of_another_dataset_have_the_voxels_that_it_declares(given, stacks, tmp_path):
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    shutil.copy(stacks / "data" / "images" / "c.tif", other / "images")
    (other / "dataset.json").write_text('{"spacing": [2.05, 0.18, 0.2]}')
    predict_folder(stacks / "run", other / given, tmp_path / "out", device="cpu")
    np.testing.assert_allclose(nib.load(tmp_path / "out" / "c.nii.gz").header.get_zooms(), (0.2, 0.18, 2.05))
    (other / "dataset.json").write_text('{"spacing": [2.05, 0.18]}')
    with pytest.raises(DataError, match="2 numbers for 3 axes"):
        predict_folder(stacks / "run", other / given, tmp_path / "bad", device="cpu")
    assert not (tmp_path / "bad").exists()


def test_masks_of_another_declared_voxel_are_not_gone_on_with(stacks, tmp_path):
    data = Path(shutil.copytree(stacks / "data", tmp_path / "data"))
    predict_folder(stacks / "run", data, tmp_path / "out", device="cpu")
    (data / "dataset.json").write_text('{"spacing": [3.0, 0.4, 0.4]}')
    with pytest.raises(DataError, match="holds masks of other weights or options"):
        predict_folder(stacks / "run", data, tmp_path / "out", device="cpu", part=Part(resume=True))


def test_files_whose_voxels_nobody_knows_are_named_once(stacks, balls, tmp_path):
    """By a run that was trained in mm, where they are taken as they are."""
    run = Path(shutil.copytree(stacks / "run", tmp_path / "run"))
    config = json.loads((run / "config.json").read_text())
    config["dataset"]["voxel"] = None
    (run / "config.json").write_text(json.dumps(config))
    scans = Path(shutil.copytree(stacks / "data" / "images", tmp_path / "scans"))
    shutil.copy(balls / "images" / "v0.nii.gz", scans)
    notes: list[str] = []
    predict_folder(run, scans, tmp_path / "out", device="cpu", warn=notes.append)
    (note,) = notes
    assert note.startswith("3 files do not say how large the voxels are and were taken as they are")
    assert f"trained at 3 x 1 x 1 mm, the first is {scans / 'a.tif'};" in note
    predict_folder(stacks / "run", scans, tmp_path / "known", device="cpu", warn=notes.append)
    assert len(notes) == 1


def test_scans_that_lost_the_offset_of_hu_are_named_once(stacks, tmp_path):
    """By a run on CT; one on scans without a unit, or from black at 0, expects none."""
    run = Path(shutil.copytree(stacks / "run", tmp_path / "run"))
    scans = Path(shutil.copytree(stacks / "data" / "images", tmp_path / "scans"))
    air = np.full((44, 40, 6), -1000, np.int16)
    nib.save(nib.Nifti1Image(air, np.diag([0.5, 0.5, 3, 1])), scans / "ct.nii.gz")
    config = json.loads((run / "config.json").read_text())
    told: dict[str, list[str]] = {}
    for name, data in {
        "ct": {"intensity": "range", "range": [-160, 240]},
        "from 0": {"intensity": "range", "range": [0, 240]},
        "no unit": {"intensity": "z-score", "range": [-160, 240]},
    }.items():
        (run / "config.json").write_text(json.dumps({**config, "data": config["data"] | data}))
        told[name] = []
        predict_folder(run, scans, tmp_path / name, device="cpu", warn=told[name].append)
    (note,) = told["ct"]
    assert note.startswith("3 files have no value below 0, though the run was trained on CT from -160 to 240 HU")
    assert f"the first is {scans / 'a.tif'};" in note and (tmp_path / "ct" / "a.nii.gz").exists()
    assert told["from 0"] == told["no unit"] == []


def test_predictions_keep_the_largest_object_of_the_classes_that_are_one():
    """Two blobs and a speck: of a class that is one object the larger stays, and maps of uncertainty stay whole."""
    values = np.zeros((6, 16, 16), np.uint8)
    values[1:4, 2:8, 2:8] = values[4:6, 10:13, 10:13] = values[0, 14, 3] = 255
    first = np.zeros(values.shape, bool)
    first[1:4, 2:8, 2:8] = True
    for classes, expected in (((), values > 0), ((1,), first)):
        data = DataConfig(**KINDS["volumes"] | {"size": (8, 16, 16)}, window="patch", channels=1, one_object=classes)
        data = data.model_copy(update={"intensity": "range", "range": (0.0, 255.0)})
        found = Predictor(ByVoxel(opinions=2), data, ("background", "dark")).predict(255 - values)
        assert isinstance(found, VolumePrediction)
        assert found.coarse_mask is not None
        np.testing.assert_array_equal(found.mask, expected)
        np.testing.assert_array_equal(found.coarse_mask, expected)
        assert len(np.unique(found.maps["entropy"])) == 1


def test_settings_that_contradict_the_data_are_refused(balls, tmp_path):
    for data, fragment in (
        ({"kind": "images"}, "holds slices or volumes"),
        ({"kind": "volumes", "size": [32, 32]}, "needs depth, height and width"),
        ({"window": "whole"}, "data.window=patch"),
    ):
        with pytest.raises(ConfigError, match=fragment):
            train(balls, tmp_path / "run", labeled="2", settings={"data": data}, device="cpu")
    with pytest.raises(ConfigError, match="has no 3D form; 3D networks: mit-unet, unet"):
        asked = {"data": {"kind": "volumes"}, "network": {"name": "lite0-unet"}}
        train(balls, tmp_path / "run", labeled="2", settings=asked, device="cpu")
    with pytest.raises(ConfigError, match="go wrong in it on a CPU; use 32"):
        asked = {"data": {"kind": "volumes"}, "trainer": {"precision": "bf16"}}
        train(balls, tmp_path / "run", labeled="2", settings=asked, device="cpu")


def test_image_and_mask_of_a_volume_lie_alike_however_it_is_stored(balls):
    """Organs are brighter than all else, in v1 too, which is stored the other way round and has other voxels."""
    dataset = open_dataset(balls)
    data = DataConfig(window="patch", channels=1, spacing=(2, 1, 1), **KINDS["volumes"])
    store = load_store(dataset, dataset.select(["v0", "v1"]), data, with_masks=True)
    for image, mask in zip(store.images, store.masks, strict=True):
        organ, bright = mask > 0, image[0] > 137
        assert 2 * (organ & bright).sum() > 0.9 * (organ.sum() + bright.sum())
