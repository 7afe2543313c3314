"""A look at the training targets of a fixed set of unlabeled images: are they stable, and have they collapsed?"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from criinet.engine.method_calls import targets
from criinet.engine.pools import Pools
from criinet.methods import Method
from criinet.records import Alarm, MonitorRecord, Record

CONFIDENT = 0.95
GRACE = 0.2
"""Fraction of training in which nothing raises an alarm."""


@dataclass
class Monitor:
    """Watches what a method trains its unlabeled images towards.

    images: (N, C, ...) float32 in [0, 1], the same at every look.
    labeled_area: the share of every class in the labeled masks, background first.
    """

    images: Tensor
    labeled_area: list[float]
    classes: tuple[str, ...]
    previous: Tensor | None = None
    raised: set[str] = field(default_factory=lambda: set[str]())

    @classmethod
    def of(cls, pools: Pools, classes: tuple[str, ...], device: torch.device) -> "Monitor":
        """Fix the unlabeled images that every look is taken at, spread evenly over the pool."""
        pool = pools.unlabeled
        at = np.unique(np.linspace(0, len(pool) - 1, min(16, len(pool))).round().astype(int))
        image, _ = pool.draw([int(i) for i in at], np.random.default_rng(0))
        counts = sum(torch.bincount(mask[mask >= 0].long(), minlength=len(classes)) for mask in pools.labeled.masks)
        assert isinstance(counts, Tensor)
        return cls(image.to(device), [float(a) for a in counts / counts.sum()], classes)

    def state(self) -> dict[str, Any]:
        """Return what the next look depends on, as a checkpoint holds it."""
        return {"previous": self.previous, "raised": sorted(self.raised)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``: a resumed run neither repeats an alarm nor loses a change."""
        self.previous, self.raised = state["previous"], set(state["raised"])

    @torch.no_grad()
    def look(self, method: Method, step: int, progress: float) -> list[Record]:
        """Return a record of the targets, and one for each new alarm. The method is in evaluation mode."""
        probs = torch.cat([targets(method, part) for part in self.images.split(8)]).float()
        area = torch.bincount(probs.argmax(1).flatten(), minlength=probs.shape[1]) / probs[:, 0].numel()
        change = math.nan if self.previous is None else float((probs - self.previous).abs().sum(1).mean() / 2)
        self.previous = probs
        confident = float((probs.amax(1) >= CONFIDENT).float().mean())
        shares = [float(a) for a in area]
        record = MonitorRecord(
            step=step,
            confident=confident,
            area=dict(zip(self.classes, shares, strict=True)),
            labeled_area=dict(zip(self.classes, self.labeled_area, strict=True)),
            target_change=change,
        )
        return [record, *(Alarm(step, message) for message in self.alarms(shares, confident, progress))]

    def alarms(self, area: list[float], confident: float, progress: float) -> list[str]:
        """Return the alarms that were not raised before: hardly any confident pixel, or a class gone or everywhere."""
        if progress < GRACE:
            return []
        found: dict[str, str] = {}
        if confident < 0.01:
            found["confident"] = (
                f"only {confident:.1%} of the unlabeled pixels are confident: "
                "the pseudo-labels may teach the model nothing."
            )
        for name, now, labeled in zip(self.classes[1:], area[1:], self.labeled_area[1:], strict=True):
            if now < 0.2 * labeled or now > 3 * labeled + 0.02:
                found[name] = (
                    f"class '{name}' covers {now:.1%} of the unlabeled images but {labeled:.1%} of the labeled ones: "
                    "the predictions may have collapsed."
                )
        new = [message for key, message in found.items() if key not in self.raised]
        self.raised |= set(found)
        return new
