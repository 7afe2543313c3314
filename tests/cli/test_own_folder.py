"""The main job: a person's own folder of images, a few with masks, becomes masks for all of them and a report."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from criinet.data.images import read_image
from criinet.data.synthetic import render, write_dataset
from criinet.engine import trainer

SIZES = [
    (48, 64),
    (61, 47),
    (40, 90),
    (33, 33),
    (72, 50),
    (50, 72),
    (45, 45),
    (64, 48),
    (52, 57),
    (90, 41),
    (37, 66),
    (70, 70),
]
KINDS = ["png", "jpg", "tif", "bmp", "webp", "png", "PNG", "jpeg", "tiff", "png", "jpg", "webp"]
GRAY, DEEP, MASKS = (3, 8, 9), 5, 5


@pytest.fixture
def own(tmp_path: Path, monkeypatch) -> Path:
    """Twelve images of twelve sizes in five formats, gray, colour and 16 bit, of which the first five have masks."""
    folder = tmp_path / "my scans"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for i, (size, kind) in enumerate(zip(SIZES, KINDS, strict=True)):
        case = render(7, i, size)
        pixels = case.image.mean(2).astype(np.uint8) if i in GRAY else case.image
        if i == DEEP:
            pixels = case.image.mean(2).astype(np.uint16) * 97
        Image.fromarray(pixels).save(folder / "images" / f"IMG {i:02d}.{kind}")
        if i < MASKS:
            Image.fromarray(case.mask * np.uint8(255)).save(folder / "masks" / f"IMG {i:02d}.png")
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_folder_of_images_and_a_few_masks_become_masks_for_all_and_a_report(own, criinet, tiny):
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    outcome = criinet("train", own, "--out", "run", *tiny)
    assert outcome.code == 0, outcome.err
    assert "5 labeled, 7 unlabeled, 0 validation, 0 test" in outcome.err
    assert "no test cases, so no Dice will be reported; holding some out needs at least 10 masks" in outcome.err
    unlabeled = sorted(
        path for path in (own / "images").iterdir() if path.stem not in {f"IMG {i:02d}" for i in range(5)}
    )
    written = sorted(Path("run/predictions").glob("*.png"))
    assert [path.stem for path in written] == [path.stem for path in unlabeled]
    for mask, image in zip(written, unlabeled, strict=True):
        with Image.open(mask) as found:
            assert (found.mode, found.size[::-1]) == ("P", read_image(image).shape[:2])
            assert int(np.asarray(found).max()) <= 1
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "<html" in page
    assert "my scans" in page
    assert json.loads(Path("run/config.json").read_text())["method"]["name"] == "crii-plus"
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


def test_such_a_run_segments_new_images_but_claims_no_score(own, criinet, tiny):
    assert criinet("train", own, "--out", "run", "--no-predict", *tiny).code == 0
    assert criinet("predict", "run", own, "--out", "masks", "--probabilities", "--uncertainty").code == 0
    assert len(list(Path("masks").glob("*.png"))) == len(SIZES)
    outcome = criinet("evaluate", "run")
    assert outcome.code == 2
    assert "has no test cases" in outcome.sentence
    assert not Path("run/results.json").exists()


@pytest.mark.parametrize(("method", "told"), [("supervised", False), ("mean-teacher", True)])
def test_a_method_without_unlabeled_images_says_nothing_of_them(own, criinet, method, told):
    """Every image without a mask is gone; what takes their place concerns only those that want it."""
    for path in (own / "images").iterdir():
        if path.stem not in {f"IMG {i:02d}" for i in range(MASKS)}:
            path.unlink()
    small = ("--set", "trainer.iterations=1", "--set", "data.size=[32,32]", "--no-predict")
    outcome = criinet("train", own, "--out", "run", "--method", method, *small)
    assert outcome.code == 0, outcome.err
    assert "trainer.labeled_batch" in outcome.err
    assert ("trainer.unlabeled_batch" in outcome.err) == told
    assert ("no unlabeled cases" in outcome.err) == told


@pytest.mark.parametrize(("val", "told"), [(0, "no validation cases"), (1, "1 validation case"), (8, "")])
def test_too_few_validation_cases_to_shift_predictions_are_told(criinet, tmp_path, monkeypatch, tiny, val, told):
    monkeypatch.chdir(tmp_path)
    write_dataset(Path("data"), count=24, size=(48, 48), test=4, val=val)
    outcome = criinet("train", "data", "--out", "run", *tiny, "--method", "supervised", "--no-predict")
    said = f"{told}: object logits are not shifted, as tuning that takes 8"
    assert (said in outcome.err.splitlines()) if told else ("not shifted" not in outcome.err), outcome.err
    if val == 1:
        words = ("--method", "supervised", "--no-predict", "--set", "trainer.shift=false")
        assert "not shifted" not in criinet("train", "data", "--out", "off", *tiny, *words).err


def test_a_shift_that_validation_asks_for_is_told(criinet, tmp_path, monkeypatch, tiny):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer, "choose_shift", lambda _: -0.5)
    write_dataset(Path("data"), count=20, size=(48, 48), test=4, val=4)
    outcome = criinet("train", "data", "--out", "run", *tiny, "--no-predict")
    assert outcome.code == 0, outcome.err
    assert (
        "tuned on validation cases: object logits are shifted by -0.5, so fewer pixels count as objects" in outcome.err
    )


def test_names_of_patients_become_groups_by_one_command(own, criinet, tiny):
    """Four patients of three images, whom a split without groups tears apart."""
    for i, path in enumerate(sorted((own / "images").iterdir())):
        name = f"P{i // 3}_slice_{i % 3}"
        Image.fromarray(np.eye(*read_image(path).shape[:2], dtype=np.uint8) * 255).save(own / "masks" / f"{name}.png")
        path.rename(path.with_name(name + path.suffix))
    for path in (own / "masks").glob("IMG*"):
        path.unlink()
    look = "note: names look like 4 patients (P0, P1, P2, ...)"
    checked = criinet("data", "check", own).out
    assert "none given" in checked
    assert look in checked
    outcome = criinet("train", own, "--out", "run", "--no-predict", *tiny)
    assert f"{look}, of whom" in outcome.err
    assert look in criinet("split", own, "--out", "split.json").err
    assert "(--dry-run)" in criinet("data", "groups", own, "--dry-run").err
    assert criinet("data", "groups", own).out == "4 groups of 12 images, 3 in each: P0, P1, P2, ...\n"
    assert "note" not in criinet("split", own, "--out", "split.json", "--overwrite").err
    assert criinet("data", "groups", own).sentence.endswith("is there already; remove it, if it is to be written anew.")
