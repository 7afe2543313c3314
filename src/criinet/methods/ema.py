"""A moving average of a network."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from criinet.methods.stateless import apply_untracked


class EMA(nn.Module):
    """An exponential moving average of a network, without gradient.

        theta' <- a theta' + (1 - a) theta,   a = min(1 - 1 / (t + 1), decay),   t = updates so far

    The first update copies everything. In training mode batch normalisation takes the statistics of the batch and
    dropout is on, as in the student and as in public code: statistics of a student that moves fast do not fit an
    average of what it was, and targets made with them call too little an object. Running statistics are averaged as the
    weights are, and used in evaluation mode alone.

    Reference: Tarvainen & Valpola, NeurIPS 2017, arXiv 1703.01780.
    Differs: in public code the running statistics are those of the average's own passes.
    """

    steps: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, image: Tensor) -> Any:
        """Apply the averaged network, without gradient and without a trace in its running statistics."""
        return apply_untracked(self.network, image)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards ``network`` by one step."""
        self.steps += 1
        gain = (1 / self.steps.double()).clamp(min=1 - self.decay).float()
        own = (*self.network.parameters(), *self.network.buffers())
        others = (*network.parameters(), *network.buffers())
        for mean, value in zip(own, others, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, gain.to(mean.dtype))
            else:
                mean.copy_(value)
