"""A mistake in a method of somebody's own is one sentence that names the method, and leaves no folder behind."""

import pytest
import torch

from criinet.errors import DataError, MethodError
from criinet.methods import Prediction


def fail(*_):
    raise KeyError("strong_1")


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
        ("losses", fail, r"failed \(KeyError: 'strong_1'\); run it with CRIINET_DEBUG=1 to see where"),
        ("extra", lambda *_: 0.0, "returns for 'extra' a float; return a tensor of one number"),
        ("extra", lambda _, logits: logits.mean((1, 2, 3)), r"returns for 'extra' a tensor of shape \(2,\); "),
        ("extra", lambda _, logits: (logits - torch.ones(7)).mean(), r"failed \(RuntimeError: The size of tensor a"),
        ("after_step", fail, r"failed \(KeyError"),
        ("targets", fail, r"failed \(KeyError"),
        ("predict", fail, r"failed \(KeyError"),
        (
            "predict",
            lambda _, image: Prediction(image[:, :1]),
            r"predicts a tensor of shape \(\d, 1, 32, 32\) for images of shape \(\d, 3, 32, 32\); .* 2, 32, 32\)",
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


def test_with_debug_the_error_itself_is_raised(own, monkeypatch):
    monkeypatch.setenv("CRIINET_DEBUG", "1")
    with pytest.raises(KeyError, match="strong_1"):
        own(losses=fail)


def test_a_method_that_cannot_be_built_is_named(own):
    with pytest.raises(MethodError, match=r"^method 'own' failed \(KeyError: 'strong_1'\); run it"):
        own(__init__=fail)
