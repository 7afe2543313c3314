"""URPC: predictions made at several scales of the decoder agree where they are sure."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from criinet.config import LossWeights, MethodConfig, Ramp
from criinet.losses import cross_entropy_dice, uncertainty_rectified_consistency
from criinet.methods.base import Method
from criinet.networks import Network, ScaleHeads
from criinet.types import LabeledBatch, UnlabeledBatch


class PyramidConsistency(Method):
    """A head at each of the finest decoder scales; all learn from labels, and their mean teaches each of them.

        L = mean_s sup(f_s(x_l), y)
          + w(t) mean_s ( mean[exp(-D_s) (p_bar - p_s)^2] / mean[exp(-D_s)] + mean D_s )   on x_u

        p_s = softmax(f_s(x)) at the image's resolution,  p_bar = mean_s p_s,  D_s = KL(p_bar || p_s) over the classes

    The finest head, the network's own, predicts.

    Reference: Luo et al., MICCAI 2021, arXiv 2012.07042.
    Differs: heads are 1x1 convolutions without dropout or noise before them; where the decoder has fewer scales than
    are asked for, the coarsest encoder feature is one too; D is that of the authors' code, KL(p_bar || p_s); the ramp
    ends after 40 % of training.
    """

    class Config(MethodConfig):
        """Settings of uncertainty rectified pyramid consistency."""

        scales: Annotated[int, Field(ge=2, description="how many of the finest scales have a head")] = 4
        terms = {
            "supervised": "cross-entropy and Dice on labeled pixels, the mean over scales",
            "consistency": "the uncertainty-rectified difference of each scale from the mean over scales",
        }
        weights: LossWeights = {"supervised": 1.0, "consistency": Ramp(to=0.1, over=0.4)}

    summary = "predictions from several decoder scales agree where they are sure"
    reference = "Luo et al., MICCAI 2021, arXiv 2012.07042"
    views = ("weak",)
    unlabeled_terms = ("consistency",)
    recordable = True
    config: Config

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.heads = ScaleHeads(network, config.scales)

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised``, averaged over scales, and ``consistency``."""
        on_labeled, on_unlabeled = self.at_scales(labeled.image), self.at_scales(unlabeled.weak)
        return {
            "supervised": torch.stack([cross_entropy_dice(logits, labeled.target) for logits in on_labeled]).mean(),
            "consistency": uncertainty_rectified_consistency(on_unlabeled),
        }

    def at_scales(self, image: Tensor) -> list[Tensor]:
        """Return the logits (B, K, ...) of every scale at the image's resolution, finest first."""
        return self.heads(self.student(image), image)
