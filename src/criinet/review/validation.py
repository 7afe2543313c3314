"""The frozen cases that every round is measured on: validation, at each image's or volume's own size."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.dataset import Dataset
from criinet.data.files import write_json
from criinet.engine.folder import RunFolder
from criinet.engine.predictor import Predictor
from criinet.metrics import dice
from criinet.types import IGNORE

Array = NDArray[Any]
DicePerCase = dict[str, float]
"""Case to mean Dice over the classes that prediction or ground truth holds; NaN where both hold none."""


def measure(predictor: Predictor, dataset: Dataset, names: Sequence[str]) -> DicePerCase:
    """Predict the named cases and compare them with their masks.

    Raises:
        DataError: if a case is unknown, or an image or mask cannot be read.
    """
    cases = dataset.select(names)
    predictions = predictor.predict_many(dataset.read_scan(case) for case in cases)
    return {
        case.name: mean_over_classes(predicted.mask, dataset.read_mask(case), len(dataset.classes))
        for case, predicted in zip(cases, predictions, strict=True)
    }


def mean_over_classes(prediction: Array, target: Array, classes: int) -> float:
    """Return the mean Dice over the foreground classes that occur in either mask; NaN if none does.

    Args:
        prediction, target: (H, W) or (D, H, W) class indices; where the target is IGNORE nothing counts.
    """
    known = target != IGNORE
    scores = np.array([dice((prediction == c) & known, target == c) for c in range(1, classes)])
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def mean_dice(found: DicePerCase) -> float | None:
    """Return the mean over the cases that hold something, None if there is none."""
    values = [value for value in found.values() if np.isfinite(value)]
    return float(np.mean(values)) if values else None


def write_dice(run: RunFolder, found: DicePerCase) -> None:
    """Write the Dice of each case to RUN/validation.json; null where both masks are empty."""
    write_json(run.validation, found)


def read_dice(run: RunFolder) -> DicePerCase:
    """Read what ``write_dice`` wrote; nothing where nothing was measured."""
    try:
        found: dict[str, Any] = json.loads(run.validation.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: float("nan") if value is None else float(value) for name, value in found.items()}
