"""The largest connected component of every class."""

import numpy as np
import torch
from torch import Tensor

from criinet.components import largest_component


def largest_components(label: Tensor, classes: int) -> Tensor:
    """Keep the largest connected component of every foreground class; what else was foreground is background.

    Args:
        label: (B, ...) int64 in [0, K); of a GPU's it waits for the values, as components are found on the CPU.
        classes: K.

    Returns:
        (B, ...) int64, on the device of ``label``.

    Reference: Bai et al., CVPR 2023, arXiv 2305.00673, section 3.
    """
    given = label.cpu().numpy()
    kept = np.zeros_like(given)
    for image, largest in zip(given, kept, strict=True):
        for c in range(1, classes):
            largest[largest_component(image == c)] = c
    return torch.from_numpy(kept).to(label.device)
