"""Cross teaching: a convolutional network and a transformer teach each other."""

import torch
from torch import Tensor

from criinet.config import LossWeights, MethodConfig, Ramp
from criinet.losses import confident_labels, cross_entropy_dice, squared_dice_loss
from criinet.methods.base import Method
from criinet.networks import Network, build_network
from criinet.networks.mit import MiTUNetConfig
from criinet.types import LabeledBatch, UnlabeledBatch


class CrossTeaching(Method):
    """Two networks of different kinds, each the other's teacher by its most probable classes.

        L = sup(f(x_l), y) + sup(g(x_l), y) + w(t) [Dice(f(x_u), argmax g(x_u)) + Dice(g(x_u), argmax f(x_u))]

    f is the network given, by intent convolutional; g is the transformer `mit-unet`. f predicts.

    Reference: Luo et al., MIDL 2022, arXiv 2112.04894, section 2.
    Differs: a small hierarchical transformer from scratch instead of a Swin-UNet with ImageNet weights, so that it fits
    any image and volume; Dice on labeled images is of the foreground classes; a ramp over 40 % of training instead of
    all of it; the transformer's seed is drawn from the run's.
    """

    class Config(MethodConfig):
        """Settings of cross teaching."""

        transformer: MiTUNetConfig = MiTUNetConfig()
        terms = {
            "supervised": "cross-entropy and Dice of the convolutional network on labeled pixels",
            "supervised_transformer": "cross-entropy and Dice of the transformer on labeled pixels",
            "cross": "Dice of each network with the other's pseudo-labels",
        }
        weights: LossWeights = {"supervised": 1.0, "supervised_transformer": 1.0, "cross": Ramp(to=0.1, over=0.4)}

    summary = "a convolutional network and a transformer teach each other"
    reference = "Luo et al., MIDL 2022, arXiv 2112.04894"
    views = ("weak",)
    unlabeled_terms = ("cross",)
    recordable = True
    config: Config

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.transformer = build_network(
            "mit-unet",
            config.transformer,
            in_channels=network.backbone.in_channels,
            classes=network.classes,
            dims=network.backbone.dims,
            seed=int(torch.randint(2**31, ())),
            initial=network.initial,
        )

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised`` and ``supervised_transformer``, and ``cross`` with both directions in it."""
        networks = (self.student, self.transformer)
        on_labeled = [cross_entropy_dice(network(labeled.image).logits, labeled.target) for network in networks]
        probs = [network(unlabeled.weak).logits.float().softmax(1) for network in networks]
        labels = [confident_labels(each, 0) for each in probs]
        cross = squared_dice_loss(probs[0], labels[1]) + squared_dice_loss(probs[1], labels[0])
        return {"supervised": on_labeled[0], "supervised_transformer": on_labeled[1], "cross": cross}
