"""Decoded cases in memory, as the trainer draws them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from criinet.config import Config
from criinet.data.augmentation import AugmentationConfig
from criinet.data.dataset import Case, Dataset
from criinet.data.fitting import fit, with_channels
from criinet.data.images import read_image

Side = Annotated[int, Field(ge=16, le=4096)]


class DataConfig(Config):
    """What the network sees of an image."""

    size: Annotated[tuple[Side, Side], Field(description="height and width that the network is trained on")] = (
        128,
        128,
    )
    window: Annotated[
        Literal["whole", "patch"],
        Field(
            description="whole: each image is resized; patch: crops at the image's own resolution, then sliding window"
        ),
    ] = "whole"
    channels: Annotated[Literal[1, 3], Field(description="1: gray, 3: colour")] = 3
    augmentation: AugmentationConfig = AugmentationConfig()


@dataclass(frozen=True)
class Store:
    """Images, and masks where the store was filled with them, uint8 in memory.

    images: (C, h, w) each; all of the training size in window "whole".
    masks: (h, w) each, or none at all.
    """

    images: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    config: DataConfig

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, indices: Sequence[int], rng: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        """Return images (B, C, H, W) float32 in [0, 1] and masks (B, H, W) int64, cropped alike in window "patch"."""
        height, width = self.config.size
        images: list[Tensor] = []
        masks: list[Tensor] = []
        for i in indices:
            top = int(rng.integers(self.images[i].shape[1] - height + 1))
            left = int(rng.integers(self.images[i].shape[2] - width + 1))
            rows, columns = slice(top, top + height), slice(left, left + width)
            images.append(self.images[i][:, rows, columns])
            if self.masks:
                masks.append(self.masks[i][rows, columns])
        return torch.stack(images).float() / 255, torch.stack(masks).long() if masks else None


def load_store(dataset: Dataset, cases: Sequence[Case], config: DataConfig, *, with_masks: bool) -> Store:
    """Decode ``cases`` on all cores; masks only where ``with_masks`` says so, never those of unlabeled cases.

    Raises:
        DataError: if a file cannot be read.
    """

    def load(case: Case) -> tuple[Tensor, Tensor | None]:
        image = fit(with_channels(read_image(case.image), config.channels), config, labels=False)
        mask = fit(dataset.read_mask(case), config, labels=True) if with_masks else None
        pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())
        return pixels, None if mask is None else torch.from_numpy(mask.copy())

    with ThreadPoolExecutor() as pool:
        loaded = list(pool.map(load, cases))
    return Store(tuple(i for i, _ in loaded), tuple(m for _, m in loaded if m is not None), config)
