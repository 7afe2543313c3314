"""Connected objects in masks of whole volumes."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from criinet.components import largest_component

Array = NDArray[Any]


def keep_largest(labels: Array, classes: Iterable[int]) -> None:
    """Make background of every object of ``classes`` but the largest of each, in place.

    Args:
        labels: (D, H, W) class indices.
    """
    for c in classes:
        box = _around(labels == c)
        if box is not None:
            mask = labels[box] == c
            labels[box][mask & ~largest_component(mask)] = 0


def largest_shares(labels: Array) -> dict[int, float]:
    """Return, for every class in (D, H, W) class indices, the share of its voxels that its largest object has."""
    shares: dict[int, float] = {}
    for c, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            mask = labels[box] == c
            shares[c] = float(largest_component(mask).sum() / mask.sum())
    return shares


def _around(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Return the smallest box around a mask; None of an empty one."""
    return next(iter(ndimage.find_objects(mask.view(np.uint8))), None)
