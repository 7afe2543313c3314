"""DAN: segmentations of unlabeled images should look like those of labeled ones."""

from torch import Tensor

from criinet.config import LossWeights, MethodConfig, Ramp
from criinet.losses import cross_entropy_dice
from criinet.methods.base import Method
from criinet.methods.discriminator import Discriminator, to_fool, to_tell_apart
from criinet.networks import Network
from criinet.types import LabeledBatch, UnlabeledBatch


class AdversarialNetwork(Method):
    """A discriminator tells segmentations of labeled from those of unlabeled images; the network fools it.

        student:        sup(p(x_l), y) + w(t) mean -ln s(p(x_u), x_u)
        discriminator:  mean -ln s(p(x_l), x_l) / 2  +  mean -ln(1 - s(p(x_u), x_u)) / 2

        s = sigmoid of the score that "x has a label"

    Each loss reaches the parameters of its own side only: the discriminator is a constant in the first line,
    segmentations are constants in the second.

    Reference: Zhang et al., MICCAI 2017, doi 10.1007/978-3-319-66179-7_47.
    Differs: both sides step at once, in one optimizer whose moments are by parameter: two optimizers in one, but for
    the learning rate and the clipping of the gradient, which they share; the discriminator has three convolutions and
    sees the image in gray; the weight ramps to .01 over 40 % of training, not to .1: our choice, which no
    result here compares with others.
    """

    class Config(MethodConfig):
        """Settings of deep adversarial networks."""

        terms = MethodConfig.terms | {
            "adversarial": "the student's loss for fooling the discriminator on unlabeled images",
            "discriminator": "the discriminator's own cross-entropy",
        }
        weights: LossWeights = {
            "supervised": 1.0,
            "adversarial": Ramp(to=0.01, over=0.4),
            "discriminator": 1.0,
        }

    summary = "a discriminator cannot tell segmentations of unlabeled images from others"
    reference = "Zhang et al., MICCAI 2017, doi 10.1007/978-3-319-66179-7_47"
    views = ("weak",)
    unlabeled_terms = ("adversarial",)
    opponent_terms = ("discriminator",)

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.discriminator = Discriminator(network.backbone.dims, self.classes)

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised``, ``adversarial`` and the discriminator's own loss."""
        on_labeled, on_unlabeled = self.student(labeled.image), self.student(unlabeled.weak)
        of_labeled = on_labeled.logits.float().softmax(1), labeled.image
        of_unlabeled = on_unlabeled.logits.float().softmax(1), unlabeled.weak
        return {
            "supervised": cross_entropy_dice(on_labeled.logits, labeled.target),
            "adversarial": to_fool(self.discriminator, *of_unlabeled),
            "discriminator": to_tell_apart(self.discriminator, of_labeled, of_unlabeled),
        }
