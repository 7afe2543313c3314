"""Pictures of example cases: contours of truth and prediction, and a map of uncertainty."""

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

from criinet.data.contact_sheet import hatched
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
class UncertaintyShown:
    """Which map of uncertainty a strip shows: that of the run at ``index``, "disagreement" or "entropy" by name."""

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
    uncertainty: what the last picture of a strip maps, "disagreement" or "entropy"; empty if no run saved either.
    scale: the uncertainty, in [0, 1], that the brightest colour stands for.
    missing: cases whose file could not be read.
    partial: whether ground truth is unknown in a part of some, which is hatched.
    """

    strips: tuple[Strip, ...]
    total: int
    uncertainty: str
    scale: float
    missing: tuple[str, ...]
    partial: bool = False


def gallery(
    runs: Sequence[RecordedRun],
    part: str,
    *,
    labels: Sequence[str] = (),
    uncertainty: bool = True,
    most_tiles: int = MAX_TILES // 2,
) -> Gallery:
    """Draw the examples of ``"test"`` or ``"unlabeled"``: image, ground truth, every run's prediction, and uncertainty.

    Ground truth is a white line, in its own picture of several classes in their colours; a prediction has the colour of
    its class. Runs are drawn on one picture where dataset, case and image are the same. Uncertainty is the disagreement
    of the coarse and the refined opinion, or the entropy where a method has one opinion; all strips share one scale.

    Args:
        labels: names of the runs; empty picks the shortest that tell them apart.
        uncertainty: False leaves it out.
        most_tiles: about how many pictures there may be, at most 12 cases of them and at least one.
    """
    cases = list(dict.fromkeys((run.dataset, e.case) for run in runs for e in run.examples if e.part == part))
    shown = cases[: max(1, min(12, most_tiles // (4 + len(runs))))]
    found = {key: _arrays(runs, key, part) for key in shown}
    apart = [(key, arrays) for key, all_of_case in found.items() for arrays in _of_one_image(all_of_case)]
    labels = labels or (run_labels(runs) if len(runs) > 1 else ["prediction"])
    uncertainties = [_uncertainty(arrays) if uncertainty else None for _, arrays in apart]
    drawn = list(zip(apart, uncertainties, strict=True))
    maps = [arrays[one.index][one.name] for (_, arrays), one in drawn if one]
    names = " or ".join(dict.fromkeys(one.name for one in uncertainties if one))
    top = max((float(np.percentile(map_, 99.5)) for map_ in maps), default=255.0)
    scale = max(top, 25.0) / 255
    several = len({run.dataset for run in runs}) > 1
    strips: list[Strip] = []
    for ((dataset, case), arrays), one in drawn:
        example = next(e for run, own in zip(runs, arrays, strict=True) if own and (e := _example(run, case, part)))
        tiles = _opinions(case, part, runs, labels, arrays) + _uncertainty_tiles(case, labels, arrays, one, scale)
        strips.append(Strip(f"{case} of {dataset}" if several else case, example.rule, example.cnr, tuple(tiles)))
    missing = tuple(case for (_, case), arrays in found.items() if not any(arrays))
    total = len(cases) - len(shown) + len(strips) + len(missing)
    partial = any("unknown" in own for _, arrays in apart for own in arrays)
    return Gallery(tuple(strips), total, names, scale, missing, partial)


def heat_colors() -> list[str]:
    """Return hex colours of the scale of uncertainty, low to high."""
    steps: Any = colormaps["magma"](np.linspace(0.15, 1, 7))
    return [to_hex(step) for step in steps]


def _arrays(runs: Sequence[RecordedRun], key: tuple[str, str], part: str) -> list[Arrays]:
    """Read the example of a dataset and case of every run; empty where a run lacks it."""
    found: list[Arrays] = []
    for run in runs:
        own = _example(run, key[1], part) if run.dataset == key[0] else None
        found.append((read_example(run, own) if own else None) or {})
    return found


def _example(run: RecordedRun, case: str, part: str) -> Example | None:
    return next((example for example in run.examples if (example.case, example.part) == (case, part)), None)


def _of_one_image(arrays: Sequence[Arrays]) -> list[list[Arrays]]:
    """Return the arrays of the runs that saw the same image together, those of other runs emptied.

    Another image of the same name, or other planes of a volume, are no ground for what was found in this one.
    """
    images: list[Pixels] = []
    for own in arrays:
        if own and not any(np.array_equal(own["image"], image) for image in images):
            images.append(own["image"])
    return [[own if own and np.array_equal(own["image"], image) else {} for own in arrays] for image in images]


def _uncertainty(arrays: Sequence[Arrays]) -> UncertaintyShown | None:
    """Return what is shown: the disagreement of a run that has one, otherwise an entropy; None without either."""
    for name in ("disagreement", "entropy"):
        for index in reversed(range(len(arrays))):
            if name in arrays[index]:
                return UncertaintyShown(index, name)
    return None


def _opinions(
    case: str, part: str, runs: Sequence[RecordedRun], labels: Sequence[str], arrays: Sequence[Arrays]
) -> list[Tile]:
    """Draw the image of one case, its ground truth, and what every run made of it."""
    first = next(index for index, own in enumerate(arrays) if own)
    target = _target(arrays)
    picture = _enlarged(arrays[first]["image"])
    planes = ", axial, coronal and sagittal" if runs[first].dims == 3 else ""
    tiles = [Tile(f"image{planes}", f"image {case}{planes}", picture)]
    picture = _hatched(picture, arrays[first])
    if target is not None:
        several = len(runs[first].classes) > 2
        truth = _outlined(picture, target, None) if several else _outlined(picture, None, target)
        tiles.append(Tile("ground truth", f"ground truth of {case}", truth))
    for run, label, own in zip(runs, labels, arrays, strict=True):
        if own:
            example = _example(run, case, part)
            dice = number(example.dice) if example and math.isfinite(example.dice) else ""
            alt = f"{label} on {case}" + (f", Dice {dice}" if dice else "")
            tiles.append(Tile(f"{label} {dice}".strip(), alt, _outlined(picture, own["refined"], target), label))
    return tiles


def _uncertainty_tiles(
    case: str, labels: Sequence[str], arrays: Sequence[Arrays], shown: UncertaintyShown | None, scale: float
) -> list[Tile]:
    """Draw the uncertainty that is shown, and the coarse opinion of its run; nothing if none is."""
    if shown is None:
        return []
    owner = f"{labels[shown.index]} " if len(labels) > 1 else ""
    own, uncertainty = arrays[shown.index], shown.name
    picture = _enlarged(own["image"])
    tiles: list[Tile] = []
    if "coarse" in own:
        coarse = _outlined(_hatched(picture, own), own["coarse"], _target(arrays))
        tiles.append(Tile(f"{owner}coarse", f"{owner}coarse opinion on {case}", coarse))
    name = f"{owner}{uncertainty}"
    tiles.append(Tile(name, f"{name} on {case}", _heated(picture, own[uncertainty], scale)))
    return tiles


def _target(arrays: Sequence[Arrays]) -> Pixels | None:
    return next((a["target"] for a in arrays if "target" in a), None)


def _hatched(picture: Pixels, arrays: Arrays) -> Pixels:
    return hatched(picture, arrays["unknown"]) if "unknown" in arrays else picture


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


def _heated(picture: Pixels, uncertainty: Pixels, scale: float) -> Pixels:
    """Lay a map of uncertainty over the gray image: the brighter and the more opaque, the larger."""
    height, width = picture.shape[:2]
    values = np.asarray(Image.fromarray(uncertainty).resize((width, height), Image.Resampling.BILINEAR)) / 255
    share = np.clip(values / scale, 0, 1)[..., None]
    gray = np.asarray(Image.fromarray(picture).convert("L"))[..., None] * 0.75
    colors: Any = colormaps["magma"](0.15 + 0.85 * share[..., 0])
    return np.rint(gray * (1 - share) + 255 * colors[..., :3] * share).astype(np.uint8)
