"""Connected components of masks; pixels that touch at a corner are connected."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the component of a mask (H, W) or (D, H, W) that has most pixels; of equal ones, the one that ends first."""
    named: Any = ndimage.label(mask, np.ones([3] * mask.ndim))
    found, count = named
    if count < 2:
        return mask
    sizes, ends = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    pixels = np.arange(mask.shape[-2] * mask.shape[-1])
    for number, plane in enumerate(found.reshape(-1, len(pixels))):  # Of a whole volume these would take many copies.
        sizes += np.bincount(plane, minlength=count + 1)
        ends[plane] = number * len(pixels) + pixels
    largest = 1 + np.lexsort((ends[1:], -sizes[1:]))[0]
    return found == largest
