"""Connected objects in masks of whole volumes; voxels that touch at a corner are connected."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]
TOUCHING = np.ones((3, 3, 3), bool)


def largest_object(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the connected object of a mask (D, H, W) that has most voxels; of equal ones, the first."""
    found, count = ndimage.label(mask, TOUCHING)  # pyright: ignore[reportGeneralTypeIssues]
    if count < 2:
        return mask
    sizes = np.zeros(count + 1, np.int64)
    for plane in found:  # Of the whole volume at once, bincount would make a copy of twice the bytes.
        sizes += np.bincount(plane.ravel(), minlength=count + 1)
    return found == 1 + int(np.argmax(sizes[1:]))


def keep_largest(labels: Array, classes: Iterable[int]) -> None:
    """Make background of every object of ``classes`` but the largest of each, in place.

    Args:
        labels: (D, H, W) class indices.
    """
    for c in classes:
        box = _around(labels == c)
        if box is not None:
            mask = labels[box] == c
            labels[box][mask & ~largest_object(mask)] = 0


def largest_shares(labels: Array) -> dict[int, float]:
    """Return, for every class in (D, H, W) class indices, the share of its voxels that its largest object has."""
    shares: dict[int, float] = {}
    for c, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            mask = labels[box] == c
            shares[c] = float(largest_object(mask).sum() / mask.sum())
    return shares


def _around(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Return the smallest box around a mask; None of an empty one."""
    return next(iter(ndimage.find_objects(mask.view(np.uint8))), None)
