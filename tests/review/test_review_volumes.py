"""A volume is corrected slice by slice: what is drawn is written where it was seen, however the volume is stored."""

import io
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from review_page import eventually

from criinet.data.dataset import open_dataset
from criinet.data.splits import load_split
from criinet.engine.build import load
from criinet.engine.training import train
from criinet.errors import DataError
from criinet.review.app import OVERHEAD
from criinet.review.pictures import as_png
from criinet.review.session import ReviewSession
from criinet.review.store import Effort, ReviewStore
from volume_sets import in_ras

OPEN = ("v2", "v3", "v4", "v5")
LABELED = "v1"
STORED = {"v2": "RAS", "v3": "PIR", "v4": "ALI", "v5": "LAS"}
BOXES: dict[str, Any] = {
    "network": {"name": "unet", "channels": [4, 8], "dropout": []},
    "data": {"kind": "volumes", "size": [8, 16, 16]},
    "trainer": {"iterations": 4, "checks": 2, "labeled_batch": 2, "unlabeled_batch": 2, "threads": 1},
}


@pytest.fixture
def place(volume_place) -> Path:
    return volume_place


def as_shown(ras: np.ndarray) -> np.ndarray:
    """Turn (right, front, head) to what viewers show: slices from feet to head, front above, the right on the left."""
    return ras[::-1, ::-1, :].transpose(2, 1, 0)


def shown_file(place: Path, kind: str, name: str) -> np.ndarray:
    return as_shown(in_ras(place / "data" / kind / f"{name}.nii.gz"))


def planes(client: Any, name: str, plane: str) -> np.ndarray:
    """Ask for every slice of a plane: (D, H, W)."""
    about = client.get(f"/api/cases/{name}").json()
    slices = [client.get(f"/api/cases/{name}/planes/{plane}?slice={k}").content for k in range(about["slices"])]
    return np.stack([np.frombuffer(one, np.uint8).reshape(about["height"], about["width"]) for one in slices])


def send(save: Any, name: str, slices: dict[int, np.ndarray], **about: Any) -> Any:
    """Save some slices of a case."""
    return save(name, body=as_png(np.concatenate(list(slices.values()))), slice=list(slices), **about)


def record(place: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((place / "data" / "review" / f"{name}.json").read_text())["decisions"]


@pytest.mark.parametrize("name", OPEN)
def test_slices_are_shown_as_viewers_do_however_they_are_stored(place, client, name):
    path = place / "data" / "images" / f"{name}.nii.gz"
    assert "".join(nib.aff2axcodes(nib.load(path).affine)) == STORED[name]
    about = client.get(f"/api/cases/{name}").json()
    values = shown_file(place, "images", name)
    assert (about["slices"], about["height"], about["width"]) == values.shape
    assert about["aspect"] == pytest.approx(1.0 if name in ("v2", "v4") else 1.25)
    for k in (0, 5, len(values) - 1):
        picture = np.asarray(Image.open(io.BytesIO(client.get(f"/api/cases/{name}/image?slice={k}").content)))
        assert picture.shape == values.shape[1:]
        assert np.corrcoef(picture.ravel(), values[k].ravel())[0, 1] > 0.99


def test_slices_are_seen_through_the_fixed_window_of_the_run(place, session, client):
    """Tissue of 300 is black, and organs of 550 and more are white."""
    predictor = session.model.predictor
    predictor.data = predictor.data.model_copy(update={"intensity": "range", "range": (449.0, 451.0)})
    values = shown_file(place, "images", "v2")
    for kind, k in (("image?slice=5", 5), ("thumbnail", len(values) // 2)):
        picture = np.asarray(Image.open(io.BytesIO(client.get(f"/api/cases/v2/{kind}").content)).convert("L"))
        assert np.abs(picture - 255.0 * (values[k] > 450)).mean() < 5


@pytest.mark.parametrize("name", OPEN)
def test_planes_are_what_the_run_predicts_and_the_least_sure_slice_comes_first(place, client, name):
    predicted = load(place / "run", device="cpu", keep_probs=True).predict(place / "data" / "images" / f"{name}.nii.gz")
    axes = predicted.geometry.axes
    assert np.array_equal(planes(client, name, "refined"), axes.apply(predicted.mask))
    assert np.array_equal(planes(client, name, "coarse"), axes.apply(predicted.coarse_mask))
    uncertainty = planes(client, name, "uncertainty")
    assert np.array_equal(uncertainty, axes.apply(predicted.maps["entropy"]))
    assert client.get(f"/api/cases/{name}").json()["slice"] == uncertainty.sum((1, 2), dtype=int).argmax()
    probability = planes(client, name, "probability-1") / 255
    assert np.abs(probability - axes.apply(np.asarray(predicted.probs[1], np.float32))).max() < 0.003
    assert client.get(f"/api/cases/{name}/planes/mask").status_code == 422


@pytest.mark.parametrize("name", OPEN)
def test_a_voxel_lands_where_it_was_painted_and_all_others_stay_the_models(place, client, save, name):
    expected = planes(client, name, "refined")
    k, y, x = 7, 3, 11
    expected[k, y, x] = drawn = (expected[k, y, x] + 1) % 3
    assert send(save, name, {k: expected[k]}).status_code == 200
    path, image = (place / "data" / kind / f"{name}.nii.gz" for kind in ("masks", "images"))
    assert np.array_equal(shown_file(place, "masks", name), expected)
    ras = in_ras(path)
    assert ras[ras.shape[0] - 1 - x, ras.shape[1] - 1 - y, k] == drawn
    assert nib.load(path).shape == nib.load(image).shape
    assert np.allclose(nib.load(path).affine, nib.load(image).affine)
    dataset = open_dataset(place / "data")
    assert np.array_equal(dataset.read_mask(dataset.case(name)), np.asarray(nib.load(path).dataobj).transpose(2, 1, 0))
    assert np.array_equal(planes(client, name, "mask"), expected)


def test_the_slices_that_were_not_drawn_on_stay_as_a_person_left_them(place, client, save):
    before = shown_file(place, "masks", LABELED)
    file = (place / "data" / "masks" / f"{LABELED}.nii.gz").read_bytes()
    changed = client.get(f"/api/cases/{LABELED}").json()["changed"]
    assert changed == (before != planes(client, LABELED, "refined")).sum((1, 2)).tolist()
    drawn = {5: 2 - before[5], 2: np.zeros_like(before[2])}
    seen = client.get(f"/api/cases/{LABELED}").json()["version"]
    answer = send(save, LABELED, drawn, changed=sum(changed), round=9)
    assert (answer.status_code, answer.json()["status"]) == (200, "corrected")
    for k, one in drawn.items():
        before[k] = one
    assert np.array_equal(shown_file(place, "masks", LABELED), before)
    assert (place / "data" / "review" / "replaced" / f"{LABELED}.1.nii.gz").read_bytes() == file
    assert record(place, LABELED)[0]["changed"] == sum(changed)
    late = send(save, LABELED, {5: before[5]}, version=seen, by="Bob")
    assert late.status_code == 409
    assert "Ann saved v1 as corrected" in late.json()["error"]


def test_a_mask_of_two_classes_keeps_the_encoding_of_its_dataset(volume_place):
    for path in (volume_place / "data" / "masks").iterdir():
        stored = nib.load(path)
        one = (np.asarray(stored.dataobj) > 0).astype(np.uint8) * np.uint8(255)
        nib.save(nib.Nifti1Image(one, stored.affine), path)
    card = volume_place / "data" / "dataset.json"
    card.write_text(json.dumps({"name": "balls", "classes": ["background", "organ"]}))
    dataset = open_dataset(volume_place / "data")
    store = ReviewStore(dataset, load_split(volume_place / "run" / "split.json", dataset))
    mask = np.zeros(store.slices("v4").stored, np.uint8)
    mask[2:5, 3:6, 4:8] = 1
    store.save_mask("v4", mask, "corrected", store.entry("v4").version, Effort())
    written = np.asarray(nib.load(volume_place / "data" / "masks" / "v4.nii.gz").dataobj)
    assert set(np.unique(written)) == {0, 255}
    assert np.array_equal(store.mask("v4"), mask)


def test_under_another_model_than_was_shown_nothing_is_built_on_it(place, client, save):
    shape = planes(client, "v2", "refined").shape
    assert client.get("/api/cases/v2/planes/refined?slice=3&round=1").status_code == 412
    answer = send(save, "v2", {3: np.ones(shape[1:], np.uint8)}, round=1)
    assert answer.status_code == 412
    assert "another model came into use while v2 was open" in answer.json()["error"]
    assert not (place / "data" / "masks" / "v2.nii.gz").exists()
    whole = {k: np.ones(shape[1:], np.uint8) for k in range(shape[0])}
    assert send(save, "v2", whole, round=1).status_code == 200


def test_slices_that_are_not_there_sent_twice_or_too_large_are_refused(place, client, save):
    one = np.zeros((20, 24), np.uint8)
    for path in ("image", "planes/refined", "planes/mask"):
        for number, said in (
            (12, "v2 has 12 slices, numbered from 0, so there is no 12"),
            (-1, "greater than or equal"),
        ):
            answer = client.get(f"/api/cases/v2/{path}?slice={number}")
            assert answer.status_code == 422
            assert said in answer.json()["error"]
    assert "there is no 99" in send(save, "v2", {99: one}).json()["error"]
    assert "none twice" in save("v2", body=as_png(np.concatenate([one, one])), slice=[3, 3]).json()["error"]
    assert "24x20" in save("v2", body=as_png(np.concatenate([one, one])), slice=[3]).json()["error"]
    assert save("v2", body=b"x" * (2 * one.size + OVERHEAD + 1), slice=[3, 4]).status_code == 413
    assert "holds class 3" in send(save, "v2", {3: one + 3}).json()["error"]
    assert not (place / "data" / "masks" / "v2.nii.gz").exists()


def test_a_mask_in_another_format_is_shown_and_left_alone(place):
    path = place / "data" / "masks" / f"{LABELED}.nii.gz"
    nib.save(nib.load(path), path.with_name(f"{LABELED}.nii"))
    path.unlink()
    session = ReviewSession(place / "run", place / "data", device="cpu")
    mask = session.store.mask(LABELED)
    assert mask is not None
    with pytest.raises(DataError, match=r"v1\.nii is not a compressed NIfTI \(\.nii\.gz\), so it cannot be replaced"):
        session.store.save_mask(LABELED, mask, "accepted", session.store.entry(LABELED).version, Effort())
    assert not path.exists()
    session.close()


def sparse(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[1:8:3] = 1
    return mask


def test_partly_annotated_volumes_are_refused_and_none_is_written(place, session):
    stored = session.store.slices("v2").stored
    with pytest.raises(DataError, match=r"v2 has labels on slices that stand alone and evenly"):
        session.store.save_mask("v2", sparse(stored), "corrected", session.store.entry("v2").version, Effort())
    assert not (place / "data" / "masks" / "v2.nii.gz").exists()
    path, card = place / "data" / "masks" / "v0.nii.gz", place / "data" / "dataset.json"
    told, mask = json.loads(card.read_text()), nib.load(path)
    card.write_text(json.dumps({**told, "partial": True}))
    with pytest.raises(DataError, match="some slices alone are annotated"):
        ReviewSession(place / "run", place / "data", device="cpu")
    card.write_text(json.dumps(told))
    nib.save(nib.Nifti1Image(sparse(mask.shape[::-1]).transpose(2, 1, 0), mask.affine), path)
    with pytest.raises(DataError, match='"partial": false'):
        ReviewSession(place / "run", place / "data", device="cpu")
    card.write_text(json.dumps({**told, "partial": False}))
    ReviewSession(place / "run", place / "data", device="cpu").close()


def test_volumes_are_ranked_by_the_mean_uncertainty_about_their_slices(place, session, client):
    session.model.start()
    session.model.wait()
    listed = client.get("/api/cases").json()["cases"]
    assert {case["name"] for case in listed[:4]} == set(OPEN)
    assert [case["status"] for case in listed[4:]] == ["labeled", "labeled"]
    assert all(0 <= case["benefit"] <= 1 for case in listed[:4])
    uncertainty = session.model.uncertainty("v3")
    assert uncertainty is not None
    assert uncertainty.entropy == pytest.approx(planes(client, "v3", "uncertainty").mean() / 255)
    assert uncertainty.disagreement == pytest.approx(planes(client, "v3", "disagreement").mean() / 255)
    thumbnail = Image.open(io.BytesIO(client.get("/api/cases/v3/thumbnail").content))
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (24, 20))
    again = ReviewSession(place / "run", place / "data", device="cpu")
    assert [case["name"] for case in again.cases()] == [case["name"] for case in listed]
    again.close()


def test_planes_that_are_kept_do_not_wait_for_the_prediction_of_others(session, client):
    assert client.get("/api/cases/v2").status_code == 200
    with session.model._busy:
        assert client.get("/api/cases/v2/planes/refined?slice=1").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slices", "volumes"])
def test_a_round_learns_from_drawn_volumes_and_is_measured_on_frozen_ones(place, kind):
    if kind == "volumes":
        train(place / "data", place / "run", method="crii", settings=BOXES, device="cpu", overwrite=True)
    session = ReviewSession(place / "run", place / "data", device="cpu")
    for name in OPEN[:3]:
        mask = np.zeros(session.store.slices(name).stored, np.uint8)
        mask[3:9, 3:9, 3:9] = 1
        session.store.save_mask(name, mask, "corrected", session.store.entry(name).version, Effort(seconds=30))
    session.start()
    eventually(lambda: session.queue.complete)
    first = session.rounds.round(0)
    assert first.dice is not None
    session.retrain()
    eventually(lambda: not session.rounds.training)
    done = session.rounds.book.rounds[-1]
    assert (done.status, done.reason, done.masks) == ("done", "", first.masks + 3)
    assert json.loads(session.rounds.folder(1).validation.read_text()).keys() == {"v6"}
    eventually(lambda: session.model.number == 1 and session.queue.complete)
    session.close()
