"""The cases that a report shows, chosen by rule before anyone has seen an outcome."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from criinet.data.files import write_json, write_npz
from criinet.data.fitting import with_channels
from criinet.data.formats import Volume
from criinet.data.intensity import limits_for_people, to_gray
from criinet.data.planes import look_point, three_planes
from criinet.data.predictions import VolumePrediction
from criinet.data.sampling import evenly
from criinet.data.scans import Scan
from criinet.data.settings import DataConfig
from criinet.engine.folder import RunFolder
from criinet.engine.predictor import Predicted
from criinet.labels import IGNORE
from criinet.metrics.difficulty import FEWEST_IN_QUARTERS

PERCENTILES = (5, 25, 50, 75, 95)
LONGEST = 512
"""Examples are stored no larger than this, in pixels."""


def spaced(names: Sequence[str], count: int) -> list[str]:
    """Return at most ``count`` names, evenly spaced in sorted order."""
    ordered = sorted(names)
    return [ordered[i] for i in evenly(len(ordered), count)]


def by_contrast(values: dict[str, float]) -> dict[str, str]:
    """Return the cases to show, the lowest contrast first, each with the rule that chose it.

    It is the case nearest to each percentile of ``values`` (case to contrast), one case for each; of few cases, which
    have no quartiles, at most as many by their rank.
    """
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    if len(known) < FEWEST_IN_QUARTERS:
        ordered = sorted(known, key=lambda name: (known[name], name))
        ranks = evenly(len(ordered), len(PERCENTILES))
        return {ordered[i]: f"contrast rank {i + 1} of {len(ordered)}, 1 is the lowest" for i in ranks}
    chosen: dict[str, str] = {}
    for percentile in PERCENTILES:
        left = {name: value for name, value in known.items() if name not in chosen}
        wanted = float(np.percentile(list(known.values()), percentile))
        nearest = min(left, key=lambda name: (abs(left[name] - wanted), name))
        chosen[nearest] = f"contrast percentile {percentile}"
    return chosen


def small(array: np.ndarray) -> np.ndarray:
    """Take every n-th pixel of (H, W[, C]) so that no side exceeds LONGEST."""
    step = -(-max(array.shape[:2]) // LONGEST)
    return array[::step, ::step]


def small_image(image: np.ndarray) -> np.ndarray:
    """Shrink a (H, W, C) image, anti-aliased, to the size that ``small`` gives."""
    height, width = small(image).shape[:2]
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def pictures(predicted: Predicted, scan: Scan, target: np.ndarray | None, config: DataConfig) -> dict[str, np.ndarray]:
    """Return what the report draws of a case: image (H, W, 3), masks and maps of uncertainty (H, W), all uint8.

    Where ground truth is unknown, ``target`` is 0 and ``unknown`` is 1.

    A volume is shown in three planes through the middle of its target, or where there is none of its prediction.
    """
    known = None if target is None else np.maximum(target, 0).astype(np.uint8)
    maps = {"refined": predicted.mask, **predicted.uncertainty_maps()}
    if predicted.coarse_mask is not None:
        maps["coarse"] = predicted.coarse_mask
    if known is not None:
        maps["target"] = known
    if target is not None and (target == IGNORE).any():
        maps["unknown"] = (target == IGNORE).astype(np.uint8)
    if not isinstance(predicted, VolumePrediction):
        assert not isinstance(scan, Volume)
        return {"image": small_image(with_channels(scan, 3)), **{name: small(array) for name, array in maps.items()}}
    assert isinstance(scan, Volume)
    at = look_point(predicted.mask if known is None else known, scan.shape)
    gray = to_gray(scan.values, limits_for_people(scan, config.intensity, config.range))
    planes = {
        name: three_planes(array, scan.geometry, at, labels=name in ("refined", "coarse", "target", "unknown"))
        for name, array in {"image": gray, **maps}.items()
    }
    return {**planes, "image": np.repeat(planes["image"][..., None], 3, axis=2)}


def write_examples(
    folder: RunFolder, which: str, examples: Sequence[tuple[dict[str, Any], dict[str, np.ndarray]]]
) -> None:
    """Write the example cases of one set ("test" or "unlabeled") in place of those of an earlier time.

    Args:
        examples: for each, what is known of it, and its :func:`pictures`.
    """
    kept = examples_but(folder, which)
    for about, arrays in examples:
        file = f"examples/{which}_{about['case']}.npz"
        write_npz(folder.root / file, arrays)
        kept.append({**about, "file": file})
    write_json(folder.examples, {"examples": kept})


def examples_but(folder: RunFolder, which: str) -> list[dict[str, Any]]:
    """Return what ``examples.json`` lists of the other sets; nothing where it is missing or damaged."""
    try:
        listed = json.loads(folder.examples.read_text(encoding="utf-8"))["examples"]
        return [example for example in listed if example["set"] != which]
    except (OSError, ValueError, KeyError, TypeError):
        return []
