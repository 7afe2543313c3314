"""Bidirectional copy-paste: boxes of labeled images in unlabeled ones, and the other way round."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from criinet.config import Fraction, LossWeights
from criinet.labels import IGNORE
from criinet.losses import cross_entropy_dice, squared_dice_loss
from criinet.methods.boxes import random_boxes
from criinet.methods.components import largest_components
from criinet.methods.taught import Taught, TaughtConfig
from criinet.types import LabeledBatch, UnlabeledBatch


class BidirectionalCopyPaste(Taught):
    """A student learns from images that are partly labeled and partly not, after a stage on labeled images alone.

        first:  L = sup(f(z), y) where z is x_l + sup(f(z), y') where it is x_l',   z = M x_l + (1 - M) x_l'
        then:   L = mean over both directions of  sup(f(z), y) where z is labeled + .5 pseudo(f(z), q) where it is not
                z_1 = M x_l + (1 - M) x_u,   z_2 = M x_u + (1 - M) x_l

    M is a box of 2/3 of every side; sup = (cross-entropy + soft Dice) / 2, pseudo the same with ``squared_dice_loss``;
    q is the teacher's most probable class, the largest connected component of every foreground class alone.

    Reference: Bai et al., CVPR 2023, arXiv 2305.00673, section 3.
    Differs: one run, of which ``pretraining`` is the first stage (.25, the 10k of 40k iterations of public code), with
    one optimizer and one learning rate; the teacher follows from the first step instead of starting as the best
    pretrained network; both directions mix the same pairs and are averaged; each image has a box of its own; Dice on
    labeled pixels is of the foreground classes, with sums below the line; labeled images vary in colour, blur and
    noise, unlabeled ones do not.
    """

    class Config(TaughtConfig):
        """Settings of bidirectional copy-paste."""

        pretraining: Annotated[Fraction, Field(description="share of training on labeled images alone")] = 0.25
        side: Annotated[Fraction, Field(gt=0, description="side of the box, as a share of the image's side")] = 2 / 3
        terms = {
            "pretraining": "cross-entropy and Dice on pairs of mixed labeled images, in the first stage",
            "true_region": "cross-entropy and Dice on the labeled pixels of mixed images",
            "pseudo_region": "cross-entropy and Dice on the pseudo-labeled pixels of mixed images",
        }
        weights: LossWeights = {"pretraining": 1.0, "true_region": 1.0, "pseudo_region": 0.5}

    summary = "boxes of labeled images in unlabeled ones and the other way round"
    reference = "Bai et al., CVPR 2023, arXiv 2305.00673"
    views = ("weak",)
    unlabeled_terms = ("true_region", "pseudo_region")
    config: Config

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:
        """Return ``pretraining``, ``true_region`` and ``pseudo_region``; those of the other stage are zero."""
        nothing = labeled.image.new_zeros(())
        if progress < self.config.pretraining:
            return {"pretraining": self.on_labeled(labeled), "true_region": nothing, "pseudo_region": nothing}
        true, pseudo = self.on_mixed(labeled, unlabeled.weak)
        return {"pretraining": nothing, "true_region": true, "pseudo_region": pseudo}

    def on_labeled(self, labeled: LabeledBatch) -> Tensor:
        """Return the loss of labeled images, each with a box of the one before it."""
        box = self.draw_boxes(labeled.image)
        logits = self.student(torch.where(box, labeled.image.roll(1, 0), labeled.image)).logits
        inside, outside = box.squeeze(1), ~box.squeeze(1)
        return cross_entropy_dice(logits, torch.where(inside, labeled.target.roll(1, 0), IGNORE)) + cross_entropy_dice(
            logits, torch.where(outside, labeled.target, IGNORE)
        )

    def on_mixed(self, labeled: LabeledBatch, unknown: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses of true and of pseudo-labeled regions; the smaller batch is used again and again."""
        pairs = torch.arange(max(len(labeled), len(unknown)), device=unknown.device)
        pseudo_label = largest_components(self.targets(unknown).argmax(1), self.classes)
        known, target = labeled.image[pairs % len(labeled)], labeled.target[pairs % len(labeled)]
        unknown, pseudo_label = unknown[pairs % len(unknown)], pseudo_label[pairs % len(unknown)]
        box = self.draw_boxes(known)
        true: list[Tensor] = []
        pseudo: list[Tensor] = []
        for is_known in (box, ~box):
            logits = self.student(torch.where(is_known, known, unknown)).logits
            true.append(cross_entropy_dice(logits, torch.where(is_known.squeeze(1), target, IGNORE)))
            guessed = torch.where(is_known.squeeze(1), IGNORE, pseudo_label)
            pseudo.append(cross_entropy_dice(logits, guessed, squared_dice_loss))
        return torch.stack(true).mean(), torch.stack(pseudo).mean()

    def draw_boxes(self, image: Tensor) -> Tensor:
        """Draw a box for each image: (B, 1, ...) bool."""
        fractions = torch.full((len(image), image.ndim - 2), self.config.side, device=image.device)
        return random_boxes(fractions, image.shape[2:])
