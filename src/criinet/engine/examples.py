"""The cases that a report shows, chosen by rule before anyone has seen an outcome."""

import json
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from PIL import Image

from criinet.data.files import write_atomically, write_json
from criinet.data.fitting import with_channels
from criinet.engine.folder import RunFolder
from criinet.engine.predictor import CasePrediction

PERCENTILES = (5, 25, 50, 75, 95)
LONGEST = 512
"""Examples are stored no larger than this, in pixels."""


def spaced(names: Sequence[str], count: int) -> list[str]:
    """Return at most ``count`` names, evenly spaced in sorted order."""
    ordered = sorted(names)
    return [ordered[int(i)] for i in np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round())]


def by_percentile(values: dict[str, float]) -> dict[str, int]:
    """Return the case nearest to each percentile of ``values`` (case to contrast), one case for each percentile."""
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    chosen: dict[str, int] = {}
    for percentile in PERCENTILES:
        left = {name: value for name, value in known.items() if name not in chosen}
        if left:
            wanted = float(np.percentile(list(known.values()), percentile))
            chosen[min(left, key=lambda name: (abs(left[name] - wanted), name))] = percentile
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


def write_examples(
    folder: RunFolder, which: str, examples: Sequence[tuple[dict[str, Any], CasePrediction, Any, Any]]
) -> None:
    """Write the example cases of one set ("test" or "unlabeled") in place of those of an earlier time.

    Args:
        examples: for each, what is known of it, its prediction, its image, and its target or None.
    """
    kept: list[dict[str, Any]] = []
    if folder.examples.exists():
        kept = [e for e in json.loads(folder.examples.read_text(encoding="utf-8"))["examples"] if e["set"] != which]
    for about, predicted, image, target in examples:
        arrays = {"image": small_image(with_channels(image, 3)), "refined": small(predicted.mask)}
        arrays["entropy"] = small(np.round(predicted.entropy * 255).astype(np.uint8))
        if predicted.coarse_mask is not None and predicted.disagreement is not None:
            arrays["coarse"] = small(predicted.coarse_mask)
            arrays["disagreement"] = small(np.round(predicted.disagreement * 255).astype(np.uint8))
        if target is not None:
            arrays["target"] = small(target)
        file = f"examples/{which}_{about['case']}.npz"

        def save(stream: IO[bytes], arrays: dict[str, np.ndarray] = arrays) -> None:
            np.savez_compressed(stream, allow_pickle=False, **arrays)

        write_atomically(folder.root / file, save)
        kept.append({**about, "file": file})
    write_json(folder.examples, {"examples": kept})
