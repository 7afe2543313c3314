"""Which loss was first not finite, at which step, and what that says about the cause."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

GRADIENT = "gradient"


@dataclass(frozen=True)
class Break:
    """What was not finite, or huge.

    step: at which it was so. values: it, by name. rate: whether the learning rate may be the cause.
    """

    step: int
    values: dict[str, float]
    rate: bool

    def sentence(self, smaller: float, *, saved: bool) -> str:
        """Return what broke and what to do about it.

        Args:
            smaller: a rate to try. saved: whether there is a good checkpoint.
        """
        if self.rate:
            start = "start another run" if saved else "start again"
            advice = f"{start} with a smaller rate, as --set trainer.learning_rate={smaller:.0e}"
        elif GRADIENT in self.values:
            advice = "look at how the losses are computed: the gradient of one is not finite, as that of a root at 0"
        else:
            advice = f"look at how the method computes {' and '.join(map(repr, self.values))}"
        advice = f"the last good checkpoint is kept; {advice}" if saved else advice
        what = " and ".join(f"'{name}' is {value:g}" for name, value in self.values.items())
        return f"training diverged: {what} at step {self.step}. {advice[0].upper()}{advice[1:]}."


class Vitals:
    """Remembers, on the device, the losses and the gradient until one of them is not finite.

    One weight that is NaN makes everything NaN a step later, and losses are read every few steps only. Nothing here
    waits for the device, so that a recorded step may hold it.

    begun: steps that were taken before the first one noted here.

    Args:
        terms: names of the losses.
    """

    def __init__(self, terms: Sequence[str], device: torch.device) -> None:
        self.names = (*terms, GRADIENT)
        self.first, self.before, self.latest = (torch.zeros(len(terms) + 1, device=device) for _ in range(3))
        self.steps = torch.zeros((), dtype=torch.int64, device=device)
        self.begun = 0

    @torch.no_grad()
    def note(self, terms: Sequence[Tensor], norm: Tensor) -> None:
        """Remember a step, unless something was not finite before.

        Args:
            terms: () each, in the order of the names. norm: () of the gradient.
        """
        values = torch.stack([value.detach().float() for value in (*terms, norm)])
        sound = self.latest.isfinite().all()
        torch.where(self.steps == 0, values, self.first, out=self.first)
        torch.where(sound, self.latest, self.before, out=self.before)
        torch.where(sound, values, self.latest, out=self.latest)
        self.steps += sound

    def grew(self, last: Tensor) -> bool:
        """Return whether the sum of the losses in ``last`` is more than twice what it was at the first step.

        Unweighted: a weight that ramps up would make it grow.
        """
        first, now = float(self.first[:-1].sum()), float(last[:-1].sum())
        return now - first > abs(first)

    def broken(self, fabric: Fabric) -> Break | None:
        """Return what was first not finite, in any of the processes, all of which ask; None if everything is finite.

        The rate may be the cause if the loss grew, or if every loss broke at once after the first step, as it is where
        weights are too large.
        """
        steps = int(cast(Tensor, fabric.all_reduce(self.steps.clone(), reduce_op="min")))
        here = torch.where(self.steps == steps, self.latest, 0.0)
        values = cast(Tensor, fabric.all_reduce(here, reduce_op="sum")).tolist()
        found = {name: value for name, value in zip(self.names, values, strict=True) if not math.isfinite(value)}
        if not found:
            return None
        terms = {name: value for name, value in found.items() if name != GRADIENT}
        at_once = len(terms) == len(self.names) - 1
        rate = steps > 1 and (at_once or self.grew(self.before))
        return Break(self.begun + steps, terms or found, rate)
