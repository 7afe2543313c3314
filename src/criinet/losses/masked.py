"""A consistency of selected pixels."""

import torch
from torch import Tensor

from criinet.errors import ShapeError


def masked_mean_squared(probs: Tensor, target_probs: Tensor, valid: Tensor) -> Tensor:
    """Compute the mean squared difference of two probability maps at valid pixels; no gradient reaches the target.

        loss = sum over valid pixels and classes of (p - stopgrad(q))^2 / (K max(number of valid pixels, 1))

    Args:
        probs: (B, K, ...) probabilities of the student.
        target_probs: (B, K, ...) probabilities of the teacher, detached here.
        valid: (B, ...) bool, the pixels that count.

    Returns:
        Scalar in [0, 1]; 0 is best. Zero, with a gradient of zero, if no pixel is valid.

    Raises:
        ShapeError: if the shapes do not fit.

    Reference: Yu et al., MICCAI 2019, arXiv 1907.07034, eq. 3.
    Differs: divided by the number of classes, which is the 2 of their code for two classes.
    """
    if probs.shape != target_probs.shape or probs.shape[:1] + probs.shape[2:] != valid.shape:
        shapes = [tuple(part.shape) for part in (probs, target_probs, valid)]
        raise ShapeError(f"probabilities {shapes[0]}, their targets {shapes[1]} and valid pixels {shapes[2]} differ.")
    squared = (probs.float() - target_probs.detach().float()).square()
    selected = torch.where(valid.unsqueeze(1), squared, 0.0)
    return selected.sum() / (probs.shape[1] * valid.sum().clamp(min=1))
