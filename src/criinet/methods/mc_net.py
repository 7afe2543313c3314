"""MC-Net: three slightly different decoders on one encoder teach each other."""

from itertools import permutations
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from criinet.config import LossWeights, MethodConfig, Ramp
from criinet.losses import cross_entropy_dice, mean_squared, sharpen
from criinet.methods.base import Method
from criinet.networks import Branch, Network
from criinet.types import LabeledBatch, UnlabeledBatch


class MutualConsistency(Method):
    """Decoders that enlarge features linearly, by repetition and by learned kernels follow each other's sure opinions.

        L = mean_i sup(p_i(x_l), y) + w(t) mean_{i != j} [ mean((p_i - sharpen(p_j))^2) on x_l  +  the same on x_u ]

        sharpen(p) = p^(1/T) / sum_c p_c^(1/T),   T = .1,   without gradient

    The first decoder, the network's own, predicts, as in the authors' code: it costs what the plain network costs, so
    every method is compared at the same price.

    Reference: Wu et al., Medical Image Analysis 2022, arXiv 2109.09960 (MC-Net+); two decoders: arXiv 2103.02911.
    Differs: means over decoders and pairs instead of sums, with the same weight of one to the other as in the authors'
    code for slices (.1 times six pairs to .5 times three decoders, half of it on either kind of image; their code for
    volumes has ten times as much, which ``method.weights`` sets); cross-entropy and Dice instead of Dice alone; the
    sharpened target has no gradient; labeled and unlabeled images are two terms; sharpening over any number of classes;
    the ramp ends after 40 % of training.
    """

    class Config(MethodConfig):
        """Settings of MC-Net."""

        temperature: Annotated[float, Field(gt=0, le=1, description="T; the smaller, the surer the targets")] = 0.1
        terms = {
            "supervised": "cross-entropy and Dice on labeled pixels, the mean over decoders",
            "consistency_labeled": "the squared difference from other decoders' sharpened predictions, labeled images",
            "consistency": "the squared difference from other decoders' sharpened predictions, unlabeled images",
        }
        weights: LossWeights = {
            "supervised": 1.0,
            "consistency_labeled": Ramp(to=0.2, over=0.4),
            "consistency": Ramp(to=0.2, over=0.4),
        }

    summary = "three decoders with different up-sampling teach each other"
    reference = "Wu et al., Medical Image Analysis 2022, arXiv 2109.09960"
    views = ("weak",)
    unlabeled_terms = ("consistency",)
    recordable = True
    config: Config

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.others = nn.ModuleList([Branch(network, "nearest"), Branch(network, "transposed")])

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised``, averaged over decoders, and both consistencies."""
        on_labeled, on_unlabeled = self.opinions(labeled.image), self.opinions(unlabeled.weak)
        return {
            "supervised": torch.stack([cross_entropy_dice(logits, labeled.target) for logits in on_labeled]).mean(),
            "consistency_labeled": self.disagreement(on_labeled),
            "consistency": self.disagreement(on_unlabeled),
        }

    def opinions(self, image: Tensor) -> list[Tensor]:
        """Return the logits (B, K, ...) of all decoders, the network's own first."""
        output = self.student(image)
        return [output.logits, *(branch(output.features.scales, image) for branch in self.others)]

    def disagreement(self, logits: list[Tensor]) -> Tensor:
        """Return the mean over ordered pairs of how far one decoder is from what another is sure of."""
        probs = [each.float().softmax(1) for each in logits]
        sure = [sharpen(each.detach(), self.config.temperature) for each in probs]
        pairs = permutations(range(len(probs)), 2)
        return torch.stack([mean_squared(probs[i], sure[j]) for i, j in pairs]).mean()
