"""SS-Net: predictions withstand the worst small change, and features gather around those of their class."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from criinet.config import Count, LossWeights, MethodConfig, Ramp
from criinet.labels import IGNORE
from criinet.losses import (
    Descriptors,
    at_stride,
    class_attraction,
    cross_entropy_dice,
    dice_distance,
    draw_pixels,
    virtual_adversarial_change,
)
from criinet.methods.base import Method
from criinet.methods.memory_bank import MemoryBank
from criinet.methods.stateless import apply_constant, apply_untracked
from criinet.networks import Network, Segmentation
from criinet.types import LabeledBatch, UnlabeledBatch


class SmoothnessSeparation(Method):
    """Virtual adversarial training, and attraction of pixel features to a memory of well predicted ones by class.

        L = sup(f(x_l), y) + w(t) [ dice(p(x_u + r), stopgrad p(x_u)) + .1 (A_l + A_u) ]

        r = radius sd(x_u) g / rms(g),   g = gradient of dice(p(x_u + r0), p(x_u)) at a random r0 of the same size
        A = mean over drawn pixels of 1 - mean over the memory of their class of cos(h(e), memory),   e = project(F)

    The memory keeps e of the last correctly predicted pixels of labeled images, of every class. Pixels of labeled
    images have the class of their label, those of unlabeled ones the predicted class. F is the decoder feature, h a
    predictor that only queries pass. The pass that finds r has constant parameters; it and the pass on x_u + r work on
    copies of the running statistics, so a step moves those by one pass on x_l and one on x_u.

    Reference: Wu et al., MICCAI 2022, arXiv 2203.01324; Miyato et al., TPAMI 2018, arXiv 1704.03976.
    Differs: weights of the authors' code for slices; their code for volumes has ten times as much, on smaller changes
    (``method.weights``, ``method.radius``); unlabeled images alone are changed; the change is measured by its root mean
    square against the image's contrast, and its gradient is taken at its own size; 256 pixels a batch are drawn, all
    classes alike, instead of all pixels; the memory is first-in first-out and holds the background too, without learned
    selectors of pixels; projections have no batch normalisation; cross-entropy and Dice instead of Dice alone; the ramp
    to w = .1 ends after 40 % of training instead of at its end.
    """

    class Config(MethodConfig):
        """Settings of SS-Net."""

        radius: Annotated[float, Field(gt=0, description="rms of the adversarial change, in sd of the image")] = 0.1
        embedding: Annotated[Count, Field(description="channels of a projected pixel feature")] = 32
        pixels: Annotated[Count, Field(description="pixels drawn from a batch")] = 256
        memory: Annotated[Count, Field(description="remembered features of each class")] = 256
        terms = MethodConfig.terms | {
            "smoothness": "the Dice distance that an adversarial change of unlabeled images makes",
            "separation_labeled": "the cosine distance of labeled pixel features to remembered ones of their class",
            "separation": "the cosine distance of unlabeled pixel features to remembered ones of their class",
        }
        weights: LossWeights = {
            "supervised": 1.0,
            "smoothness": Ramp(to=0.1, over=0.4),
            "separation_labeled": Ramp(to=0.01, over=0.4),
            "separation": Ramp(to=0.01, over=0.4),
        }

    summary = "virtual adversarial smoothness and a memory that gathers features by class"
    reference = "Wu et al., MICCAI 2022, arXiv 2203.01324"
    views = ("weak",)
    unlabeled_terms = ("smoothness", "separation")
    config: Config

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.stride = network.backbone.stride
        inputs, width = network.backbone.decoder_channels, config.embedding
        self.project = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))
        self.predictor = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.memory = MemoryBank(self.classes, config.memory, width)

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised``, ``smoothness`` and both separations."""
        on_labeled, on_unlabeled = self.student(labeled.image), self.student(unlabeled.weak)
        self.remember(on_labeled, labeled)
        return {
            "supervised": cross_entropy_dice(on_labeled.logits, labeled.target),
            "smoothness": self.smoothness_loss(on_unlabeled, unlabeled.weak),
            "separation_labeled": self.separation_loss(on_labeled, labeled.target),
            "separation": self.separation_loss(on_unlabeled, on_unlabeled.logits.argmax(1)),
        }

    def smoothness_loss(self, output: Segmentation, image: Tensor) -> Tensor:
        """Return how far the prediction moves under the change that moves it most; ``output`` is that of ``image``."""
        target = output.logits.detach().float().softmax(1)
        change = virtual_adversarial_change(
            lambda changed: dice_distance(apply_constant(self.student, changed).logits.float().softmax(1), target),
            image,
            radius=self.config.radius,
        )
        return dice_distance(apply_untracked(self.student, image + change).logits.float().softmax(1), target)

    @torch.no_grad()
    def remember(self, output: Segmentation, labeled: LabeledBatch) -> None:
        """Keep the projections of drawn pixels that are predicted as they are labeled."""
        if not self.training:
            return
        right = torch.where(output.logits.argmax(1) == labeled.target, labeled.target, IGNORE)
        vectors, label, image = self.draw(output.features.decoder, right)
        self.memory.add(Descriptors(F.normalize(self.project(vectors).float(), dim=1), label, labeled.case[image]))

    def separation_loss(self, output: Segmentation, label: Tensor) -> Tensor:
        """Return how far drawn pixels are from the remembered ones of their class; ``label`` is (B, ...)."""
        vectors, drawn, _ = self.draw(output.features.decoder, label)
        known = self.memory.stored()
        return class_attraction(self.predictor(self.project(vectors)), drawn, known.vector, known.label)

    def draw(self, feature: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw pixels of a batch, each class alike.

        Returns:
            Their decoder features (N, C), classes (N,), IGNORE where too few pixels have one, and images (N,).
        """
        labels = at_stride(label, self.stride, feature.shape[2:])
        flat = labels.reshape(1, -1)
        at, drawn = draw_pixels(flat, torch.ones_like(flat, dtype=torch.bool), self.classes, self.config.pixels)
        vectors = feature.movedim(1, -1).flatten(0, -2)[at[0]]
        return vectors, drawn[0], at[0] // labels[0].numel()
