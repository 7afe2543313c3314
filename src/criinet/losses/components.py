"""Connected components on any device, without leaving it."""

import torch
from torch import Tensor
from torch.nn import functional as F

EXACT = {torch.float32: 2**24, torch.float64: 2**53}
"""How far each kind of number counts without a gap."""


def connected_components(mask: Tensor) -> Tensor:
    """Name the connected components of every mask; pixels that touch at a corner are connected.

    Every pixel points to one of its component, at first to itself. In each round trees of pointers are hooked onto
    their neighbours' and shortened, so that a number of rounds like the logarithm of the longest path is enough.

    Args:
        mask: (B, ...) bool, images or volumes.

    Returns:
        (B, ...) int64: 0 outside the mask, inside it the same positive number for all pixels of a component.

    Reference: Zhang, Azad & Hu, SIAM PP 2020, arXiv 1910.05971, algorithm 2.
    Differs: the largest number wins; neighbours are looked up by max pooling.
    """
    flat = mask.flatten(1)
    pixels = flat.shape[1]
    exact = torch.float32 if pixels < EXACT[torch.float32] else torch.float64
    pool = F.max_pool2d if mask.ndim == 3 else F.max_pool3d
    parent = F.pad(torch.arange(1, pixels + 1, device=mask.device) * flat, (1, 0))
    while True:
        above = parent.gather(1, parent)
        image = above[:, 1:].to(exact).view_as(mask).unsqueeze(1)
        near = F.pad(pool(image, 3, stride=1, padding=1).flatten(1).long() * flat, (1, 0))
        hooked = parent.scatter_reduce(1, parent, near, "amax")
        hooked[:, 0] = 0
        hooked = torch.maximum(hooked, torch.maximum(near, above))
        if torch.equal(hooked, parent):
            return parent[:, 1:].view_as(mask)
        parent = hooked


def largest_component(mask: Tensor) -> Tensor:
    """Keep the component of every (B, ...) bool mask that has most pixels; of two equal ones, one of them."""
    names = connected_components(mask).flatten(1)
    sizes = torch.zeros(len(names), names.shape[1] + 1, dtype=torch.int64, device=mask.device)
    sizes.scatter_add_(1, names, torch.ones_like(names))
    sizes[:, 0] = 0
    return (names == sizes.argmax(1, keepdim=True)).view_as(mask) & mask


def largest_components(label: Tensor, classes: int) -> Tensor:
    """Keep the largest connected component of every foreground class; what else was foreground is background.

    Args:
        label: (B, ...) int64 in [0, K).
        classes: K.

    Returns:
        (B, ...) int64.

    Reference: Bai et al., CVPR 2023, arXiv 2305.00673, section 3.
    """
    kept = torch.zeros_like(label)
    for c in range(1, classes):
        kept = torch.where(largest_component(label == c), c, kept)
    return kept
