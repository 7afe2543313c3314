"""A moving average of a network."""

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn


class EMA(nn.Module):
    """An exponential moving average of a network's parameters, without gradient and always in evaluation mode.

        theta' <- a theta' + (1 - a) theta,   a = min(1 - 1 / (t + 1), decay),   t = updates so far

    Buffers (running statistics) are copied. The first update copies everything.

    Reference: Tarvainen & Valpola, NeurIPS 2017, arXiv 1703.01780.
    """

    steps: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever the method's mode is."""
        return super().train(False) if mode else super().train(mode)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Any:
        """Apply the averaged network, without gradient."""
        return self.network(image)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards ``network`` by one step."""
        self.steps += 1
        gain = (1 / self.steps.double()).clamp(min=1 - self.decay).float()
        for own, other in zip(self.network.parameters(), network.parameters(), strict=True):
            own.lerp_(other, gain.to(own.dtype))
        for own, other in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(other)
