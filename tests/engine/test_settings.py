"""What is asked lies over what was picked; every key is checked, and a run's settings can be read back."""

import json
from typing import Any

import pytest

from criinet.config import Ramp
from criinet.engine.run_record import RunRecord
from criinet.engine.settings import Choice, RunConfig, TrainerConfig, first_difference, resolve
from criinet.errors import ConfigError

PICKED = (
    Choice("network.name", "unet", "for a test"),
    Choice("data.size", (64, 96), "as the images are"),
    Choice("trainer.iterations", 700, "what a CPU does in minutes"),
)


def read(settings: dict[str, Any]) -> RunConfig:
    """Return the settings of a ``config.json`` that says these."""
    about = {"path": "data", "name": "data", "classes": ["background", "object"]}
    machine = {"version": "0", "python": "3", "torch": "2", "device": "cpu", "threads": 1}
    return RunRecord.model_validate({**settings, "dataset": about, "environment": machine}).config()


def test_what_is_picked_holds_where_nothing_is_asked():
    config = resolve({}, PICKED, seed=3)
    assert (config.network_name, config.data.size, config.trainer.iterations) == ("unet", (64, 96), 700)
    assert (config.method_name, config.seed, config.choices) == ("crii-plus", 3, PICKED)


def test_a_choice_that_the_user_overrides_vanishes_from_the_list():
    config = resolve({"trainer": {"iterations": 20}}, PICKED)
    assert config.trainer.iterations == 20
    assert [choice.setting for choice in config.choices] == ["network.name", "data.size"]


def test_choices_about_a_network_go_when_the_user_names_another():
    picked = (*PICKED, Choice("network.channels", (8, 16), "for a test"))
    assert resolve({}, picked).network.model_dump()["channels"] == (8, 16)
    kept = resolve({"network": {"name": "unet", "channels": [4, 4]}}, picked).choices
    assert [choice.setting for choice in kept] == ["data.size", "trainer.iterations"]


@pytest.mark.parametrize(
    ("asked", "fragments"),
    [
        ({"trianer": {"iterations": 5}}, ["unknown setting 'trianer'", "Did you mean 'trainer'?"]),
        ({"trainer": {"iteratons": 5}}, ["trainer.iteratons", "Did you mean 'iterations'?"]),
        ({"method": {"iterations": 5}}, ["method.iterations", "Did you mean 'trainer.iterations'?"]),
        ({"trainer": {"size": [64, 64]}}, ["trainer.size", "Did you mean 'data.size'?"]),
        ({"method": {"name": "cri"}}, ["unknown method 'cri'", "'crii'", "criinet methods"]),
        ({"network": {"name": "u-net"}}, ["unknown network 'u-net'", "'unet'", "criinet networks"]),
        ({"trainer": 5}, ["'trainer' is 5", "table"]),
        ({"trainer": {"iterations": 0}}, ["trainer.iterations", "is 0", "optimizer steps"]),
        ({"method": {"weights": {"consistncy": 1}}}, ["method.weights.consistncy", "'consistency'?"]),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_the_right_one(asked, fragments):
    with pytest.raises(ConfigError) as refused:
        resolve(asked, PICKED)
    for fragment in fragments:
        assert fragment in str(refused.value)


def test_a_run_reads_its_settings_back_from_json():
    asked = {"method": {"weights": {"consistency": {"to": 0.3}}}, "network": {"channels": [8, 8], "dropout": []}}
    config = resolve(asked, PICKED, seed=5)
    back = read(json.loads(json.dumps(config.to_dict())))
    assert back.to_dict() == config.to_dict()
    assert (back.method, back.network, back.data, back.trainer) == (
        config.method,
        config.network,
        config.data,
        config.trainer,
    )
    assert (back.seed, [choice.setting for choice in back.choices]) == (5, [c.setting for c in config.choices])
    assert config.method.weights["consistency"] == Ramp(to=0.3, over=0.4)


def test_a_run_that_recorded_the_only_target_there_is_reads_its_settings_back():
    """crii-plus once had the setting ``target``, whose single legal value stands in the runs of that time."""
    recorded = resolve({"method": {"name": "crii-plus"}}, PICKED).to_dict()
    older = {**recorded, "method": {**recorded["method"], "target": "refined"}}
    assert read(older).to_dict() == read(recorded).to_dict()
    assert "target" not in read(older).to_dict()["method"]


def test_precision_may_be_written_as_a_number():
    assert resolve({"trainer": {"precision": 32}}).trainer.precision == "32"


def test_the_first_difference_is_named_with_both_values():
    before = {"seed": 0, "data": {"size": [32, 32]}, "trainer": {"iterations": 6, "clip": 5.0}}
    assert first_difference(before, {"trainer": {"clip": 2.0}}) == ("trainer.clip", 5.0, 2.0)
    assert first_difference(before, {"data": {"size": (32, 32)}, "trainer": {"iterations": 6}}) is None
    assert first_difference(before, {"seed": 1}) == ("seed", 0, 1)
    assert first_difference(before, {"trainer": {"rate": 3}}) == ("trainer.rate", None, 3)


def test_the_rate_rises_linearly_then_falls_as_a_power():
    """Warm-up over .1 of training: half-way up at .05, full at .1; times (1 - p)^0.9; never quite 0 at the start."""
    config = TrainerConfig(warm_up=0.1)
    assert config.rate(0.0) == pytest.approx(1e-3)
    assert config.rate(0.05) == pytest.approx(0.5 * 0.95**0.9)
    assert config.rate(0.1) == pytest.approx(0.9**0.9)
    assert config.rate(0.5) == pytest.approx(0.5**0.9)
    assert config.rate(1.0) == 0.0
    assert TrainerConfig(warm_up=0).rate(0.0) == 1.0


@pytest.mark.parametrize(("iterations", "checks", "interval"), [(1500, 20, 75), (6, 2, 3), (5, 20, 1), (7, 2, 3)])
def test_checks_are_spread_over_the_run(iterations, checks, interval):
    assert TrainerConfig(iterations=iterations, checks=checks).interval == interval
