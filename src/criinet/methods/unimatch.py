"""UniMatch: one pseudo-label taught on two strong views and on features with channels missing."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from criinet.config import Count, Fraction, LossWeights, MethodConfig
from criinet.losses import confident_labels, cross_entropy_dice, deep_supervision
from criinet.methods.base import Method
from criinet.methods.strong_views import dice_at_scales, segment_incomplete, strong_view_losses
from criinet.networks import Network, ScaleHeads
from criinet.types import LabeledBatch, UnlabeledBatch


class UniMatch(Method):
    """Sure pixels of the weak view teach two strong views and the weak view itself through incomplete features.

        L = sup(f(x_l), y) + Dice(f(s1), y_u) / 4 + Dice(f(s2), y_u) / 4 + Dice(d(drop(e(x_u))), y_u) / 2
        y_u = argmax_c p_c where max_c p_c >= h, left out elsewhere,   p = softmax(f(x_u)) without gradient

    f = d(e(.)), encoder and decoder; s1, s2 are strong views of x_u, each with a CutMix of its own that its labels get
    too; drop silences half of the channels of every encoder feature, whole maps at a time. With S > 1 every term is the
    weighted mean over heads on the S finest scales that CRII-Net has, and the finest still labels and predicts.

    h acts as a ramp: few pixels of a new network reach it, so a short run learns from unlabeled images late. It stays
    the paper's.

    Reference: Yang et al., CVPR 2023, arXiv 2208.09910, sections 3.2 to 3.4; Dice and weights of its medical code.
    Differs: the total is not halved; Dice on labeled images is of the foreground classes, with sums below the line;
    blur, noise and colour are this project's; the pseudo-label comes from a pass in training mode, also for the boxes
    that CutMix pastes; unperturbed, incomplete and strong passes have batch statistics of their own.
    """

    class Config(MethodConfig):
        """Settings of UniMatch."""

        confidence: Annotated[Fraction, Field(description="least probability of a pixel that is taught")] = 0.95
        drop: Annotated[float, Field(ge=0, lt=1, description="share of feature channels that are silenced")] = 0.5
        scales: Annotated[Count, Field(description="S, how many of the finest scales have a head; 1: as published")] = 1
        terms = {
            "supervised": "cross-entropy and Dice on labeled pixels, at every scale",
            "strong_1": "Dice with the pseudo-labels on the first strong view",
            "strong_2": "Dice with the pseudo-labels on the second strong view",
            "features": "Dice with the pseudo-labels on the weak view with channels silenced",
        }
        weights: LossWeights = {"supervised": 1.0, "strong_1": 0.25, "strong_2": 0.25, "features": 0.5}

    summary = "sure pixels taught on two strong views and through incomplete features"
    reference = "Yang et al., CVPR 2023, arXiv 2208.09910"
    views = ("weak", "strong_1", "strong_2")
    unlabeled_terms = ("strong_1", "strong_2", "features")
    recordable = True
    config: Config

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.heads = ScaleHeads(network, config.scales)

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised``, ``strong_1``, ``strong_2`` and ``features``."""
        network, weak = self.student, unlabeled.weak
        on_labeled = self.heads(network(labeled.image), labeled.image)
        terms = {"supervised": deep_supervision(cross_entropy_dice(each, labeled.target) for each in on_labeled)}
        scales = network.encode(weak)
        with torch.no_grad():
            whole = network.segment(network.decode(scales), weak).logits
            label = confident_labels(whole.float().softmax(1), self.config.confidence)
        incomplete = self.heads(segment_incomplete(network, scales, weak, self.config.drop), weak)
        terms |= strong_view_losses(lambda views: self.heads(network(views), views), unlabeled, label)
        terms["features"] = dice_at_scales(incomplete, label)
        return terms
