"""How an image is brought to what a network sees, without torch: channels, size, overlapping windows."""

from collections.abc import Sequence
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from criinet.labels import IGNORE


class Seen(Protocol):
    """What a network sees of an image: its training ``size`` (height, width), and ``window``, "whole" or "patch"."""

    @property
    def size(self) -> tuple[int, ...]: ...

    @property
    def window(self) -> str: ...


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Return (H, W, channels) of a gray (H, W) or colour (H, W, 3) uint8 image: copied, or turned into luma."""
    if image.ndim == 2:
        return np.repeat(image[..., None], channels, axis=2)
    if channels == 3:
        return image
    return np.asarray(Image.fromarray(image).convert("L"))[..., None]


def fit(array: np.ndarray, seen: Seen, *, labels: bool) -> np.ndarray:
    """Bring (H, W[, C]) uint8 to the training size (window "whole"), or pad it to at least that ("patch").

    Images shrink with anti-aliasing; masks take the nearest pixel.
    """
    height, width = seen.size[-2:]
    if seen.window == "patch":
        missing = [max(0, height - array.shape[0]), max(0, width - array.shape[1])]
        padding = [(0, missing[0]), (0, missing[1]), *[(0, 0)] * (array.ndim - 2)]
        return np.pad(array, padding, mode="symmetric") if any(missing) else array
    if array.shape[:2] == (height, width):
        return array
    method = Image.Resampling.NEAREST if labels else Image.Resampling.BILINEAR
    squeezed = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    resized = np.asarray(Image.fromarray(squeezed).resize((width, height), method))
    return resized.reshape(height, width, *array.shape[2:])


def fit_mask(mask: NDArray[Any], seen: Seen) -> NDArray[Any]:
    """Bring (H, W) class indices, which may be IGNORE, to the training size."""
    if mask.dtype == np.uint8:
        return fit(mask, seen, labels=True)
    return fit((mask - IGNORE).astype(np.uint8), seen, labels=True).astype(np.int16) + IGNORE


def pad(array: NDArray[Any], box: Sequence[int]) -> NDArray[Any]:
    """Mirror (d, h, w) at the far sides to at least ``box``."""
    missing = [(0, max(0, need - have)) for need, have in zip(box, array.shape, strict=True)]
    return np.pad(array, missing, mode="symmetric") if any(far for _, far in missing) else array


def starts(length: int, window: int) -> list[int]:
    """Return where windows start: half overlapped, the last one flush with the end."""
    count = max(1, -(-(length - window) * 2 // window) + 1)
    return sorted({round(i * (length - window) / max(1, count - 1)) for i in range(count)})


def corners_of(sides: Sequence[int], box: Sequence[int]) -> list[tuple[int, ...]]:
    """Return where windows start along every axis, the last axis fastest."""
    return list(product(*(starts(side, length) for side, length in zip(sides, box, strict=True))))


def cut(corner: Sequence[int], box: Sequence[int]) -> tuple[slice, ...]:
    """Return the window that starts at ``corner``."""
    return tuple(slice(start, start + length) for start, length in zip(corner, box, strict=True))


def gaussian_window(box: Sequence[int]) -> NDArray[Any]:
    """Return the weight of each pixel of a window, float32: a Gaussian of an eighth of the side, never below 1e-3.

    Reference: Isensee et al., Nature Methods 2021, sliding-window inference of nnU-Net.
    """
    weight = np.ones(())
    for n in box:
        weight = weight[..., None] * np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2)
    return np.maximum(weight, 1e-3).astype(np.float32)
