"""Masks are written at the images' own sizes, whole, and never over anything that was there before."""

import hashlib
import os
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from criinet.data.images import read_image
from criinet.data.inputs import Part, images_in
from criinet.data.masks import PALETTE
from criinet.data.predictions import Outputs
from criinet.data.scans import read_scan
from criinet.engine.build import load
from criinet.engine.folder import RunFolder
from criinet.engine.origin import recorded_split
from criinet.engine.prediction import predict_folder, predict_unlabeled
from criinet.errors import ConfigError, DataError

KINDS = {"a.png": (31, 45, 3), "b.jpg": (64, 20, 3), "c.tif": (48, 48), "d.bmp": (10, 90, 3), "E.PNG": (33, 33)}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Five images of five sizes and four formats, and a file that is none."""
    folder = tmp_path / "images to segment"
    folder.mkdir()
    for seed, (name, shape) in enumerate(KINDS.items()):
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Return the digests of all files but the note of what made them."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".prediction.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_image_gets_a_mask_of_its_own_size(trained, images, tmp_path):
    before = contents(images)
    assert predict_folder(trained, images, tmp_path / "out", device="cpu") == [
        "files that are not read, for their kind: 1 .txt"
    ]
    assert sorted(contents(tmp_path / "out")) == ["E.png", "a.png", "b.png", "c.png", "d.png"]
    loaded = load(trained, device="cpu")
    for name, shape in KINDS.items():
        with Image.open(tmp_path / "out" / f"{Path(name).stem}.png") as mask:
            assert (mask.mode, mask.size) == ("P", (shape[1], shape[0]))
            assert tuple(mask.getpalette()[:6]) == (*PALETTE[0], *PALETTE[1])
            written = np.asarray(mask)
        np.testing.assert_array_equal(written, loaded.predict(read_image(images / name)).mask)
    assert contents(images) == before


def test_probabilities_and_uncertainty_are_written_beside(trained, images, tmp_path):
    out = tmp_path / "out"
    predict_folder(trained, images, out, outputs=Outputs(probabilities=True, uncertainty=True), device="cpu")
    for name, shape in KINDS.items():
        stem, size = Path(name).stem, shape[:2]
        with np.load(out / "probabilities" / f"{stem}.npz") as stored:
            probs = stored["probabilities"]
        assert (probs.dtype, probs.shape) == (np.float16, (2, *size))
        np.testing.assert_allclose(probs.astype(float).sum(0), 1, atol=2e-3)
        for what in ("entropy", "disagreement"):
            with Image.open(out / "uncertainty" / f"{stem}_{what}.png") as shown:
                assert (shown.mode, shown.size) == ("L", size[::-1])


def test_a_method_of_one_opinion_writes_no_disagreement(drawn, fit, images, tmp_path):
    run = fit(drawn, tmp_path / "run").root
    predict_folder(run, images, tmp_path / "out", outputs=Outputs(uncertainty=True), device="cpu")
    assert {path.stem.split("_")[1] for path in (tmp_path / "out" / "uncertainty").iterdir()} == {"entropy"}


def test_one_image_or_a_dataset_will_do(trained, images, drawn, tmp_path):
    predict_folder(trained, images / "b.jpg", tmp_path / "one", device="cpu")
    assert list(contents(tmp_path / "one")) == ["b.png"]
    assert [path.parent.name for path in images_in(drawn)] == ["images"] * 24


def test_a_bad_image_stops_or_is_skipped(trained, images, tmp_path):
    (images / "b.jpg").write_bytes((images / "b.jpg").read_bytes()[:60])
    with pytest.raises(DataError, match=r"b\.jpg is damaged"):
        predict_folder(trained, images, tmp_path / "out", device="cpu")
    skipped, _ = predict_folder(trained, images, tmp_path / "out", skip_bad=True, device="cpu")
    assert "b.jpg is damaged" in skipped
    assert sorted(contents(tmp_path / "out")) == ["E.png", "a.png", "c.png", "d.png"]
    loaded = load(trained, device="cpu")
    with Image.open(tmp_path / "out" / "d.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), loaded.predict(read_image(images / "d.bmp")).mask)


def test_what_is_never_read_is_named(trained, images, tmp_path):
    (images / "frame.gif").write_bytes(b"GIF89a")
    os.mkfifo(images / "pipe.png")  # Whoever opens it waits for ever.
    (images / "pat1").mkdir()
    (images / "pat1" / "x.png").write_bytes((images / "a.png").read_bytes())
    said = predict_folder(trained, images, tmp_path / "out", device="cpu")
    assert said == [
        "files that are not read, for their kind: 1 .gif, 1 .txt, 1 pipe, socket or device",
        f"folder {images / 'pat1'} is not looked into, though it holds images or volumes (1); move them up",
    ]
    out = images / "masks"
    assert predict_folder(trained, images, out, device="cpu") == said
    assert predict_folder(trained, images, out, device="cpu", part=Part(resume=True)) == said, "its own masks are known"
    assert predict_folder(trained, images / "a.png", tmp_path / "one", device="cpu") == []
    with pytest.raises(DataError, match=r"pipe\.png is a pipe, socket or device"):
        predict_folder(trained, images / "pipe.png", tmp_path / "two", device="cpu")


def test_masks_of_the_unlabeled_cases_can_be_made_again(fit, drawn, tmp_path):
    """Training leaves them in the run's own folder; they are known to be a prediction there."""
    run = fit(drawn, tmp_path / "run").root
    predict_unlabeled(run, device="cpu")
    before = contents(run / "predictions")
    predict_folder(run, drawn, run / "predictions", device="cpu")
    assert before.items() <= contents(run / "predictions").items()


def test_skipping_every_image_is_no_success(trained, tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"^none of the 2 files could be segmented; the first: .*a\.png"):
        predict_folder(trained, tmp_path / "images", tmp_path / "out", skip_bad=True, device="cpu")


def test_images_whose_masks_would_share_a_name_are_refused(images):
    (images / "a.webp").write_bytes((images / "a.png").read_bytes())
    with pytest.raises(DataError, match=r"a\.webp and a\.png share a name"):
        images_in(images)


@pytest.mark.parametrize("make", [True, False])
def test_no_images_no_prediction(make, trained, tmp_path):
    if make:
        (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty (holds no images|does not exist)"):
        predict_folder(trained, tmp_path / "empty", tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["images", "masks"])
def test_masks_never_go_over_the_originals(out, trained, dataset):
    before = contents(dataset)
    with pytest.raises(DataError, match="holds the originals"):
        predict_folder(trained, dataset, dataset / out, device="cpu")
    assert contents(dataset) == before


def test_advance_is_told_of_every_image(trained, images, tmp_path):
    told: list[tuple[int, int]] = []
    predict_folder(trained, images, tmp_path / "out", device="cpu", advance=lambda *n: told.append(n))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_advance_is_told_of_images_that_are_left_out(trained, images, tmp_path):
    for name in ("b.jpg", "E.PNG"):
        (images / name).write_bytes(b"no image")
    told: list[tuple[int, int]] = []
    predict_folder(trained, images, tmp_path / "o", skip_bad=True, device="cpu", advance=lambda *n: told.append(n))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_an_image_is_not_kept_while_the_next_one_is_read(trained, images, tmp_path, monkeypatch):
    """A few go through the network at once, but none of them as large as it is."""
    read, kept = [], []

    def watched(*wanted):
        kept.append([image() for image in read if image() is not None])
        found = read_scan(*wanted)
        read.append(weakref.ref(found))
        return found

    monkeypatch.setattr("criinet.data.predictions.read_scan", watched)
    predict_folder(trained, images, tmp_path / "out", device="cpu")
    assert kept == [[]] * len(KINDS)


class StopError(Exception):
    """Someone pulled the plug."""


def stop_after(count: int):
    """Return an ``advance`` that stops the prediction after so many images."""

    def advance(done: int, _: int) -> None:
        if done == count:
            raise StopError

    return advance


def test_a_stopped_prediction_goes_on_with_what_is_missing(trained, images, tmp_path):
    """And begun anew, or after masks of other weights, it makes all of them again."""
    outputs = Outputs(probabilities=True, uncertainty=True)
    predict_folder(trained, images, tmp_path / "whole", outputs=outputs, device="cpu")
    out = tmp_path / "out"
    with pytest.raises(StopError):
        predict_folder(trained, images, out, outputs=outputs, device="cpu", advance=stop_after(2))
    first = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert len(first) == 2
    told: list[tuple[int, int]] = []
    again = {"outputs": outputs, "device": "cpu", "part": Part(resume=True)}
    predict_folder(trained, images, out, **again, advance=lambda *n: told.append(n))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert contents(out) == contents(tmp_path / "whole")
    assert {name: (out / name).stat().st_mtime_ns for name in first} == first
    predict_folder(trained, images, out, **again, advance=lambda *n: told.append(n))
    assert len(told) == 3
    predict_folder(trained, images, out, outputs=outputs, device="cpu")
    assert all((out / name).stat().st_mtime_ns > then for name, then in first.items())


def test_what_a_killed_prediction_left_goes_once_it_is_old(trained, images, tmp_path):
    outputs, out = Outputs(uncertainty=True), tmp_path / "out"
    (out / "uncertainty").mkdir(parents=True)
    old = [out / ".a.png.0a1b2c3d.tmp", out / "uncertainty" / ".a_entropy.png.0a1b2c3d.tmp"]
    young = out / ".b.png.0a1b2c3d.tmp"
    for path in (*old, young):
        path.write_text("half")
    for path in old:
        os.utime(path, (0, 0))
    predict_folder(trained, images, out, outputs=outputs, device="cpu", part=Part(resume=True))
    assert [path.exists() for path in (*old, young)] == [False, False, True]


@pytest.mark.parametrize("older", [False, True])
def test_an_image_that_was_replaced_is_segmented_again(older, trained, images, tmp_path):
    """Also by one with an earlier date, as files are that were moved, unpacked, or copied with their dates."""
    out = tmp_path / "out"
    predict_folder(trained, images, out, device="cpu")
    before = contents(out)
    other = tmp_path / "other.png"
    Image.fromarray(read_image(images / "a.png")[::-1, :20]).save(other)
    if older:
        os.utime(other, (0, 0))
    other.replace(images / "a.png")
    predict_folder(trained, images, out, device="cpu", part=Part(resume=True))
    assert {name for name, digest in contents(out).items() if digest != before[name]} == {"a.png"}
    with Image.open(out / "a.png") as mask:
        assert mask.size == (20, 31)


def test_a_finished_prediction_that_left_out_bad_files_is_finished(trained, images, tmp_path):
    """A job that a scheduler starts again must not fail over what it had already said."""
    (images / "bad.png").write_bytes(b"no image")
    for part in (Part(), Part(resume=True)):
        skipped = predict_folder(trained, images, tmp_path / "out", device="cpu", skip_bad=True, part=part)
        assert "bad.png is damaged" in skipped[0]
        assert "--skip-bad" not in skipped[0]
    with pytest.raises(DataError, match=r"none of the 1 files could be segmented; the first: .*bad\.png"):
        predict_folder(trained, images / "bad.png", tmp_path / "none", device="cpu", skip_bad=True)


def test_a_dicom_file_among_pictures_hides_none_of_them(images):
    (images / "f.dcm").write_bytes(bytes(128) + b"DICM")
    assert [path.name for path in images_in(images)] == [*sorted(KINDS), "f.dcm"]
    for number in range(9):
        (images / f"slice{number}").write_bytes(bytes(128) + b"DICM")
    assert images_in(images) == [images]  # A volume with some previews beside it.


def test_masks_of_other_weights_or_options_are_not_mixed(trained, images, drawn, fit, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(StopError):
        predict_folder(trained, images, out, device="cpu", advance=stop_after(2))
    before = contents(out)
    other = fit(drawn, tmp_path / "run").root
    asked = ({"tta": False}, {"shift": 2.0}, {"outputs": Outputs(uncertainty=True)})
    for run, options in ((other, {}), *((trained, options) for options in asked)):
        with pytest.raises(DataError, match="holds masks of other weights or options"):
            predict_folder(run, images, out, part=Part(resume=True), device="cpu", **options)
    assert contents(out) == before
    with pytest.raises(StopError):
        predict_folder(other, images, out, device="cpu", advance=stop_after(1))
    predict_folder(other, images, out, device="cpu", part=Part(resume=True))
    predict_folder(other, images, tmp_path / "other", device="cpu")
    assert contents(out) == contents(tmp_path / "other")


def test_parts_make_the_whole(trained, images, tmp_path):
    predict_folder(trained, images, tmp_path / "whole", device="cpu")
    told: list[tuple[int, int]] = []
    for number in (1, 2, 3):
        part = Part.parse(f"{number}/3")
        predict_folder(trained, images, tmp_path / "out", device="cpu", part=part, advance=lambda *n: told.append(n))
    assert told == [(1, 2), (2, 2), (1, 2), (2, 2), (1, 1)]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    predict_folder(trained, images, tmp_path / "out", device="cpu", part=Part.parse("7/8"))


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "a/b", "1/0", "1/-1"])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match=f"--shard {text} is no part of the images; give for instance 1/8"):
        Part.parse(text)


def test_the_unlabeled_cases_of_a_run_are_segmented_and_the_dataset_stays(dataset, fit, tmp_path):
    before = contents(dataset)
    run = fit(dataset, tmp_path / "run", method="crii", labeled="4")
    assert predict_unlabeled(run.root, device="cpu") == 14
    assert contents(dataset) == before
    assert list(contents(run.predictions)) == [f"{name}.png" for name in recorded_split(run).unlabeled]


def test_unlabeled_cases_are_found_where_training_skipped_a_bad_file(dataset, fit, tmp_path):
    (dataset / "images" / "case_0012.png").write_bytes(b"no image")
    (dataset / "masks" / "nobody.png").write_bytes((dataset / "masks" / "case_0001.png").read_bytes())
    run = fit(dataset, tmp_path / "run", skip_bad=True)
    assert predict_unlabeled(run.root, device="cpu") == 11
    assert not (RunFolder(run.root).predictions / "case_0012.png").exists()


def test_loading_leaves_the_random_numbers_of_a_gpu_alone(trained, monkeypatch):
    """They may be those of a program's own loop; weights are drawn on the CPU."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("seeds every GPU"))
    load(trained, device="cpu")


def test_a_predictor_can_be_sent_to_another_process(trained, drawn):
    image = read_image(next((drawn / "images").iterdir()))
    predictor = load(trained, device="cpu")
    other = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(other.predict(image).mask, predictor.predict(image).mask)


@pytest.mark.parametrize("shift", [21.0, float("nan")])
def test_a_shift_that_leaves_one_class_is_refused(shift, trained):
    with pytest.raises(ConfigError, match=r"^shift is .*; give a number from -20 to 20"):
        load(trained, shift=shift, device="cpu")
