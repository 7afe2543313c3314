"""Where a pixel becomes an object: a shift of the logits, chosen on validation cases."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from criinet.data.store import Store
from criinet.labels import IGNORE

SHIFTS = tuple(step / 2 for step in range(-6, 7))
"""What is tried, in nats."""
FEWEST = 8
"""Validation cases below which nothing is shifted: their spread says too little."""


def shifted(probs: Tensor, shift: float) -> Tensor:
    """Return probabilities whose objects' logits are larger by ``shift``.

        p'_c = p_c e^(b [c > 0]) / sum_k p_k e^(b [k > 0])

    The prediction with the best expected Dice does not ask which class is the most probable one, but takes what reaches
    a probability of half that Dice; and a network that learned from a few masks is often too timid, or too bold, as a
    whole. A shift above 0 makes more of an image an object.

    Args:
        probs: (B, K, ...) sums to 1 over classes, background first.
        shift: b, in nats; 0 returns ``probs`` as they are.

    Reference: Saerens et al., Neural Computation 14(1), 2002 (adjusting outputs to other class frequencies); Lipton et
    al., ECML PKDD 2014, arXiv 1402.1892 (the threshold that is best for F1, which is Dice).
    """
    if shift == 0:
        return probs
    gain = torch.tensor([1.0, *[torch.e**shift] * (probs.shape[1] - 1)], device=probs.device)
    raised = probs * gain.view(1, -1, *[1] * (probs.ndim - 2))
    return raised / raised.sum(1, keepdim=True)


def dice_by_shift(probs: Tensor, target: Tensor) -> Tensor:
    """Return the Dice of every foreground class of every case under each of SHIFTS: (B, S, K - 1).

    NaN where a class is in neither. Pixels without ground truth count in neither.

    Args:
        probs: (B, K, ...). target: (B, ...) int64 class indices, or IGNORE.
    """
    logs = probs.clamp(min=torch.finfo(probs.dtype).tiny).log()
    objects, which = logs[:, 1:].max(1)
    needed = logs[:, 0] - objects  # Of the shift, before a pixel becomes an object.
    return torch.stack([dice_by_class((which + 1) * (needed < b), target, probs.shape[1]) for b in SHIFTS], dim=1)


@torch.no_grad()
def dice_of_images(store: Store, probs_of: Callable[[Tensor], Tensor], device: torch.device | str = "cpu") -> Tensor:
    """Return the Dice (N, S, K - 1) of all stored images, at training size, a few at a time.

    Args:
        store: with masks; window "whole".
        probs_of: the probabilities (B, K, ...) of (B, C, ...) images on ``device``.
    """
    found: list[Tensor] = []
    for start in range(0, len(store), 8):
        image, target = store.draw(range(start, min(start + 8, len(store))), np.random.default_rng(start))
        assert target is not None
        found.append(dice_by_shift(probs_of(image.to(device)), target.to(device)))
    return torch.cat(found)


def dice_by_class(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """Return the Dice of every foreground class of every case: (B, K - 1), NaN where both are empty.

    Pixels without ground truth count in neither.
    """
    scores: list[Tensor] = []
    known = (target != IGNORE).flatten(1)
    for c in range(1, classes):
        p, t = (predicted == c).flatten(1) & known, ((target == c).flatten(1))
        total = p.sum(1) + t.sum(1)
        dice = 2 * (p & t).sum(1) / total.clamp(min=1)
        scores.append(torch.where(total > 0, dice, torch.nan))
    return torch.stack(scores, dim=1)


def choose_shift(dice: Tensor) -> float:
    """Return the smallest shift that is as good as the best one, as far as these cases can tell.

    As good: its mean Dice is at most one standard error of the cases' differences below that of the best one. A class
    that is rightly found nowhere counts as Dice 1. Fewer than FEWEST cases: 0.

    Limitation: the standard error takes cases as independent. Slices of few patients are alike, so it is too small for
    them, and a shift is chosen where patients as units would have left 0.

    Args:
        dice: (N, S, K - 1) as ``dice_by_shift`` returns it.

    Reference: the rule of one standard error of Breiman et al., Classification and Regression Trees, 1984.
    """
    if len(dice) < FEWEST:
        return 0.0
    score = dice.nan_to_num(nan=1.0).mean(2)
    loss = score[:, score.mean(0).argmax()].unsqueeze(1) - score
    good = loss.mean(0) <= loss.std(0) / len(loss) ** 0.5
    return min((b for b, is_good in zip(SHIFTS, good.tolist(), strict=True) if is_good), key=abs)
