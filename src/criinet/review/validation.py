"""The frozen cases that every round is measured on: validation, at each image's or volume's own size."""

import copy
import json
import math
from collections.abc import Sequence
from typing import Any

from criinet.data.dataset import Dataset
from criinet.data.files import write_json
from criinet.engine.folder import RunFolder
from criinet.engine.predictor import Predictor
from criinet.metrics import case_dice, finite_mean

DicePerCase = dict[str, float]
"""Case to its :func:`criinet.metrics.case_dice`; NaN where neither prediction nor ground truth holds anything."""


def measure(predictor: Predictor, dataset: Dataset, names: Sequence[str]) -> DicePerCase:
    """Predict the named cases without the shift of logits, and compare them with their masks.

    The shift was chosen on validation cases, often on these: with it their Dice would flatter. ``predictor`` keeps its
    own.

    Raises:
        DataError: if a case is unknown, or an image or mask cannot be read.
    """
    cases = dataset.select(names)
    unshifted = copy.copy(predictor)  # Other threads use the given one.
    unshifted.shift = 0.0
    predictions = unshifted.predict_many(dataset.read_scan(case) for case in cases)
    return {
        case.name: case_dice(predicted.mask, dataset.read_mask(case), len(dataset.classes))
        for case, predicted in zip(cases, predictions, strict=True)
    }


def mean_dice(found: DicePerCase) -> float | None:
    """Return the mean over the cases that hold something, None if there is none."""
    mean = finite_mean(list(found.values()))
    return None if math.isnan(mean) else mean


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
