"""What the plans for images and for volumes share: what is measured in masks, and the choices that are made alike."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from criinet.defaults import DEFAULT_NETWORK
from criinet.engine.settings import Choice

SAMPLED = 64
"""How many files are looked at, spread evenly over the dataset."""
USUAL_SIDE, BATCH = (128, 256), (4, 12)
"""Longer side of the training size, and images or slices of each kind a step: on a CPU, and on a GPU."""
PRETRAINED = Choice("network.name", DEFAULT_NETWORK, "an ImageNet-pretrained encoder needs the fewest masks")


def diameters_by_class(mask: NDArray[Any], voxel: float = 1.0) -> list[list[float]]:
    """Return the diameter of the disc, or ball, as large as each connected object, of class 1, 2, ... apart.

        d = (4 / pi * area)^(1/2)   of a mask (H, W)
        d = (6 / pi * volume)^(1/3)   of a mask (D, H, W)

    Args:
        voxel: area of a pixel or volume of a voxel, in the square or the cube of the diameters' unit.
    """
    share = 4 if mask.ndim == 2 else 6
    found: list[list[float]] = []
    for c in range(1, int(mask.max()) + 1):
        objects, _ = ndimage.label(mask == c)  # pyright: ignore[reportGeneralTypeIssues]
        sizes = np.bincount(objects.ravel())[1:].tolist()
        found.append([float((share / math.pi * size * voxel) ** (1 / mask.ndim)) for size in sizes])
    return found


def object_diameters(mask: NDArray[Any], voxel: float = 1.0) -> list[float]:
    """Return the diameters of the objects of all classes together."""
    return [diameter for of_class in diameters_by_class(mask, voxel) for diameter in of_class]


def object_count(diameters: Sequence[Sequence[float]], dims: int = 2) -> int:
    """Count the objects of the class that has the most, without specks, by their diameters in each class.

    A speck is less than half as wide as the object that the median pixel, or voxel with ``dims`` 3, of its class lies
    in.
    """
    least = [weighted_median(of_class, dims) / 2 for of_class in diameters]
    return max((sum(d >= small for d in of_class) for of_class, small in zip(diameters, least, strict=True)), default=0)


def weighted_median(diameters: Sequence[float], dims: int = 2, *, none: float = 1.0) -> float:
    """Return the diameter below which half of all objects' area (``dims`` 2) or volume (3) lies.

    Args:
        none: what is returned if there is no object.
    """
    if not diameters:
        return none
    ordered = np.sort(diameters)
    size = np.cumsum(ordered**dims)
    return float(ordered[np.searchsorted(size, size[-1] / 2)])


def asked_for(asked: Mapping[str, Any], section: str, key: str) -> Any:
    """Return the user's own value of a setting, None where that is none or its section no table."""
    table = asked.get(section)
    return table.get(key) if isinstance(table, Mapping) else None


def device_name(on_gpu: bool) -> str:
    """Return the device in a reason's words."""
    return "a GPU" if on_gpu else "a CPU"


def batch_choices(batch: int, labeled: str, unlabeled: str) -> list[Choice]:
    """Pick as many unlabeled windows a step as labeled ones.

    Args:
        labeled: the reason for ``batch``. unlabeled: what the unlabeled ones are drawn from.
    """
    return [
        Choice("trainer.labeled_batch", batch, labeled),
        Choice("trainer.unlabeled_batch", batch, f"as many as labeled; {unlabeled}"),
    ]


def precision_choice(on_gpu: bool) -> Choice:
    """Pick the precision of training."""
    return Choice("trainer.precision", "bf16" if on_gpu else "32", f"the faster one on {device_name(on_gpu)}")


def upright_choices(reason: str) -> list[Choice]:
    """Pick what training does not do to images that have an up and a left: no mirroring, and little rotation."""
    upright = {"flip_horizontal": (False, "true"), "flip_vertical": (False, "true"), "rotate": (20.0, "30")}
    return [
        Choice(
            f"data.augmentation.{name}", value, f"{reason}; if yours have none: --set data.augmentation.{name}={other}"
        )
        for name, (value, other) in upright.items()
    ]


def mirrored_choices(reason: str) -> list[Choice]:
    """Pick what training does to images that have neither an up nor a left: mirroring."""
    mirrored = ("data.augmentation.flip_horizontal", "data.augmentation.flip_vertical")
    return [Choice(name, True, f"{reason}; if yours have one: --set {name}=false") for name in mirrored]
