"""What CRII-Net shares with the method built on it: two heads, and what labeled images teach them."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from criinet.config import Config as Settings
from criinet.config import Count, Fraction, MethodConfig
from criinet.losses import (
    ConsistencyTarget,
    Descriptors,
    RankedGeometry,
    at_stride,
    boundary_patches,
    coarse_refined_consistency,
    cross_entropy_dice,
    deep_supervision,
    inter_patch_ranked_loss,
    intra_patch_ranked_loss,
    low_contrast_weight,
    patch_descriptors,
    pure_patches,
)
from criinet.methods.base import Method, Prediction
from criinet.methods.memory_bank import MemoryBank
from criinet.networks import CoarseRefined, CoarseRefinedOutput, ImagePrototypes, Network, ScaleHeads, Segmentation
from criinet.types import LabeledBatch


class RankedSettings(Settings):
    """How both ranked losses look at a labeled image.  [C]"""

    alpha: Annotated[float, Field(gt=0, lt=2, description="distance beyond which other classes should lie")] = 1.2
    margin: Annotated[float, Field(gt=0, description="gap between the same class and the others")] = 0.4
    temperature: Annotated[float, Field(ge=0, description="weight of the nearest wrong keys")] = 10.0
    patch: Annotated[Fraction, Field(gt=0, description="side of a patch, as a share of the image's side")] = 1 / 8
    band: Annotated[Fraction, Field(gt=0, description="half width of the boundary band, as that share")] = 1 / 64
    boundary_patches: Annotated[Count, Field(description="boundary patches of each image")] = 8
    pure_patches: Annotated[Count, Field(description="background and interior patches of each image, each")] = 8
    queries: Annotated[Count, Field(description="query pixels of each patch")] = 64
    keys: Annotated[Count, Field(description="key pixels of each patch")] = 256
    memory: Annotated[int, Field(ge=0, description="descriptors of each class in the memory bank; 0: none")] = 512
    contrast: Annotated[float, Field(ge=0, description="extra weight of low-contrast images; 0: none")] = 0.0

    @property
    def geometry(self) -> RankedGeometry:
        """The margins, as the losses take them."""
        return RankedGeometry(self.alpha, self.margin, self.temperature)


class PrototypeSettings(Settings):
    """How the refined head compares pixels with their image's prototypes.  [C]"""

    temperature: Annotated[
        float, Field(ge=0, description="t, divides the likeness to a prototype; 0: no prototypes")
    ] = 0.05
    sure: Annotated[Fraction, Field(description="least probability of a pixel that a prototype is made of")] = 0.8
    prior: Annotated[
        float, Field(ge=0, description="weight of labeled images in a prototype, as a share of the pixels")
    ] = 0.01
    passes: Annotated[Count, Field(description="how often prototypes and prediction are made of each other")] = 3


class CoarseRefinedConfig(MethodConfig):
    """Base of the settings of a method with CRII-Net's network."""

    terms = {
        "supervised_coarse": "cross-entropy and Dice of the coarse heads on labeled pixels",
        "supervised_refined": "cross-entropy and Dice of the refined head on labeled pixels",
        "intra": "the ranked list loss of boundary pixels within a patch",
        "inter": "the ranked list loss of patches across images",
        "consistency": "the squared difference between coarse and refined predictions on unlabeled pixels",
    }

    embedding: Annotated[Count, Field(description="channels of a pixel embedding")] = 64
    width: Annotated[Count, Field(description="channels inside the refinement")] = 32
    scales: Annotated[Count, Field(description="S, how many of the finest scales have a coarse head")] = 4
    prototypes: PrototypeSettings = PrototypeSettings()
    ranked: RankedSettings = RankedSettings()


class CoarseRefinedMethod(Method):
    """A method with CRII-Net's network, which learns from labeled images as CRII-Net does.

        L_labeled = mean_s sup(p_s, y) + sup(p_r, y) + l1 Intra + l2 Inter,    s = 1 .. S

    ``CRIINet`` says what the terms are and where they come from. What unlabeled images teach is the method's own.

    Attributes:
        student: the shared network with a coarse head, an embedding and a refined head; p_r is the prediction.
        coarse_heads: of the scales 2 .. S; the student has the finest one.
        memory: descriptors of labeled images that passed before.

    Reference: Du, Zhang, Liu, Wang, IEEE JBHI 27(8):3970-3981, 2023, doi 10.1109/JBHI.2023.3278741.
    """

    student: CoarseRefined

    def __init__(self, network: Network, config: CoarseRefinedConfig) -> None:
        super().__init__(network, config)
        prototypes = None
        if config.prototypes.temperature > 0:
            prototypes = ImagePrototypes(self.classes, config.embedding, **config.prototypes.model_dump())
        self.student = CoarseRefined(
            network, embedding_channels=config.embedding, width=config.width, prototypes=prototypes
        )
        self.coarse_heads = ScaleHeads(network, config.scales)
        self.stride = network.backbone.stride
        self.ranked = config.ranked
        self.memory = MemoryBank(self.classes, config.ranked.memory, config.embedding)

    def begin_with(self, state: dict[str, Tensor]) -> None:
        """Begin with another run's weights and without its memory, whose images have other numbers here."""
        super().begin_with(state)
        self.memory.forget()

    def labeled_losses(self, labeled: LabeledBatch) -> dict[str, Tensor]:
        """Return the terms that labeled images alone cause: two supervised ones, ``intra`` and ``inter``."""
        output, coarse = self.at_scales(labeled.image)
        intra, inter = self.ranked_losses(output.embedding, labeled)
        return {
            "supervised_coarse": deep_supervision(cross_entropy_dice(each, labeled.target) for each in coarse),
            "supervised_refined": cross_entropy_dice(output.refined, labeled.target),
            "intra": intra,
            "inter": inter,
        }

    def at_scales(self, image: Tensor) -> tuple[CoarseRefinedOutput, list[Tensor]]:
        """Return what the student says of (B, C, ...) images, and the coarse logits of every scale, finest first."""
        features = self.student.network.features(image)
        output = self.student.segment(features, image)
        return output, self.coarse_heads(Segmentation(output.coarse, features), image)

    def consistency(self, coarse: list[Tensor], refined: Tensor, target: ConsistencyTarget = "refined") -> Tensor:
        """Return the coarse-refined consistency of all scales; ``target`` is the output that gets no gradient."""
        return deep_supervision(coarse_refined_consistency(each, refined, target=target) for each in coarse)

    def ranked_losses(self, embedding: Tensor, labeled: LabeledBatch) -> tuple[Tensor, Tensor]:
        """Return Intra-PRL and Inter-PRL of the labeled images, and remember their descriptors."""
        ranked, classes = self.ranked, self.classes
        labels = at_stride(labeled.target, self.stride, embedding.shape[2:])
        size = tuple(min(side, max(4, round(ranked.patch * side))) for side in labels.shape[1:])
        band = max(1, round(ranked.band * min(labels.shape[1:])))
        edge = boundary_patches(labels, classes, size=size, count=ranked.boundary_patches, band=band)
        inside = pure_patches(labels, classes, size=size, count=ranked.pure_patches, foreground=True)
        outside = pure_patches(labels, classes, size=size, count=ranked.pure_patches, foreground=False)
        intra = intra_patch_ranked_loss(
            embedding, edge, classes, queries=ranked.queries, keys=ranked.keys, geometry=ranked.geometry
        )
        found = [patch_descriptors(embedding, patches, classes, labeled.case) for patches in (edge, inside, outside)]
        batch = Descriptors(*(torch.cat(parts) for parts in zip(*found, strict=True)))
        known = self.memory.stored()
        keys = Descriptors(*(torch.cat(parts) for parts in zip(batch, known, strict=True)))
        inter = inter_patch_ranked_loss(
            batch, keys, geometry=ranked.geometry, query_weight=self.query_weight(labeled, found)
        )
        if self.training:
            self.memory.add(batch)
            if self.student.prototypes is not None:
                self.student.prototypes.remember(batch.vector, batch.label)
        return intra, inter

    def query_weight(self, labeled: LabeledBatch, found: list[Descriptors]) -> Tensor | None:
        """Return the weight of each descriptor by its image's contrast, where that option is on."""
        strength = self.ranked.contrast
        if strength == 0:
            return None
        weight = low_contrast_weight(labeled.image, labeled.target, strength)
        return torch.cat([weight.repeat_interleave(len(part.label) // len(weight)) for part in found])

    def predict(self, image: Tensor) -> Prediction:
        """Segment with the refined head; the coarse one is the second opinion."""
        output = self.student(image)
        return Prediction(output.refined.float().softmax(1), output.coarse.float().softmax(1))
