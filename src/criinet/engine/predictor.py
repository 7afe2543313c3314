"""From an image or a volume of any size to a mask of that size, with probabilities and two maps of uncertainty."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from criinet.data.fitting import fit, with_channels
from criinet.data.formats import Volume
from criinet.data.geometry import Geometry, Spacing
from criinet.data.images import require_pixels
from criinet.data.objects import keep_largest
from criinet.data.predictions import VolumePrediction, as_gray, gray_maps, require_shift
from criinet.data.resampling import Grid, fit_volume, from_grid, resize_probs
from criinet.data.scans import Scan, read_scan, require_voxels
from criinet.data.settings import DataConfig
from criinet.engine.method_calls import predict
from criinet.engine.shift import shifted
from criinet.engine.sliding_window import BATCH, SlidingWindow
from criinet.losses import entropy
from criinet.methods import Method, Prediction

Array = NDArray[Any]
Seen = tuple[Array, tuple[int, int]]
"""(h, w, C) uint8 as the network sees an image, resized or padded, and the image's own size (H, W)."""


def most_probable(probs: Tensor) -> Tensor:
    """Return the most probable class of every pixel of (K, ...): uint8.

    On CPUs ``max`` finds it faster than ``argmax``.
    """
    return probs.max(0).indices.to(torch.uint8)


@dataclass(frozen=True)
class ImagePrediction:
    """What a run says of one image, at the image's own size (H, W).

    probs: (K, H, W) float32, sums to 1 over classes.
    coarse: (K, H, W) the first of two opinions, or None where the method has one.
    """

    probs: Tensor
    coarse: Tensor | None

    @property
    def mask(self) -> Array:
        """(H, W) uint8: the most probable class."""
        return most_probable(self.probs).cpu().numpy()

    @property
    def coarse_mask(self) -> Array | None:
        """(H, W) uint8: the most probable class of the first opinion, or None."""
        return None if self.coarse is None else most_probable(self.coarse).cpu().numpy()

    @property
    def entropy(self) -> Array:
        """(H, W) float32 in [0, 1]: entropy over ln K, 1 is least sure."""
        return entropy(self.probs.unsqueeze(0))[0].cpu().numpy()

    @property
    def disagreement(self) -> Array | None:
        """(H, W) float32 in [0, 1]: total variation of both opinions, sum |p_c - p_r| / 2; None with one."""
        return None if self.coarse is None else ((self.probs - self.coarse).abs().sum(0) / 2).cpu().numpy()

    def uncertainty_maps(self) -> dict[str, Array]:
        """Return ``entropy``, and ``disagreement`` of two opinions, as (H, W) uint8; 255 is 1."""
        return gray_maps(self.entropy, self.disagreement)


Predicted = ImagePrediction | VolumePrediction


class Predictor:
    """Segments images or volumes with a trained method.

    In window "whole" an image is resized to the training size and its probabilities are resized back. In window "patch"
    overlapping crops cover the image at its own resolution, a volume at the training spacing, and are blended by a
    Gaussian. Volumes go through slab by slab: beside the volume itself and its mask, memory grows with the area of a
    slice and not with the number of slices.

    Args:
        method: with trained weights; it is moved to ``device`` and put in evaluation mode.
        data: what the network sees of an image, as in training.
        classes: K names, background first.
        device: "cpu" or "cuda".
        shift: what is added to the logits of objects; see ``shifted``.
        tta: average over the mirrored images that training mirrored too; None: as ``data`` says.
        uncertainty: keep maps of uncertainty, and the first of two opinions, of volumes.
        keep_probs: keep the probabilities of volumes.
        voxel: size (d, h, w) in mm of the voxels of files that do not know theirs.

    Raises:
        ConfigError: for a shift that leaves one class alone, or none.
    """

    def __init__(
        self,
        method: Method,
        data: DataConfig,
        classes: tuple[str, ...],
        *,
        device: str = "cpu",
        shift: float = 0.0,
        tta: bool | None = None,
        uncertainty: bool = True,
        keep_probs: bool = False,
        voxel: Spacing | None = None,
    ) -> None:
        self.method = method.to(device).eval()
        self.data, self.classes, self.device = data, classes, device
        self.window = SlidingWindow(data)
        self.shift, self.voxel = require_shift(shift), voxel
        self.uncertainty, self.keep_probs = uncertainty, keep_probs
        averages = data.tta if tta is None else tta
        augmentation = data.augmentation
        axes = [a for a, on in ((-1, augmentation.flip_horizontal), (-2, augmentation.flip_vertical)) if on]
        self.mirrors: list[list[int]] = [[], *([[axis] for axis in axes] if averages else [])]

    @property
    def scan_dims(self) -> int:
        """How many axes its scans have: 2 of images, 3 of volumes."""
        return self.data.scan_dims

    @property
    def spacing(self) -> Spacing | None:
        """Size (d, h, w) in mm of the voxels that volumes of known voxels are brought to; None: they keep theirs."""
        return self.data.spacing

    @property
    def fixed_range(self) -> tuple[float, float] | None:
        """Values of a volume, in HU, that are black and white for the network; None: every volume has its own."""
        return self.data.range if self.scan_dims == 3 and self.data.intensity == "range" else None

    def predict(self, scan: Scan | Image.Image | Path | str) -> Predicted:
        """Segment one (H, W) or (H, W, 3) uint8 image, one volume, or the file that holds either.

        A Pillow image is turned upright, and (H, W) uint16 windowed, as files are. A (D, H, W) array of numbers without
        geometry is taken to have the voxels of training.

        Raises:
            DataError: for what is no image, or no volume.
        """
        if isinstance(scan, Path | str):
            scan = read_scan(Path(scan), self.scan_dims, self.voxel)
        return next(self.predict_many([scan]))

    def predict_many(self, scans: Iterable[Scan | Image.Image]) -> Iterator[Predicted]:
        """Segment images, a few at a time, or volumes, one by one, of any sizes and in order.

        Raises:
            DataError: for what is no image, or no volume.
        """
        stream = iter(scans)
        if self.data.kind != "images":
            yield from map(self.volume, stream)  # A name for the volume would keep it while the next one is read.
            return
        seen = map(self.seen, stream)  # One after the other: only what the network sees is kept of a batch.
        if self.data.window == "patch":
            yield from map(self.windows, seen)
            return
        while batch := list(islice(seen, BATCH)):
            yield from self.whole(batch)

    def seen(self, scan: Scan | Image.Image) -> Seen:
        """Return an image as the network sees it, and how large it is itself."""
        image = require_pixels(scan.values if isinstance(scan, Volume) else scan)
        pixels = fit(with_channels(image, self.data.channels), self.data, labels=False)
        return pixels, (image.shape[0], image.shape[1])

    def whole(self, images: list[Seen]) -> Iterator[ImagePrediction]:
        """Segment resized images and bring the probabilities back to their sizes."""
        found = self.apply(torch.stack([as_tensor(pixels) for pixels, _ in images]))
        for i, (_, size) in enumerate(images):
            coarse = None if found.coarse is None else resize_probs(found.coarse[i : i + 1], size)[0]
            yield ImagePrediction(resize_probs(found.probs[i : i + 1], size)[0], coarse)

    def windows(self, image: Seen) -> ImagePrediction:
        """Segment overlapping crops of an image at its own resolution and blend them."""
        padded, (height, width) = image
        pixels = torch.from_numpy(padded.transpose(2, 0, 1).copy())
        (opinions,) = self.slabs(pixels.unsqueeze(1))
        cropped = opinions[:, :, 0, :height, :width]
        return ImagePrediction(cropped[0], cropped[1] if len(cropped) > 1 else None)

    def volume(self, scan: Scan | Image.Image) -> VolumePrediction:
        """Segment a volume at its own voxels."""
        volume = scan if isinstance(scan, Volume) else Volume(require_voxels(scan), Geometry.unknown())
        pixels, grid = self.fitted(volume)
        return self.collect(self.slabs(pixels), volume, grid)

    def fitted(self, volume: Volume) -> tuple[Tensor, Grid]:
        """Bring a volume to the training grid: (C, d, h, w) uint8, at least as large as a window."""
        gray, grid = fit_volume(volume, self.data)
        return torch.from_numpy(gray).unsqueeze(0).expand(self.data.channels, *gray.shape), grid

    def on_grid(self, pixels: Tensor) -> Tensor:
        """Segment a stored image (C, h, w) or volume (C, d, h, w), uint8, on the training grid: (K, ...) float32.

        It is at least as large as a window, and covered by overlapping ones.
        """
        if pixels.ndim == 3:
            return self.on_grid(pixels.unsqueeze(1)).squeeze(1)
        return torch.cat([opinions[0] for opinions in self.slabs(pixels)], dim=1)

    def collect(self, slabs: Iterable[Tensor], volume: Volume, grid: Grid) -> VolumePrediction:
        """Bring probabilities back to the volume's own voxels and keep what was asked for."""
        depth, height, width = grid.shape
        cropped: Iterator[Tensor] = (o[..., :height, :width].flatten(0, 1) for o in upto(slabs, depth, axis=2))
        masks: dict[str, Array] = {}
        maps: dict[str, Array] = {}
        probs = np.empty((len(self.classes), *volume.shape), np.float16) if self.keep_probs else None

        def place(kept: dict[str, Array], name: str, start: int, slab: Array) -> None:
            whole = kept.setdefault(name, np.empty(volume.shape, np.uint8))
            grid.axes.apply(whole)[start : start + len(slab)] = slab

        for start, mixed in from_grid(cropped, grid):
            opinions = mixed.unflatten(0, (-1, len(self.classes)))
            refined = opinions[0]
            place(masks, "mask", start, most_probable(refined).numpy())
            if self.uncertainty:
                of_slab = {"entropy": entropy(refined.unsqueeze(0))[0]}
                if len(opinions) > 1:
                    place(masks, "coarse", start, most_probable(opinions[1]).numpy())
                    of_slab["disagreement"] = (refined - opinions[1]).abs().sum(0) / 2
                for name, map_of in of_slab.items():
                    place(maps, name, start, as_gray(map_of.numpy()))
            if probs is not None:
                grid.axes.apply(probs)[:, start : start + refined.shape[1]] = refined.numpy()
        for mask in masks.values():
            keep_largest(mask, self.data.one_object)
        kept = None if probs is None else torch.from_numpy(probs)
        return VolumePrediction(masks["mask"], masks.get("coarse"), volume.geometry, maps, kept)

    def slabs(self, pixels: Tensor) -> Iterator[Tensor]:
        """Segment overlapping windows of (C, d, h, w) uint8 and blend them: (opinions, K, n, h, w) slab by slab."""
        return self.window.blend(self.opinions, pixels)

    def opinions(self, batch: Tensor) -> Tensor:
        """Return what the method says of (B, C, ...) images, one opinion or two: (opinions, B, K, ...)."""
        found = self.apply(batch)
        return torch.stack([found.probs] if found.coarse is None else [found.probs, found.coarse])

    @torch.no_grad()
    def apply(self, batch: Tensor) -> Prediction:
        """Segment (B, C, ...) images in [0, 1], averaged over mirrors; the result is on the CPU."""
        probs: list[Tensor] = []
        coarse: list[Tensor] = []
        for axes in self.mirrors:
            found = predict(self.method, batch.to(self.device).flip(axes))
            probs.append(shifted(found.probs, self.shift).flip(axes).cpu())
            if found.coarse is not None:
                coarse.append(shifted(found.coarse, self.shift).flip(axes).cpu())
        return Prediction(torch.stack(probs).mean(0), torch.stack(coarse).mean(0) if coarse else None)


def as_tensor(image: Array) -> Tensor:
    """Return a (H, W, C) uint8 image as (C, H, W) float32 in [0, 1]."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255


def upto(slabs: Iterable[Tensor], count: int, *, axis: int) -> Iterator[Tensor]:
    """Yield slabs until ``count`` slices have passed, the last one cut: what lies beyond is padding."""
    for slab in slabs:
        if count > 0:
            yield slab.narrow(axis, 0, min(count, slab.shape[axis]))
        count -= slab.shape[axis]
