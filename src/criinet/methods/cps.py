"""Cross pseudo supervision: two networks teach each other."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from criinet.config import LossWeights, MethodConfig, Ramp
from criinet.losses import confident_labels, cross_entropy_dice
from criinet.methods.base import Method, probabilities
from criinet.methods.boxes import random_aspects, random_boxes
from criinet.networks import Network
from criinet.types import CutMix, LabeledBatch, UnlabeledBatch


class CrossPseudoSupervision(Method):
    """Two networks of one form and different weights, each the other's teacher by its most probable classes.

        L = sup(f1(x_l), y) + sup(f2(x_l), y) + w(t) [CE(f1(x_u), argmax f2(x_u)) + CE(f2(x_u), argmax f1(x_u))]

    With CutMix both predict the images as they are, images and predicted classes get the same boxes of another image,
    and each network learns from the other's mixed classes on the mixed images.

    The two variants that papers report: as the defaults stand, w ramps to .1 without mixing, as in medical benchmarks;
    with ``method.cutmix=true`` and ``method.weights.cross=1`` it is constant with CutMix, as in the paper.

    Reference: Chen et al., CVPR 2021, arXiv 2106.01226, section 3.
    Differs: cross-entropy + Dice on labeled images; the cross term on unlabeled images only; f1 alone predicts, as in
    the public benchmarks; one box covers half of the image as in CutMix-Seg, where public code has three smaller ones;
    the second network's seed is drawn from the run's, and where weights are pretrained only what is not differs at the
    start.
    """

    class Config(MethodConfig):
        """Settings of cross pseudo supervision."""

        cutmix: Annotated[bool, Field(description="learn from mixed images; set weights.cross=1 beside it")] = False
        share: Annotated[float, Field(gt=0, lt=1, description="of an image that CutMix replaces")] = 0.5
        terms = {
            "supervised": "cross-entropy and Dice of the first network on labeled pixels",
            "supervised_second": "cross-entropy and Dice of the second network on labeled pixels",
            "cross": "cross-entropy of each network with the other's pseudo-labels",
        }
        weights: LossWeights = {"supervised": 1.0, "supervised_second": 1.0, "cross": Ramp(to=0.1, over=0.4)}

    summary = "two networks teach each other by their most probable classes"
    reference = "Chen et al., CVPR 2021, arXiv 2106.01226"
    views = ("weak",)
    unlabeled_terms = ("cross",)
    recordable = True
    config: Config

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.second = network.another(int(torch.randint(2**31, ())))

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised`` and ``supervised_second``, and ``cross`` with both directions in it."""
        networks = (self.student, self.second)
        on_labeled = [cross_entropy_dice(network(labeled.image).logits, labeled.target) for network in networks]
        image = unlabeled.weak
        if self.config.cutmix:
            mix = self.draw_mix(image)
            with torch.no_grad():
                labels = [confident_labels(probabilities(network, image), 0) for network in networks]
            labels = [mix.apply_to_labels(label) for label in labels]
            logits = [network(mix.apply(image)).logits.float() for network in networks]
        else:
            logits = [network(image).logits.float() for network in networks]
            labels = [confident_labels(each.softmax(1), 0) for each in logits]
        cross = F.cross_entropy(logits[0], labels[1]) + F.cross_entropy(logits[1], labels[0])
        return {"supervised": on_labeled[0], "supervised_second": on_labeled[1], "cross": cross}

    def draw_mix(self, image: Tensor) -> CutMix:
        """Draw a box for each image, to be filled from the image before it."""
        box = random_boxes(random_aspects(image, self.config.share), image.shape[2:])
        return CutMix(torch.arange(len(image), device=image.device).roll(1), box)
