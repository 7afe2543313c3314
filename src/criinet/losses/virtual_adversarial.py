"""The small change of an image that changes its prediction most."""

from collections.abc import Callable

import torch
from torch import Tensor

from criinet.errors import ShapeError


def dice_distance(probs: Tensor, target_probs: Tensor, *, smooth: float = 1e-6) -> Tensor:
    """Compute one minus the soft Dice of two probability maps, averaged over all classes.

        loss = mean_c 1 - (2 sum p_c q_c + s) / (sum p_c^2 + sum q_c^2 + s),   sums over batch and pixels

    With squares below the line two equal maps are at distance 0, however unsure they are. Gradients never reach q.

    Args:
        probs, target_probs: (B, K, ...) probabilities; computed in float32.
        smooth: s > 0.

    Returns:
        Scalar in [0, 1]; 0 is best.

    Raises:
        ShapeError: if the shapes differ.

    Reference: Milletari et al., 3DV 2016, arXiv 1606.04797, eq. 1.
    """
    if probs.shape != target_probs.shape:
        raise ShapeError(f"probabilities {tuple(probs.shape)} and their targets {tuple(target_probs.shape)} differ.")
    p, q = probs.float(), target_probs.detach().float()
    axes = [0, *range(2, p.ndim)]
    overlap = 2 * (p * q).sum(axes) + smooth
    return (1 - overlap / (p.square().sum(axes) + q.square().sum(axes) + smooth)).mean()


def virtual_adversarial_change(
    distance: Callable[[Tensor], Tensor], image: Tensor, *, radius: float, steps: int = 1
) -> Tensor:
    """Find a change of given size that moves a prediction far, by following the gradient from a random change.

        r <- size(x) g / rms(g),   g = gradient of distance(x + r) in r,   size(x) = radius * sd(x)

    Args:
        distance: maps changed images (B, C, ...) to a scalar, how far their predictions are from those of ``image``.
            Called with gradients on, for the change alone; no gradient is left on any parameter, but what ``distance``
            changes besides (running statistics) stays changed.
        image: (B, C, ...) float.
        radius: root mean square of the change, in standard deviations of the image.
        steps: gradient steps, each a forward and a backward pass.

    Returns:
        (B, C, ...) the change r, without gradient; 0 for images without any contrast.

    Reference: Miyato et al., TPAMI 2018, arXiv 1704.03976, section 3.3.
    Differs: size by root mean square and the image's own contrast, so that it means the same for any number of pixels;
    the gradient is taken at the size of the result instead of a separate small one.
    """
    around = (-1, *[1] * (image.ndim - 1))
    size = radius * image.detach().flatten(1).std(1).view(around)
    change = size * unit(torch.randn_like(image))
    for _ in range(steps):
        change.requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(distance(image.detach() + change), change)
        change = size * unit(gradient.detach())
    return change


def unit(x: Tensor) -> Tensor:
    """Scale each image of (B, C, ...) to root mean square 1; zeros stay."""
    around = (-1, *[1] * (x.ndim - 1))
    x = x / x.abs().flatten(1).amax(1).clamp(min=1e-30).view(around)
    return x / x.square().flatten(1).mean(1).sqrt().clamp(min=1e-12).view(around)
