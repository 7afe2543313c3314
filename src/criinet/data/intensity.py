"""From the values of a volume, in whatever unit, to 8 bits: by CT window, by z-score, or by the file's own window."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from criinet.data.formats import Volume
from criinet.data.images import Pixels

Array = NDArray[Any]
Intensity = Literal["window", "z-score", "range"]
Limits = tuple[float, float]

LOW_SD, HIGH_SD = -3.0, 5.0
"""Standard deviations from the mean that become 0 and 255; the upper tail of MR is the longer one."""

SAMPLED_VOXELS = 2**21
"""Statistics look at about so many voxels, evenly spread."""


def sampled(values: Array) -> NDArray[np.float64]:
    """Return evenly spread finite values, (N,), at most about SAMPLED_VOXELS."""
    flat = values.reshape(-1)
    some = flat[:: max(1, flat.size // SAMPLED_VOXELS)].astype(np.float64)
    return some[np.isfinite(some)]


def limits_of(volume: Volume, intensity: Intensity = "window", given: Limits | None = None) -> Limits:
    """Return the values that become black and white.

        window:   the file's own window, or its 0.5 and 99.5 percentiles
        z-score:  mean - 3 sd and mean + 5 sd of the voxels that are not 0
        range:    ``given``

    Reference: Isensee et al., Nature Methods 2021: a fixed window for CT, z-score for all else.
    Differs: z-scores are cut at -3 and 5 and brought to [0, 1], which every network here expects.
    """
    if intensity == "range" and given is not None:
        return given
    if intensity == "window" and volume.window is not None:
        return volume.window
    some = sampled(volume.values)
    if not some.size:
        return 0.0, 1.0
    if intensity == "z-score":
        tissue = some[some != 0] if (some != 0).any() else some
        mean, sd = float(tissue.mean()), float(tissue.std())
        return mean + LOW_SD * sd, mean + HIGH_SD * sd
    low, high = np.percentile(some, (0.5, 99.5))
    return (float(low), float(high)) if high > low else (float(some.min()), float(some.max()))


def limits_for_people(volume: Volume, intensity: Intensity, given: Limits) -> Limits:
    """Return the values that are drawn black and white: a run's fixed window, else the file's own or its percentiles.

    A z-score is for the network alone: its limits lie so far apart that a picture would be faint.
    """
    return limits_of(volume, "window" if intensity == "z-score" else intensity, given)


def to_gray(values: Array, limits: Limits) -> Pixels:
    """Map ``limits`` to 0 and 255, cutting what lies beyond; values that are not finite become 0.

    Works slice by slice, so that a large volume needs little more than its result.
    """
    low, high = limits
    scale = 255.0 / (high - low) if high > low else 0.0
    gray = np.empty(values.shape, np.uint8)
    for source, out in zip(values, gray, strict=True) if values.ndim == 3 else [(values, gray)]:
        scaled = (source.astype(np.float32) - np.float32(low)) * np.float32(scale)
        out[:] = np.rint(np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0.0, 255.0))
    return gray
