"""A mistake in a method of somebody's own is one sentence that names the method, and leaves no folder behind."""

import copy
import math
from collections import deque
from functools import cached_property

import numpy as np
import pytest
import torch

from criinet.engine.checkpoint import load_checkpoint
from criinet.errors import DataError, MethodError, ShapeError
from criinet.losses import cross_entropy_dice
from criinet.methods import Method, Prediction


def fail(*_):
    raise KeyError("tau")


def look_up_a_view(_, __, unlabeled, ___):
    return unlabeled.views["strong_1"]


def lose_a_column(method, labeled, *_):
    return {"supervised": cross_entropy_dice(method.student(labeled.image).logits[..., :-1], labeled.target)}


def say_nothing(*_):
    raise NotImplementedError


def forget_the_base(method, *_):
    torch.nn.Module.__init__(method)


def use_up_memory(*_):
    raise torch.OutOfMemoryError("no memory left")


def refuse(*_):
    raise DataError("of criinet's own.")


@pytest.mark.parametrize(
    ("function", "replacement", "sentence"),
    [
        ("losses", lambda *_: None, "returns a NoneType from losses; return a dictionary with supervised, extra"),
        ("losses", lambda *_: torch.ones(()), "returns a Tensor from losses"),
        ("losses", lambda *_: {"sup": 1}, r"returns the losses sup, but Config\.weights has supervised, extra"),
        (
            "losses",
            lambda *_: {"supervised": torch.ones(()), "extra": torch.ones(())},
            "returns losses without a gradient",
        ),
        ("losses", fail, r"failed \(KeyError: 'tau'\); run it with CRIINET_DEBUG=1 to see where"),
        ("losses", look_up_a_view, "uses the view 'strong_1' without asking for it; add 'strong_1' to its views\\.$"),
        (
            "losses",
            lose_a_column,
            r"failed \(ShapeError: scores of .* targets of shape \(2, 32, 32\)\); run it with CRI",
        ),
        ("losses", say_nothing, r"failed \(NotImplementedError\); run it"),
        (
            "__init__",
            forget_the_base,
            r"leaves out its base in __init__; begin that with super\(\)\.__init__\(netw",
        ),
        ("extra", lambda *_: 0.0, "returns for 'extra' a float; return a tensor of one number"),
        ("extra", lambda _, logits: logits.mean((1, 2, 3)), r"returns for 'extra' a tensor of shape \(2,\); "),
        ("extra", lambda _, logits: (logits - torch.ones(7)).mean(), r"failed \(RuntimeError: The size of tensor a"),
        ("after_step", fail, r"failed \(KeyError"),
        ("targets", fail, r"failed \(KeyError"),
        ("targets", lambda *_: None, "returns a NoneType from targets; return a tensor of probabilities"),
        (
            "targets",
            lambda _, image: image[:, 0].long(),
            r"trains towards a tensor of shape \(\d, 32, 32\) for images .* of shape \(\d, 2, 32, 32\)\.$",
        ),
        ("predict", fail, r"failed \(KeyError"),
        (
            "predict",
            lambda _, image: Prediction(image[:, :1]),
            r"predicts a tensor of shape \(\d, 1, 32, 32\) for images of shape \(\d, 3, 32, 32\); .* 2, 32, 32\)",
        ),
        ("predict", lambda _, image: image[:, :2], r"returns a Tensor from predict; return a Prediction, as Predict"),
        (
            "predict",
            lambda _, image: Prediction(3 * image[:, :2] - 1),
            r"predicts values from -[\d.]+ to [\d.]+ that are no probabilities; .* apply softmax\(1\) to logits\.$",
        ),
        (
            "predict",
            lambda _, image: Prediction(image[:, :2].sigmoid()),
            r"predicts values .* 1 in sum over the classes",
        ),
        (
            "predict",
            lambda _, image: Prediction(image[:, :2].softmax(1), coarse=image[:, :2] - 3),
            "predicts values from -2.* no probabilities",
        ),
    ],
)
def test_a_mistake_names_the_method_and_leaves_no_folder(function, replacement, sentence, own, tmp_path):
    with pytest.raises(MethodError, match=rf"^method 'own' {sentence}"):
        own(**{function: replacement})
    assert not (tmp_path / "run").exists()
    assert own().checkpoint("last").exists(), "the same call works once the method is mended"


@pytest.mark.parametrize(("function", "error"), [(use_up_memory, torch.OutOfMemoryError), (refuse, DataError)])
def test_errors_that_are_not_the_methods_own_pass_as_they_are(function, error, own, tmp_path):
    with pytest.raises(error, match=r"^no memory left$|^of criinet's own"):
        own(losses=function)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("function", "error"), [(fail, KeyError), (lose_a_column, ShapeError)])
def test_with_debug_the_error_itself_is_raised(own, monkeypatch, function, error):
    monkeypatch.setenv("CRIINET_DEBUG", "1")
    with pytest.raises(error, match=r"tau|scores of shape"):
        own(losses=function)


def test_a_method_that_cannot_be_built_is_named(own):
    with pytest.raises(MethodError, match=r"^method 'own' failed \(KeyError: 'tau'\); run it"):
        own(__init__=fail)


def test_a_prediction_in_bfloat16_or_of_nan_is_none_of_the_methods_mistakes(own):
    """Rounded probabilities are probabilities; NaN is a training that diverged, which the losses tell."""
    for spoil in (lambda probs: probs.bfloat16(), lambda probs: probs * math.nan):
        made = own(overwrite=True, predict=lambda _, image, spoil=spoil: Prediction(spoil(image[:, :2].softmax(1))))
        assert made.checkpoint("last").exists()


def change(method):
    """Change what the method keeps: a number, or what it holds."""
    if isinstance(method.kept, int | float | np.generic):
        method.kept += 1
    elif isinstance(method.kept, torch.Tensor):
        method.kept = method.kept * 0.9
    elif isinstance(method.kept, dict):
        method.kept["n"] = method.kept.get("n", 0) + 1
    elif isinstance(method.kept, np.ndarray):
        method.kept[0] += 1
    else:
        method.kept.append(torch.zeros(()))


@pytest.mark.parametrize(
    "first",
    [0, 0.5, np.float32(1.0), [], deque([1.0]), {}, {"n": 1}, np.zeros(2), torch.ones(2)],
    ids=lambda first: f"{type(first).__name__} {first}",
)
def test_what_changes_in_python_alone_is_refused(first, own, tmp_path):
    """It would be lost on --resume without a word, and the weights would be others."""

    def begin(self, network, config):
        Method.__init__(self, network, config)
        self.kept = copy.deepcopy(first)

    with pytest.raises(MethodError, match=r"^method 'own' keeps 'kept' in Python, .* make it a buffer \(register_buff"):
        own({"iterations": 20, "checks": 1}, __init__=begin, after_step=change)
    assert not (tmp_path / "run").exists(), "it is told at the tenth step"


def test_what_changes_late_or_in_a_module_is_refused_at_the_next_check(own):
    """What appears in a first step is no reason; that it changes later is."""

    def late(method):
        method.student.n = getattr(method.student, "n", 0) + 1

    with pytest.raises(MethodError, match=r"^method 'own' keeps 'student\.n' in Python"):
        own(after_step=late)


def test_what_stays_or_lasts_a_step_is_kept_in_python(own):
    """Constants, NaN among them, a cached property, tensors that a step leaves for its end, and buffers."""

    def begin(self, network, config):
        Method.__init__(self, network, config)
        self.constants = {"nothing": math.nan, "names": ("a", "b")}
        self.nothing, self.left = math.nan, None
        self.register_buffer("count", torch.zeros(()))

    def extra(self, logits):
        self.left = logits.detach()
        return logits.square().mean() * self.sides

    def after_step(self):
        self.count += self.left.numel() > 0

    sides = cached_property(lambda _: 2)
    sides.__set_name__(None, "sides")
    run = own(__init__=begin, extra=extra, after_step=after_step, sides=sides)
    assert load_checkpoint(run.checkpoint("last"))["method"]["count"] == 6
