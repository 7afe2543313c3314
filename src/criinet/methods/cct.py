"""CCT: auxiliary decoders see spoilt features of unlabeled images and say what the main decoder says."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from criinet.config import Fraction, LossWeights, MethodConfig, Ramp
from criinet.losses import cross_entropy_dice, mean_squared
from criinet.methods.base import Method
from criinet.methods.perturbations import drop_active, drop_channels, feature_noise
from criinet.networks import Branch, Network
from criinet.types import LabeledBatch, UnlabeledBatch


class CrossConsistency(Method):
    """Consistency of auxiliary decoders on perturbed encoder features with the main decoder on clean ones.

        L = sup(g(E(x_l)), y) + w(t) 1/K sum_k mean((softmax(g_k(v_k(E(x_u)))) - stopgrad softmax(g(E(x_u))))^2)

    E is the encoder, g the main decoder and head, g_k an auxiliary one. The perturbations v_k, at every scale of E:
    noise z (1 + n) with n uniform in [-.3, .3]; whole channels dropped with probability .5; the most active 10 to 40 %
    of all pixels set to zero. Auxiliary decoders learn from unlabeled images alone. The main decoder predicts.

    Reference: Ouali, Hudelot & Tami, CVPR 2020, arXiv 2003.09005.
    Differs: three of the seven perturbations, one decoder each; they act on the features of all scales, as a U-Net's
    skips would carry clean ones past them; noise is drawn for every image; the active pixels are those of the largest
    mean absolute feature, found by rank; a plain cross-entropy and Dice on labeled images instead of an annealed
    bootstrapped one; the weight ramps to 1 over 40 % of training, not to 30 (of a mean over 21 classes) over 10 %.
    """

    class Config(MethodConfig):
        """Settings of cross-consistency training."""

        noise: Annotated[float, Field(ge=0, description="half width of the multiplicative feature noise")] = 0.3
        dropout: Annotated[float, Field(ge=0, lt=1, description="probability that a channel is dropped")] = 0.5
        active: Annotated[
            tuple[Fraction, Fraction], Field(description="least and largest share of active pixels that are dropped")
        ] = (0.1, 0.4)
        terms = MethodConfig.terms | {
            "consistency": "the squared difference between auxiliary decoders and the main one",
        }
        weights: LossWeights = {"supervised": 1.0, "consistency": Ramp(to=1.0, over=0.4)}

    summary = "auxiliary decoders on perturbed features agree with the main decoder"
    reference = "Ouali et al., CVPR 2020, arXiv 2003.09005"
    views = ("weak",)
    unlabeled_terms = ("consistency",)
    config: Config

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.auxiliary = nn.ModuleList(Branch(network) for _ in range(3))

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised`` and ``consistency``."""
        on_labeled, on_unlabeled = self.student(labeled.image), self.student(unlabeled.weak)
        target = on_unlabeled.logits.float().softmax(1)
        apart = [
            mean_squared(branch(scales, unlabeled.weak).float().softmax(1), target)
            for branch, scales in zip(self.auxiliary, self.perturbed(on_unlabeled.features.scales), strict=True)
        ]
        return {
            "supervised": cross_entropy_dice(on_labeled.logits, labeled.target),
            "consistency": torch.stack(apart).mean(),
        }

    def perturbed(self, scales: tuple[Tensor, ...]) -> list[list[Tensor]]:
        """Return the encoder features as each auxiliary decoder sees them."""
        config = self.config
        return [
            [feature_noise(scale, config.noise) for scale in scales],
            [drop_channels(scale, config.dropout) for scale in scales],
            [drop_active(scale, *config.active) for scale in scales],
        ]
