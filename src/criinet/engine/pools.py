"""The cases that training sees, decoded, and what their labels are like."""

from dataclasses import dataclass
from pathlib import Path

import torch

from criinet.data.dataset import Dataset
from criinet.data.notes import alone_note, inverted_note
from criinet.data.sampling import evenly
from criinet.data.spill import Spill
from criinet.data.splits import Split
from criinet.data.store import Store, load_store
from criinet.data.volumes import lone_slices
from criinet.engine.requirements import require_masks_fit
from criinet.engine.settings import RunConfig
from criinet.errors import DataError
from criinet.labels import IGNORE

_LOOKED_AT = 8
"""How many masks of volumes are read again to see how their slices are labeled."""


@dataclass(frozen=True)
class Pools:
    """The cases that training sees. There is no place for a test case.

    labeled, unlabeled, val: decoded images; only ``labeled`` and ``val`` hold masks.
    """

    labeled: Store
    unlabeled: Store
    val: Store

    def near(self, device: torch.device) -> "Pools":
        """Return the same cases in a GPU's memory, where they take a quarter of what is free at most; else themselves.

        Drawing a batch then moves nothing between host and device, and never makes the host wait. On a GPU this waits
        until every image is decoded.
        """
        parts = (self.labeled, self.unlabeled, self.val)
        if device.type != "cuda" or sum(part.nbytes for part in parts) > torch.cuda.mem_get_info(device)[0] / 4:
            return self
        return Pools(*(part.to(device) for part in parts))


def load_pools(dataset: Dataset, split: Split, config: RunConfig, *, spill: Path | None = None) -> Pools:
    """Decode what training sees, the unlabeled images in the background.

    Without unlabeled cases the labeled images, without their masks, take their place.

    Args:
        spill: folder for a nameless file of the unlabeled images that memory cannot hold.
    """
    unlabeled = split.unlabeled or split.labeled
    require_masks_fit(dataset.select([*split.labeled, *split.val]), dataset.dims)
    return Pools(
        labeled=load_store(dataset, dataset.select(split.labeled), config.data, with_masks=True),
        val=load_store(dataset, dataset.select(split.val), config.data, with_masks=True),
        unlabeled=load_store(
            dataset, dataset.select(unlabeled), config.data, with_masks=False, spill=Spill(spill), background=True
        ),
    )


def label_warnings(dataset: Dataset, split: Split, pools: Pools) -> list[str]:
    """Return what a person should know of the labels before training.

    Raises:
        DataError: if no labeled case has any object: then there is nothing to learn.
    """
    found = {int(c) for mask in pools.labeled.masks for c in mask.unique()}
    missing = [name for c, name in enumerate(dataset.classes) if c > 0 and c not in found]
    count = len(split.labeled)
    others = ", or draw others with another --seed" if count < len(dataset.labeled) else ""
    if missing and len(missing) == len(dataset.classes) - 1:
        raise DataError(
            f"none of the {count} labeled cases has a pixel of {', '.join(missing)}; label other cases{others}."
        )
    warnings = [
        f"class '{name}' is in none of the {count} labeled cases, so it cannot be learned; "
        f"label a case that has it{others}"
        for name in missing
    ]
    shares = [float((mask > 0).sum() / (mask != IGNORE).sum().clamp(min=1)) for mask in pools.labeled.masks]
    warnings += inverted_note(dataset.classes, shares)
    partial = sum(bool((mask == IGNORE).any()) for mask in pools.labeled.masks)
    if partial:
        share = sum(float((mask != IGNORE).float().mean()) for mask in pools.labeled.masks) / count
        warnings.append(f"{partial} of {count} labeled cases have ground truth in a part alone, {share:.1%} on average")
    return warnings + alone_note(_lone_slices(dataset, split))


def _lone_slices(dataset: Dataset, split: Split) -> dict[str, tuple[int, int]]:
    """Return the labeled slices of masks, of some, in which they stand alone and the others count as background."""
    if dataset.dims == 2 or dataset.partial != "auto":
        return {}
    names = [split.labeled[i] for i in evenly(len(split.labeled), _LOOKED_AT)]
    masks = {case.name: dataset.read_mask(case) for case in dataset.select(names)}
    found = {name: lone_slices(mask) for name, mask in masks.items() if not (mask == IGNORE).any()}
    return {name: count for name, count in found.items() if count is not None}
