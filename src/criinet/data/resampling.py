"""From a volume's own voxels to those that the network is trained on, and back. Arrays are (D, H, W)."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from criinet.data.fitting import pad
from criinet.data.formats import Volume
from criinet.data.grid import TRUE_SIZE, Grid, grid_of, oversize
from criinet.data.images import Pixels
from criinet.data.intensity import limits_of, to_gray
from criinet.data.settings import DataConfig
from criinet.errors import DataError

CHUNK = 2**22
"""About so many voxels are floating-point numbers at a time."""


def fit_volume(volume: Volume, config: DataConfig) -> tuple[Pixels, Grid]:
    """Bring a volume to gray values on the training grid, padded to the window: (d, h, w) uint8.

    Raises:
        DataError: if that grid has more than MAX_VOXELS voxels; ``require_grid`` names the file.
    """
    if what := oversize(volume, config.spacing):
        raise DataError(f"a volume {what}. {TRUE_SIZE}.")
    grid = grid_of(volume, config.spacing)
    gray = to_gray(volume.values, limits_of(volume, config.intensity, config.range))
    return pad(to_grid(gray, grid), config.box), grid


def to_grid(gray: Pixels, grid: Grid) -> Pixels:
    """Resample gray values as stored linearly, with anti-aliasing where they shrink, to the training grid.

    Args:
        gray: stored (D, H, W) uint8.
    """
    array = np.ascontiguousarray(grid.axes.apply(gray))
    depth, height, width = grid.shape
    if array.shape[1:] != (height, width):
        planes = np.empty((array.shape[0], height, width), np.uint8)
        step = max(1, CHUNK // max(array.shape[1] * array.shape[2], height * width))
        for start in range(0, len(array), step):
            planes[start : start + step] = _resized(array[start : start + step], (height, width))
        array = planes
    if array.shape[0] != depth:
        upright = np.empty((depth, height, width), np.uint8)
        step = max(1, CHUNK // (max(array.shape[0], depth) * width))
        for start in range(0, height, step):
            rows = np.ascontiguousarray(array[:, start : start + step].transpose(1, 0, 2))
            upright[:, start : start + step] = _resized(rows, (depth, width)).transpose(1, 0, 2)
        array = upright
    return array


def _resized(planes: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize (N, H, W) uint8 linearly with anti-aliasing."""
    values = torch.from_numpy(planes).unsqueeze(1).float()
    return antialiased(values, size).squeeze(1).round().clamp(0, 255).to(torch.uint8).numpy()


def labels_to_grid(labels: np.ndarray, grid: Grid) -> np.ndarray:
    """Resample class indices as stored to the training grid by the nearest voxel; any integer dtype."""
    array = grid.axes.apply(labels)
    nearest = [
        np.minimum((np.arange(new) + 0.5) * old // new, old - 1).astype(np.intp)
        for old, new in zip(grid.source, grid.shape, strict=True)
    ]
    return np.ascontiguousarray(array[np.ix_(*nearest)])


def from_grid(chunks: Iterable[Tensor], grid: Grid) -> Iterator[tuple[int, Tensor]]:
    """Bring probabilities back to the volume's own voxels, slab by slab, so that memory does not grow with its depth.

    Args:
        chunks: (N, n, h, w) float32 slices of the training grid, from the first to the last.

    Yields:
        (first slice, (N, m, H, W) float32) in the viewer's order.
    """
    depth, (source, height, width) = grid.shape[0], grid.source
    place = ((np.arange(source) + 0.5) * depth / source - 0.5).clip(0, depth - 1)
    below = np.floor(place + 1e-9).astype(int)
    share = np.clip(place - below, 0, 1)
    above = np.where(share > 0, np.minimum(below + 1, depth - 1), below)
    done, first, kept = 0, 0, None
    for chunk in chunks:
        kept = chunk if kept is None else torch.cat([kept, chunk], dim=1)
        last = first + kept.shape[1]
        ready = int(np.searchsorted(above, last))
        step = max(1, CHUNK // (height * width))
        for start in range(done, ready, step):
            stop = min(ready, start + step)
            slab = kept[:, below[start:stop] - first]
            if share[start:stop].any():
                weight = torch.from_numpy(share[start:stop]).float().view(1, -1, 1, 1)
                slab = torch.lerp(slab, kept[:, above[start:stop] - first], weight)
            yield start, resize_probs(slab, (height, width))
        done = max(done, ready)
        keep = min(int(below[done]), last - 1) if done < source else last - 1
        kept, first = kept[:, keep - first :], keep


def resize_probs(probs: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, C, h, w) probabilities linearly to (N, C, H, W), with anti-aliasing where a side shrinks."""
    if tuple(probs.shape[2:]) == size:
        return probs
    if size[0] < probs.shape[2] or size[1] < probs.shape[3]:
        return antialiased(probs, size)
    return F.interpolate(probs, size=size, mode="bilinear", align_corners=False)


def antialiased(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, C, h, w) linearly to (N, C, H, W), with anti-aliasing where a side shrinks.

    PyTorch 2.13 gives wrong values for a width of 1 if the height changes too, as it mistakes what is one wide for
    channels that come last, and the right ones for a height of 1: what is one wide is resized on its side.
    """
    if size[1] == 1:
        return F.interpolate(values.mT, size=size[::-1], mode="bilinear", align_corners=False, antialias=True).mT
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False, antialias=True)
