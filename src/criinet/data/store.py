"""Decoded cases, in memory as far as it goes, as the trainer draws them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from criinet.config import Config, Count, Fraction, Millimetres
from criinet.data.augmentation import AugmentationConfig
from criinet.data.dataset import Case, Dataset
from criinet.data.decoding import Decoding
from criinet.data.fitting import cut, fit, with_channels
from criinet.data.formats import Volume
from criinet.data.images import Pixels
from criinet.data.intensity import Intensity, Limits, limits_of, to_gray
from criinet.data.resampling import Grid, labels_to_grid, to_grid, training_grid
from criinet.data.spill import Spill
from criinet.data.threads import cores
from criinet.labels import IGNORE

Side = Annotated[int, Field(ge=16, le=4096)]
Depth = Annotated[int, Field(ge=4, le=4096)]
Kind = Literal["images", "slices", "volumes"]

KEPT_VOXELS = 4096
"""Voxels of each class and volume that windows may be centred on, evenly spread over all of them."""


class DataConfig(Config):
    """What the network sees of an image."""

    kind: Annotated[
        Kind, Field(description="images; or of volumes: slices for a 2D network, volumes for boxes and a 3D network")
    ] = "images"
    size: Annotated[
        tuple[Side, Side] | tuple[Depth, Side, Side],
        Field(description="height and width, for boxes also depth before them, that the network is trained on"),
    ] = (128, 128)
    window: Annotated[
        Literal["whole", "patch"],
        Field(
            description="whole: each image is resized; patch: crops at the image's own resolution, then sliding window"
        ),
    ] = "whole"
    channels: Annotated[Literal[1, 3], Field(description="1: gray, 3: colour")] = 3
    spacing: Annotated[
        tuple[Millimetres, Millimetres, Millimetres] | None,
        Field(description="of volumes: depth, height and width in mm of a voxel in training; null: as stored"),
    ] = None
    intensity: Annotated[
        Intensity,
        Field(description="of volumes: z-score, range (fixed, as in CT), or window (the file's own, or percentiles)"),
    ] = "z-score"
    range: Annotated[
        tuple[float, float], Field(description="of volumes: what becomes black and white with intensity=range, in HU")
    ] = (-160.0, 240.0)
    one_object: Annotated[
        tuple[Count, ...],
        Field(description="of volumes: numbers of classes of which predictions keep the largest connected object"),
    ] = ()
    tta: Annotated[bool, Field(description="predict the mean over mirrored images, as training mirrors them")] = False
    foreground: Annotated[Fraction, Field(description="of volumes: how often a window is centred on an object")] = 0.0
    augmentation: AugmentationConfig = AugmentationConfig()

    @field_validator("range")
    @classmethod
    def _rises(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] >= limits[1]:
            raise ValueError("give the value that becomes black, and then a larger one that becomes white")
        return limits

    @property
    def dims(self) -> int:
        """How many spatial axes the network has."""
        return 3 if self.kind == "volumes" else 2

    @property
    def box(self) -> tuple[int, ...]:
        """The window that is cut from a stored case, by its spatial axes: a slice is one voxel deep."""
        return (1, *self.size) if self.kind == "slices" else self.size


def fit_mask(mask: NDArray[Any], config: DataConfig) -> NDArray[Any]:
    """Bring (H, W) class indices, which may be IGNORE, to the training size."""
    if mask.dtype == np.uint8:
        return fit(mask, config, labels=True)
    return fit((mask - IGNORE).astype(np.uint8), config, labels=True).astype(np.int16) + IGNORE


def fit_volume(volume: Volume, config: DataConfig) -> tuple[Pixels, Grid]:
    """Bring a volume to gray values on the training grid, padded to the window: (d, h, w) uint8."""
    grid = training_grid(volume.shape, volume.geometry, config.spacing if volume.geometry.known else None)
    gray = to_gray(volume.values, limits_of(volume, config.intensity, config.range))
    return pad(to_grid(gray, grid), config), grid


def limits_for_people(volume: Volume, config: DataConfig) -> Limits:
    """Return the values that are drawn black and white: a run's fixed window, else the file's own or its percentiles.

    A z-score is for the network alone: its limits lie so far apart that a picture would be faint.
    """
    return limits_of(volume, "window" if config.intensity == "z-score" else config.intensity, config.range)


def pad(array: NDArray[Any], config: DataConfig) -> NDArray[Any]:
    """Mirror (d, h, w) at the far sides to at least the window."""
    missing = [(0, max(0, need - have)) for need, have in zip(config.box, array.shape, strict=True)]
    return np.pad(array, missing, mode="symmetric") if any(far for _, far in missing) else array


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
        DataError: if a file cannot be read.
        StorageError: if neither memory nor disk has room for them.
    """
    keep = torch.from_numpy if spill is None else spill.keep

    def load(case: Case) -> tuple[Tensor, Tensor | None]:
        scan = dataset.read_scan(case)
        mask = dataset.read_mask(case) if with_masks else None
        if isinstance(scan, Volume):
            gray, grid = fit_volume(scan, config)
            pixels = keep(np.repeat(gray[None], config.channels, axis=0))
            fitted = None if mask is None else pad(labels_to_grid(mask, grid), config)
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
