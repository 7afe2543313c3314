"""Losses between logits or probabilities and targets, pixel by pixel."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from criinet.errors import ShapeError
from criinet.labels import IGNORE


def soft_dice_loss(probs: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Compute one minus the soft Dice of each foreground class over the whole batch, averaged over classes.

        loss = mean_{c > 0} 1 - (2 sum p_c y_c + s) / (sum p_c + sum y_c + s),   sums over batch and valid pixels

    Args:
        probs: (B, K, ...) probabilities, float.
        target: (B, ...) int64 class indices; IGNORE is left out.
        smooth: s > 0, in pixels; keeps classes that are absent from batch and prediction at loss 0.

    Returns:
        Scalar in [0, 1); 0 is best.

    Raises:
        ShapeError: if batch or spatial axes differ.

    Reference: Milletari et al., 3DV 2016, arXiv 1606.04797, eq. 1.
    Differs: sums instead of sums of squares below the line; background is left out; sums run over the batch.
    """
    probs, truth, axes = _on_valid_pixels(probs, target)
    overlap = 2 * (probs * truth).sum(axes) + smooth
    total = probs.sum(axes) + truth.sum(axes) + smooth
    return (1 - overlap / total)[1:].mean()


def squared_dice_loss(probs: Tensor, target: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """Compute one minus the soft Dice with squares below the line, averaged over all classes: for pseudo-labels.

        loss = mean_c 1 - (2 sum p_c y_c + s) / (sum p_c^2 + sum y_c + s),   sums over batch and valid pixels

    Where a class is absent from the target, the gradient of its term is 2 p s / (sum p^2 + s)^2, next to nothing unless
    the class is all but gone. ``soft_dice_loss`` presses such a class down, which is right where a person labeled every
    pixel and wrong for pseudo-labels that leave out what is not sure: rare classes would be taught away before they
    are ever sure.

    Args:
        probs: (B, K, ...) probabilities, float.
        target: (B, ...) int64 class indices; IGNORE is left out.
        smooth: s > 0, in pixels.

    Returns:
        Scalar in [0, 1); 0 is best, and what is returned if no pixel is valid.

    Raises:
        ShapeError: if batch or spatial axes differ.

    Reference: Milletari et al., 3DV 2016, arXiv 1606.04797, eq. 1, in the form of the public code of UniMatch (arXiv
    2208.09910) and of Cross Teaching (arXiv 2112.04894).
    """
    probs, truth, axes = _on_valid_pixels(probs, target)
    overlap = 2 * (probs * truth).sum(axes) + smooth
    total = probs.square().sum(axes) + truth.sum(axes) + smooth
    return (1 - overlap / total).mean()


def _on_valid_pixels(probs: Tensor, target: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """Return probabilities and one-hot target, both zero where the target is IGNORE, and the axes but the classes.

    Both are float32: half precision has no room for sums over pixels.
    """
    check_shapes(probs, target)
    probs = probs.float()
    valid = (target != IGNORE).unsqueeze(1)
    truth = F.one_hot(target.clamp(min=0), probs.shape[1]).movedim(-1, 1).to(probs.dtype) * valid
    return probs * valid, truth, [0, *range(2, probs.ndim)]


def cross_entropy_dice(
    logits: Tensor, target: Tensor, dice: Callable[[Tensor, Tensor], Tensor] = soft_dice_loss
) -> Tensor:
    """Compute the supervised loss of the field, (cross-entropy + soft Dice) / 2, in float32.

    Args:
        logits: (B, K, ...) before softmax.
        target: (B, ...) int64 class indices; IGNORE is left out.
        dice: ``squared_dice_loss`` where the target is pseudo-labels.

    Returns:
        Scalar >= 0; 0 is best. Zero, with a gradient of zero, if no pixel is valid.

    Raises:
        ShapeError: if batch or spatial axes differ.
    """
    check_shapes(logits, target)
    logits = logits.float()
    pixels = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum")
    cross_entropy = pixels / (target != IGNORE).sum().clamp(min=1)
    return (cross_entropy + dice(logits.softmax(1), target)) / 2


def mean_squared(probs: Tensor, target_probs: Tensor) -> Tensor:
    """Compute the mean squared difference of two probability maps; gradients never reach the target.

        loss = mean over batch, classes and pixels of (p - stopgrad(q))^2

    Args:
        probs: (B, K, ...) probabilities of the student.
        target_probs: (B, K, ...) probabilities of the teacher, detached here.

    Returns:
        Scalar in [0, 1]; 0 is best.

    Raises:
        ShapeError: if the shapes differ.
    """
    if probs.shape != target_probs.shape:
        raise ShapeError(f"probabilities {tuple(probs.shape)} and their targets {tuple(target_probs.shape)} differ.")
    return F.mse_loss(probs.float(), target_probs.detach().float())


def check_shapes(scores: Tensor, target: Tensor) -> None:
    """Raise ShapeError unless (B, K, ...) scores fit (B, ...) targets."""
    if scores.shape[:1] + scores.shape[2:] != target.shape:
        raise ShapeError(f"scores of shape {tuple(scores.shape)} do not fit targets of shape {tuple(target.shape)}.")


def entropy(probs: Tensor) -> Tensor:
    """Compute the entropy of (B, K, ...) probabilities, divided by ln K: (B, ...) in [0, 1], 1 is least sure.

    A probability that is 0 counts nothing and has no gradient, where that of -p ln p would be infinite.
    """
    probs = probs.float()
    terms = (torch.special.entr(probs.clamp(min=torch.finfo(torch.float32).tiny)) * (probs > 0)).sum(1)
    return terms / math.log(probs.shape[1])
