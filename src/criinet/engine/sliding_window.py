"""Overlapping windows that cover an image or a volume of any size, and what is said of them, blended."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from criinet.data.fitting import corners_of, cut, gaussian_window
from criinet.data.settings import DataConfig

BATCH = 8
BATCH_VOXELS = 2**19
"""Windows of volumes go through the network at most BATCH, and about so many voxels, at a time."""


class SlidingWindow:
    """Covers (C, d, h, w) by windows of the training size; d is 1 for an image.

    Args:
        data: what the network sees, as in training.

    Attributes:
        box: sides (d, h, w) of a window; d is 1 for an image.
        flat: whether the network takes single slices.
    """

    def __init__(self, data: DataConfig) -> None:
        images = data.kind == "images"
        self.box: tuple[int, ...] = (1, *data.size) if images else data.box
        self.flat = self.box[0] == 1 and data.dims == 2
        self.batch = BATCH if images else max(1, min(BATCH, BATCH_VOXELS // math.prod(self.box)))

    def batches(self, sides: Sequence[int]) -> list[list[tuple[int, ...]]]:
        """Return where the windows on (d, h, w) start, as many at a time as go through the network together."""
        corners = corners_of(sides, self.box)
        return [corners[first : first + self.batch] for first in range(0, len(corners), self.batch)]

    def crops(self, pixels: Tensor, corners: Sequence[Sequence[int]]) -> Tensor:
        """Cut windows out of (C, d, h, w) uint8, as the network takes them: (B, C, ...) float32 in [0, 1]."""
        crops = [pixels[(slice(None), *cut(corner, self.box))].float() / 255 for corner in corners]
        return torch.stack([crop.squeeze(1) if self.flat else crop for crop in crops])

    def blend(self, apply: Callable[[Tensor], Tensor], pixels: Tensor) -> Iterator[Tensor]:
        """Apply a function to all windows, and blend what it returns by a Gaussian, slab by slab.

        Args:
            apply: from (B, C, ...) to (opinions, B, K, ...) float32 probabilities on the CPU.
            pixels: (C, d, h, w) uint8, at least as large as a window.

        Yields:
            (opinions, K, n, h, w) float32 probabilities of the next n slices.
        """
        sides = pixels.shape[1:]
        weight = torch.from_numpy(gaussian_window(self.box))
        done, blended, total = 0, torch.zeros(0), torch.zeros(0, *sides[1:])
        batches = self.batches(sides)
        for number, some in enumerate(batches):
            opinions = apply(self.crops(pixels, some))
            missing = some[-1][0] + self.box[0] - done - total.shape[0]
            if missing > 0:
                total = torch.cat([total, torch.zeros(missing, *sides[1:])])
                fresh = torch.zeros(len(opinions), opinions.shape[2], missing, *sides[1:])
                blended = fresh if blended.ndim == 1 else torch.cat([blended, fresh], dim=2)
            for i, corner in enumerate(some):
                place = cut((corner[0] - done, *corner[1:]), self.box)
                total[place] += weight
                said = opinions[:, i].unsqueeze(2) if self.flat else opinions[:, i]
                blended[(slice(None), slice(None), *place)] += said * weight
            after = batches[number + 1][0][0] if number + 1 < len(batches) else sides[0]
            if after > done:
                ready = after - done
                yield blended[:, :, :ready] / total[:ready]
                blended, total, done = blended[:, :, ready:].clone(), total[ready:].clone(), after
