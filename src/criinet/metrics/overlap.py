"""Overlap of two masks: how much of the area they share."""

import math

import numpy as np
from numpy.typing import NDArray

from criinet.errors import ShapeError

BoolArray = NDArray[np.bool_]


def check_masks(prediction: BoolArray, target: BoolArray) -> None:
    """Refuse a pair that cannot be compared.

    Raises:
        ShapeError: if the shapes differ.
        TypeError: if one is not boolean; probabilities and class indices would be compared silently otherwise.
    """
    for name, mask in (("prediction", prediction), ("target", target)):
        if mask.dtype != np.bool_:
            raise TypeError(f"{name} is {mask.dtype}, not bool. Threshold it or compare it with one class first.")
    if prediction.shape != target.shape:
        raise ShapeError(
            f"prediction is {prediction.shape} but target is {target.shape}. Bring the prediction to the target's size."
        )


def count(mask: BoolArray) -> int:
    """Count the pixels of a mask."""
    return int(np.count_nonzero(mask))


def dice(prediction: BoolArray, target: BoolArray) -> float:
    """Measure the overlap relative to the mean size of both masks.

        dice = 2 |P and T| / (|P| + |T|)

    Args:
        prediction, target: (H, W) or (D, H, W) bool.

    Returns:
        Fraction in [0, 1], 1 is best; 0 if one mask is empty; NaN if both are.

    Raises:
        ShapeError: if the shapes differ.

    Reference: Dice, Ecology 26, 1945. The same number as the F1 score of the pixels.
    """
    check_masks(prediction, target)
    total = count(prediction) + count(target)
    return 2 * count(prediction & target) / total if total else math.nan


def iou(prediction: BoolArray, target: BoolArray) -> float:
    """Measure the overlap relative to the union (the Jaccard index).

        iou = |P and T| / |P or T| = dice / (2 - dice)

    Args:
        prediction, target: (H, W) or (D, H, W) bool.

    Returns:
        Fraction in [0, 1], 1 is best; 0 if one mask is empty; NaN if both are.

    Raises:
        ShapeError: if the shapes differ.
    """
    check_masks(prediction, target)
    union = count(prediction | target)
    return count(prediction & target) / union if union else math.nan
