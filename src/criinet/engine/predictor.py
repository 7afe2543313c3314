"""From an image of any size to a mask of that size, with probabilities and two maps of doubt."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from criinet.data.fitting import fit, starts, with_channels
from criinet.data.store import DataConfig
from criinet.losses import entropy
from criinet.methods import Method, Prediction

BATCH = 8
Array = NDArray[Any]


@dataclass(frozen=True)
class CasePrediction:
    """What a run says of one image, at the image's own size (H, W).

    probs: (K, H, W) float32, sums to 1 over classes.
    coarse: (K, H, W) the first of two opinions, or None where the method has one.
    """

    probs: Tensor
    coarse: Tensor | None

    @property
    def mask(self) -> Array:
        """(H, W) uint8: the most probable class."""
        return self.probs.argmax(0).to(torch.uint8).cpu().numpy()

    @property
    def coarse_mask(self) -> Array | None:
        """(H, W) uint8: the most probable class of the first opinion, or None."""
        return None if self.coarse is None else self.coarse.argmax(0).to(torch.uint8).cpu().numpy()

    @property
    def entropy(self) -> Array:
        """(H, W) float32 in [0, 1]: entropy over ln K, 1 is least sure."""
        return entropy(self.probs.unsqueeze(0))[0].cpu().numpy()

    @property
    def disagreement(self) -> Array | None:
        """(H, W) float32 in [0, 1]: total variation of both opinions, sum |p_c - p_r| / 2; None with one."""
        return None if self.coarse is None else ((self.probs - self.coarse).abs().sum(0) / 2).cpu().numpy()


class Predictor:
    """Segments images with a trained method.

    In window "whole" an image is resized to the training size and its probabilities are resized back. In window "patch"
    overlapping crops cover the image at its own resolution and are blended by a Gaussian.

    Args:
        tta: average over the mirrored images that training mirrored too.
    """

    def __init__(
        self, method: Method, data: DataConfig, classes: tuple[str, ...], *, device: str = "cpu", tta: bool = False
    ) -> None:
        self.method = method.to(device).eval()
        self.data, self.classes, self.device = data, classes, device
        augmentation = data.augmentation
        axes = [a for a, on in ((3, augmentation.flip_horizontal), (2, augmentation.flip_vertical)) if on]
        self.mirrors: list[list[int]] = [[], *([[axis] for axis in axes] if tta else [])]

    def predict(self, image: Array) -> CasePrediction:
        """Segment one (H, W) or (H, W, 3) uint8 image."""
        return next(self.predict_many([image]))

    def predict_many(self, images: Iterable[Array]) -> Iterator[CasePrediction]:
        """Segment images of any sizes, a few at a time, in order."""
        stream = iter(images)
        while batch := list(islice(stream, BATCH)):
            if self.data.window == "whole":
                yield from self.whole(batch)
            else:
                yield from (self.windows(image) for image in batch)

    def whole(self, images: list[Array]) -> Iterator[CasePrediction]:
        """Segment resized images and bring the probabilities back to their sizes."""
        resized = [fit(with_channels(image, self.data.channels), self.data, labels=False) for image in images]
        found = self.apply(torch.stack([as_tensor(image) for image in resized]))
        for i, image in enumerate(images):
            size = (image.shape[0], image.shape[1])
            coarse = None if found.coarse is None else enlarge(found.coarse[i], size)
            yield CasePrediction(enlarge(found.probs[i], size), coarse)

    def windows(self, image: Array) -> CasePrediction:
        """Segment overlapping crops at the image's own resolution and blend them."""
        padded = as_tensor(fit(with_channels(image, self.data.channels), self.data, labels=False))
        height, width = self.data.size
        corners = [(t, left) for t in starts(padded.shape[1], height) for left in starts(padded.shape[2], width)]
        weight = gaussian_window(height, width)
        blended: list[Tensor] = []
        total = torch.zeros(padded.shape[1:])
        for first in range(0, len(corners), BATCH):
            some = corners[first : first + BATCH]
            found = self.apply(torch.stack([padded[:, t : t + height, left : left + width] for t, left in some]))
            opinions = [found.probs] if found.coarse is None else [found.probs, found.coarse]
            if not blended:
                blended = [torch.zeros(len(self.classes), *padded.shape[1:]) for _ in opinions]
            for i, (t, left) in enumerate(some):
                total[t : t + height, left : left + width] += weight
                for sum_of, opinion in zip(blended, opinions, strict=True):
                    sum_of[:, t : t + height, left : left + width] += opinion[i] * weight
        cropped = [(b / total)[:, : image.shape[0], : image.shape[1]] for b in blended]
        return CasePrediction(cropped[0], cropped[1] if len(cropped) > 1 else None)

    @torch.no_grad()
    def apply(self, batch: Tensor) -> Prediction:
        """Segment (B, C, h, w) images in [0, 1], averaged over mirrors; the result is on the CPU."""
        probs: list[Tensor] = []
        coarse: list[Tensor] = []
        for axes in self.mirrors:
            found = self.method.predict(batch.to(self.device).flip(axes))
            probs.append(found.probs.flip(axes).cpu())
            if found.coarse is not None:
                coarse.append(found.coarse.flip(axes).cpu())
        return Prediction(torch.stack(probs).mean(0), torch.stack(coarse).mean(0) if coarse else None)


def as_tensor(image: Array) -> Tensor:
    """Return a (H, W, C) uint8 image as (C, H, W) float32 in [0, 1]."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255


def enlarge(probs: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (K, h, w) probabilities linearly to (K, H, W)."""
    if probs.shape[1:] == size:
        return probs
    shrinks = size[0] < probs.shape[1] or size[1] < probs.shape[2]
    return F.interpolate(probs.unsqueeze(0), size=size, mode="bilinear", align_corners=False, antialias=shrinks)[0]


def gaussian_window(height: int, width: int) -> Tensor:
    """Return the weight of each pixel of a window: a Gaussian of an eighth of the side, never below 1e-3.

    Reference: Isensee et al., Nature Methods 2021, sliding-window inference of nnU-Net.
    """
    rows, columns = (torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in (height, width))
    return (rows.unsqueeze(1) * columns.unsqueeze(0)).clamp(min=1e-3)
