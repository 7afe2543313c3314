"""A small network that guesses whether a segmentation is one of a labeled image."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from criinet.methods.stateless import apply_constant
from criinet.networks.base import CONV

WIDTH = 16
"""Channels of the first convolution; doubled by each further one."""


class Discriminator(nn.Module):
    """Three strided 3x3 convolutions with leaky ReLUs, the mean over all pixels, and a linear score.

        s(m, x) = linear(mean of conv(conv(conv([m, gray(x)])))),   s > 0: "x has a label"

    No batch normalisation, so labeled and unlabeled images never share statistics. Works on any size and both
    dimensions.

    Args:
        dims: 2 or 3.
        channels: of the segmentation m.
    """

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        widths = [channels + 1, WIDTH, 2 * WIDTH, 4 * WIDTH]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [CONV[dims](inputs, outputs, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.score = nn.Linear(widths[-1], 1)

    def forward(self, segmentation: Tensor, image: Tensor) -> Tensor:
        """Score (B, channels, ...) maps on (B, C, ...) images: (B,)."""
        both = torch.cat([segmentation, image.mean(1, keepdim=True)], dim=1)
        return self.score(self.layers(both).flatten(2).mean(2)).squeeze(1)


def to_fool(discriminator: Discriminator, segmentation: Tensor, image: Tensor) -> Tensor:
    """Compute how surely segmentations of unlabeled images are found out: mean of ``-ln sigmoid(s)``.

    The discriminator is a constant here: the gradient reaches the segmentation alone.
    """
    return F.softplus(-apply_constant(discriminator, segmentation, image)).mean()


def to_tell_apart(
    discriminator: Discriminator, of_labeled: tuple[Tensor, Tensor], of_unlabeled: tuple[Tensor, Tensor]
) -> Tensor:
    """Compute the discriminator's own loss, the mean binary cross-entropy of both kinds; each counts one half.

    Segmentations are constants here: the gradient reaches the discriminator alone.

    Args:
        of_labeled, of_unlabeled: segmentations and their images.
    """
    real = discriminator(of_labeled[0].detach(), of_labeled[1])
    other = discriminator(of_unlabeled[0].detach(), of_unlabeled[1])
    return (F.softplus(-real).mean() + F.softplus(other).mean()) / 2
