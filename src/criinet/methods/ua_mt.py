"""Uncertainty-aware mean teacher: the student follows the teacher where the teacher is sure."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from criinet.config import Count, LossWeights, Ramp
from criinet.losses import cross_entropy_dice, entropy, masked_mean_squared
from criinet.methods.base import probabilities
from criinet.methods.perturbations import clipped_noise
from criinet.methods.taught import Taught, TaughtConfig
from criinet.types import LabeledBatch, UnlabeledBatch

THRESHOLD = Ramp(to=0.25, over=1.0)


class UncertaintyAwareMeanTeacher(Taught):
    """Mean Teacher on the unlabeled pixels whose average noisy prediction has little entropy.

        L = sup(student(x_l), y) + w(t) sum_{pixels with u < h(t)} |p - q|^2 / (K number of such pixels)
        p = softmax(student(x_u)),   q = softmax(teacher(x_u + n)),   |.|^2 summed over the K classes
        u = H(mean over T passes of softmax(teacher(x_u + n_i)))
        h(t) = (.75 + .25 exp(-5 (1 - t)^2)) ln K,   t the fraction of training that is done

    The uncertainty comes from the noise and from the network's dropout layers. The default network has none of those:
    there noise alone causes it.

    Reference: Yu et al., MICCAI 2019, arXiv 1907.07034, eq. 2 and 3.
    Differs: ln K for K classes, where public code has ln 2 for any; the sum is divided by K, which is the 2 of public
    code for two classes; as Mean Teacher here in all else.
    """

    class Config(TaughtConfig):
        """Settings of the uncertainty-aware mean teacher."""

        noise: Annotated[
            float, Field(ge=0, description="noise sd: of the range [0, 1] of images, of the sd of volumes")
        ] = 0.1
        passes: Annotated[Count, Field(description="T, noisy passes of the teacher")] = 8
        terms = TaughtConfig.terms | {
            "consistency": "the squared difference from the teacher on unlabeled pixels where it is certain",
        }
        weights: LossWeights = {"supervised": 1.0, "consistency": Ramp(to=0.1, over=0.4)}

    summary = "mean teacher where the teacher's noisy predictions have little entropy"
    reference = "Yu et al., MICCAI 2019, arXiv 1907.07034"
    views = ("weak",)
    unlabeled_terms = ("consistency",)
    config: Config

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:
        """Return ``supervised`` and ``consistency``."""
        on_labeled, on_unlabeled = self.student(labeled.image), probabilities(self.student, unlabeled.weak)
        target = self.targets(unlabeled.weak + clipped_noise(unlabeled.weak, self.config.noise))
        sure = self.uncertainty(unlabeled.weak) < 0.75 + THRESHOLD(progress)
        return {
            "supervised": cross_entropy_dice(on_labeled.logits, labeled.target),
            "consistency": masked_mean_squared(on_unlabeled, target, sure),
        }

    def uncertainty(self, image: Tensor) -> Tensor:
        """Return the entropy (B, ...) of the teacher's average over noisy passes, divided by ln K: in [0, 1]."""
        total = torch.zeros((), device=image.device)
        for _ in range(self.config.passes):
            total = total + self.targets(image + clipped_noise(image, self.config.noise))
        return entropy(total / self.config.passes)
