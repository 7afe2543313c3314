"""Calls of what the author of a method wrote: a mistake there is one sentence that names the method."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from weakref import WeakSet

import torch
from torch import Tensor

from criinet.errors import MethodError
from criinet.foreign import failed, passes
from criinet.methods import Method, Prediction, methods
from criinet.methods.declaration import is_view

ROUNDING = 1e-2
"""How far probabilities in bfloat16, and their sum over classes, are from what they should be, at most."""
SOUND: WeakSet[Method] = WeakSet()
"""The methods whose first prediction held probabilities; looking at every one would make a GPU wait."""


def name_of(method: Method | type[Method]) -> str:
    """Return the name that a method is registered by, or that of its class."""
    own = method if isinstance(method, type) else type(method)
    return next((name for name, kind in methods.items() if kind is own), own.__name__)


def mistake(method: Method | type[Method], what: str) -> MethodError:
    """Return the error for what a method does wrong, a sentence that begins with its name and ends with a full stop."""
    return MethodError(f"method '{name_of(method)}' {what}.")


@contextmanager
def named(method: Method | type[Method]) -> Generator[None, None, None]:
    """Turn an error of the method's own code into one that names the method.

    Errors of criinet about anything but shapes pass as they are, memory that is used up does too, and with
    CRIINET_DEBUG all do.

    Raises:
        MethodError: for any other error.
    """
    try:
        yield
    except Exception as error:
        if passes(error):
            raise
        view = error.args[0] if isinstance(error, KeyError) and error.args else None
        if is_view(view) and view not in method.views:
            raise mistake(method, f"uses the view '{view}' without asking for it; add '{view}' to its views") from error
        raise mistake(method, failed(error)) from error


def weighted_sum(method: Method, terms: object, weights: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return the losses by name, in the order of ``Config.weights``, and their weighted sum.

    Nothing here waits for the device.

    Args:
        terms: what ``method.losses`` returned.
        weights: (T,) in that order.

    Raises:
        MethodError: if that is no table of single numbers by the names of ``Config.weights``, or has no gradient.
    """
    names = tuple(method.config.weights)
    expected = ", ".join(names)
    if not isinstance(terms, Mapping):
        kind = type(terms).__name__
        raise mistake(method, f"returns a {kind} from losses; return a dictionary with {expected}, one number each")
    if set(terms) != set(names):
        given = ", ".join(map(str, terms))
        what = f"returns the losses {given}, but Config.weights has {expected}; give both the same names"
        raise mistake(method, what)
    for term, value in terms.items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise mistake(method, f"returns for '{term}' a {kind}; return a tensor of one number")
        if value.ndim > 0:
            shape = tuple(value.shape)
            raise mistake(method, f"returns for '{term}' a tensor of shape {shape}; return one number")
    found: dict[str, Tensor] = {term: terms[term] for term in names}
    loss = (torch.stack(list(found.values())) * weights).sum()
    if not loss.requires_grad:
        raise mistake(method, "returns losses without a gradient; compute them from the student's output")
    return found, loss


def predict(method: Method, image: Tensor) -> Prediction:
    """Return what a method predicts of (B, C, ...) images: (B, K, ...) for its K classes.

    Raises:
        MethodError: if it fails, does not return one value for each class and pixel, or, the first time, no
            probabilities.
    """
    with named(method):
        found = method.predict(image)
    if not isinstance(found, Prediction):  # pyright: ignore[reportUnnecessaryIsInstance] - Others wrote it.
        kind = type(found).__name__
        raise mistake(method, f"returns a {kind} from predict; return a Prediction, as Prediction(probs)")
    for opinion in (found.probs, found.coarse):
        if opinion is None:
            continue
        require_shape(method, "predicts", opinion, image)
        if method not in SOUND:
            require_probabilities(method, opinion.detach())
    SOUND.add(method)
    return found


def require_shape(method: Method, does: str, values: Tensor, image: Tensor) -> None:
    """Check that there is one value for each class and pixel of the images (B, C, ...).

    Args:
        does: what the method does with the values, in a word.

    Raises:
        MethodError: if there is not.
    """
    expected = (len(image), method.classes, *image.shape[2:])
    if values.shape != expected:
        shapes = f"shape {tuple(values.shape)} for images of shape {tuple(image.shape)}"
        raise mistake(method, f"{does} a tensor of {shapes}; return probabilities of shape {expected}")


def require_probabilities(method: Method, values: Tensor) -> None:
    """Check that a prediction (B, K, ...) holds probabilities, or NaN where a training diverged.

    Raises:
        MethodError: if a value is below 0, or the classes do not sum to 1, each by more than bfloat16 rounds.
    """
    low, high = float(values.min()), float(values.max())
    if low < -ROUNDING or float((values.float().sum(1) - 1).abs().max()) > ROUNDING:
        raise mistake(
            method,
            f"predicts values from {low:.3g} to {high:.3g} that are no probabilities; predict must return "
            "probabilities, at least 0 and 1 in sum over the classes: apply softmax(1) to logits",
        )


def targets(method: Method, image: Tensor) -> Tensor:
    """Return what a method trains unlabeled images (B, C, ...) towards: (B, K, ...) for its K classes.

    Raises:
        MethodError: if it fails, does not return one value for each class and pixel, or these are its predictions and
            :func:`predict` refuses them.
    """
    if type(method).targets is Method.targets:
        return predict(method, image).probs
    with named(method):
        found = method.targets(image)
    if not isinstance(found, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance] - Others wrote it.
        kind = type(found).__name__
        raise mistake(method, f"returns a {kind} from targets; return a tensor of probabilities")
    require_shape(method, "trains towards", found, image)
    return found
