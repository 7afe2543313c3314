"""SASSNet: the shapes found in unlabeled images should look like those found in labeled ones."""

from torch import Tensor

from criinet.config import LossWeights, MethodConfig, Ramp
from criinet.losses import cross_entropy_dice, signed_distance_loss
from criinet.methods.base import Method
from criinet.methods.discriminator import Discriminator, to_fool, to_tell_apart
from criinet.methods.distance_head import DistanceHead
from criinet.networks import Network
from criinet.types import LabeledBatch, UnlabeledBatch


class ShapeAware(Method):
    """A second head regresses signed distances, and a discriminator judges those instead of masks.

        student:        sup(p(x_l), y) + .3 mean((z(x_l) - sdf(y))^2) + w(t) mean -ln s(z(x_u), x_u)
        discriminator:  mean -ln s(z(x_l), x_l) / 2  +  mean -ln(1 - s(z(x_u), x_u)) / 2

        z = tanh(conv1x1(F)) in [-1, 1], negative inside, one map for each class but the background

    sdf(y) is measured by ``signed_distance``, on the CPU, of labeled images only. Each loss reaches the parameters of
    its own side only. The segmentation head predicts.

    Reference: Li, Zhang & He, MICCAI 2020, arXiv 2007.10732.
    Differs: cross-entropy and Dice instead of Dice alone; squared error for the distances, as in the authors' code; the
    border runs between pixels, and an absent class is at +1 everywhere; both sides step at once, in one optimizer whose
    moments are by parameter, with one learning rate and one clipping of the gradient; three convolutions in the
    discriminator, which sees the image in gray, where the authors have five, wider ones with dropout; the ramp ends
    after 40 % of training.
    """

    class Config(MethodConfig):
        """Settings of SASSNet."""

        terms = MethodConfig.terms | {
            "distance": "the squared error of signed distances on labeled pixels",
            "adversarial": "the student's loss for fooling the discriminator on unlabeled images",
            "discriminator": "the discriminator's own cross-entropy",
        }
        weights: LossWeights = {
            "supervised": 1.0,
            "distance": 0.3,
            "adversarial": Ramp(to=0.01, over=0.4),
            "discriminator": 1.0,
        }

    summary = "a discriminator cannot tell signed distances of unlabeled images from others"
    reference = "Li et al., MICCAI 2020, arXiv 2007.10732"
    views = ("weak",)
    unlabeled_terms = ("adversarial",)
    opponent_terms = ("discriminator",)

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.distance = DistanceHead(network)
        self.discriminator = Discriminator(network.backbone.dims, self.classes - 1)

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised``, ``distance``, ``adversarial`` and the discriminator's own loss."""
        on_labeled, on_unlabeled = self.student(labeled.image), self.student(unlabeled.weak)
        of_labeled = self.distance(on_labeled, labeled.image), labeled.image
        of_unlabeled = self.distance(on_unlabeled, unlabeled.weak), unlabeled.weak
        return {
            "supervised": cross_entropy_dice(on_labeled.logits, labeled.target),
            "distance": signed_distance_loss(of_labeled[0], labeled.target),
            "adversarial": to_fool(self.discriminator, *of_unlabeled),
            "discriminator": to_tell_apart(self.discriminator, of_labeled, of_unlabeled),
        }
