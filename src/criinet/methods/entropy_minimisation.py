"""Entropy minimisation: unlabeled pixels should be sure of one class."""

from torch import Tensor

from criinet.config import LossWeights, MethodConfig, Ramp
from criinet.losses import cross_entropy_dice, entropy
from criinet.methods.base import Method, probabilities
from criinet.types import LabeledBatch, UnlabeledBatch


class EntropyMinimisation(Method):
    """Low entropy of the prediction on unlabeled images.

        L = sup(f(x_l), y) + w(t) mean H(softmax(f(x_u))) / ln K,   H(p) = -sum_c p_c ln p_c

    Reference: Grandvalet & Bengio, NeurIPS 2004; for segmentation Vu et al., CVPR 2019, arXiv 1811.12833, section 3.1.
    Differs: the direct entropy loss alone, without the adversarial one of Vu et al.; a ramp over 40 % of training, so
    that an untrained network is not made sure of what it has not learned.
    """

    class Config(MethodConfig):
        """Settings of entropy minimisation."""

        terms = MethodConfig.terms | {
            "entropy": "the entropy of predictions on unlabeled pixels",
        }
        weights: LossWeights = {"supervised": 1.0, "entropy": Ramp(to=0.1, over=0.4)}

    summary = "unlabeled pixels should be sure of one class"
    reference = "Grandvalet & Bengio, NeurIPS 2004"
    views = ("weak",)
    unlabeled_terms = ("entropy",)
    recordable = True

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised`` and ``entropy``."""
        return {
            "supervised": cross_entropy_dice(self.student(labeled.image).logits, labeled.target),
            "entropy": entropy(probabilities(self.student, unlabeled.weak)).mean(),
        }
