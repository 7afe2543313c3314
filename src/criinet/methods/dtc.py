"""DTC: the mask, and the distance to its border, tell the same story."""

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from criinet.config import LossWeights, MethodConfig, Ramp
from criinet.losses import cross_entropy_dice, inside_probability, signed_distance_loss
from criinet.methods.base import Method
from criinet.methods.distance_head import DistanceHead
from criinet.networks import Network, Segmentation
from criinet.types import LabeledBatch, UnlabeledBatch


class DualTaskConsistency(Method):
    """A second head regresses signed distances to the border of every foreground class; both heads must agree.

        L = sup(p(x_l), y) + .3 mean((z(x_l) - sdf(y))^2)
          + w(t) [ mean((sigmoid(-k z(x_l)) - p(x_l))^2) + mean((sigmoid(-k z(x_u)) - p(x_u))^2) ] / 2

        z = tanh(conv1x1(F)) in [-1, 1], negative inside, one map for each class but the background;  k = 1500

    sdf(y) is measured by ``signed_distance``, on the CPU, of labeled images only. Gradients flow to both heads. The
    segmentation head predicts.

    Reference: Luo et al., AAAI 2021, arXiv 2009.04448.
    Differs: cross-entropy and Dice instead of Dice alone; weights of the authors' code, which is for volumes, on images
    too; any number of classes; the border runs between pixels, where the authors' code sets the inner border pixels to
    zero; an absent class is at distance +1 everywhere, not 0; pixels without ground truth are left out of the
    regression; labeled and unlabeled images are two terms; the ramp ends after 40 % of training.
    """

    class Config(MethodConfig):
        """Settings of dual-task consistency."""

        steepness: Annotated[float, Field(gt=0, description="k, of the step from distances to probabilities")] = 1500.0
        terms = MethodConfig.terms | {
            "distance": "the squared error of signed distances on labeled pixels",
            "consistency_labeled": "the squared difference between both heads on labeled images",
            "consistency": "the squared difference between both heads on unlabeled images",
        }
        weights: LossWeights = {
            "supervised": 1.0,
            "distance": 0.3,
            "consistency_labeled": Ramp(to=0.5, over=0.4),
            "consistency": Ramp(to=0.5, over=0.4),
        }

    summary = "a mask and the signed distance to its border agree"
    reference = "Luo et al., AAAI 2021, arXiv 2009.04448"
    views = ("weak",)
    unlabeled_terms = ("consistency",)
    config: Config

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.distance = DistanceHead(network)

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised``, ``distance`` and both consistencies."""
        on_labeled, on_unlabeled = self.student(labeled.image), self.student(unlabeled.weak)
        distance = self.distance(on_labeled, labeled.image)
        return {
            "supervised": cross_entropy_dice(on_labeled.logits, labeled.target),
            "distance": signed_distance_loss(distance, labeled.target),
            "consistency_labeled": self.disagreement(on_labeled, distance),
            "consistency": self.disagreement(on_unlabeled, self.distance(on_unlabeled, unlabeled.weak)),
        }

    def disagreement(self, output: Segmentation, distance: Tensor) -> Tensor:
        """Return how far the foreground probabilities of both heads are from each other."""
        return F.mse_loss(inside_probability(distance, self.config.steepness), output.logits.float().softmax(1)[:, 1:])
