"""CRII-Net beyond the paper: both heads teach the coarse ones, on strong views and incomplete features."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from criinet.config import Fraction, LossWeights, Ramp
from criinet.losses import confident_labels
from criinet.methods.coarse_refined import CoarseRefinedConfig, CoarseRefinedMethod
from criinet.methods.strong_views import dice_at_scales, segment_incomplete, strong_view_losses
from criinet.networks import CoarseRefinedOutput
from criinet.types import LabeledBatch, UnlabeledBatch

Teacher = Literal["both", "coarse", "refined"]
"""The head that a pseudo-label is taken from, or the mean of both."""


class CRIIPlus(CoarseRefinedMethod):
    """All of CRII-Net, with a perturbation for its consistency to speak of, and weak-to-strong consistency beside it.

        L = mean_s sup(p_s, y) + sup(p_r, y) + l1 Intra + l2 Inter
            + w(t) mean_s mean (p_s(d) - stopgrad(p_r(x_u)))^2
            + D(v1) / 2 + D(v2) / 2 + D(d)

        D(v) = mean_s Dice(p_s(v), y_u)
        y_u  = argmax_c q_c where max_c q_c >= h, left out elsewhere,   q = (p_c(x_u) + p_r(x_u)) / 2, without gradient
               (or one head's alone, to see what the other brings)

    p_s are the coarse predictions of the S finest scales, p_c = p_1, and in mean_s each counts half as much as the next
    finer one; v1, v2 are strong views of x_u, each with a CutMix of its own that its labels get too; d is x_u through
    incomplete features: half of the channels of every encoder feature are silenced, whole maps at a time. The
    prediction is p_r.

    On whole features the two heads of a trained CRII-Net differ in little but what prototypes say, so their consistency
    has little more to say. Here the coarse head sees incomplete features and the refined head whole ones: the target
    stays as stable as it was. Where q reaches h >= .75 both heads say the same class. Coarse heads alone are taught:
    the refined one compares pixels with their image's prototypes, which a view mixed of two images does not have.

    Reference: Du et al., IEEE JBHI 2023, doi 10.1109/JBHI.2023.3278741, for the parts of CRII-Net; Yang et al., CVPR
    2023, arXiv 2208.09910 (UniMatch), for strong views and incomplete features; this project for their combination.
    Differs: from UniMatch by the refined head, which teaches with the coarse one; from CRII-Net by smaller weights of
    the ranked losses. No paper describes this method; it claims nothing but what this project's benchmark shows.
    """

    class Config(CoarseRefinedConfig):
        """Settings of CRII-Net beyond the paper."""

        confidence: Annotated[Fraction, Field(description="least mean probability of a pixel that is taught")] = 0.95
        teacher: Annotated[Teacher, Field(description="head that gives the pseudo-label; both: their mean")] = "both"
        drop: Annotated[float, Field(ge=0, lt=1, description="share of feature channels that are silenced")] = 0.5
        terms = CoarseRefinedConfig.terms | {
            "strong_1": "Dice of the coarse heads with the pseudo-labels on the first strong view",
            "strong_2": "Dice of the coarse heads with the pseudo-labels on the second strong view",
            "features": "Dice of the coarse heads with the pseudo-labels on the weak view with channels silenced",
        }
        weights: LossWeights = {
            "supervised_coarse": 1.0,
            "supervised_refined": 1.0,
            "intra": 0.05,
            "inter": 0.05,
            "consistency": Ramp(to=1.0, over=0.4),
            "strong_1": 0.5,
            "strong_2": 0.5,
            "features": 1.0,
        }

        @model_validator(mode="before")
        @classmethod
        def without_target(cls, settings: dict[str, Any]) -> dict[str, Any]:
            """Read the settings of runs made when ``target`` was one of them, with a single value to choose from."""
            return {key: value for key, value in settings.items() if (key, value) != ("target", "refined")}

    summary = "CRII-Net that also learns from strong views and incomplete features"
    reference = "this project; CRII-Net by Du et al., IEEE JBHI 2023, doi 10.1109/JBHI.2023.3278741"
    views = ("weak", "strong_1", "strong_2")
    unlabeled_terms = ("consistency", "strong_1", "strong_2", "features")
    recordable = True
    config: Config

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the four terms of the labeled images, ``consistency``, ``strong_1``, ``strong_2`` and ``features``."""
        student, weak = self.student, unlabeled.weak
        terms = self.labeled_losses(labeled)
        scales = student.network.encode(weak)
        with torch.no_grad():
            whole = student.segment(student.network.decode(scales), weak)
            label = self.pseudo_label(whole)
        incomplete = self.coarse_heads(segment_incomplete(student.network, scales, weak, self.config.drop), weak)
        terms["consistency"] = self.consistency(incomplete, whole.refined)
        terms |= strong_view_losses(lambda views: self.coarse_heads(student.network(views), views), unlabeled, label)
        terms["features"] = dice_at_scales(incomplete, label)
        return terms

    def pseudo_label(self, output: CoarseRefinedOutput) -> Tensor:
        """Return what the teacher is sure of: (B, ...) int64, IGNORE elsewhere."""
        heads = {"coarse": [output.coarse], "refined": [output.refined], "both": [output.coarse, output.refined]}
        probs = torch.stack([logits.float().softmax(1) for logits in heads[self.config.teacher]])
        return confident_labels(probs.mean(0), self.config.confidence)
