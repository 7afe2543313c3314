"""What the class of a method says of it, checked once, when it is registered."""

from typing import Any

from criinet.config import MethodConfig
from criinet.errors import MethodError
from criinet.methods.base import Method
from criinet.methods.in_rounds import InRounds

OWED: dict[str, tuple[type[Method], str]] = {
    "losses": (Method, "def losses(self, labeled, unlabeled, progress), which returns every loss term by its name"),
    "reliability": (InRounds, "def reliability(self, image, probs), which returns one number in [0, 1] for each image"),
    "begin_round": (InRounds, "def begin_round(self, number, reliability), which returns the images it learns from"),
}
"""What a class must have itself: where it stands without a body, and what to write."""


def is_view(name: object) -> bool:
    """Say whether there is a view of that name: "weak", "strong_1", "strong_2", ..."""
    return name == "weak" or (isinstance(name, str) and name.startswith("strong_"))


def require_declared(name: str, method: type[Method]) -> None:
    """Check that a class says all that is asked of a method.

    Raises:
        MethodError: if something is missing, or of another kind.
    """
    config: Any = getattr(method, "Config", None)
    if not (isinstance(config, type) and issubclass(config, MethodConfig)):
        raise MethodError(f"method '{name}' has no Config; write class Config(MethodConfig) with weights in its class.")
    if config.model_fields["weights"].is_required():
        example = 'weights: LossWeights = {"supervised": 1.0}'
        raise MethodError(f"method '{name}' names no losses; name every one in its Config, as {example}.")
    for line in ("summary", "reference"):
        if not isinstance(getattr(method, line, None), str):
            raise MethodError(f"method '{name}' has no {line}; write one line of text, as {line} = \"...\".")
    for owed, (base, example) in OWED.items():
        if issubclass(method, base) and getattr(method, owed) is getattr(base, owed):
            raise MethodError(f"method '{name}' has no {owed}; write {example}.")
    for names in ("views", "unlabeled_terms", "opponent_terms"):
        given: Any = getattr(method, names)
        if not isinstance(given, tuple | list):
            example = given if isinstance(given, str) else "weak"
            raise MethodError(
                f"method '{name}' has {names} = {given!r}, but {names} is a tuple; write for instance (\"{example}\",)."
            )
    for view in method.views:
        if not is_view(view):
            raise MethodError(f"method '{name}' asks for a view '{view}'; there are weak and strong_1, ...")
