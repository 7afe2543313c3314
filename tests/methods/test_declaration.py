"""A class that leaves out what a method must say is refused in a sentence when it is registered."""

from typing import Annotated

import pytest
from pydantic import Field

from criinet.config import LossWeights, MethodConfig
from criinet.errors import ConfigError, MethodError
from criinet.methods import InRounds, Method, methods, parse_method


class Config(MethodConfig):
    weights: LossWeights = {"supervised": 1.0}


class WithoutWeights(MethodConfig):
    pass


class WithRequired(Config):
    tau: Annotated[float, Field(gt=0, description="least confidence")]


def function(*_):
    return {}


COMPLETE = {
    "Config": Config,
    "summary": "one line",
    "reference": "none",
    "views": ("weak", "strong_1"),
    "losses": function,
}


@pytest.fixture
def register(monkeypatch):
    """Register a method of a class with these attributes, the others being complete; None leaves one out."""
    monkeypatch.setattr(methods, "_entries", dict(methods.items()))

    def add(base=Method, **attributes):
        kept = {key: value for key, value in {**COMPLETE, **attributes}.items() if value is not None}
        return methods.add("own", type("Own", (base,), kept))

    return add


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"Config": None}, r"has no Config; write class Config\(MethodConfig\) with weights in its class\."),
        ({"Config": dict}, r"has no Config; write class Config\(MethodConfig\) with weights in its class\."),
        ({"Config": WithoutWeights}, r"names no losses; name every one in its Config, as weights: LossWeights = {"),
        ({"summary": None}, r"has no summary; write one line of text, as summary = \"...\"\."),
        ({"reference": 1999}, r"has no reference; write one line of text"),
        (
            {"losses": None},
            r"has no losses; write def losses\(self, labeled, unlabeled, progress\), which returns every",
        ),
        ({"base": InRounds}, r"has no reliability; write def reliability\(self, image, probs\)"),
        ({"base": InRounds, "reliability": function}, r"has no begin_round; write def begin_round\(self, number, reli"),
        ({"views": "weak"}, r"has views = 'weak', but views is a tuple; write for instance \(\"weak\",\)\."),
        ({"unlabeled_terms": "extra"}, r"has unlabeled_terms = 'extra', but .* write for instance \(\"extra\",\)\."),
        ({"views": 1}, r"has views = 1, but views is a tuple; write for instance \(\"weak\",\)\."),
        ({"views": ("week",)}, r"asks for a view 'week'; there are weak and strong_1, \.\.\."),
    ],
)
def test_an_incomplete_class_is_not_registered(attributes, sentence, register):
    with pytest.raises(MethodError, match=rf"^method 'own' {sentence}"):
        register(**attributes)
    assert "own" not in methods
    assert register() is methods.get("own"), "the same name is free once the class is complete"


def test_a_setting_without_default_is_missed_by_its_name(register):
    register(Config=WithRequired)
    with pytest.raises(ConfigError, match=r"^setting 'method\.tau' is missing: it has no default, .* \(least confid"):
        parse_method("own", {})
    assert parse_method("own", {"tau": 0.5}).model_dump()["tau"] == 0.5
