"""Measures of a segmentation, of a case's difficulty, and of what a comparison shows.

NumPy and SciPy only: plain functions on arrays, for anyone's own loop. ``overlap`` and ``surface`` compare two boolean
masks, ``difficulty`` looks at an image and its ground truth, ``cases`` gathers all numbers of one case, ``statistics``
those of many.

An empty prediction of something is never flattered: its Dice is 0 and its distance infinite. Where there is nothing to
measure the answer is NaN. :func:`summarise` leaves both out of a mean of distances and counts them beside it.
"""

from criinet.metrics.cases import case_dice, case_difficulty, case_metrics
from criinet.metrics.difficulty import boundary_gradient, contrast_to_noise, object_share, quartiles
from criinet.metrics.overlap import dice, iou
from criinet.metrics.statistics import Paired, Summary, finite_mean, holm, paired_difference, summarise, verdict
from criinet.metrics.surface import (
    SurfaceDistances,
    assd,
    band_dice,
    band_error,
    boundary_iou,
    hd95,
    surface_dice,
    surface_distances,
)

__all__ = [
    "Paired",
    "Summary",
    "SurfaceDistances",
    "assd",
    "band_dice",
    "band_error",
    "boundary_gradient",
    "boundary_iou",
    "case_dice",
    "case_difficulty",
    "case_metrics",
    "contrast_to_noise",
    "dice",
    "finite_mean",
    "hd95",
    "holm",
    "iou",
    "object_share",
    "paired_difference",
    "quartiles",
    "summarise",
    "surface_dice",
    "surface_distances",
    "verdict",
]
