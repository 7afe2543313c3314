"""Self-configuration: from the data and the device alone, every setting that must fit them, each with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from criinet.data.dataset import Dataset
from criinet.data.images import image_size, is_gray
from criinet.data.sampling import evenly
from criinet.data.splits import Split
from criinet.engine.plan_choices import (
    BATCH,
    PRETRAINED,
    SAMPLED,
    USUAL_SIDE,
    asked_for,
    batch_choices,
    device_name,
    diameters_by_class,
    mirrored_choices,
    object_count,
    precision_choice,
    upright_choices,
    weighted_median,
)
from criinet.engine.settings import Choice

STEPS = (1000, 6000)
"""Steps on a CPU, and on a GPU."""
LEAST_STEPS = 400
"""A run takes no fewer steps, however few its labeled images."""
MOST_PASSES = 300
"""A run on a CPU passes over its labeled images no more often than this, but for the steps that every run takes."""
LOST_OBJECT = 6
"""Diameter in pixels below which an object would be lost by resizing."""
SMALL_OBJECT = 24
"""Diameter in pixels below which a larger training size is worth its cost."""

MANY_OBJECTS = 8
"""With so many objects of one class in the median mask, gray images are of cells or the like and not of a body."""


@dataclass(frozen=True)
class Facts:
    """What the plan is made from.

    height, width: medians over the sampled images, in pixels.
    gray: True if every sampled image is.
    objects: connected objects of one class in the median labeled mask.
    object_diameter: diameter of the connected object that the median labeled pixel lies in, as a share of the
        image's longer side; so specks do not count.
    """

    height: int
    width: int
    gray: bool
    labeled: int
    unlabeled: int
    object_diameter: float
    objects: float


def look_at(dataset: Dataset, split: Split) -> Facts:
    """Read the headers of some training images and the masks of some labeled ones; never another mask."""
    train = dataset.select([*split.labeled, *split.unlabeled])
    sampled = [train[i] for i in evenly(len(train), SAMPLED)]
    sizes = np.array([image_size(case.image) for case in sampled])
    labeled = dataset.select(split.labeled)
    diameters: list[float] = []
    objects: list[int] = []
    for i in evenly(len(labeled), SAMPLED):
        mask = dataset.read_mask(labeled[i])
        by_class = diameters_by_class(mask)
        diameters += [diameter / max(mask.shape) for of_class in by_class for diameter in of_class]
        objects.append(object_count(by_class))
    return Facts(
        height=int(np.median(sizes[:, 0])),
        width=int(np.median(sizes[:, 1])),
        gray=all(is_gray(case.image) for case in sampled),
        labeled=len(split.labeled),
        unlabeled=len(split.unlabeled),
        object_diameter=weighted_median(diameters),
        objects=float(np.median(objects)),
    )


def training_size(facts: Facts, longest: int, *, small: bool) -> tuple[int, int]:
    """Return a size of the images' own aspect, at most ``longest``, with sides that are multiples of 32.

    Images are enlarged only where their objects are ``small``.
    """
    longer = max(facts.height, facts.width)
    scale = longest / longer if small or longer > longest else max(1.0, 64 / longer)
    height, width = (max(64, min(longest, round(side * scale / 32) * 32)) for side in (facts.height, facts.width))
    return height, width


def size_asked(asked: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the training size that the user gives, None where that is none or no pair of sides."""
    match asked_for(asked, "data", "size"):
        case [int(height), int(width)] if height > 0 and width > 0:
            return height, width
        case _:
            return None


def picture_choices(facts: Facts, on_gpu: bool, size: tuple[int, int] | None = None) -> list[Choice]:
    """Pick what the network sees of an image: channels, size unless it is given, and whole images or crops."""
    longest = USUAL_SIDE[on_gpu]
    longer = max(facts.height, facts.width)
    small = facts.object_diameter * min(longest, longer) < SMALL_OBJECT
    if small:
        longest = longest * 5 // 4
    size = size or training_size(facts, longest, small=small)
    diameter = facts.object_diameter * max(size)
    patch = longer >= 2 * max(size) and diameter < LOST_OBJECT
    seen = (
        f"objects would shrink to {diameter:.0f} px, so crops are seen at full resolution"
        if patch
        else f"objects are about {diameter:.0f} px wide at {size[0]}x{size[1]}, so whole images are resized"
    )
    affordable = f"at most {longest} on {device_name(on_gpu)}{' for small objects' if small else ''}"
    return [
        Choice("data.channels", 1 if facts.gray else 3, "all images are gray" if facts.gray else "images have colour"),
        Choice("data.size", size, f"median image {facts.height}x{facts.width}, {affordable}"),
        Choice("data.window", "patch" if patch else "whole", seen),
    ]


def length_choice(facts: Facts, size: tuple[int, int], on_gpu: bool) -> Choice:
    """Pick the number of steps: the same time at any size, and on a CPU no more passes than a few masks are worth."""
    usual, batch = USUAL_SIDE[on_gpu], BATCH[on_gpu]
    steps = int(STEPS[on_gpu] * min(1.0, usual**2 / (size[0] * size[1]))) // 10 * 10
    enough = max(LEAST_STEPS, facts.labeled * MOST_PASSES // batch)
    if not on_gpu and enough < steps:
        passes = enough * batch // facts.labeled
        return Choice("trainer.iterations", enough, f"{passes} passes over {facts.labeled} labeled images are enough")
    reason = f"{STEPS[on_gpu]} at {usual}x{usual}, fewer for larger images: what {device_name(on_gpu)} does in minutes"
    return Choice("trainer.iterations", steps, reason)


def plan(facts: Facts, device: str, asked: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Pick every setting that depends on the data or the device.

    Args:
        device: "cpu" or "cuda".
        asked: the user's own settings; what depends on the training size follows theirs.
    """
    on_gpu = device != "cpu"
    labeled = f"{device_name(on_gpu)}; {facts.labeled} labeled images"
    picture = picture_choices(facts, on_gpu, size_asked(asked))
    size = next(choice.value for choice in picture if choice.setting == "data.size")
    choices = [
        PRETRAINED,
        *picture,
        *batch_choices(BATCH[on_gpu], labeled, f"{facts.unlabeled} unlabeled images"),
        length_choice(facts, size, on_gpu),
        precision_choice(on_gpu),
    ]
    if facts.gray and facts.objects >= MANY_OBJECTS:
        choices += mirrored_choices(f"gray images of {facts.objects:.0f} objects, as cells are, have no orientation")
    elif facts.gray:
        choices += upright_choices("gray scans have an anatomical orientation")
    else:
        why = "the mean over mirrored images was better in every run tried; --no-tta is three times as fast"
        choices.append(Choice("data.tta", True, why))
    return tuple(choices)
