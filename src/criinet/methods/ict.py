"""Interpolation consistency: a mixture of images should get the mixture of their predictions."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from criinet.config import LossWeights, Ramp
from criinet.losses import cross_entropy_dice, mean_squared
from criinet.methods.base import probabilities
from criinet.methods.taught import Taught, TaughtConfig
from criinet.types import LabeledBatch, UnlabeledBatch


class InterpolationConsistency(Taught):
    """The student's prediction on mixed unlabeled images follows the mixture of the teacher's predictions.

        L = sup(student(x_l), y) + w(t) mean((p(mix_m(u1, u2)) - mix_m(q(u1), q(u2)))^2)
        mix_m(a, b) = m a + (1 - m) b,   m ~ Beta(a, a),   p, q = softmax of student and moving average

    Reference: Verma et al., IJCAI 2019, arXiv 1903.03825, section 2.
    Differs: every image of the batch is mixed with the one before it, each with a coefficient of its own, as public
    segmentation code has it; a = .2 and a weight of .1 as there; the moving average starts as in Mean Teacher here; the
    ramp ends after 40 % of training.
    """

    class Config(TaughtConfig):
        """Settings of interpolation consistency."""

        alpha: Annotated[float, Field(gt=0, description="Beta(a, a) of the mixing coefficient")] = 0.2
        terms = TaughtConfig.terms | {
            "consistency": "the squared difference from the teacher's mixed predictions on mixed images",
        }
        weights: LossWeights = {"supervised": 1.0, "consistency": Ramp(to=0.1, over=0.4)}

    summary = "a mixture of unlabeled images should get the mixture of their predictions"
    reference = "Verma et al., IJCAI 2019, arXiv 1903.03825"
    views = ("weak",)
    unlabeled_terms = ("consistency",)
    recordable = True
    config: Config

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised`` and ``consistency``."""
        supervised = cross_entropy_dice(self.student(labeled.image).logits, labeled.target)
        share = draw_share(unlabeled.weak, self.config.alpha)
        mixed = probabilities(self.student, mix(unlabeled.weak, share))
        target = mix(self.targets(unlabeled.weak), share)
        return {"supervised": supervised, "consistency": mean_squared(mixed, target)}


def draw_share(image: Tensor, alpha: float) -> Tensor:
    """Draw m ~ Beta(alpha, alpha) for each image: (B, 1, ...)."""
    both = torch.full((len(image),), alpha, device=image.device)
    return torch.distributions.Beta(both, both, validate_args=False).sample().view(-1, *[1] * (image.ndim - 1))


def mix(values: Tensor, share: Tensor) -> Tensor:
    """Return ``share`` of each image and 1 - ``share`` of the one before it."""
    return share * values + (1 - share) * values.roll(1, 0)
