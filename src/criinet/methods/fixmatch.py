"""FixMatch: what is sure of the weak view is taught on the strong one."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from criinet.config import Fraction, LossWeights, MethodConfig
from criinet.losses import confident_labels, cross_entropy_dice, cross_entropy_over_all
from criinet.methods.base import Method, probabilities
from criinet.types import LabeledBatch, UnlabeledBatch


class FixMatch(Method):
    """Pseudo-labels of sure pixels of the weak view, learned on a strong view of the same image.

        L = sup(f(x_l), y) + w sum_{pixels with max_c p_c >= h} CE(f(strong(x_u)), argmax_c p_c) / number of all pixels
        p = softmax(f(weak(x_u))), without gradient

    Unsure pixels are left out and do not become background. CutMix mixes the pseudo-labels like the view. h acts as a
    ramp: few pixels of a new network reach it, so a short run learns from unlabeled images late. It stays the paper's.

    Reference: Sohn et al., NeurIPS 2020, arXiv 2001.07685, eq. 3 and 4; by pixel as in Yang et al., CVPR 2023, arXiv
    2208.09910, section 3.1.
    Differs: colour, blur, noise and CutMix instead of RandAugment and Cutout; cross-entropy + Dice on labeled images;
    weak and strong views pass in batches of their own, in training mode, so each has batch statistics of its own.
    """

    class Config(MethodConfig):
        """Settings of FixMatch."""

        confidence: Annotated[Fraction, Field(description="least probability of a pixel that is taught")] = 0.95
        terms = MethodConfig.terms | {
            "strong": "cross-entropy with the pseudo-labels on a strong view",
        }
        weights: LossWeights = {"supervised": 1.0, "strong": 1.0}

    summary = "sure pixels of the weak view are taught on the strong view"
    reference = "Sohn et al., NeurIPS 2020, arXiv 2001.07685"
    views = ("weak", "strong_1")
    unlabeled_terms = ("strong",)
    recordable = True
    config: Config

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised`` and ``strong``."""
        supervised = cross_entropy_dice(self.student(labeled.image).logits, labeled.target)
        with torch.no_grad():
            label = confident_labels(probabilities(self.student, unlabeled.weak), self.config.confidence)
        label = unlabeled.mixes["strong_1"].apply_to_labels(label)
        strong = self.student(unlabeled.views["strong_1"]).logits
        return {"supervised": supervised, "strong": cross_entropy_over_all(strong, label)}
