"""Losses of predictions made at several scales."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from criinet.errors import ShapeError


def uncertainty_rectified_consistency(logits: Sequence[Tensor]) -> Tensor:
    """Bring several predictions of one image to their mean, less so where they are far from it.

        p_bar = mean_s p_s,   D_s = sum_c p_bar_c (ln p_bar_c - ln p_s_c)
        loss  = mean_s ( mean[exp(-D_s) (p_bar - p_s)^2] / mean[exp(-D_s)] + mean D_s )

    Means run over batch, pixels, and classes where there are any. D is the divergence over the classes of one pixel.
    Gradients reach both sides of every difference.

    Args:
        logits: S tensors (B, K, ...) before softmax, all of one shape; computed in float32.

    Returns:
        Scalar >= 0; 0 is best: all scales agree.

    Raises:
        ShapeError: if there is none, or the shapes differ.

    Reference: Luo et al., MICCAI 2021, arXiv 2012.07042.
    Differs: the direction of D is that of the authors' code; computed from logarithms, and weights are shifted to
    a largest of 1, which the quotient does not feel, so that nothing is divided by zero.
    """
    if len({scale.shape for scale in logits}) != 1:
        raise ShapeError(f"scales of shapes {[tuple(scale.shape) for scale in logits]} are not of one shape.")
    log_probs = torch.stack([scale.float().log_softmax(1) for scale in logits])
    log_mean = log_probs.logsumexp(0) - math.log(len(log_probs))
    mean = log_mean.exp()
    divergence = (mean * (log_mean - log_probs)).sum(2).clamp(min=0)
    least = divergence.detach().flatten(1).amin(1).view(-1, *[1] * (divergence.ndim - 1))
    trust = torch.exp(least - divergence)
    apart = (mean - log_probs.exp()).square().mean(2)
    pixels = tuple(range(1, trust.ndim))
    return ((trust * apart).mean(pixels) / trust.mean(pixels) + divergence.mean(pixels)).mean()


def deep_supervision(losses: Iterable[Tensor]) -> Tensor:
    """Return the mean of the losses of several scales, each of which weighs half as much as the next finer one.

        L = sum_s w_s L_s / sum_s w_s,   w_s = 2^-s,   s = 0 (finest) .. S - 1

    What is thin or small cannot be drawn on a coarse grid, so its loss stays high there whatever the features are. With
    equal weights that would be most of what the shared features are taught.

    Args:
        losses: S scalars, of the finest scale first.

    Returns:
        Scalar, that of the finest scale if it is alone.

    Raises:
        ShapeError: if there is none.

    Reference: Isensee et al., Nature Methods 18, 2021, doi 10.1038/s41592-020-01008-z (nnU-Net).
    Differs: nnU-Net leaves out the two coarsest scales; here the caller says which there are.
    """
    each = list(losses)
    if not each:
        raise ShapeError("there is no loss of any scale.")
    of_scales = torch.stack(each)
    weights = 0.5 ** torch.arange(len(of_scales), device=of_scales.device, dtype=of_scales.dtype)
    return (weights * of_scales).sum() / weights.sum()
