"""Products that stay in float32 where autocast would take fewer digits."""

import torch
from torch import Tensor


def product_in_float32(left: Tensor, right: Tensor) -> Tensor:
    """Compute the matrix product (..., N, E) @ (..., E, M) in float32, under autocast too.

    Distances and means of embeddings are differences of nearly equal numbers, of which bfloat16 leaves no digit.
    """
    with torch.autocast(left.device.type, enabled=False):
        return left.float() @ right.float()
