"""Self-configuration for volumes: voxel size, windows, intensity, and whether slices or boxes go to the network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.dataset import Case, Dataset
from criinet.data.formats import Volume, VolumeHeader
from criinet.data.geometry import Spacing
from criinet.data.grid import median_spacing
from criinet.data.intensity import sampled
from criinet.data.objects import largest_shares
from criinet.data.sampling import evenly
from criinet.data.splits import Split
from criinet.data.threads import in_threads
from criinet.data.volumes import read_volume_header, without_voxel_size
from criinet.engine.plan_choices import (
    BATCH,
    PRETRAINED,
    SAMPLED,
    USUAL_SIDE,
    asked_for,
    batch_choices,
    device_name,
    object_diameters,
    precision_choice,
    upright_choices,
    weighted_median,
)
from criinet.engine.settings import Choice
from criinet.networks import networks

READ = 8
"""How many labeled volumes are decoded to plan; of the others the mask alone."""
BOX_VOXELS, BOX_BATCH, BOX_STEPS = (2**16, 2**21), (2, 2), (300, 6000)
"""Voxels of a box, boxes of each kind a step, and steps: on a CPU, and on a GPU."""
SLICE_STEPS = (800, 6000)
MOST_BOXES = 4
"""Voxels grow until the median volume is no more than about so many boxes, on a CPU."""
FINEST = 10
"""An object keeps about so many voxels across, whatever the box."""
ANISOTROPIC = 3.0
"""Ratio of the slice distance to the pixel size from which slices are seen one by one."""
CT_MARGIN = 0.5
"""How far the CT window reaches beyond the values of objects, as a share of their spread."""
LEAST_HU = 20.0
"""Spread of an object's values below which they are hardly Hounsfield units."""
DIRECTIONS = ("feet to head", "front to back", "right to left")
"""How d, h and w run in the viewer's order."""
MOST_SPACING = 16.0
WHOLE = 0.99
"""Share of a class that its largest object has if the class is one object, but for specks."""


@dataclass(frozen=True)
class VolumeFacts:
    """What the plan for volumes is made from; axes are the viewer's: d, h, w.

    shape: medians in voxels. spacing: medians in mm of the files that know theirs, None where none does.
    modality: "CT", "MR", ... or "".
    object_range: 0.5 and 99.5 percentile of the values inside labeled objects.
    object_diameter: of the connected object that the median labeled voxel lies in, in mm (in voxels without spacing).
    one_object: classes that are a single connected object, but for specks, in every labeled volume that has them.
    unsized: a sentence on the files that do not know their voxels where others do, "" if there are none.
    """

    shape: tuple[int, int, int]
    spacing: Spacing | None
    modality: str
    labeled: int
    unlabeled: int
    object_range: tuple[float, float]
    object_diameter: float
    one_object: tuple[int, ...] = ()
    unsized: str = ""


def look_at_volumes(dataset: Dataset, split: Split) -> VolumeFacts:
    """Read the headers of some training volumes, every labeled mask and a few labeled volumes; never another mask."""
    train = dataset.select([*split.labeled, *split.unlabeled])
    seen = [train[i] for i in evenly(len(train), SAMPLED)]
    headers = [read_volume_header(case.image, dataset.voxel) for case in seen]
    shape = np.median([[header.shape[axis] for axis in header.geometry.axes.order] for header in headers], axis=0)
    spacing = median_spacing(headers)
    unsized = [case.image.name for case, header in zip(seen, headers, strict=True) if not header.geometry.known]
    labeled = dataset.select(split.labeled)
    inside: list[NDArray[np.float64]] = []
    diameters: list[float] = []
    values: list[NDArray[np.float64]] = []
    for case in (labeled[i] for i in evenly(len(labeled), READ)):
        volume, mask = dataset.read_scan(case), dataset.read_mask(case)
        assert isinstance(volume, Volume)
        values.append(sampled(volume.values)[::16])
        inside.append(sampled(volume.values[mask > 0]))
        voxel = volume.geometry.spacing if volume.geometry.known else spacing
        diameters += object_diameters(mask, math.prod(voxel) if spacing and voxel else 1.0)
    found = np.concatenate(inside) if inside else np.zeros(0)
    low, high = np.percentile(found, (0.5, 99.5)) if found.size else (0.0, 0.0)
    return VolumeFacts(
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        spacing=spacing,
        modality=modality_of(dataset, headers, values),
        labeled=len(split.labeled),
        unlabeled=len(split.unlabeled),
        object_range=(float(low), float(high)),
        object_diameter=weighted_median(diameters, 3, none=0.0),
        one_object=one_object_classes(dataset, labeled),
        unsized=without_voxel_size(unsized, len(seen), "volumes looked at") if unsized and spacing else "",
    )


def one_object_classes(dataset: Dataset, labeled: Sequence[Case]) -> tuple[int, ...]:
    """Return the classes that are a single connected object, but for specks, in every mask that has them.

    Every mask is read: one with a second object is enough to make its loss from predictions wrong.
    """
    least: dict[int, float] = {}
    for shares in in_threads(lambda case: largest_shares(dataset.read_mask(case)), labeled):
        for c, share in shares.items():
            least[c] = min(least.get(c, 1.0), share)
    return tuple(c for c, share in sorted(least.items()) if share >= WHOLE)


def modality_of(dataset: Dataset, headers: Sequence[VolumeHeader], values: Sequence[NDArray[np.float64]]) -> str:
    """Return the modality: as dataset.json or DICOM says, else "CT" if values look like Hounsfield units, else ""."""
    said = dataset.modality or next((header.modality for header in headers if header.modality), "")
    if said:
        return said.upper()
    whole = [v for v in values if v.size and np.array_equal(v, np.rint(v))]
    looks = bool(whole) and len(whole) == len(values) and all(v.min() <= -500 and v.max() > 100 for v in whole)
    return "CT" if looks else ""


def plan_volumes(facts: VolumeFacts, device: str, asked: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Pick every setting of a run on volumes.

    Args:
        device: "cpu" or "cuda".
        asked: the user's own settings; a kind, or a network that has one form alone, decides between slices and boxes.

    Raises:
        ConfigError: if there is no such network.
    """
    on_gpu = device != "cpu"
    kind = kind_choice(facts, on_gpu, asked)
    seen = slice_choices(facts, on_gpu) if kind.value == "slices" else box_choices(facts, on_gpu)
    return (
        kind,
        *seen,
        Choice("data.window", "patch", "volumes are seen in windows"),
        Choice("data.channels", 1, "volumes are gray"),
        *intensity_choices(facts),
        *one_object_choices(facts),
        Choice("data.foreground", 0.5, "half of the labeled windows hold an object, every class as often"),
        precision_choice(on_gpu),
        *upright_choices("scans have an anatomical orientation"),
    )


def one_object_choices(facts: VolumeFacts) -> list[Choice]:
    """Pick the classes of which a prediction keeps the largest object alone; one volume proves nothing."""
    if not facts.one_object or facts.labeled < 2:
        return []
    names = " and ".join(str(c) for c in facts.one_object)
    why = f"class {names} is one connected object in every labeled volume, so predictions keep the largest"
    return [Choice("data.one_object", facts.one_object, why)]


def kind_choice(facts: VolumeFacts, on_gpu: bool, asked: Mapping[str, Any]) -> Choice:
    """Pick slices or boxes: as asked, as the network that is asked for can, or as the voxels and the device want."""
    own, name = asked_for(asked, "data", "kind"), asked_for(asked, "network", "name")
    if own in ("slices", "volumes"):
        return Choice("data.kind", own, "as asked")
    if name is not None and len(dims := networks.get(str(name)).dims) == 1:
        return Choice("data.kind", "slices" if dims == (2,) else "volumes", f"{name} has a {dims[0]}D form alone")
    if facts.shape[0] < 8:
        return Choice("data.kind", "slices", f"volumes have {facts.shape[0]} slices")
    if facts.spacing is not None and facts.spacing[0] > ANISOTROPIC * min(facts.spacing[1:]):
        ratio = facts.spacing[0] / min(facts.spacing[1:])
        return Choice("data.kind", "slices", f"slices are {ratio:.1f} times as far apart as pixels")
    thick = thick_axis(facts.spacing)
    if thick is not None:
        across = f"voxels are much longer from {thick} than across, but slices are cut from feet to head alone"
        return Choice("data.kind", "volumes" if on_gpu else "slices", across)
    if not on_gpu:
        why = "a pretrained 2D network on slices learns faster on a CPU than a 3D network; ask for data.kind=volumes"
        return Choice("data.kind", "slices", why)
    return Choice("data.kind", "volumes", "slices are about as far apart as pixels")


def thick_axis(spacing: Sequence[float] | None) -> str | None:
    """Return the direction other than that of the slices along which voxels are much longer than across."""
    if spacing is None:
        return None
    longest = max((1, 2), key=lambda axis: spacing[axis])
    return DIRECTIONS[longest] if spacing[longest] > ANISOTROPIC * min(spacing) else None


def slice_choices(facts: VolumeFacts, on_gpu: bool) -> list[Choice]:
    """Pick the network, spacing, size and length of a run on slices."""
    longest = USUAL_SIDE[on_gpu]
    height, width = facts.shape[1:]
    steps = facts.spacing or (1.0, 1.0, 1.0)
    pixel = min(steps[1:])
    extent = (height * steps[1] / pixel, width * steps[2] / pixel)
    scale = max(1.0, max(extent) / longest)
    fits = facts.object_diameter / FINEST if facts.object_diameter else pixel * scale
    fine = max(pixel, min(pixel * scale, fits, MOST_SPACING))
    size = tuple(max(32, min(longest, math.ceil(side * pixel / fine / 32) * 32)) for side in extent)
    seen = f"median slice {height}x{width}, at most {longest} on {device_name(on_gpu)}"
    choices = [
        PRETRAINED,
        Choice("data.size", size, seen),
    ]
    if facts.spacing is not None:
        spacing = (round(steps[0], 4), round(fine, 4), round(fine, 4))
        choices.append(spacing_choice(facts, spacing, "median slice distance; pixels as fine as the windows allow"))
    usual = USUAL_SIDE[on_gpu] ** 2
    labeled = f"{device_name(on_gpu)}; slices of {facts.labeled} labeled volumes"
    steps_of_run = int(SLICE_STEPS[on_gpu] * min(1.0, usual / (size[0] * size[1]))) // 10 * 10
    return [
        *choices,
        *batch_choices(BATCH[on_gpu], labeled, f"{facts.unlabeled} unlabeled volumes"),
        Choice("trainer.iterations", steps_of_run, f"what {device_name(on_gpu)} does in minutes"),
    ]


def box_choices(facts: VolumeFacts, on_gpu: bool) -> list[Choice]:
    """Pick the network, spacing, size and length of a run on boxes."""
    steps = facts.spacing or (1.0, 1.0, 1.0)
    budget = BOX_VOXELS[on_gpu]
    factor = 1.0
    if not on_gpu and facts.spacing is not None:
        voxels = math.prod(facts.shape) / (MOST_BOXES * budget)
        room = facts.object_diameter / FINEST / max(steps) if facts.object_diameter else math.inf
        factor = max(1.0, min(voxels ** (1 / 3), room, MOST_SPACING / max(steps)))
    spacing = [round(step * factor, 4) for step in steps]
    shape = [max(1.0, side / factor) for side in facts.shape]
    size = box_size(shape, budget)
    text = "x".join(str(side) for side in facts.shape)
    choices = [
        Choice("network.name", "unet", "a 3D network, from scratch"),
        Choice("data.size", size, f"median volume {text}; {budget} voxels at most on {device_name(on_gpu)}"),
    ]
    if facts.spacing is not None:
        why = "median voxel" if factor == 1.0 else f"median voxel times {factor:.2f}, so that a box sees enough"
        choices.append(spacing_choice(facts, spacing, why))
    if not on_gpu:
        choices.append(
            Choice("network.channels", (8, 16, 32, 64, 128), f"half the usual width on {device_name(False)}")
        )
    unlabeled = f"{facts.unlabeled} unlabeled volumes"
    return [
        *choices,
        *batch_choices(BOX_BATCH[on_gpu], f"boxes of {facts.labeled} labeled volumes", unlabeled),
        Choice("trainer.iterations", BOX_STEPS[on_gpu], f"what {device_name(on_gpu)} does in minutes"),
    ]


def spacing_choice(facts: VolumeFacts, spacing: Sequence[float], why: str) -> Choice:
    """Pick the spacing of training, and name the files that it cannot be brought to."""
    return Choice("data.spacing", tuple(spacing), f"{why}; {facts.unsized}" if facts.unsized else why)


def box_size(shape: Sequence[float], budget: int) -> tuple[int, int, int]:
    """Return sides that are multiples of 16, in proportion to ``shape``, of at most ``budget`` voxels.

    Each side is at least 16 and no longer than the volume's needs.
    """
    size = [16, 16, 16]
    while True:
        longer = [
            axis
            for axis in range(3)
            if size[axis] < shape[axis] and math.prod(size) // size[axis] * (size[axis] + 16) <= budget
        ]
        if not longer:
            return size[0], size[1], size[2]
        axis = min(longer, key=lambda a: size[a] / shape[a])
        size[axis] += 16


def _rounded(value: float, spread: float) -> float:
    """Round to whole numbers, and where values spread over less than 100 of them to a hundredth of the spread."""
    return round(value, max(0, 2 - math.floor(math.log10(spread))))


def intensity_choices(facts: VolumeFacts) -> list[Choice]:
    """Pick how values become gray."""
    low, high = facts.object_range
    if facts.modality == "CT" and high > low:
        margin = CT_MARGIN * (high - low)
        window = (_rounded(low - margin, high - low), _rounded(high + margin, high - low))
        unit = " HU" if high - low >= LEAST_HU else ", which is hardly HU"
        why = f"objects lie between {low:.4g} and {high:.4g}{unit}"
        return [Choice("data.intensity", "range", "CT has a unit"), Choice("data.range", window, why)]
    if facts.modality in ("CR", "DX", "MG", "XA", "US"):
        return [Choice("data.intensity", "window", f"{facts.modality} is shown with a window")]
    return [Choice("data.intensity", "z-score", f"{facts.modality or 'images'} without a unit")]
