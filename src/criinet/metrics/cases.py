"""Every number of one case: the rows of ``cases.csv``."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.errors import DataError, ShapeError
from criinet.labels import IGNORE
from criinet.metrics.difficulty import contrast_and_gradient, object_share
from criinet.metrics.overlap import BoolArray, count, dice, iou
from criinet.metrics.statistics import finite_mean
from criinet.metrics.surface import (
    Spacing,
    band_scores,
    contour_distance,
    endless,
    inner_boundary,
    inner_depth,
    surface_distances,
)

Row = dict[str, str | float | int | bool]


def case_metrics(
    prediction: NDArray[Any],
    target: NDArray[Any],
    classes: Sequence[str],
    spacing: Spacing | None = None,
    widths: Sequence[float] = (2, 5, 10),
    tolerance: float = 2.0,
    regions: Mapping[str, Sequence[str]] | None = None,
) -> list[Row]:
    """Measure one case, class by class, and region by region.

    Args:
        prediction: (H, W) or (D, H, W) integer class indices in [0, K).
        target: as prediction; -1 marks pixels without ground truth, which are left out.
        classes: K names by index; the first is the background.
        spacing: size of a pixel along each axis, in mm; None means 1 px. Distances, widths and tolerance follow it.
        widths: of the bands around the contour.
        tolerance: of the surface Dice.
        regions: names of unions of classes (nested labels, as a whole tumour), each with its classes.

    Returns:
        One row per class but the background, then one per region: ``class, region`` (whether it is one), ``dice, iou,
        hd95, assd, surface_dice, boundary_iou`` (of 2 % of the diagonal), ``band_dice_W`` and ``band_error_W`` for each
        width W, ``target_pixels, predicted_pixels``,
        ``miss`` (nothing predicted where there was something) and ``false_alarm`` (something where there was nothing).

    Raises:
        ShapeError: if the shapes differ or spacing has another number of axes.
        DataError: if an index has no class.
    """
    if prediction.shape != target.shape:
        raise ShapeError(
            f"prediction is {prediction.shape} but target is {target.shape}. Bring the prediction to the target's size."
        )
    _check_indices(prediction, len(classes), "prediction", lowest=0)
    _check_indices(target, len(classes), "target", lowest=IGNORE)
    known = target != IGNORE
    partly = None if known.all() else known
    members = {name: [index] for index, name in enumerate(classes) if index > 0}
    members |= {region: [classes.index(name) for name in names] for region, names in (regions or {}).items()}
    rows: list[Row] = []
    for number, (name, indices) in enumerate(members.items()):
        predicted, true = np.isin(prediction, indices) & known, np.isin(target, indices)
        about: Row = {"class": name, "region": number >= len(classes) - 1}
        rows.append({**about, **_mask_metrics(predicted, true, partly, spacing, widths, tolerance)})
    return rows


def case_dice(prediction: NDArray[Any], target: NDArray[Any], classes: int) -> float:
    """Measure one case by the mean Dice over the foreground classes that occur in either mask.

    The mean Dice of a set of cases, whoever compares it, is the finite mean of this: over the classes of each case
    first, then over cases. So every case counts alike, whatever it holds. `criinet evaluate` averages every measure in
    this order, and review rounds and the price of 8 bits are compared by it.

    Args:
        prediction, target: (H, W) or (D, H, W) integer class indices in [0, classes); -1 in the target marks pixels
            without ground truth, which are left out.

    Returns:
        Fraction in [0, 1], 1 is best; a class in one mask alone counts as 0; NaN if no class is in either.
    """
    known = target != IGNORE
    return finite_mean([dice((prediction == c) & known, target == c) for c in range(1, classes)])


def case_difficulty(image: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
    """Measure how hard one case is, from its image and ground truth alone; the foreground is every class together.

    Args:
        image: (H, W), (D, H, W) gray or (H, W, 3) sRGB; see :func:`criinet.metrics.difficulty.lightness`.
        target: (H, W) or (D, H, W) integer class indices; 0 is background, -1 is neither object nor surroundings.

    Returns:
        ``cnr``, ``boundary_gradient`` and ``object_share``; low is hard in each. The last is a share of what is known.

    Raises:
        ShapeError: if the image does not fit the target.
    """
    foreground, known = target > 0, target != IGNORE
    contrast, gradient = contrast_and_gradient(image, foreground, known)
    share = object_share(foreground[known]) if known.any() else math.nan
    return {"cnr": contrast, "boundary_gradient": gradient, "object_share": share}


def _mask_metrics(
    prediction: BoolArray,
    target: BoolArray,
    known: BoolArray | None,
    spacing: Spacing | None,
    widths: Sequence[float],
    tolerance: float,
) -> Row:
    """Measure one class, each distance field computed once; ``known`` is None where everything is."""
    distances = surface_distances(prediction, target, spacing, known)
    from_contour = contour_distance(target, spacing, known)
    inner = inner_boundary(prediction, inner_depth(prediction, spacing, known), None, spacing)
    truly_inner = inner_boundary(target, from_contour, None, spacing)
    without_end = endless(prediction, inner) or endless(target, truly_inner)
    row: Row = {
        "dice": dice(prediction, target),
        "iou": iou(prediction, target),
        "hd95": distances.hd95(),
        "assd": distances.assd(),
        "surface_dice": distances.surface_dice(tolerance),
        "boundary_iou": math.nan if without_end else iou(inner, truly_inner),
    }
    for width in widths:
        scores = band_scores(prediction, target, from_contour, width, spacing)
        row[f"band_dice_{width:g}"], row[f"band_error_{width:g}"] = scores
    true, predicted = count(target), count(prediction)
    row |= {
        "target_pixels": true,
        "predicted_pixels": predicted,
        "miss": true > 0 and predicted == 0,
        "false_alarm": true == 0 and predicted > 0,
    }
    return row


def _check_indices(indices: NDArray[Any], classes: int, name: str, *, lowest: int) -> None:
    """Refuse an index that has no class: counted as background, it would be an error that nobody sees."""
    if not np.issubdtype(indices.dtype, np.integer):
        raise TypeError(f"{name} is {indices.dtype}, not integer class indices.")
    if indices.size and (indices.min() < lowest or indices.max() >= classes):
        raise DataError(
            f"{name} holds class indices {indices.min()} to {indices.max()}, but {lowest} to {classes - 1} are "
            "expected. Map its values to the dataset's classes."
        )
