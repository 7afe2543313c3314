"""Pictures of example cases: contours of truth and prediction, and a map of doubt."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from criinet.data.masks import PALETTE
from criinet.report.comparison import run_labels
from criinet.report.reading import Pixels, read_example
from criinet.report.records import Example, RecordedRun
from criinet.report.text import number

Arrays = dict[str, Pixels]

TILE = 320
"""Longest side of an overlay, in pixels."""

MAX_TILES = 160
"""Most overlays on a page: they keep it below about 6 MB."""


@dataclass(frozen=True)
class Tile:
    """One picture of a strip, (h, w, 3) uint8, with its title, what it shows, and its run's label if it has one."""

    title: str
    alt: str
    pixels: Pixels
    owner: str = ""


@dataclass(frozen=True)
class DoubtShown:
    """Which map of doubt a strip shows: that of the run at ``index``, "disagreement" or "entropy" by name."""

    index: int
    name: str


@dataclass(frozen=True)
class Strip:
    """One example case: its pictures, side by side."""

    case: str
    rule: str
    cnr: float
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Gallery:
    """The example cases of one set.

    total: how many there are; more than ``strips`` if the page would grow too large.
    doubt: what the last picture of a strip maps, "disagreement" or "entropy"; empty if no run saved either.
    scale: the doubt, in [0, 1], that the brightest colour stands for.
    missing: cases whose file could not be read.
    """

    strips: tuple[Strip, ...]
    total: int
    doubt: str
    scale: float
    missing: tuple[str, ...]


def gallery(
    runs: Sequence[RecordedRun],
    part: str,
    *,
    labels: Sequence[str] = (),
    doubt: bool = True,
    most_tiles: int = MAX_TILES // 2,
) -> Gallery:
    """Draw the examples of ``"test"`` or ``"unlabeled"``: image, ground truth, every run's prediction, and doubt.

    Ground truth is a white line, a prediction the colour of its class. Doubt is the disagreement of the coarse and the
    refined opinion, or the entropy where a method has one opinion; all strips share one colour scale.

    Args:
        labels: names of the runs; empty picks the shortest that tell them apart.
        doubt: False leaves the doubt out.
        most_tiles: about how many pictures there may be, at most 12 cases of them and at least one.
    """
    cases: dict[str, Example] = {}
    for run in runs:
        for example in run.examples:
            if example.part == part:
                cases.setdefault(example.case, example)
    shown = list(cases.values())[: max(1, min(12, most_tiles // (4 + len(runs))))]
    found = {example.case: _arrays(runs, example) for example in shown}
    labels = labels or (run_labels(runs) if len(runs) > 1 else ["prediction"])
    doubts = {case: _doubt(arrays) for case, arrays in found.items()} if doubt else {}
    maps = [found[case][one.index][one.name] for case, one in doubts.items() if one]
    names = " or ".join(dict.fromkeys(one.name for one in doubts.values() if one))
    top = max((float(np.percentile(map_, 99.5)) for map_ in maps), default=255.0)
    scale = max(top, 25.0) / 255
    strips = [
        Strip(
            example.case,
            example.rule,
            example.cnr,
            (
                *_opinions(example, runs, labels, found[example.case]),
                *_doubt_tiles(example, labels, found[example.case], doubts.get(example.case), scale),
            ),
        )
        for example in shown
        if any(found[example.case])
    ]
    missing = tuple(case for case, arrays in found.items() if not any(arrays))
    return Gallery(tuple(strips), len(cases), names, scale, missing)


def heat_colors() -> list[str]:
    """Return hex colours of the scale of doubt, low to high."""
    steps: Any = colormaps["magma"](np.linspace(0.15, 1, 7))
    return [to_hex(step) for step in steps]


def _arrays(runs: Sequence[RecordedRun], example: Example) -> list[Arrays]:
    """Read the example of every run; empty where a run lacks it."""
    found: list[Arrays] = []
    for run in runs:
        own = next((e for e in run.examples if (e.case, e.part) == (example.case, example.part)), None)
        found.append((read_example(run, own) if own else None) or {})
    return found


def _doubt(arrays: Sequence[Arrays]) -> DoubtShown | None:
    """Return whose doubt is shown: disagreement if any run has one, otherwise entropy; None where no run has either."""
    for name in ("disagreement", "entropy"):
        for index in reversed(range(len(arrays))):
            if name in arrays[index]:
                return DoubtShown(index, name)
    return None


def _opinions(
    example: Example, runs: Sequence[RecordedRun], labels: Sequence[str], arrays: Sequence[Arrays]
) -> list[Tile]:
    """Draw the image of one case, its ground truth, and what every run made of it."""
    image = next(a["image"] for a in arrays if a)
    target = _target(arrays)
    picture = _enlarged(image)
    tiles = [Tile("image", f"image {example.case}", picture)]
    if target is not None:
        tiles.append(Tile("ground truth", f"ground truth of {example.case}", _outlined(picture, None, target)))
    for run, label, own in zip(runs, labels, arrays, strict=True):
        if own:
            dice = next((e.dice for e in run.examples if (e.case, e.part) == (example.case, example.part)), math.nan)
            title = f"{label} {number(dice)}" if math.isfinite(dice) else label
            alt = f"{label} on {example.case}" + (f", Dice {number(dice)}" if math.isfinite(dice) else "")
            tiles.append(Tile(title, alt, _outlined(picture, own["refined"], target), label))
    return tiles


def _doubt_tiles(
    example: Example, labels: Sequence[str], arrays: Sequence[Arrays], shown: DoubtShown | None, scale: float
) -> list[Tile]:
    """Draw the doubt that is shown, and the coarse opinion of its run; nothing if none is."""
    if shown is None:
        return []
    owner = f"{labels[shown.index]} " if len(labels) > 1 else ""
    own, doubt = arrays[shown.index], shown.name
    picture = _enlarged(own["image"])
    tiles: list[Tile] = []
    if "coarse" in own:
        coarse = _outlined(picture, own["coarse"], _target(arrays))
        tiles.append(Tile(f"{owner}coarse", f"{owner}coarse opinion on {example.case}", coarse))
    tiles.append(Tile(f"{owner}{doubt}", f"{owner}{doubt} on {example.case}", _heated(picture, own[doubt], scale)))
    return tiles


def _target(arrays: Sequence[Arrays]) -> Pixels | None:
    return next((a["target"] for a in arrays if "target" in a), None)


def _enlarged(image: Pixels) -> Pixels:
    """Scale an image to the size of a tile."""
    height, width = image.shape[:2]
    factor = TILE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _outlined(picture: Pixels, prediction: Pixels | None, target: Pixels | None) -> Pixels:
    """Draw the ground truth in white and the prediction in the colours of its classes, both cased in black."""
    height, width = picture.shape[:2]
    canvas = np.asarray(Image.fromarray(picture).resize((2 * width, 2 * height), Image.Resampling.BICUBIC)).copy()
    lines = [
        (_region(mask == index, (2 * width, 2 * height)), (255, 255, 255) if mask is target else PALETTE[index])
        for mask in (target, prediction)
        if mask is not None
        for index in np.unique(mask)
        if index > 0
    ]
    for region, _ in lines:
        canvas[_rim(region, 5)] = 0
    for region, color in lines:
        canvas[_rim(region, 3)] = color
    return np.asarray(Image.fromarray(canvas).resize((width, height), Image.Resampling.BOX))


def _region(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Enlarge a mask to (W, H), its staircase rounded off by half a pixel of the mask."""
    soft = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).resize(size, Image.Resampling.BICUBIC)
    blur = 0.5 * size[0] / mask.shape[1]
    return np.asarray(ndimage.gaussian_filter(np.asarray(soft, dtype=np.float32), blur) > 127)


def _rim(region: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Return the pixels within ``reach`` of the region's outline."""
    values, size = region.view(np.uint8), 2 * reach + 1
    return np.asarray(ndimage.maximum_filter(values, size) != ndimage.minimum_filter(values, size))


def _heated(picture: Pixels, doubt: Pixels, scale: float) -> Pixels:
    """Lay a map of doubt over the gray image: the brighter and the more opaque, the larger."""
    height, width = picture.shape[:2]
    values = np.asarray(Image.fromarray(doubt).resize((width, height), Image.Resampling.BILINEAR)) / 255
    share = np.clip(values / scale, 0, 1)[..., None]
    gray = np.asarray(Image.fromarray(picture).convert("L"))[..., None] * 0.75
    colors: Any = colormaps["magma"](0.15 + 0.85 * share[..., 0])
    return np.rint(gray * (1 - share) + 255 * colors[..., :3] * share).astype(np.uint8)
