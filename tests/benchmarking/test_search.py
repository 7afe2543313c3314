"""A search tries as often for every row, on validation cases alone, and hands back a plan that runs."""

import json

import optuna
import pytest

from criinet.benchmarking import search
from criinet.benchmarking.plan import Range, Search, Variant
from criinet.benchmarking.search import Trial, drawn, with_best, with_settings
from criinet.config import parse
from criinet.data.synthetic import write_dataset
from criinet.errors import ConfigError

SPACE = {"trials": 3, "space": {"trainer.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}}


def trial(dice: float | None, **settings: float) -> Trial:
    return Trial(settings, dice, None if dice else "it broke")


def test_settings_go_where_their_names_say():
    variant = Variant(method="crii", settings={"method": {"embedding": 8}})
    found = with_settings(variant, {"method.weights.intra": 0.05, "trainer.learning_rate": 1e-3})
    weights = {"intra": 0.05}
    assert found.settings == {"method": {"embedding": 8, "weights": weights}, "trainer": {"learning_rate": 1e-3}}
    assert variant.settings == {"method": {"embedding": 8}}


def test_the_best_trial_of_each_row_becomes_a_variant(tiny):
    """Failed trials are passed over; a first trial that nothing beat stands for the row as it is."""
    found = {
        "supervised": [trial(0.6), trial(0.5, **{"trainer.learning_rate": 1.0})],
        "crii": [trial(0.6), trial(0.7, **{"trainer.learning_rate": 0.01}), trial(None)],
    }
    rows = {"crii": {"method.weights.intra": {"low": 0, "high": 1}}}
    tuned = with_best(tiny(search={**SPACE, "rows": rows}), found)
    assert tuned.search == Search()
    assert tuned.name == "tiny-tuned"
    assert list(tuned.rows()) == ["supervised-tuned", "crii-tuned"]
    assert tuned.rows()["supervised-tuned"].settings == {}
    assert tuned.rows()["crii-tuned"].settings == {"trainer": {"learning_rate": 0.01}}


def test_a_row_of_which_nothing_worked_is_named(tiny):
    with pytest.raises(ConfigError, match=r"no trial of 'crii' succeeded \(it broke\)"):
        with_best(tiny(), {"crii": [trial(None)]})


def test_a_search_for_nothing_is_refused(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"search\.space is empty"):
        search(tiny(), tmp_path / "one", device="cpu")
    rows = {"rows": {"criii": {"method.weights.intra": Range(low=0, high=1).model_dump()}}}
    with pytest.raises(ConfigError, match=r"search\.rows names 'criii', which is no row"):
        search(tiny(search=rows), tmp_path / "two", device="cpu")


def test_a_setting_that_does_not_exist_is_named_before_the_first_trial(tiny, tmp_path):
    space = {"space": {"trainer.learnin_rate": {"low": 0.1, "high": 1}}}
    with pytest.raises(ConfigError, match="Did you mean 'learning_rate'"):
        search(tiny(search=space), tmp_path / "search", device="cpu")
    assert not (tmp_path / "search").exists()


@pytest.mark.slow
def test_every_row_has_the_same_number_of_trials_and_no_test_case_is_opened(tiny, tmp_path):
    """Three trials each, the first as it stands; done again with --resume nothing is trained and the same is found."""
    plan = tiny(search=SPACE)
    out = tmp_path / "search"
    tuned = search(plan, out, device="cpu", jobs=2)
    trials = json.loads((out / "search.json").read_text())["trials"]
    assert {row: len(found) for row, found in trials.items()} == {"supervised": 3, "crii": 3}
    for found in trials.values():
        assert found[0]["settings"] == {}
        assert all(1e-4 <= each["settings"]["trainer.learning_rate"] <= 1e-2 for each in found[1:])
        assert all(0 <= each["dice"] <= 1 for each in found)
    runs = sorted((out / "runs").iterdir())
    assert len(runs) == 6
    assert not any((run / "results.json").exists() for run in runs)
    before = {run: (run / "metrics.jsonl").stat().st_mtime_ns for run in runs}
    assert search(plan, out, device="cpu", resume=True) == tuned
    assert {run: (run / "metrics.jsonl").stat().st_mtime_ns for run in sorted((out / "runs").iterdir())} == before


@pytest.mark.parametrize("wrong", [{"low": 2, "high": 1}, {"low": 0, "high": 1, "log": True}])
def test_a_range_in_which_nothing_can_be_drawn_is_refused_before_the_first_run(wrong):
    with pytest.raises(ConfigError, match="low must not be above high"):
        parse(Range, wrong, "search.space")


def test_a_value_is_drawn_within_its_range_and_between_whole_numbers_a_whole_one():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(200)]
    steps = [drawn(trial, "trainer.iterations", Range(low=100, high=500)) for trial in trials]
    rates = [drawn(trial, "trainer.learning_rate", Range(low=1e-4, high=1e-2, log=True)) for trial in trials]
    assert all(isinstance(step, int) and 100 <= step <= 500 for step in steps)
    assert all(isinstance(rate, float) and 1e-4 <= rate <= 1e-2 for rate in rates)
    assert max(steps) - min(steps) > 350
    assert 0.35 < sum(rate < 1e-3 for rate in rates) / len(rates) < 0.65, "as many below 1e-3 as above"


def test_both_ends_of_a_range_are_settings_that_there_are(tiny, tmp_path):
    """A rate of 3 times the learning rate is no encoder's; it would be drawn in the middle of a search."""
    space = {"space": {"trainer.encoder_rate": {"low": 0.1, "high": 3.0}}}
    with pytest.raises(ConfigError, match="encoder_rate"):
        search(tiny(search=space), tmp_path / "search", device="cpu")
    assert not (tmp_path / "search").exists()


def test_a_search_without_validation_cases_is_refused_at_once(tiny, tmp_path):
    write_dataset(tmp_path / "data" / "few", count=30, test=8, val=0)
    plan = tiny(datasets=[{"path": "few"}], search=SPACE)
    with pytest.raises(ConfigError, match="has no validation cases at 4, by which a search judges"):
        search(plan, tmp_path / "search", data=tmp_path / "data", device="cpu")
    assert not (tmp_path / "search").exists()
