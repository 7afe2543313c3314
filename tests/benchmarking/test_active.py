"""The simulated annotator: chains of rounds whose masks an oracle draws, and what each costs."""

import json
import shutil
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from criinet.benchmarking import active, benchmark
from criinet.benchmarking.active import correction_effort, kept_outline, next_split
from criinet.benchmarking.cells import Annotator
from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split
from criinet.data.splits import load_split
from criinet.data.synthetic import write_dataset
from criinet.engine.acquisition import STRATEGIES
from criinet.engine.build import load
from criinet.engine.folder import RunFolder
from criinet.errors import ConfigError
from criinet.labels import IGNORE
from criinet.report import write_benchmark_report

ACTIVE = {"strategies": ["benefit", "random"], "rounds": 2, "masks": 2, "iterations": 2}
COST = ("train_seconds", "images_per_second", "peak_memory_mb")


@pytest.fixture(scope="module")
def annotated(tiny, tmp_path_factory):
    """Two strategies, two rounds of two masks. Read only."""
    out = tmp_path_factory.mktemp("annotated") / "bench"
    benchmark(tiny(methods=["crii"], active=ACTIVE), out, device="cpu")
    return out


def rows_of(out, strategy):
    rows = [r for r in json.loads((out / "results.json").read_text())["rows"] if r["checkpoint"] == "last"]
    return sorted((r for r in rows if r["row"] == strategy and r["class"] == "mean"), key=lambda r: r["round"])


@pytest.mark.slow
def test_each_round_learns_from_the_masks_that_the_strategy_asked_for(annotated):
    for strategy in ("benefit", "random"):
        rows = rows_of(annotated, strategy)
        assert [row["labeled"] for row in rows] == [4, 6, 8]
        effort = [row["corrected_pixels"] for row in rows]
        assert effort[0] == 0
        assert effort == sorted(effort)
        dataset = open_dataset(annotated / "data" / "synthetic-30-8")
        splits = [load_split(annotated / "runs" / row["run"] / "split.json", dataset) for row in rows]
        for before, after in pairwise(splits):
            assert set(before.labeled) < set(after.labeled)
            assert set(after.labeled) | set(after.unlabeled) == set(before.labeled) | set(before.unlabeled)
            assert (after.val, after.test) == (before.val, before.test)
        initial = [json.loads((annotated / "runs" / r["run"] / "config.json").read_text()).get("initial") for r in rows]
        assert initial[0] is None
        assert [path.rsplit("-", 1)[1] for path in initial[1:]] == ["r0", "r1"]
    first, other = rows_of(annotated, "benefit")[0], rows_of(annotated, "random")[0]
    measured = {key for key in first if key not in ("run", "row", "amount", "identity", "strategy", *COST)}
    assert all(first[key] == other[key] or np.isnan(first[key]) for key in measured)


@pytest.mark.slow
def test_a_chain_goes_on_where_it_was_cut_off_and_ends_alike(annotated, tiny, tmp_path):
    out = shutil.copytree(annotated, tmp_path / "bench")
    plan = tiny(methods=["crii"], active=ACTIVE)
    dice = [row["dice"] for row in rows_of(out, "random")]
    shutil.rmtree(out / "runs" / rows_of(out, "random")[2]["run"])
    kept = out / "runs" / rows_of(annotated, "random")[1]["run"] / "checkpoints" / "last.pt"
    before = kept.stat().st_mtime_ns
    benchmark(plan, out, device="cpu", resume=True)
    assert [row["dice"] for row in rows_of(out, "random")] == dice
    assert kept.stat().st_mtime_ns == before


@pytest.mark.slow
def test_its_report_draws_dice_against_masks_and_against_effort(annotated, tmp_path):
    out = shutil.copytree(annotated, tmp_path / "bench")
    page = write_benchmark_report(out).read_text()
    assert "Dice against the number of labeled masks" in page
    assert "Dice against corrected pixels" in page


def test_too_few_cases_for_all_rounds_are_said_before_the_first_run(tiny, tmp_path):
    """4 of 20 training cases are labeled: 16 are left, and the last round needs one that nobody drew."""
    asked = {**ACTIVE, "strategies": ["random"], "masks": 8}
    with pytest.raises(ConfigError, match=r"2 rounds of 8 masks, but of synthetic-30-8 at 4 it can draw 1\d: "):
        benchmark(tiny(methods=["supervised"], active=asked), tmp_path / "bench", device="cpu")
    assert not (tmp_path / "bench").exists()


def test_only_cases_that_have_a_mask_are_asked_for(tiny, tmp_path, monkeypatch):
    """Of 9 masks 4 are labeled: 5 can be drawn, though 15 cases are unlabeled."""
    root = tmp_path / "data"
    write_dataset(root, count=30, test=8, val=3, masks=9)
    dataset = open_dataset(root)
    split = make_split(dataset, "4")
    monkeypatch.setattr(active, "load", lambda *_, **__: None)
    cell, annotator = SimpleNamespace(device="cpu"), Annotator("random", rounds=1, masks=5, iterations=2)
    after = next_split(cell, annotator, dataset, split, RunFolder(root), 1)
    assert [case.mask is None for case in dataset.select(after.labeled)] == [False] * 9
    assert (len(split.unlabeled), len(after.unlabeled)) == (15, 10)
    asked = {**ACTIVE, "rounds": 2, "masks": 3}
    with pytest.raises(ConfigError, match=r"2 rounds of 3 masks, but of .* at 4 it can draw 5: "):
        benchmark(tiny(datasets=[{"path": str(root)}], active=asked), tmp_path / "bench", device="cpu")


def test_unknown_strategies_are_refused(tiny):
    with pytest.raises(ConfigError, match=r"input should be .benefit., .random."):
        tiny(active={"strategies": ["oracle"]})
    assert set(STRATEGIES) == {"benefit", "random", "entropy", "bald", "core-set"}


def test_the_outline_that_is_kept_is_counted_by_pairs_of_pixels():
    target = np.zeros((5, 5), np.uint8)
    target[1:4, 1:4] = 1
    assert kept_outline(target, target) == 12
    shifted = np.roll(target, 1, axis=1)
    assert kept_outline(shifted, target) == 4
    assert kept_outline(1 - target, target) == 0


@pytest.mark.slow
def test_a_right_mask_costs_no_effort(annotated):
    run = annotated / "runs" / rows_of(annotated, "random")[0]["run"]
    dataset = open_dataset(annotated / "data" / "synthetic-30-8")
    predictor = load(run, device="cpu")
    cases = dataset.select(["case_0001", "case_0002"])
    found = correction_effort(predictor, dataset, cases)
    assert found["corrected_pixels"] > 0

    class Perfect:
        def predict_many(self, images):
            list(images)
            return (type("Found", (), {"mask": dataset.read_mask(case)}) for case in cases)

    assert correction_effort(Perfect(), dataset, cases) == {"corrected_pixels": 0, "corrected_outline": 0}


def effort(mask, target):
    """Return corrected pixels and outline of one case."""
    predictor = SimpleNamespace(predict_many=lambda _: [SimpleNamespace(mask=mask)])
    found = correction_effort(predictor, SimpleNamespace(read_mask=lambda _: target), (SimpleNamespace(image=None),))
    return found["corrected_pixels"], found["corrected_outline"]


def test_pixels_without_ground_truth_are_no_work():
    """Of 20 rows the last 8 are unknown; above them a mask that is right costs nothing, and one column too few does."""
    target = np.zeros((20, 20), np.int16)
    target[4:9, 4:9], target[12:] = 1, IGNORE
    right = np.where(target == IGNORE, 1, target)
    assert effort(right, target) == (0, 0)
    wrong = right.copy()
    wrong[4:9, 8] = 0
    assert effort(wrong, target) == (5, 5 + 2)
