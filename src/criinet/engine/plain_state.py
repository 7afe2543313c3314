"""What a method keeps in Python alone, where no checkpoint holds it."""

from collections import deque
from typing import Any

import numpy as np
from torch import Tensor, nn

from criinet.engine.method_calls import mistake
from criinet.methods import Method

OF_TORCH = frozenset(vars(nn.Module()))
"""What every module has: its weights, buffers and modules, ``training``, hooks."""
SCALAR = (bool, int, float, complex, str, bytes, np.generic, type(None))
PLAIN = (*SCALAR, list, tuple, set, deque, dict)
ARRAY = (Tensor, np.ndarray)


class PlainState:
    """The plain attributes of a method and its modules, and tensors that are no buffers, as they were when it was made.

    Plain are numbers, text, None, and lists, tuples, sets, deques and dictionaries of such.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self.plain, self.arrays = values_of(method, PLAIN), values_of(method, ARRAY)

    def require_unchanged(self) -> None:
        """Check that all are as they were.

        Plain ones that are new since are noted, as a cached property's. New tensors are not: what a step computes and
        its end uses is no state.

        Raises:
            MethodError: if one changed: a resumed run would go on with what it was at first.
        """
        now = values_of(self.method, PLAIN)
        for before, after in ((self.plain, now), (self.arrays, values_of(self.method, ARRAY))):
            for name, value in before.items():
                if name in after and [after[name]] != [value]:  # In lists NaN is equal to itself.
                    raise mistake(
                        self.method,
                        f"keeps '{name}' in Python, where it changes in training and is lost on --resume; "
                        "make it a buffer (register_buffer), since only weights and buffers are saved",
                    )
        self.plain = now | self.plain


def values_of(module: nn.Module, kinds: tuple[type, ...]) -> dict[str, Any]:
    """Return a copy of every attribute of one of ``kinds`` by its name, as "teacher.decay"."""
    return {
        f"{path}.{name}" if path else name: copied(value)
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if name not in OF_TORCH and isinstance(value, kinds)
    }


def copied(value: Any) -> Any:
    """Return a copy that can be compared: arrays as bytes, and for anything that is not plain its type."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple | deque):
        return [copied(item) for item in value]
    if isinstance(value, Tensor):
        return value.detach().double().cpu().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, set):
        return set(value)
    return value if isinstance(value, SCALAR) else type(value)
