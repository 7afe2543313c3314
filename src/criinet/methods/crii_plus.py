"""CRII-Net beyond the paper: an averaged teacher whose two heads must agree teaches strong, mixed views."""

from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor

from criinet.config import Fraction, LossWeights, Ramp
from criinet.losses import coarse_refined_consistency, cross_entropy_dice, sure_pixels
from criinet.methods.base import Prediction
from criinet.methods.cct import drop_channels
from criinet.methods.crii import CRIINet
from criinet.methods.ema import EMA
from criinet.networks import CoarseRefined, CoarseRefinedOutput, Network
from criinet.types import IGNORE, LabeledBatch, UnlabeledBatch

REMEMBERED = 256
"""How many of the last images' agreements say what is usual."""


class CRIIPlus(CRIINet):
    """All of CRII-Net, and weak-to-strong consistency through it.

        L = sup(p_c, y) + sup(p_r, y) + l1 Intra + l2 Inter
            + w(t) L_con(s) + w_s(t) (sup(p_c(s), y_u) + sup(p_r(s), y_u)) / 2

        q    = (p_c' + p_r') / 2 of the weak view,   ' the moving average of the weights
        y_u  = argmax_c q_c where max_c q_c >= h and argmax p_c' = argmax p_r', left out elsewhere

    s is the strong view of x_u, y_u is mixed by the same CutMix, and L_con is CRII-Net's consistency between the two
    heads, here on the strong view, so that it costs no pass of its own. sup = (cross-entropy + soft Dice) / 2. The
    prediction is p_r' of the averaged weights.

    What is CRII-Net's own in it, beside its losses:

    - Where the two heads disagree, nothing is taught: a second opinion guards the pseudo-labels beside confidence.
    - An image teaches only if its heads agree better than in the share 1 - ``reliable`` of the images seen lately:

        r = 2 sum f_c f_r / sum (f_c + f_r),   f = 1 - p'_background,   sums over the pixels of the image

      which is 1 where both heads see the same object and are sure of it, and small where they differ or doubt.
    - In L_con the coarse head sees F with a share ``drop`` of its channels silenced, so that the consistency has
      something to say while its target stays as stable as it was.

    Reference: Du et al., IEEE JBHI 2023, doi 10.1109/JBHI.2023.3278741, for the parts of CRII-Net; this project for
    their combination with weak-to-strong consistency (Sohn et al., NeurIPS 2020, arXiv 2001.07685), CutMix (Yun et al.,
    ICCV 2019, arXiv 1905.04899) and an averaged teacher (Tarvainen & Valpola, NeurIPS 2017, arXiv 1703.01780).
    Differs: no paper describes this method; it claims nothing but what this project's benchmark shows.
    """

    class Config(CRIINet.Config):
        """Settings of CRII-Net beyond the paper."""

        ema_decay: Annotated[float, Field(ge=0, lt=1, description="teacher decay per step")] = 0.99
        confidence: Annotated[Fraction, Field(description="least probability of a pixel that is taught")] = 0.8
        agreement: Annotated[bool, Field(description="teach only pixels of which both heads say the same class")] = True
        reliable: Annotated[Fraction, Field(gt=0, description="share of the images that teach; 1: all")] = 1.0
        drop: Annotated[
            float, Field(ge=0, lt=1, description="share of the coarse head's channels silenced in the consistency")
        ] = 0.0
        weights: LossWeights = {
            "supervised_coarse": 1.0,
            "supervised_refined": 1.0,
            "intra": 0.05,
            "inter": 0.05,
            "consistency": Ramp(to=1.0, over=0.4),
            "strong": Ramp(to=1.0, over=0.4),
        }

    summary = "CRII-Net with an averaged teacher whose agreeing heads teach strong, mixed views"
    reference = "this project; CRII-Net by Du et al., IEEE JBHI 2023, doi 10.1109/JBHI.2023.3278741"
    views = ("weak", "strong_1")
    unlabeled_terms = ("consistency", "strong")
    agreements: Tensor
    seen: Tensor
    config: Config  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__(network, config)
        self.teacher = EMA(self.student, config.ema_decay)
        self.register_buffer("agreements", torch.zeros(REMEMBERED))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the four terms of the labeled images, ``consistency`` and ``strong``."""
        terms = self.labeled_losses(labeled)
        label = unlabeled.mixes["strong_1"].apply(self.pseudo_label(unlabeled.weak).unsqueeze(1)).squeeze(1)
        image = unlabeled.views["strong_1"]
        student = cast(CoarseRefined, self.student)
        strong: CoarseRefinedOutput = student(image)
        coarse = strong.coarse
        if self.config.drop > 0:
            coarse = student.coarse(drop_channels(strong.feature, self.config.drop), image)
        taught = [cross_entropy_dice(logits, label) for logits in (strong.coarse, strong.refined)]
        return {
            **terms,
            "consistency": coarse_refined_consistency(coarse, strong.refined, target=self.config.target),
            "strong": torch.stack(taught).mean(),
        }

    def pseudo_label(self, image: Tensor) -> Tensor:
        """Return what the teacher is sure of and of one mind about: (B, ...) int64, IGNORE elsewhere."""
        coarse, refined = self.opinions(image)
        label = sure_pixels((coarse + refined) / 2, self.config.confidence)
        if self.config.agreement:
            label = torch.where(coarse.argmax(1) == refined.argmax(1), label, IGNORE)
        if self.config.reliable < 1:
            taught = self.among_the_reliable(head_agreement(coarse, refined))
            label = torch.where(taught.view(-1, *[1] * (label.ndim - 1)), label, IGNORE)
        return label

    @torch.no_grad()
    def among_the_reliable(self, agreement: Tensor) -> Tensor:
        """Say which images (B,) agree at least as well as the reliable share of those seen lately, these included."""
        at = (self.seen + torch.arange(len(agreement), device=agreement.device)) % REMEMBERED
        known = self.agreements.index_copy(0, at, agreement)
        count = min(int(self.seen) + len(agreement), REMEMBERED)
        if self.training:
            self.agreements.copy_(known)
            self.seen += len(agreement)
        return agreement >= known[:count].quantile(1 - self.config.reliable)

    def opinions(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the teacher's coarse and refined probabilities (B, K, ...) float32."""
        output = cast(CoarseRefinedOutput, self.teacher(image))
        return output.coarse.float().softmax(1), output.refined.float().softmax(1)

    def after_step(self) -> None:
        """Move the teacher."""
        self.teacher.update(self.student)

    def predict(self, image: Tensor) -> Prediction:
        """Segment with the averaged weights' refined head; their coarse one is the second opinion."""
        coarse, refined = self.opinions(image)
        return Prediction(refined, coarse)

    def targets(self, image: Tensor) -> Tensor:
        """Return the mean of the teacher's two opinions."""
        coarse, refined = self.opinions(image)
        return (coarse + refined) / 2


def head_agreement(coarse: Tensor, refined: Tensor) -> Tensor:
    """Compute how well both heads agree on what is foreground, and how sure they are: (B,) in [0, 1].

        r = 2 sum f_c f_r / sum (f_c + f_r),   f = 1 - p_background

    Args:
        coarse, refined: (B, K, ...) probabilities.
    """
    one, other = (1 - probs[:, 0].flatten(1) for probs in (coarse, refined))
    return 2 * (one * other).sum(1) / (one + other).sum(1).clamp(min=1e-8)
