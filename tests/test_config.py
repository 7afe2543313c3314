"""Settings: what is written wrongly is refused in one sentence that names the setting and the remedy."""

import math
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from criinet.config import Config, LossWeights, MethodConfig, Ramp, assignment, merge, parse, read_settings
from criinet.errors import ConfigError


class Inner(Config):
    """A table inside the settings."""

    depth: int = 3
    height: int = 4


class Example(MethodConfig):
    """Settings as a method has them."""

    ema_decay: Annotated[float, Field(ge=0, lt=1, description="teacher decay per step")] = 0.99
    rate: Annotated[float, Field(gt=0)] = 0.1
    sides: tuple[int, ...] = (1,)
    inner: Inner = Inner()
    weights: LossWeights = {"supervised": 1.0, "consistency": Ramp(to=2.0, over=0.4)}


def test_defaults_are_complete():
    settings = parse(Example, {}, "method")
    assert (settings.ema_decay, settings.inner.depth) == (0.99, 3)
    assert settings.weights == {"supervised": 1.0, "consistency": Ramp(to=2.0, over=0.4)}


def test_an_unknown_key_names_the_nearest_one():
    message = (
        "unknown setting 'method.ema_decy'. Did you mean 'ema_decay'? "
        "method has: weights, ema_decay, rate, sides, inner."
    )
    with pytest.raises(ConfigError) as error:
        parse(Example, {"ema_decy": 0.9}, "method")
    assert str(error.value) == message


def test_a_key_like_no_other_gets_the_list_without_a_guess():
    with pytest.raises(
        ConfigError, match=r"^unknown setting 'method\.xyz'\. method has: weights, ema_decay, rate, sides, inner\.$"
    ):
        parse(Example, {"xyz": 1}, "method")


def test_a_loss_term_that_the_method_lacks_names_the_nearest_one():
    message = (
        r"^unknown setting 'method\.weights\.consistancy'\. Did you mean 'consistency'\? "
        r"method\.weights has: supervised, consistency\.$"
    )
    with pytest.raises(ConfigError, match=message):
        parse(Example, {"weights": {"consistancy": 1.0}}, "method")


@pytest.mark.parametrize(
    ("value", "reason"),
    [(1.0, "is 1.0: input should be less than 1"), (-0.1, "is -0.1: input should be greater than or equal to 0")],
)
def test_a_value_out_of_range_is_named_with_its_meaning(value, reason):
    with pytest.raises(ConfigError) as error:
        parse(Example, {"ema_decay": value}, "method")
    assert str(error.value) == f"setting 'method.ema_decay' {reason} (teacher decay per step)."


def test_a_value_of_the_wrong_type_is_named():
    with pytest.raises(ConfigError, match=r"^setting 'method\.ema_decay' is 'much': .*\(teacher decay per step\)\.$"):
        parse(Example, {"ema_decay": "much"}, "method")


@pytest.mark.parametrize("value", [64, "64x64"])
def test_one_value_where_several_are_needed_is_told_how_to_give_them(value):
    with pytest.raises(ConfigError) as error:
        parse(Example, {"sides": value}, "data")
    assert str(error.value) == f"setting 'data.sides' is {value!r}: give a list, as [64, 64]."


@pytest.mark.parametrize("weight", [-1, "much", {"to": -1}, {"to": 1, "over": 0}, {"to": 1, "over": 1.5}, math.nan])
def test_a_weight_is_a_number_from_zero_up_or_a_ramp(weight):
    with pytest.raises(ConfigError, match=r"^setting 'method\.weights\.consistency[.a-z]*' is "):
        parse(Example, {"weights": {"consistency": weight}}, "method")


def test_given_weights_lie_over_the_default_ones():
    """One weight is set, the other keeps its default; of a ramp, one number can be set alone."""
    weights = parse(Example, {"weights": {"supervised": 0.5}}, "method").weights
    assert weights == {"supervised": 0.5, "consistency": Ramp(to=2.0, over=0.4)}
    weights = parse(Example, {"weights": {"consistency": {"over": 0.8}}}, "method").weights
    assert weights == {"supervised": 1.0, "consistency": Ramp(to=2.0, over=0.8)}
    assert parse(Example, {"weights": {"consistency": 0.3}}, "method").weights["consistency"] == 0.3


def test_given_tables_lie_over_their_defaults():
    inner = parse(Example, {"inner": {"depth": 7}}, "method").inner
    assert (inner.depth, inner.height) == (7, 4)


def test_what_is_parsed_is_what_was_dumped():
    settings = parse(Example, {"ema_decay": 0.9, "weights": {"supervised": 0.5}}, "method")
    assert parse(Example, settings.model_dump(), "method") == settings


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        parse(Example, {}, "method").ema_decay = 0.5  # pyright: ignore[reportAttributeAccessIssue]


def test_the_ramp_by_hand():
    """To 2 over 40 % of training: 2 exp(-5) at the start, 2 exp(-5/4) half-way, 2 from 40 % on."""
    ramp = Ramp(to=2.0, over=0.4)
    assert ramp(0.0) == pytest.approx(0.013476, rel=1e-4)
    assert ramp(0.2) == pytest.approx(2 * 0.2865048, rel=1e-6)
    assert ramp(0.4) == ramp(0.7) == ramp(1.0) == 2.0


def test_a_shorter_run_ramps_like_a_longer_one():
    """Step 100 of 500 and step 10,000 of 50,000 are both 20 % of training: the weight is the same."""
    ramp = Ramp(to=1.0)
    assert ramp(100 / 500) == ramp(10_000 / 50_000) > 0.25


def test_weights_at_a_point_of_training():
    settings = parse(Example, {}, "method")
    assert settings.weights_at(0.0) == {"supervised": 1.0, "consistency": pytest.approx(2 * math.exp(-5))}
    assert settings.weights_at(0.9) == {"supervised": 1.0, "consistency": 2.0}


def test_merge_goes_table_by_table_and_leaves_its_inputs_alone():
    base = {"a": {"x": 1, "y": {"z": 2}}, "b": 3}
    over = {"a": {"y": {"w": 4}}, "b": {"c": 5}}
    assert merge(base, over) == {"a": {"x": 1, "y": {"z": 2, "w": 4}}, "b": {"c": 5}}
    assert base == {"a": {"x": 1, "y": {"z": 2}}, "b": 3}
    assert over == {"a": {"y": {"w": 4}}, "b": {"c": 5}}


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("method.ema_decay=0.995", {"method": {"ema_decay": 0.995}}),
        ("trainer.iterations=500", {"trainer": {"iterations": 500}}),
        ("network.pretrained=false", {"network": {"pretrained": False}}),
        ("network.channels=[8, 16]", {"network": {"channels": [8, 16]}}),
        ("method.weights={mse: {to: 2, over: 0.1}}", {"method": {"weights": {"mse": {"to": 2, "over": 0.1}}}}),
        ("network.weights=a=b.pt", {"network": {"weights": "a=b.pt"}}),
        (" seed =1", {"seed": 1}),
        ("network.weights=", {"network": {"weights": None}}),
    ],
)
def test_an_assignment_is_a_path_and_a_yaml_value(text, settings):
    assert assignment(text) == settings


def test_a_number_in_scientific_notation_is_a_number():
    """YAML reads 1e-3 as text, yet the setting becomes .001."""
    assert parse(Example, assignment("ema_decay=1e-3"), "method").ema_decay == 0.001


@pytest.mark.parametrize("text", ["trainer.iterations", "=500", "trainer.=500", ".iterations=500", "a..b=1", ""])
def test_an_assignment_needs_a_key_and_a_value(text):
    with pytest.raises(ConfigError, match=r"is not KEY=VALUE; write for instance --set trainer\.iterations=500"):
        assignment(text)


def test_a_value_gives_a_key_once():
    with pytest.raises(ConfigError, match=r"^in --set a=\{b: 1, b: 2\}, 'b' is given twice; keep one\.$"):
        assignment("a={b: 1, b: 2}")


def test_a_value_that_is_not_yaml_should_be_quoted():
    with pytest.raises(ConfigError, match=r"^the value in --set a=\[1, cannot be read; put it in quotes\.$"):
        assignment("a=[1,")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.toml", "[trainer]\niterations = 500\n[method.weights]\nintra = 0.05\n"),
        ("run.yaml", "trainer: {iterations: 500}\nmethod:\n  weights:\n    intra: 0.05\n"),
        ("run.yml", "trainer:\n  iterations: 500\nmethod: {weights: {intra: 0.05}}\n"),
        ("run.JSON", '{"trainer": {"iterations": 500}, "method": {"weights": {"intra": 0.05}}}'),
    ],
)
def test_settings_are_read_from_toml_yaml_and_json(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_settings(tmp_path / name) == {"trainer": {"iterations": 500}, "method": {"weights": {"intra": 0.05}}}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("run.ini", b"a = 1", "is not a .toml, .yaml or .json file"),
        ("run.toml", b"a = = 1", "is not valid TOML"),
        ("run.yaml", b"a: [1,", "is not valid YAML"),
        ("run.json", b"{'a': 1}", "is not valid JSON"),
        ("run.toml", b"a = '\xff'", "is not valid TOML"),
        ("run.yaml", b"- 1\n- 2\n", "holds no table of settings; write for instance trainer: {iterations: 500}."),
        ("run.json", b"3", 'holds no table of settings; write for instance {"trainer": {"iterations": 500}}.'),
        ("run.yaml", b"", "holds no table of settings; write for instance trainer: {iterations: 500}."),
        ("run.yaml", b"a: 2026-13-45", "is not valid YAML: month must be in 1..12"),
        ("run.toml", b"a = 1\na = 2", "is not valid TOML: Cannot overwrite a value"),
        ("run.yaml", b"t:\n  a: 1\n  b: 2\n  a: 3\n", "is not valid YAML: 'a' is given twice; keep one."),
        ("run.json", b'{"t": {"a": 1, "a": 2}}', "is not valid JSON: 'a' is given twice; keep one."),
    ],
)
def test_a_settings_file_that_cannot_be_used_is_named(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_settings(path)
    assert str(error.value).startswith(f"{path} {sentence}")
    assert "\n" not in str(error.value)


def test_a_table_of_yaml_may_lie_over_another(tmp_path):
    (tmp_path / "run.yaml").write_text("x: {y: &base {a: 1, b: 2}}\nz: &more {<<: *base, a: 3}\nw: {<<: *more}\n")
    assert read_settings(tmp_path / "run.yaml") == {
        "x": {"y": {"a": 1, "b": 2}},
        "z": {"a": 3, "b": 2},
        "w": {"a": 3, "b": 2},
    }


def test_a_missing_settings_file_is_named(tmp_path):
    with pytest.raises(
        ConfigError, match=r"none\.toml cannot be read \(No such file or directory\); check the path\.$"
    ):
        read_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner": {"dept": 1}}, "unknown setting 'method.inner.dept'. Did you mean 'depth'? method.inner has: "),
        ({"inner": {"depth": "x"}}, "setting 'method.inner.depth' is 'x': "),
        ({"weights": {"consistency": {"t": 1}}}, "unknown setting 'method.weights.consistency.t'. Did you mean 'to'?"),
        ({"weights": {"consistency": {"to": -1}}}, "setting 'method.weights.consistency.to' is -1: "),
        ({"weights": {"consistency": -1}}, "setting 'method.weights.consistency' is -1: "),
        ({"weights": {"consistency": math.inf}}, "setting 'method.weights.consistency' is inf: "),
        ({"weights": {"consistency": {"to": math.inf}}}, "setting 'method.weights.consistency.to' is inf: "),
        ({"rate": math.inf}, "setting 'method.rate' is inf: input should be a finite number"),
    ],
)
def test_a_fault_in_an_inner_table_is_named_with_its_whole_path(settings: dict[str, object], sentence: str):
    with pytest.raises(ConfigError) as error:
        parse(Example, settings, "method")
    assert str(error.value).startswith(sentence)


def test_a_default_may_be_of_any_type_that_pydantic_knows():
    class Odd(Config):
        file: Path = Path("a/b")
        names: frozenset[str] = frozenset({"x"})

    assert parse(Odd, {}, "network") == Odd()
    assert parse(Odd, {"file": "c"}, "network").file == Path("c")
