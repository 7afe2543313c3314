"""Where ranked losses look: boundary bands, patches drawn on them, pixels drawn inside. No loop over patches or pixels.

All functions take labels (B, ...) with any number of spatial axes and run on the labels' device; randomness comes from
the global generator of that device.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from criinet.errors import ShapeError
from criinet.labels import IGNORE

LEAST_SHARE = 0.05
"""Share of a boundary patch that two classes must each have.  [C]"""


class Patches(NamedTuple):
    """Cubes cut from a batch of labels, all of one shape.

    pixels: (B, N, P) int64, flat spatial index of every pixel.
    labels: (B, N, P) int64 classes, IGNORE in patches that could not be drawn.
    band: (B, N, P) bool, True on the boundary band.
    """

    pixels: Tensor
    labels: Tensor
    band: Tensor


def at_stride(labels: Tensor, stride: int, size: torch.Size) -> Tensor:
    """Take every ``stride``-th label and fill up to ``size`` with IGNORE, as features of a padded image need it.

    Args:
        labels: (B, ...) int64 at the image's resolution.
        stride: image pixels per pixel of the feature.
        size: spatial size of the feature.

    Returns:
        (B, *size) int64.

    Raises:
        ShapeError: if the feature is smaller than the labels at this stride.
    """
    every = labels[(slice(None), *[slice(None, None, stride)] * (labels.ndim - 1))]
    if any(side > room for side, room in zip(every.shape[1:], size, strict=True)):
        raise ShapeError(
            f"labels of {tuple(labels.shape[1:])} pixels at stride {stride} do not fit a feature of {tuple(size)}; "
            "the stride is that of the backbone, image pixels per pixel of its decoder feature."
        )
    missing = [0 if i % 2 == 0 else size[-1 - i // 2] - every.shape[-1 - i // 2] for i in range(2 * len(size))]
    return F.pad(every, missing, value=IGNORE)


def boundary_band(labels: Tensor, width: int) -> Tensor:
    """Mark pixels whose neighbourhood holds two classes: ``dilate(y, k) - erode(y, k)`` for every class at once.  [A/C]

    Args:
        labels: (B, ...) int64; IGNORE is neither class.
        width: k >= 1 pixels, so the neighbourhood is a cube of 2k + 1.

    Returns:
        (B, ...) bool.
    """
    valid = labels != IGNORE
    high = torch.where(valid, labels, -1).float().unsqueeze(1)
    low = torch.where(valid, -labels, -(2**20)).float().unsqueeze(1)
    pool = F.max_pool2d if labels.ndim == 3 else F.max_pool3d
    highest, lowest = (pool(x, 2 * width + 1, stride=1, padding=width).squeeze(1) for x in (high, low))
    return valid & (highest + lowest > 0)


def window_share(selected: Tensor, size: tuple[int, ...]) -> Tensor:
    """Compute the share of True in every window of ``size``, by summed-area tables.

    Args:
        selected: (B, K, ...) bool.

    Returns:
        (B, K, ...) float32 in [0, 1]; entry i is the window that starts at pixel i, so axes shrink by size - 1.
    """
    total = selected.double()
    for axis, length in enumerate(size, start=2):
        total = F.pad(total, [0, 0] * (total.ndim - 1 - axis) + [1, 0]).cumsum(axis)
        total = total.narrow(axis, length, total.shape[axis] - length) - total.narrow(
            axis, 0, total.shape[axis] - length
        )
    return (total / math.prod(size)).float()


def class_shares(labels: Tensor, classes: int, size: tuple[int, ...]) -> Tensor:
    """Compute the share of every class in every window of ``size``: (B, K, ...) in [0, 1]."""
    one_hot = torch.stack([labels == c for c in range(classes)], dim=1)
    return window_share(one_hot, size)


def draw_corners(eligible: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw ``count`` window corners of each image, all eligible ones alike, with replacement.

    Args:
        eligible: (B, ...) bool, by window corner.

    Returns:
        (B, count) int64 flat corner index, and (B,) bool: False where the image has no eligible window.
    """
    flat = eligible.flatten(1).float()
    found = flat.any(1)
    flat = torch.where(found.unsqueeze(1), flat, torch.ones_like(flat))
    return torch.multinomial(flat, count, replacement=True), found


def cut(
    labels: Tensor, band: Tensor, corners: Tensor, found: Tensor, windows: torch.Size, size: tuple[int, ...]
) -> Patches:
    """Cut the windows at ``corners`` (B, N), flat indices in the grid ``windows``, out of labels and band."""
    first, offsets = torch.zeros_like(corners), torch.zeros((), dtype=torch.int64, device=labels.device)
    for axis, length in enumerate(size):
        stride = math.prod(labels.shape[axis + 2 :])
        first = first + corners // math.prod(windows[axis + 1 :]) % windows[axis] * stride
        offsets = offsets.unsqueeze(-1) + torch.arange(length, device=labels.device) * stride
    pixels = first.unsqueeze(-1) + offsets.flatten()
    flat = pixels.flatten(1)
    patch_labels = labels.flatten(1).gather(1, flat).view_as(pixels)
    patch_labels = torch.where(found[:, None, None], patch_labels, IGNORE)
    return Patches(pixels, patch_labels, band.flatten(1).gather(1, flat).view_as(pixels))


def boundary_patches(labels: Tensor, classes: int, *, size: tuple[int, ...], count: int, band: int) -> Patches:
    """Draw patches centred on band pixels, with at least 5 % of each of two classes.  [A: boundaries; C: rest]

    Args:
        labels: (B, ...) int64 class indices.
        classes: K.
        size: side of a patch by axis, in pixels, at most the labels' own.
        count: N, patches of each image.
        band: k, half width of the boundary band in pixels.

    Returns:
        Patches (B, N, P); IGNORE labels where an image has no such patch.
    """
    edge = boundary_band(labels, band)
    shares = class_shares(labels, classes, size)
    windows = shares.shape[2:]
    centre = edge
    for axis, length in enumerate(size, start=1):
        centre = centre.narrow(axis, length // 2, windows[axis - 1])
    eligible = centre & ((shares >= LEAST_SHARE).sum(1) >= 2)
    corners, found = draw_corners(eligible, count)
    return cut(labels, edge, corners, found, windows, size)


def pure_patches(labels: Tensor, classes: int, *, size: tuple[int, ...], count: int, foreground: bool) -> Patches:
    """Draw patches of one class only: background (class 0), or the interior of any other class.  [C]

    Args and returns: as ``boundary_patches``; ``foreground`` says which of the two is drawn.
    """
    pure = class_shares(labels, classes, size) >= 1 - 1e-6
    eligible = pure[:, 1:].any(1) if foreground else pure[:, 0]
    corners, found = draw_corners(eligible, count)
    return cut(labels, torch.zeros_like(labels, dtype=torch.bool), corners, found, eligible.shape[1:], size)


def draw_pixels(labels: Tensor, eligible: Tensor, classes: int, count: int) -> tuple[Tensor, Tensor]:
    """Draw pixels of each patch without replacement, each class with the same total probability.

    Args:
        labels: (..., P) int64 classes; IGNORE is never drawn.
        eligible: (..., P) bool.
        count: at most this many of the P pixels.

    Returns:
        (..., min(count, P)) int64 positions in the patch, and their classes, IGNORE where too few were eligible.
    """
    eligible = eligible & (labels != IGNORE)
    one_hot = F.one_hot(labels.clamp(min=0), classes) * eligible.unsqueeze(-1)
    sizes = one_hot.sum(-2).gather(-1, labels.clamp(min=0)).clamp(min=1)
    gumbel = -torch.log(-torch.log(torch.rand(labels.shape, device=labels.device).clamp(1e-20, 1 - 1e-7)))
    score = torch.where(eligible, gumbel - torch.log(sizes.float()), -torch.inf)
    top = score.topk(min(count, labels.shape[-1]), dim=-1)
    drawn = torch.where(torch.isfinite(top.values), labels.gather(-1, top.indices), IGNORE)
    return top.indices, drawn
