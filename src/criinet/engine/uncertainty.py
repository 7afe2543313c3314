"""How sure a model is of its own mask of an image, in a few numbers."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from criinet.data.predictions import VolumePrediction
from criinet.engine.predictor import Array, Predicted

SMOOTH = 1e-3
"""Share of the image's pixels below which an object is as good as none, in the expected Dice."""


@dataclass(frozen=True)
class Uncertainty:
    """What a model says about its own mask of one image; of a volume the mean over its slices, as viewers show them.

    expected_dice: Dice of the mask with a truth drawn from the probabilities, in [0, 1].
    entropy: mean over pixels, in [0, 1].
    disagreement: mean total variation of both opinions, in [0, 1]; NaN where the method has one.
    boundary: length of the mask's outlines over the root of the image's area: what correcting it would take.
    """

    expected_dice: float
    entropy: float
    disagreement: float
    boundary: float

    @classmethod
    def of(cls, predicted: Predicted) -> "Uncertainty":
        """Measure one prediction; that of a volume must hold its probabilities."""
        if isinstance(predicted, VolumePrediction):
            return cls.of_slices(predicted)
        mask, disagreement = predicted.mask, predicted.disagreement
        return cls(
            expected_dice=expected_dice(predicted.probs),
            entropy=float(predicted.entropy.mean()),
            disagreement=float("nan") if disagreement is None else float(disagreement.mean()),
            boundary=outline_length(mask) / float(np.sqrt(mask.size)),
        )

    @classmethod
    def of_slices(cls, predicted: VolumePrediction) -> "Uncertainty":
        """Measure every slice of a volume and take the means."""
        axes, disagreement = predicted.geometry.axes, predicted.maps.get("disagreement")
        mask, probs = axes.apply(predicted.mask), axes.apply(np.asarray(predicted.probs))
        slices = (np.ascontiguousarray(probs[:, d], np.float32) for d in range(len(mask)))
        return cls(
            expected_dice=float(np.mean([expected_dice(torch.from_numpy(one)) for one in slices])),
            entropy=float(predicted.maps["entropy"].mean()) / 255,
            disagreement=float("nan") if disagreement is None else float(disagreement.mean()) / 255,
            boundary=float(np.mean([outline_length(one) for one in mask])) / float(np.sqrt(mask[0].size)),
        )


def expected_dice(probs: Tensor) -> float:
    """Estimate the Dice of the most probable mask against a truth drawn from the probabilities themselves.

        mean over classes c > 0 that occur of (2 sum(p_c m_c) + s) / (sum(p_c) + sum(m_c) + s),  m = argmax p

    with s a thousandth of the pixels, so that an image without an object, rightly left empty, counts as 1. It is what
    the model believes, right only as far as its probabilities are calibrated.

    Args:
        probs: (K, H, W) float32, sums to 1 over classes.

    Returns:
        In [0, 1], 1 is best.
    """
    smooth = SMOOTH * probs.shape[1] * probs.shape[2]
    mask = torch.nn.functional.one_hot(probs.argmax(0), len(probs)).permute(2, 0, 1).float()
    both, total = (probs * mask).flatten(1).sum(1), (probs + mask).flatten(1).sum(1)
    scores = (2 * both + smooth) / (total + smooth)
    occurs = mask.flatten(1).any(1)
    occurs[0] = False
    return float(scores[occurs].mean() if occurs.any() else scores[1:].mean())


def outline_length(mask: Array) -> int:
    """Count the pairs of neighbouring pixels of different classes in an (H, W) mask."""
    return int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())
