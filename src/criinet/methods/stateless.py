"""Apply a module without changing it: for opponents and for inner gradients."""

from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def apply_constant(module: nn.Module, *inputs: Tensor) -> Any:
    """Apply ``module`` with its parameters as constants, so that gradients reach the inputs alone.

    Buffers are copies that are thrown away: running statistics stay as they are, whatever the module's mode.
    """
    parameters = {name: parameter.detach() for name, parameter in module.named_parameters()}
    return functional_call(module, (parameters, copied_buffers(module)), inputs)


def apply_untracked(module: nn.Module, *inputs: Tensor) -> Any:
    """Apply ``module`` with gradients as usual, on copies of its buffers: running statistics stay as they are."""
    return functional_call(module, copied_buffers(module), inputs)


def copied_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of every buffer by its name."""
    return {name: buffer.clone() for name, buffer in module.named_buffers()}
