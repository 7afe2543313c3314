"""Random changes of images and of encoder features, by torch's global random numbers, in images and volumes."""

import torch
from torch import Tensor
from torch.nn import functional as F


def clipped_noise(image: Tensor, sd: float) -> Tensor:
    """Draw Gaussian noise of ``sd``, clipped at twice that; for volumes in units of each one's standard deviation."""
    noise = (torch.randn_like(image) * sd).clamp(-2 * sd, 2 * sd)
    volumes = image.ndim == 5
    return noise * image.flatten(1).std(1).view(-1, 1, 1, 1, 1) if volumes else noise


def feature_noise(feature: Tensor, half_width: float) -> Tensor:
    """Multiply every value by one plus uniform noise in [-half_width, half_width]."""
    return feature * (1 + half_width * (2 * torch.rand_like(feature) - 1))


def drop_channels(feature: Tensor, probability: float) -> Tensor:
    """Set whole channels of (B, C, ...) to zero and enlarge the others to keep the mean."""
    return F.dropout2d(feature, probability) if feature.ndim == 4 else F.dropout3d(feature, probability)


def drop_active(feature: Tensor, least: float, largest: float) -> Tensor:
    """Set the most active pixels of (B, C, ...) to zero, a share drawn anew for each call, the same in all images.

    A pixel is as active as the mean over channels of its absolute values.
    """
    activity = feature.detach().abs().mean(1, keepdim=True)
    share = float(torch.empty(()).uniform_(least, largest))
    flat = activity.flatten(1)
    kept = flat.shape[1] - round(share * flat.shape[1])
    if kept == 0:
        return torch.zeros_like(feature)
    limit = flat.float().kthvalue(kept, dim=1).values
    return feature * (activity <= limit.view(-1, *[1] * (feature.ndim - 1)))
