"""Decoded cases, in memory as far as it goes, as the trainer draws them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from criinet.data.dataset import Case, Dataset
from criinet.data.decoding import Decoding
from criinet.data.fitting import cut, fit, fit_mask, pad, with_channels
from criinet.data.formats import Volume
from criinet.data.grid import require_grid
from criinet.data.resampling import fit_volume, labels_to_grid
from criinet.data.settings import DataConfig
from criinet.data.spill import Spill
from criinet.data.threads import cores
from criinet.labels import IGNORE

KEPT_VOXELS = 4096
"""Voxels of each class and volume that windows may be centred on, evenly spread over all of them."""


@dataclass(frozen=True)
class Store:
    """Images, and masks where the store was filled with them, uint8; a spill may have mapped them from a file.

    images: (C, h, w) or (C, d, h, w) each; all of the training size in window "whole".
    masks: (h, w) or (d, h, w) each, or none at all; int16 where some pixels are IGNORE.
    centres: of volumes with masks, for each the voxels of interest by class, (n, 3), first those with any ground truth
        where only some have one.
    """

    images: Sequence[Tensor]
    masks: tuple[Tensor, ...]
    config: DataConfig
    centres: tuple[tuple[NDArray[np.int32], ...], ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> "Store":
        """Return the same cases on a device, where ``draw`` then works too."""
        images, masks = (tuple(each.to(device) for each in part) for part in (self.images, self.masks))
        return replace(self, images=images, masks=masks)

    def require_all(self) -> None:
        """Wait until every image is decoded.

        Raises:
            DataError: if a file cannot be read.
            StorageError: if neither memory nor disk has room for them.
        """
        for _ in self.images:
            pass

    def stop(self) -> None:
        """Decode no image any more that nobody asks for."""
        if isinstance(self.images, Decoding):
            self.images.stop()

    @property
    def nbytes(self) -> int:
        """How many bytes the images and masks take."""
        return sum(each.nbytes for each in (*self.images, *self.masks))

    def draw(self, indices: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        """Return images (B, C, ...) float32 in [0, 1] and masks (B, ...) int64, cropped alike in window "patch"."""
        images: list[Tensor] = []
        masks: list[Tensor] = []
        for i in indices:
            place = self.window(i, rng)
            images.append(self.images[i][(slice(None), *place)])
            if self.masks:
                masks.append(self.masks[i][place])
        image = torch.stack(images).float() / 255
        mask = torch.stack(masks).long() if masks else None
        if self.config.kind == "slices":
            return image.squeeze(2), None if mask is None else mask.squeeze(1)
        return image, mask

    def window(self, i: int, rng: np.random.Generator) -> tuple[slice, ...]:
        """Draw where case ``i`` is cut: anywhere, or around a voxel of a class, every class as often."""
        sides, box = self.images[i].shape[1:], self.config.box
        centre = self.centre(i, rng) if self.centres else None
        starts: list[int] = []
        for axis, (side, length) in enumerate(zip(sides, box, strict=True)):
            if centre is None:
                starts.append(int(rng.integers(side - length + 1)))
            else:
                jitter = int(rng.integers(length)) if length > 1 else 0
                starts.append(min(max(int(centre[axis]) - jitter, 0), side - length))
        return cut(starts, box)

    def centre(self, i: int, rng: np.random.Generator) -> NDArray[np.int32] | None:
        """Draw a voxel that the window must hold, or None for any window."""
        anywhere, *classes = self.centres[i]
        present = [voxels for voxels in classes if len(voxels)]
        if present and rng.random() < self.config.foreground:
            voxels = present[int(rng.integers(len(present)))]
        elif len(anywhere):
            voxels = anywhere
        else:
            return None
        return voxels[int(rng.integers(len(voxels)))]


def load_store(
    dataset: Dataset,
    cases: Sequence[Case],
    config: DataConfig,
    *,
    with_masks: bool,
    spill: Spill | None = None,
    background: bool = False,
) -> Store:
    """Decode ``cases`` once, on all cores; masks only where ``with_masks`` says so, never those of unlabeled cases.

    Args:
        spill: takes the images; None keeps all of them in memory.
        background: return at once and go on decoding, for images without masks; who takes an image next then meets the
            error.

    Raises:
        DataError: if a file cannot be read, or is a volume of too many voxels on the training grid.
        StorageError: if neither memory nor disk has room for them.
    """
    keep = torch.from_numpy if spill is None else spill.keep

    def load(case: Case) -> tuple[Tensor, Tensor | None]:
        scan = dataset.read_scan(case)
        mask = dataset.read_mask(case) if with_masks else None
        if isinstance(scan, Volume):
            require_grid(case.image, scan, config.spacing)
            gray, grid = fit_volume(scan, config)
            pixels = keep(np.repeat(gray[None], config.channels, axis=0))
            fitted = None if mask is None else pad(labels_to_grid(mask, grid), config.box)
        else:
            image = fit(with_channels(scan, config.channels), config, labels=False)
            pixels = keep(image.transpose(2, 0, 1).copy())
            fitted = None if mask is None else fit_mask(mask, config)
        return pixels, None if fitted is None else torch.from_numpy(fitted.copy())

    if background:
        assert not with_masks
        return Store(Decoding(lambda index: load(cases[index])[0], len(cases)), (), config)
    with ThreadPoolExecutor(cores()) as pool:
        loaded = list(pool.map(load, cases))
    masks = tuple(m for _, m in loaded if m is not None)
    by_class = () if dataset.dims == 2 else tuple(centres(mask.numpy(), len(dataset.classes)) for mask in masks)
    return Store(tuple(i for i, _ in loaded), masks, config, by_class)


def centres(mask: NDArray[Any], classes: int) -> tuple[NDArray[np.int32], ...]:
    """Return voxels (n, 3) that windows may be centred on: those with ground truth if some lack it, then by class."""
    wanted = [mask != IGNORE if (mask == IGNORE).any() else np.zeros((0, 0, 0), np.bool_)]
    wanted += [mask == c for c in range(1, classes)]
    found: list[NDArray[np.int32]] = []
    for selected in wanted:
        flat = np.flatnonzero(selected)
        kept = flat[np.linspace(0, flat.size - 1, min(flat.size, KEPT_VOXELS)).astype(np.intp)]
        at = np.unravel_index(kept, selected.shape) if kept.size else (kept, kept, kept)
        found.append(np.stack(at, axis=1).astype(np.int32))
    return tuple(found)
