"""Self-training in rounds: at the end of one, every unlabeled image gets a pseudo-label, and training starts anew."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from criinet.data.settings import DataConfig
from criinet.data.store import Store
from criinet.engine.checkpoint import load_checkpoint, save_checkpoint
from criinet.engine.method_calls import mistake, named
from criinet.engine.predictor import Predictor
from criinet.engine.sliding_window import BATCH
from criinet.methods import InRounds


@dataclass(frozen=True)
class PseudoLabels:
    """What a method said of the unlabeled images at the end of a round.

    labels: (h, w) or (d, h, w) int16 each, at the size of the stored images.
    reliability: (N,) in [0, 1].
    kept: positions of the images that the next round learns from, ascending.
    """

    labels: tuple[Tensor, ...]
    reliability: Tensor
    kept: list[int]

    def save(self, path: Path) -> None:
        """Write them whole or not at all."""
        save_checkpoint(path, {"labels": list(self.labels), "reliability": self.reliability, "kept": self.kept})

    @classmethod
    def read(cls, path: Path) -> "PseudoLabels":
        """Read what ``save`` wrote.

        Raises:
            CheckpointError: if there is none, or it is truncated.
        """
        state: dict[str, Any] = load_checkpoint(path)
        return cls(tuple(state["labels"]), state["reliability"], state["kept"])

    def store(self, unlabeled: Store) -> Store:
        """Return the kept images with their pseudo-labels."""
        images = tuple(unlabeled.images[i] for i in self.kept)
        masks = tuple(self.labels[i].to(image.device) for i, image in zip(self.kept, images, strict=True))
        return Store(images, masks, unlabeled.config)


@torch.no_grad()
def pseudo_label(
    method: InRounds, number: int, unlabeled: Store, data: DataConfig, classes: tuple[str, ...], device: str
) -> PseudoLabels:
    """Label every unlabeled image with the method as it stands, let it start round ``number``, and say what it keeps.

    Predictions are averaged over the mirrored images that training mirrors too, as at test time with that option.

    Raises:
        MethodError: if the method fails, does not return one number for each image, or keeps none.
    """
    predictor = Predictor(method, data, classes, device=device, tta=True)
    labels: list[Tensor] = []
    scores: list[Tensor] = []
    for images in chunks(unlabeled):
        if data.kind == "images":
            stream = (image.permute(1, 2, 0).squeeze(2).numpy() for image in images)  # Gray ones have no last axis.
            predictions = [predicted.probs for predicted in predictor.predict_many(stream)]
        else:
            predictions = [predictor.on_grid(image) for image in images]
        probs = torch.stack([torch.as_tensor(predicted) for predicted in predictions])
        labels += [mask.to(torch.int16) for mask in probs.argmax(1).cpu()]
        parts = [
            reliability_of(method, (part.float() / 255).to(device), said.to(device))
            for part, said in pieces(torch.stack(images), probs, data)
        ]
        scores.append(parts[0] if data.kind == "images" else torch.cat(parts).mean(0, keepdim=True))
    reliability = torch.cat(scores)
    with named(method):
        wanted = method.begin_round(number, reliability)
        if wanted.shape != reliability.shape or not wanted.any():
            kind = f"{tuple(wanted.shape)} with {int(wanted.sum())} images"
            raise mistake(method, f"returns {kind} from begin_round; mark one of {len(reliability)} at least")
    return PseudoLabels(tuple(labels), reliability, wanted.nonzero().flatten().tolist())


def reliability_of(method: InRounds, images: Tensor, probs: Tensor) -> Tensor:
    """Return how far the predictions can be trusted: (B,) on the CPU.

    Raises:
        MethodError: if the method fails, or returns another shape.
    """
    with named(method):
        found = method.reliability(images, probs)
        if found.shape != (len(images),):
            what = f"returns a tensor of shape {tuple(found.shape)} from reliability for {len(images)} images"
            raise mistake(method, f"{what}; return one number for each")
    return found.cpu()


def chunks(store: Store) -> Iterator[list[Tensor]]:
    """Yield the images a few at a time, or one by one where their sizes differ."""
    size = BATCH if store.config.window == "whole" else 1
    for start in range(0, len(store), size):
        yield [store.images[i] for i in range(start, min(start + size, len(store)))]


def pieces(images: Tensor, probs: Tensor, data: DataConfig) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what the network takes at once: the batch of images, or a volume's slabs or slices a few at a time.

    Args:
        images: (B, C, ...) uint8; of volumes B is 1. probs: (B, K, ...).
    """
    if data.kind == "images":
        yield images, probs
    elif data.kind == "volumes":
        yield from zip(images.split(data.box[0], dim=2), probs.split(data.box[0], dim=2), strict=True)
    else:
        slices, said = (array[0].transpose(0, 1) for array in (images, probs))
        yield from zip(slices.split(BATCH), said.split(BATCH), strict=True)
