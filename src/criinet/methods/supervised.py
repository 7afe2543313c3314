"""Supervised: labeled images alone, the row that every other method must beat."""

from torch import Tensor

from criinet.config import LossWeights, MethodConfig
from criinet.losses import cross_entropy_dice
from criinet.methods.base import Method
from criinet.types import LabeledBatch, UnlabeledBatch


class Supervised(Method):
    """The network on labeled images, with the same augmentation and steps as all others.

        L = sup(f(x_l), y),   sup = (cross-entropy + soft Dice) / 2

    Unlabeled images teach it nothing; where ``trainer.statistics`` is not 0, what batch normalisation divides by is
    measured on them in the end, as for every method.
    """

    class Config(MethodConfig):
        """Settings of the supervised baseline."""

        weights: LossWeights = {"supervised": 1.0}

    summary = "labeled images only, equally augmented: the baseline"
    reference = "Ronneberger et al., MICCAI 2015, arXiv 1505.04597"
    recordable = True

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised``."""
        return {"supervised": cross_entropy_dice(self.student(labeled.image).logits, labeled.target)}
