"""Random boxes for copy and paste, in images and volumes, from torch's global random numbers."""

import torch
from torch import Tensor


def random_boxes(fractions: Tensor, sides: torch.Size) -> Tensor:
    """Draw one box for each image, anywhere inside it.

    Args:
        fractions: (B, dims) sides of the boxes, as shares of the image's sides, in [0, 1].
        sides: the image's sides in pixels.

    Returns:
        (B, 1, ...) bool, True inside the box; a side is rounded to whole pixels, at least one.
    """
    count, dims = fractions.shape
    inside = torch.ones(count, 1, *sides, dtype=torch.bool, device=fractions.device)
    for axis, side in enumerate(sides):
        length = (fractions[:, axis] * side).round().clamp(min=1)
        start = (torch.rand(count, device=fractions.device) * (side - length + 1)).floor()
        place = torch.arange(side, device=fractions.device)
        along = (place >= start.unsqueeze(1)) & (place < (start + length).unsqueeze(1))
        inside &= along.view(count, 1, *[side if i == axis else 1 for i in range(dims)])
    return inside


def random_aspects(like: Tensor, share: float) -> Tensor:
    """Draw the sides of boxes that cover ``share`` of their images: long and thin, or like the image.

        side_i = share^(e_i),   e uniform among non-negative numbers that sum to 1

    Args:
        like: (B, C, ...) images, for their count, dimensions and device.
        share: of the image's area or volume, in (0, 1].

    Returns:
        (B, dims) shares of the image's sides.

    Reference: French et al., BMVC 2020, arXiv 1906.01916: the CutMix boxes of its code, there in two dimensions.
    """
    parts = -torch.rand(len(like), like.ndim - 2, device=like.device).clamp(min=1e-7).log()
    return share ** (parts / parts.sum(1, keepdim=True))
