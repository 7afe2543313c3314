"""Mean Teacher: the student agrees with a moving average of itself."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from criinet.config import LossWeights, Ramp
from criinet.losses import cross_entropy_dice, mean_squared
from criinet.methods.perturbations import clipped_noise
from criinet.methods.taught import Taught, TaughtConfig
from criinet.types import LabeledBatch, UnlabeledBatch


class MeanTeacher(Taught):
    """Consistency of a student with its exponential moving average on noisy unlabeled images.

        L = sup(student(x_l), y) + w(t) mean((softmax(student(x_u)) - softmax(teacher(x_u + n)))^2)

    Reference: Tarvainen & Valpola, NeurIPS 2017, arXiv 1703.01780, eq. 1 and 2.
    Differs: noise is Gaussian of .1, clipped at .2, as public code for segmentation has it: of the range [0, 1] of
    images, of the standard deviation of volumes; the weight of the consistency is the .1 of that code; no dropout but
    the network's own, and the default network has none; the ramp ends after 40 % of training.
    """

    class Config(TaughtConfig):
        """Settings of Mean Teacher."""

        noise: Annotated[
            float, Field(ge=0, description="noise sd: of the range [0, 1] of images, of the sd of volumes")
        ] = 0.1
        terms = TaughtConfig.terms | {
            "consistency": "the squared difference from the teacher's predictions on unlabeled pixels",
        }
        weights: LossWeights = {"supervised": 1.0, "consistency": Ramp(to=0.1, over=0.4)}

    summary = "the student agrees with a moving average of itself on noisy images"
    reference = "Tarvainen & Valpola, NeurIPS 2017, arXiv 1703.01780"
    views = ("weak",)
    unlabeled_terms = ("consistency",)
    recordable = True
    config: Config

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return ``supervised`` and ``consistency``."""
        on_labeled, on_unlabeled = self.student(labeled.image), self.student(unlabeled.weak)
        target = self.targets(unlabeled.weak + clipped_noise(unlabeled.weak, self.config.noise))
        return {
            "supervised": cross_entropy_dice(on_labeled.logits, labeled.target),
            "consistency": mean_squared(on_unlabeled.logits.float().softmax(1), target),
        }
