"""CRII-Net: coarse-refined consistency, and ranked losses on pixels at boundaries and on patches across images."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from criinet.config import LossWeights, Ramp
from criinet.losses import ConsistencyTarget
from criinet.methods.coarse_refined import CoarseRefinedConfig, CoarseRefinedMethod
from criinet.types import LabeledBatch, UnlabeledBatch


class CRIINet(CoarseRefinedMethod):
    """Coarse-refined consistency learning with pixel-level features.

        L = mean_s sup(p_s, y) + sup(p_r, y) + l1 Intra + l2 Inter + w(t) mean_s L_con(p_s),    s = 1 .. S           [C]

        mean_s: each scale counts half as much as the next finer one                                                 [C]

        sup   = (cross-entropy + soft Dice) / 2                                                                      [C]
        L_con = mean over unlabeled pixels of (p_s - stopgrad(p_r))^2        [A: the constraint; C: its form]
        Intra = ranked list loss of boundary pixels inside one patch         [A: pixel-wise, boundaries; I: the loss]
        Inter = ranked list loss of patch descriptors across images          [A: patch-wise, low contrast; I: the loss]
        w(t)  = w_max exp(-5 (1 - min(t, t_r) / t_r)^2), t a fraction of the run                                     [C]

    Coarse heads read the S finest scales of the network, as in URPC (arXiv 2012.07042), and learn from labels and from
    the refined one. p_c = p_1 is the finest, and the only one that prediction needs.  [C]
    The refined head sees what the coarse one does not: how like each pixel is to what is sure in the same image.  [C]
    Both ranked losses learn from labeled images only, at the resolution of the decoder feature. The prediction is p_r.
    Marks: [A] stated by the paper's abstract, [I] inferred from it, [C] our choice, to be ablated.

    Reference: Du, Zhang, Liu, Wang, IEEE JBHI 27(8):3970-3981, 2023, doi 10.1109/JBHI.2023.3278741.
    Differs: the abstract alone is open and no code was published, so no formula here is claimed to be the paper's own.
    """

    class Config(CoarseRefinedConfig):
        """Settings of CRII-Net."""

        target: Annotated[
            ConsistencyTarget, Field(description="which output gets no gradient from the consistency")
        ] = "refined"
        weights: LossWeights = {
            "supervised_coarse": 1.0,
            "supervised_refined": 1.0,
            "intra": 0.1,
            "inter": 0.1,
            "consistency": Ramp(to=1.0, over=0.4),
        }

    summary = "coarse-refined consistency and ranked losses at boundaries and across images"
    reference = "Du et al., IEEE JBHI 2023, doi 10.1109/JBHI.2023.3278741"
    views = ("weak",)
    unlabeled_terms = ("consistency",)
    recordable = True
    config: Config

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the two supervised terms, ``intra``, ``inter`` and ``consistency``."""
        output, coarse = self.at_scales(unlabeled.weak)
        consistency = self.consistency(coarse, output.refined, self.config.target)
        return {**self.labeled_losses(labeled), "consistency": consistency}
