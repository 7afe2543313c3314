"""ST++: self-training in rounds, the most reliable images first."""

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from criinet.config import Fraction, LossWeights, MethodConfig
from criinet.losses import cross_entropy_dice, squared_dice_loss
from criinet.methods.base import probabilities
from criinet.methods.in_rounds import InRounds
from criinet.networks import Network
from criinet.types import LabeledBatch, UnlabeledBatch


class STPlusPlus(InRounds):
    """Three rounds, each from the first weights: labeled images alone, then the reliable half too, then all.

        round 0:  L = sup(f(x_l), y)
        round r:  L = sup(f(x_l), y) + pseudo(f(s(x_u)), y_u)
                  y_u = argmax f_{r-1}(x_u), averaged over mirrored images

        reliability(x_u) = mean over earlier checkpoints j of IoU(argmax f_j(x_u), y_u)

    s(x) is a strong view, and y_u is mixed by the same CutMix; sup = (cross-entropy + soft Dice) / 2, pseudo the same
    with ``squared_dice_loss``. An IoU is the mean over the classes that either mask
    holds, background included.

    Reference: Yang et al., CVPR 2022, arXiv 2106.05095, eq. 1 to 3 and algorithm 1.
    Differs: the rounds share one run's iterations, so that the method costs what others cost; two earlier checkpoints,
    at a third and two thirds of a round; the last round labels all images anew, not the unreliable ones alone; Dice
    beside the cross-entropy; a step takes labeled and pseudo-labeled images in equal parts, where the paper draws from
    their union; strong views are those of this project, with CutMix in place of Cutout.
    """

    class Config(MethodConfig):
        """Settings of ST++."""

        reliable: Annotated[Fraction, Field(gt=0, description="share of the unlabeled images in round 1")] = 0.5
        terms = MethodConfig.terms | {
            "pseudo": "cross-entropy and Dice with the pseudo-labels on a strong view",
        }
        weights: LossWeights = {"supervised": 1.0, "pseudo": 1.0}

    summary = "self-training in three rounds, the most reliable images first"
    reference = "Yang et al., CVPR 2022, arXiv 2106.05095"
    views = ("strong_1",)
    unlabeled_terms = ("pseudo",)
    rounds = 3
    config: Config
    taken: Tensor

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.first = copy.deepcopy(network).requires_grad_(False)
        self.earlier = nn.ModuleList(copy.deepcopy(network).requires_grad_(False) for _ in range(2))
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    def begin_with(self, state: dict[str, Tensor]) -> None:
        """Begin every round with the weights of the other run; its rounds are over."""
        super().begin_with(state)
        self.first.load_state_dict(self.student.state_dict())
        self.taken.zero_()

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:
        """Return ``supervised`` and ``pseudo``, which is zero in the first round."""
        self.remember(progress)
        supervised = cross_entropy_dice(self.student(labeled.image).logits, labeled.target)
        if unlabeled.pseudo_label is None:
            return {"supervised": supervised, "pseudo": supervised.new_zeros(())}
        label = unlabeled.mixes["strong_1"].apply_to_labels(unlabeled.pseudo_label)
        logits = self.student(unlabeled.views["strong_1"]).logits
        return {"supervised": supervised, "pseudo": cross_entropy_dice(logits, label, squared_dice_loss)}

    def remember(self, progress: float) -> None:
        """Keep the student as it is at each third of a round."""
        due = int(3 * progress)
        if due > int(self.taken):
            self.earlier[due - 1].load_state_dict(self.student.state_dict())
            self.taken.fill_(due)

    def reliability(self, image: Tensor, probs: Tensor) -> Tensor:
        """Return the mean IoU of what earlier checkpoints say with the pseudo-label: (B,) in [0, 1]."""
        label = probs.argmax(1)
        found = [mean_iou(probabilities(net, image).argmax(1), label, self.classes) for net in self.earlier]
        return torch.stack(found).mean(0)

    def begin_round(self, number: int, reliability: Tensor) -> Tensor:
        """Start from the first weights; learn from the reliable share in round 1, from all images afterwards."""
        self.student.load_state_dict(self.first.state_dict())
        self.taken.zero_()
        count = len(reliability) if number > 1 else max(1, round(self.config.reliable * len(reliability)))
        kept = torch.zeros(len(reliability), dtype=torch.bool)
        kept[reliability.argsort(descending=True, stable=True)[:count]] = True
        return kept


def mean_iou(one: Tensor, other: Tensor, classes: int) -> Tensor:
    """Compute the mean IoU of two masks (B, ...) over the classes that either holds: (B,) in [0, 1]."""
    every = torch.arange(classes, device=one.device)
    first, second = (mask.flatten(1).unsqueeze(1) == every.view(1, -1, 1) for mask in (one, other))
    union = (first | second).sum(2)
    iou = (first & second).sum(2) / union.clamp(min=1)
    return (iou * (union > 0)).sum(1) / (union > 0).sum(1)
