"""A result says what was measured on which cases, counts misses, and is never better than the masks are."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from criinet.data.dataset import open_dataset
from criinet.data.settings import DataConfig
from criinet.engine import build, evaluator
from criinet.engine.checkpoint import load_checkpoint, save_checkpoint
from criinet.engine.evaluator import TestSet, evaluate, evaluate_folders
from criinet.engine.examples import by_contrast, pictures
from criinet.engine.origin import recorded_split
from criinet.engine.predictor import ImagePrediction, Predictor
from criinet.engine.summaries import per_case, strata_rows, summary_rows, unit_of
from criinet.errors import DataError, RunError
from criinet.metrics import case_dice, case_metrics, difficulty, finite_mean
from criinet.metrics.difficulty import STRATA
from criinet.metrics.statistics import expansion

CONTRACT = {"method", "dataset", "labeled", "fraction", "draw", "seed", "network", "regime", "dice", "hd95", "assd"}


def one_hot(mask: np.ndarray, classes: int) -> ImagePrediction:
    return ImagePrediction(torch.nn.functional.one_hot(torch.from_numpy(mask).long(), classes).permute(2, 0, 1), None)


@pytest.fixture
def answer(monkeypatch, drawn):
    """Let every predictor answer the test images by a function of their true masks."""

    def patch(says) -> None:
        opened = open_dataset(drawn)
        truth = {opened.read_scan(case).tobytes(): opened.read_mask(case) for case in opened.labeled}

        def predict_many(_, images):
            for image in images:
                yield one_hot(says(truth[image.tobytes()]), 2)

        monkeypatch.setattr(Predictor, "predict_many", predict_many)

    return patch


def means(results: dict, checkpoint: str = "last") -> dict:
    return next(row for row in results["rows"] if row["class"] == "mean" and row["checkpoint"] == checkpoint)


@pytest.mark.parametrize("content", ["not json", "[]", '{"examples": [1]}', '{"examples": [{}]}'])
def test_examples_that_are_damaged_are_written_anew(content, run):
    """As the report says of them: `criinet evaluate` again."""
    run.examples.write_text(content)
    evaluate(run.root, device="cpu")
    assert {example["set"] for example in json.loads(run.examples.read_text())["examples"]} == {"test"}


def test_results_and_cases_hold_what_the_contract_names(run):
    results = evaluate(run.root, device="cpu")
    written = json.loads(run.results.read_text())
    assert written["rows"][0]["step"] == results["rows"][0]["step"]
    assert {(row["checkpoint"], row["class"]) for row in written["rows"]} == {
        (checkpoint, name) for checkpoint in ("last", "best") for name in ("lesion", "mean")
    }
    for row in written["rows"]:
        assert row.keys() >= CONTRACT
        assert (row["method"], row["dataset"], row["network"], row["regime"]) == (
            "crii",
            "synthetic-lesions",
            "unet",
            "scratch",
        )
        assert (row["labeled"], row["unlabeled"], row["val"], row["fraction"]) == (6, 12, 2, 6 / 18)
        assert (row["seed"], row["draw"], row["cases"], row["iterations"]) == (0, 0, 4, 6)
    with run.cases.open() as file:
        cases = list(csv.DictReader(file))
    assert [row["case"] for row in cases if row["checkpoint"] == "last"] == recorded_split(run).test
    assert float(means(results)["dice"]) == pytest.approx(
        np.mean([float(row["dice"]) for row in cases if row["checkpoint"] == "last"])
    )


def test_the_best_checkpoint_is_measured_once_where_it_is_the_last_one(run, monkeypatch):
    """Both rows stand in the results, with the same numbers."""
    run.checkpoint("best").write_bytes(run.checkpoint("last").read_bytes())
    measured = []
    measure = evaluator.measure

    def counted(folder, checkpoint, *others):
        measured.append(checkpoint)
        return measure(folder, checkpoint, *others)

    monkeypatch.setattr(evaluator, "measure", counted)
    results = evaluate(run.root, device="cpu")
    assert measured == ["last"]
    last, best = ({**means(results, name), "checkpoint": None} for name in ("last", "best"))
    assert str(last) == str(best)


def test_the_mean_is_over_the_classes_of_each_case_then_over_cases():
    """Whoever else compares cases by their Dice finds the same: half of two classes, and all of one, is 3/4."""
    classes = ("background", "a", "b")
    targets = {"both": np.array([[1, 2], [1, 2]]), "one": np.array([[1, 1], [1, 1]]), "none": np.zeros((2, 2), int)}
    predicted = {name: np.where(target == 1, 1, 0) for name, target in targets.items()}
    rows = [
        {"checkpoint": "last", "case": name, "group": name, **row}
        for name, target in targets.items()
        for row in case_metrics(predicted[name], target, classes)
    ]
    mean = next(row for row in summary_rows(rows, "px") if row["class"] == "mean")
    assert mean["dice"] == finite_mean([case_dice(predicted[name], targets[name], 3) for name in targets]) == 0.75


def test_the_speed_of_a_run_that_was_cut_off_is_that_of_the_steps_it_did(run):
    """200 of 1000 steps of 2 labeled and 2 unlabeled images in 20 s are 40 images a second, not 200."""
    recorded = json.loads(run.config.read_text())
    batches = {"labeled_batch": 2, "unlabeled_batch": 2}
    recorded["trainer"] = {**recorded["trainer"], "iterations": 1000, **batches}
    run.config.write_text(json.dumps(recorded))
    last = load_checkpoint(run.checkpoint("last"))
    save_checkpoint(run.checkpoint("last"), {**last, "step": 200, "seconds": 20.0})
    row = means(evaluate(run.root, device="cpu"))
    assert (row["step"], row["iterations"], row["images_per_second"]) == (200, 1000, 40.0)


def test_every_checkpoint_is_read_once(run, monkeypatch):
    read = []
    load_checkpoint = build.load_checkpoint
    monkeypatch.setattr(build, "load_checkpoint", lambda path: read.append(path.stem) or load_checkpoint(path))
    evaluate(run.root, device="cpu")
    assert read == ["last", "best"]


def test_a_perfect_prediction_has_dice_1_and_no_distance(run, answer):
    answer(lambda target: target)
    row = means(evaluate(run.root, device="cpu"))
    assert (row["dice"], row["iou"], row["hd95"], row["assd"], row["surface_dice"]) == (1, 1, 0, 0, 1)
    assert (row["misses"], row["false_alarms"], row["distance_cases"]) == (0, 0, 4)


def test_an_empty_prediction_is_a_miss_of_dice_0_without_a_distance(run, answer):
    """Four misses: Dice 0 over 4 cases, and no HD95 at all instead of the 0 or 100 that some report."""
    answer(np.zeros_like)
    row = means(evaluate(run.root, device="cpu"))
    assert (row["dice"], row["misses"], row["cases"], row["distance_cases"]) == (0, 4, 4, 0)
    assert math.isnan(row["hd95"])
    assert json.loads(run.results.read_text())["rows"][0]["hd95"] is None


def test_strata_are_frozen_from_ground_truth(run, answer, monkeypatch):
    """The quartile of a case is the same whatever is predicted."""
    monkeypatch.setattr(difficulty, "FEWEST_IN_QUARTERS", 4)

    def quartiles() -> dict[str, list[str]]:
        evaluate(run.root, device="cpu")
        with run.cases.open() as file:
            rows = [row for row in csv.DictReader(file) if row["checkpoint"] == "last"]
        columns = [f"{stratum}_quartile" for stratum in STRATA]
        return {row["case"]: [row[column] for column in columns] for row in rows}

    answer(lambda target: target)
    perfect = quartiles()
    answer(np.zeros_like)
    assert quartiles() == perfect
    for column in range(3):
        assert sorted(found[column] for found in perfect.values()) == ["1", "2", "3", "4"]


def test_the_smallest_object_is_in_the_first_quartile_of_size(drawn):
    opened = open_dataset(drawn)
    test = TestSet.open(opened, opened.labeled[:8])
    shares = {case.name: (opened.read_mask(case) > 0).mean() for case in test.cases}
    assert test.difficulty[min(shares, key=shares.get)]["size_quartile"] == 1
    assert test.difficulty[max(shares, key=shares.get)]["size_quartile"] == 4
    assert sorted(found["size_quartile"] for found in test.difficulty.values()) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_case_without_an_object_is_in_no_quartile_and_keeps_its_share(drawn, tmp_path):
    """Two of ten have nothing: the smallest objects are those of the other eight."""
    data = shutil.copytree(drawn, tmp_path / "data")
    opened = open_dataset(data)
    for case in opened.labeled[:2]:
        save(case.mask, np.zeros((48, 48)))
    test = TestSet.open(opened, opened.labeled[:10])
    found = [test.difficulty[case.name] for case in test.cases]
    assert [one["object_share"] for one in found[:2]] == [0, 0]
    for stratum in STRATA:
        assert [one[f"{stratum}_quartile"] for one in found[:2]] == [0, 0]
        assert sorted(one[f"{stratum}_quartile"] for one in found[2:]) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_strata_by_hand():
    """Four cases of contrast 1, boundary 2 and size 3: patient p has three of .8, r one of .4, .7 over cases.

    The best checkpoint has p's at .9: .775.
    """
    quartiles = {"contrast_quartile": 1, "boundary_quartile": 2, "size_quartile": 3}
    difficulty = dict.fromkeys("abcd", quartiles)
    about = {"class": "lesion", "region": False, "miss": False, "false_alarm": False}
    rows = [
        {**about, "checkpoint": checkpoint, "case": case, "group": group, "dice": dice, "band_dice_5": dice / 2}
        for checkpoint, high in (("last", 0.8), ("best", 0.9))
        for case, group, dice in (("a", "p", high), ("b", "p", high), ("c", "p", high), ("d", "r", 0.4))
    ]
    found = {(row["checkpoint"], row["by"], row["quartile"]): row for row in strata_rows(rows, difficulty)}
    assert len(found) == 2 * 3 * 4
    whole = {("contrast", 1), ("boundary", 2), ("size", 3)}
    assert all(row["cases"] == 4 * ((by, quartile) in whole) for (_, by, quartile), row in found.items())
    row = found["last", "size", 3]
    assert row["dice"] == pytest.approx(0.7)
    assert math.isnan(row["dice_low"]), "two patients say nothing of others"
    assert (row["band_dice_5"], found["best", "size", 3]["dice"]) == pytest.approx((0.35, 0.775))
    assert strata_rows(rows, dict.fromkeys("abcd", dict.fromkeys(quartiles, 0))) == []


def test_where_a_target_is_unknown_stands_in_its_pictures():
    target = np.array([[0, 1], [-1, 1]], np.int16)
    predicted = ImagePrediction(torch.nn.functional.one_hot(torch.ones(2, 2, dtype=torch.long)).permute(2, 0, 1), None)
    drawn = pictures(predicted, np.zeros((2, 2, 3), np.uint8), target, DataConfig())
    assert (drawn["target"].tolist(), drawn["unknown"].tolist()) == ([[0, 1], [0, 1]], [[0, 0], [1, 0]])
    assert "unknown" not in pictures(predicted, np.zeros((2, 2, 3), np.uint8), abs(target), DataConfig())


def test_few_examples_are_named_by_their_rank_and_many_by_percentile():
    assert by_contrast({"b": 1.0, "a": 0.5, "none": math.nan}) == {
        "a": "contrast rank 1 of 2, 1 is the lowest",
        "b": "contrast rank 2 of 2, 1 is the lowest",
    }
    assert [rule.split(",")[0] for rule in by_contrast({str(i): i for i in range(7)}).values()] == [
        f"contrast rank {rank} of 7" for rank in (1, 3, 4, 5, 7)
    ]
    assert by_contrast({str(i): i for i in range(101)}) == {
        str(percentile): f"contrast percentile {percentile}" for percentile in (5, 25, 50, 75, 95)
    }


def test_a_run_without_test_cases_claims_nothing(dataset, fit, tmp_path):
    (dataset / "splits" / "default.json").unlink()
    for mask in sorted((dataset / "masks").iterdir())[4:]:
        mask.unlink()
    run = fit(dataset, tmp_path / "run")
    with pytest.raises(RunError, match=r"has no test cases.*at least 10 masks"):
        evaluate(run.root, device="cpu")
    assert not run.results.exists()


def test_a_dataset_that_moved_is_named_or_given(run, drawn, tmp_path):
    recorded = json.loads(run.config.read_text())
    recorded["dataset"]["path"] = str(tmp_path / "gone")
    run.config.write_text(json.dumps(recorded))
    with pytest.raises(DataError, match=r"^the run's dataset .*gone does not exist; .* --dataset DIR"):
        evaluate(run.root, device="cpu")
    assert means(evaluate(run.root, dataset=drawn, device="cpu"))["cases"] == 4


@pytest.mark.parametrize("now", [["background", "hair"], ["background", "lesion", "hair"]])
def test_a_dataset_of_other_classes_is_refused(now, dataset, run):
    """The numbers of one class would stand under the name of another; nothing is written."""
    card = dataset / "dataset.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "classes": now, "encoding": "index"}))
    words = rf"run was trained on the classes background, lesion, but .*data has {', '.join(now)}\. Give the dataset"
    with pytest.raises(DataError, match=words):
        evaluate(run.root, dataset=dataset, device="cpu")
    assert not run.results.exists()


def test_a_test_mask_of_another_size_is_named(dataset, fit, tmp_path):
    run = fit(dataset, tmp_path / "run")
    Image.fromarray(np.full((20, 30), 255, np.uint8)).save(dataset / "masks" / "case_0024.png")
    with pytest.raises(DataError, match=r"case_0024\.png is 30x20 but its image is 48x48"):
        evaluate(run.root, device="cpu")


def test_patients_of_a_csv_stand_in_the_cases(dataset, fit, tmp_path):
    """Groups given to training come back in evaluation."""
    names = [path.stem for path in sorted((dataset / "images").iterdir())]
    table = "case,patient\n" + "".join(f"{name},p{name[-4:]}\n" for name in names)
    (tmp_path / "patients.csv").write_text(table)
    run = fit(dataset, tmp_path / "run", groups=tmp_path / "patients.csv")
    evaluate(run.root, device="cpu")
    with run.cases.open() as file:
        assert {(row["case"], row["group"]) for row in csv.DictReader(file)} == {
            (f"case_00{n}", f"p00{n}") for n in (21, 22, 23, 24)
        }


def test_a_class_that_a_case_lacks_is_left_out_of_its_mean():
    row = {"checkpoint": "last", "case": "a", "group": "a", "region": False, "target_pixels": 5, "predicted_pixels": 5}
    rows = [
        {**row, "class": "cup", "dice": 0.5, "hd95": 3.0, "miss": False, "false_alarm": False},
        {**row, "class": "disc", "dice": math.nan, "hd95": math.nan, "miss": False, "false_alarm": False},
        {**row, "class": "rim", "dice": 0.0, "hd95": math.inf, "miss": True, "false_alarm": False},
    ]
    (case,) = per_case(rows)
    assert (case["dice"], case["miss"], case["class"]) == (0.25, 1, "mean")
    summed = {summary["class"]: summary for summary in summary_rows(rows, "px")}
    assert (summed["disc"]["cases"], summed["disc"]["both_empty"]) == (0, 1)
    assert (summed["rim"]["dice"], summed["rim"]["misses"], summed["mean"]["misses"]) == (0.0, 1, 1)
    counts = {name: (row["distance_cases"], row["distance_of"]) for name, row in summed.items()}
    assert counts == {"cup": (1, 1), "disc": (0, 0), "rim": (0, 1), "mean": (1, 2)}, "of the mean, class by class"
    assert summed["mean"]["groups"] == 1


def test_the_interval_is_over_patients_and_the_mean_over_cases():
    """Six patients, one with three cases of .8 and five with a case of .4: the mean is .55 over eight cases.

    Without the first patient, as in a third of the drawings, it is .4: that end is moved away from .55 as for six.
    """
    row = {"checkpoint": "last", "class": "lesion", "region": False, "miss": False, "false_alarm": False}
    rows = [
        {**row, "case": f"{patient}{i}", "group": patient, "dice": dice, "hd95": 1.0}
        for patient, dice, count in (("a", 0.8, 3), *((patient, 0.4, 1) for patient in "bcdef"))
        for i in range(count)
    ]
    for summary in summary_rows(rows, "px"):
        assert summary["cases"] == 8
        assert (summary["dice"], summary["dice_low"]) == pytest.approx((0.55, 0.55 - expansion(6) * 0.15))
        assert 0.55 < summary["dice_high"] <= 1


def save(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8)).save(path)


def test_folders_of_masks_are_measured_by_hand(tmp_path):
    """10 px of truth, 10 predicted, 5 shared: Dice 2 * 5 / 20 = .5, IoU 5 / 15; class indices against 0 and 255."""
    target, shifted = np.zeros((8, 10)), np.zeros((8, 10))
    target[2, :10], shifted[2, 5:], shifted[5, 5:] = 255, 1, 1
    save(tmp_path / "truth" / "a.png", target)
    save(tmp_path / "found" / "a.png", shifted)
    save(tmp_path / "truth" / "b.png", target)
    save(tmp_path / "found" / "b.png", target > 0)
    save(tmp_path / "found" / "extra.png", target > 0)
    results = evaluate_folders(tmp_path / "found", tmp_path / "truth", tmp_path / "out")
    assert results["without_target"] == 1
    row = means(results, "files")
    assert (row["cases"], row["dice"], row["iou"]) == (2, pytest.approx(0.75), pytest.approx((1 / 3 + 1) / 2))
    assert json.loads((tmp_path / "out" / "results.json").read_text())["rows"][0]["dice"] == pytest.approx(0.75)
    with (tmp_path / "out" / "cases.csv").open() as file:
        assert [(r["case"], float(r["dice"])) for r in csv.DictReader(file)] == [("a", 0.5), ("b", 1.0)]


def test_measuring_folders_writes_nothing_unasked(tmp_path):
    for folder in ("truth", "found"):
        save(tmp_path / folder / "a.png", np.eye(9))
    assert means(evaluate_folders(tmp_path / "found", tmp_path / "truth"), "files")["dice"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found", "truth"]


def test_folders_are_measured_as_the_dataset_of_the_targets_says(tmp_path):
    """A disc 2 px of 3 mm off is 6 mm off; cup and disc together are a row; seven images are two patients.

    Six right images of one patient and one wrong of the other: two patients have no interval, seven images would.
    """
    data, found = tmp_path / "data", tmp_path / "found"
    mask, moved = np.zeros((9, 9)), np.zeros((9, 9))
    mask[4, 4], mask[1, 1], moved[4, 6], moved[1, 1] = 2, 1, 2, 1
    for i in range(7):
        save(data / "masks" / f"v{i}.png", mask)
        save(found / f"v{i}.png", moved if i == 6 else mask)
    card = {"classes": ["background", "cup", "disc"], "spacing": 3, "regions": {"both": ["cup", "disc"]}}
    (data / "dataset.json").write_text(json.dumps(card))
    (data / "groups.csv").write_text("case,patient\n" + "".join(f"v{i},{'a' if i < 6 else 'b'}\n" for i in range(7)))
    results = evaluate_folders(found, data / "masks", tmp_path / "out")
    rows = {row["class"]: row for row in results["rows"]}
    assert list(rows) == ["cup", "disc", "both", "mean"]
    assert results["unit"] == "mm"
    assert (rows["disc"]["hd95"], rows["mean"]["hd95"]) == (pytest.approx(6 / 7), pytest.approx(3 / 7))
    assert (rows["disc"]["dice"], rows["both"]["dice"]) == (pytest.approx(6 / 7), pytest.approx(6.5 / 7))
    assert math.isnan(rows["disc"]["dice_low"])
    with (tmp_path / "out" / "cases.csv").open() as file:
        assert {(row["case"], row["group"]) for row in csv.DictReader(file)} >= {("v0", "a"), ("v5", "a"), ("v6", "b")}


def test_the_unit_says_where_spacings_are_known():
    assert [unit_of(spacings) for spacings in ([None], [(1.0, 1.0)], [None, (1.0, 1.0)])] == ["px", "mm", "mm or px"]


def test_millimetres_and_pixels_have_no_mean():
    """Shares keep theirs: each is of a band of its own case."""
    about = {"checkpoint": "last", "class": "lesion", "region": False, "miss": False, "false_alarm": False}
    rows = [
        {**about, "case": case, "group": case, "dice": 0.8, "hd95": 4.0, "assd": 2.0, "surface_dice": 0.9}
        for case in "ab"
    ]
    for unit in ("mm", "px"):
        assert {row["hd95"] for row in summary_rows(rows, unit)} == {4}
    for row in summary_rows(rows, unit_of([None, (1.0, 1.0)])):
        assert math.isnan(row["hd95"])
        assert math.isnan(row["assd"])
        assert (row["dice"], row["surface_dice"]) == pytest.approx((0.8, 0.9))


def test_every_row_is_of_the_checkpoint_that_it_names(run, drawn):
    best = run.checkpoint("best")
    save_checkpoint(best, {**load_checkpoint(best), "step": 1, "shift": 3.0})
    opened = open_dataset(drawn)
    results = evaluate(run.root, device="cpu")
    assert (means(results, "best")["step"], means(results, "best")["shift"]) == (1, 3.0)
    found, expected = {}, {}
    with run.cases.open() as file:
        rows = list(csv.DictReader(file))
    for name in ("last", "best"):
        predict = build.load(run.root, checkpoint=name, device="cpu").predict
        found[name] = [int(row["predicted_pixels"]) for row in rows if row["checkpoint"] == name]
        cases = opened.select(recorded_split(run).test)
        expected[name] = [int(predict(opened.read_scan(case)).mask.sum()) for case in cases]
    assert found == expected
    assert found["last"] != found["best"]
