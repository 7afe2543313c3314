"""What a prediction becomes when it is taught: its sure pixels, its sharpened probabilities."""

import torch
from torch import Tensor
from torch.nn import functional as F

from criinet.labels import IGNORE
from criinet.losses.segmentation import check_shapes


def confident_labels(probs: Tensor, threshold: float) -> Tensor:
    """Return the most probable class of every confident pixel, IGNORE elsewhere; never a gradient.

        y = argmax_c p_c  where  max_c p_c >= threshold

    A pixel that is not confident is left out. It does not become background, as it does in some public code.

    Args:
        probs: (B, K, ...) probabilities.
        threshold: in [0, 1]; 0 takes every pixel.

    Returns:
        (B, ...) int64.
    """
    confidence, label = probs.detach().max(1)
    return torch.where(confidence >= threshold, label, IGNORE)


def cross_entropy_over_all(logits: Tensor, label: Tensor) -> Tensor:
    """Compute the cross-entropy of the pixels that have a label, divided by the number of all pixels.

        loss = sum over labeled pixels of CE / (number of pixels, labeled or not)

    So a batch with few sure pixels weighs little.

    Args:
        logits: (B, K, ...) before softmax; computed in float32.
        label: (B, ...) int64; IGNORE is left out of the sum.

    Returns:
        Scalar >= 0; 0 is best.

    Raises:
        ShapeError: if batch or spatial axes differ.

    Reference: Sohn et al., NeurIPS 2020, arXiv 2001.07685, eq. 4.
    """
    check_shapes(logits, label)
    return F.cross_entropy(logits.float(), label, ignore_index=IGNORE, reduction="sum") / label.numel()


def sharpen(probs: Tensor, temperature: float) -> Tensor:
    """Make probabilities surer: ``q_c = p_c^(1/T) / sum_k p_k^(1/T)``.

    Args:
        probs: (B, K, ...) probabilities.
        temperature: T in (0, 1]; 1 changes nothing.

    Returns:
        (B, K, ...) probabilities, with the gradient of ``probs``.

    Reference: Berthelot et al., NeurIPS 2019, arXiv 1905.02249, eq. 7.
    Differs: computed from logarithms, so that no power of a small number vanishes.
    """
    return (probs.clamp(min=1e-8).log() / temperature).softmax(1)
