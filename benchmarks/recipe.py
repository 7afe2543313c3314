"""Images a second in training and in segmenting, against the usual way of public semi-supervised recipes.

    python benchmarks/recipe.py --data FOLDER

The recipe's way is written here from what such recipes do: an image at a time is read from disk, turned by scipy and
brought to size, by worker processes; labeled and unlabeled images pass the network in one batch in 32 bits and in
PyTorch's usual memory layout; losses are read out in every step; the teacher is averaged parameter by parameter.
Images to segment are read, scaled, segmented and scaled back one by one. The other rows are steps of this project's
trainer and images through its predictor: Mean Teacher too, with the same network, batch and size, and then with the
network that `criinet train` takes by itself.

All rows take turns within one run, because machines are noisy: what counts is their ratio. Each lives in a process of
its own, which waits while another's turn is measured, since training settles threads and memory for its whole process.
FOLDER holds dataset folders.
"""

import argparse
import copy
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from provenance import provenance
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Samples
from trainers import make_trainer, take_step

from criinet.data.dataset import Case, Dataset, open_dataset
from criinet.data.draws import make_split
from criinet.data.files import write_json
from criinet.data.images import read_image
from criinet.data.splits import Split
from criinet.engine.image_planner import look_at
from criinet.engine.machine import keep_memory, pick_device
from criinet.engine.predictor import Predictor
from criinet.losses import cross_entropy_dice
from criinet.networks import build_network, parse_network

HERE = Path(__file__).parent
ROWS = ("recipe's way, unet", "criinet, unet", "criinet, lite0-unet")


class OneByOne(Samples[tuple[Tensor, Tensor]]):
    """Reads, turns and scales one image when it is asked for."""

    def __init__(self, dataset: Dataset, cases: list[Case], size: int, channels: int) -> None:
        self.dataset, self.cases, self.size = dataset, cases, size
        self.mode = "L" if channels == 1 else "RGB"
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
        """Return image (C, H, W) in [0, 1] and target (H, W), zeros for a case without a mask."""
        case = self.cases[at]
        with Image.open(case.image) as opened:
            image = np.asarray(opened.convert(self.mode), np.float32) / 255
        target = np.zeros(image.shape[:2], np.int64) if case.mask is None else self.dataset.read_mask(case)
        if self.rng.random() < 0.5:
            turns, axis = self.rng.integers(4), self.rng.integers(2)
            image, target = (np.flip(np.rot90(a, turns), axis) for a in (image, target))
        else:
            angle = self.rng.uniform(-20, 20)
            image, target = (ndimage.rotate(a, angle, order=0, reshape=False) for a in (image, target))
        scale = (self.size / image.shape[0], self.size / image.shape[1])
        image = ndimage.zoom(image, (*scale, *[1] * (image.ndim - 2)), order=0)
        target = ndimage.zoom(target, scale, order=0)
        planes = np.atleast_3d(image).transpose(2, 0, 1).copy()
        return torch.from_numpy(planes), torch.from_numpy(target.astype(np.int64))


class TwoStreams:
    """Yields batches of labeled indices followed by unlabeled ones, for ever."""

    def __init__(self, labeled: int, unlabeled: int, batch: int) -> None:
        self.pools, self.batch = (np.arange(labeled), labeled + np.arange(unlabeled)), batch

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng(0)
        while True:
            yield [int(i) for pool in self.pools for i in rng.choice(pool, self.batch, replace=len(pool) < self.batch)]


class RecipesWay:
    """Mean Teacher as recipes train it: ``run`` takes some steps and returns the seconds of each but the first.

    total: steps of the whole training, over which the rate falls to 0 and the weight of the consistency rises.
    """

    def __init__(
        self, asked: argparse.Namespace, dataset: Dataset, split: Split, channels: int, device: str, total: int = 30000
    ) -> None:
        cases = list(dataset.select([*split.labeled, *split.unlabeled]))
        samples = OneByOne(dataset, cases, asked.size, channels)
        streams = TwoStreams(len(split.labeled), len(split.unlabeled), asked.batch)
        self.loader = DataLoader(samples, batch_sampler=streams, num_workers=asked.workers, pin_memory=device != "cpu")
        network = build_network(
            "unet",
            parse_network("unet", {}),
            in_channels=channels,
            classes=len(dataset.classes),
            dims=2,
            seed=split.seed,
        )
        torch.manual_seed(split.seed)  # Of the noise.
        self.network = network.to(device).to(memory_format=torch.contiguous_format)
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        self.total = total
        self.step, self.batch, self.device, self.log = 0, asked.batch, device, Path(os.devnull).open("w")  # noqa: SIM115
        self.mode, self.size = samples.mode, asked.size

    def run(self, steps: int) -> list[float]:
        """Start the workers, train, and stop them again, so that they read nothing in the other rows' time."""
        batches = iter(self.loader)
        return timed(lambda: self.train_step(next(batches)), steps, self.device)

    def train_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Take one step."""
        image, target = (part.to(self.device) for part in batch)
        unlabeled = image[self.batch :]
        noise = torch.clamp(torch.randn_like(unlabeled) * 0.1, -0.2, 0.2)
        logits = self.network(image).logits
        with torch.no_grad():
            taught = self.teacher(unlabeled + noise).logits.softmax(1)
        supervised = cross_entropy_dice(logits[: self.batch], target[: self.batch])
        consistency = F.mse_loss(logits[self.batch :].softmax(1), taught)
        progress = self.step / self.total
        loss = supervised + 0.1 * math.exp(-5 * (1 - progress) ** 2) * consistency
        for group in self.optimizer.param_groups:
            group["lr"] = 0.01 * (1 - progress) ** 0.9
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.step += 1
        decay = min(1 - 1 / (self.step + 1), 0.99)
        for mean, now in zip(self.teacher.parameters(), self.network.parameters(), strict=True):
            mean.data.mul_(decay).add_(now.data, alpha=1 - decay)
        print(self.step, loss.item(), supervised.item(), consistency.item(), file=self.log)

    def segment(self, paths: list[Path]) -> None:
        """Segment files one by one."""
        self.network.eval()
        for path in paths:
            self.mask_of(path)
        self.network.train()

    @torch.no_grad()
    def mask_of(self, path: Path) -> NDArray[np.uint8]:
        """Return the mask (H, W) of a file."""
        with Image.open(path) as opened:
            image = np.atleast_3d(np.asarray(opened.convert(self.mode), np.float32) / 255)
        scale = (self.size / image.shape[0], self.size / image.shape[1])
        scaled = ndimage.zoom(image, (*scale, 1), order=0).transpose(2, 0, 1)
        logits = self.network(torch.from_numpy(scaled.copy())[None].to(self.device)).logits
        mask = logits.softmax(1).argmax(1)[0].cpu().numpy().astype(np.uint8)
        return ndimage.zoom(mask, (1 / scale[0], 1 / scale[1]), order=0)


class OurWay:
    """Mean Teacher by this project's trainer; ``run`` as above."""

    def __init__(self, asked: argparse.Namespace, dataset: Dataset, network: str, device: str) -> None:
        tables = {
            "method": {"name": "mean-teacher"},
            "network": {"name": network},
            "data": {"size": [asked.size, asked.size]},
            "trainer": {"iterations": 30000, "labeled_batch": asked.batch, "unlabeled_batch": asked.batch},
        }
        keep_memory()
        self.trainer = make_trainer(dataset, tables, device, labeled=asked.labeled)
        self.device = device
        self.predictor = Predictor(self.trainer.method, self.trainer.config.data, dataset.classes, device=device)
        self.trainer.method.train()  # A predictor leaves its method in evaluation mode.

    def run(self, steps: int) -> list[float]:
        """Train."""
        return timed(self.train_step, steps, self.device)

    def train_step(self) -> None:
        """Take one step."""
        take_step(self.trainer)

    def segment(self, paths: list[Path]) -> None:
        """Segment files."""
        self.trainer.method.eval()
        for predicted in self.predictor.predict_many(read_image(path) for path in paths):
            _ = predicted.mask
        self.trainer.method.train()


class Turns:
    """Builds one row's way in this process, once, and gives it its turns."""

    way: RecipesWay | OurWay

    @classmethod
    def begin(cls, asked: argparse.Namespace, name: str, row: str) -> None:
        """Build the way of a row."""
        torch.set_num_threads(asked.threads)
        dataset, network = open_dataset(asked.data / name), row.split(", ")[1]
        split = make_split(dataset, asked.labeled)
        channels = 1 if look_at(dataset, split).gray else 3
        if row.startswith("recipe"):
            cls.way = RecipesWay(asked, dataset, split, channels, asked.device)
        else:
            cls.way = OurWay(asked, dataset, network, asked.device)

    @classmethod
    def take(cls, asked: argparse.Namespace, name: str) -> tuple[list[float], list[float]]:
        """Train and segment; return the seconds of each counted step and of all images."""
        tested = [case.image for case in open_dataset(asked.data / name).cases[: asked.images]]
        training = cls.way.run(asked.steps)
        return training, timed(partial(cls.way.segment, tested), 1, asked.device)


def compared(dataset: str, what: str, seconds: dict[str, list[float]], images: int) -> list[dict[str, Any]]:
    """Return a row of images a second for each way; the first way is what the others are compared with."""
    medians = {row: statistics.median(seen) for row, seen in seconds.items()}
    slowest = next(iter(medians.values()))
    rows = [
        {
            "dataset": dataset,
            "what": what,
            "row": row,
            "images_per_second": round(images / median, 2),
            "times_the_recipe": round(slowest / median, 2),
            "seconds": [round(one, 3) for one in seconds[row]],
        }
        for row, median in medians.items()
    ]
    for row in rows:
        print(row, flush=True)
    return rows


def timed(step: Callable[[], None], steps: int, device: str) -> list[float]:
    """Return the seconds of each step but the first."""
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    seconds: list[float] = []
    for _ in range(steps + 1):
        wait()
        started = time.perf_counter()
        step()
        wait()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def main() -> None:
    """Let the rows take turns and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset folders")
    parser.add_argument("--datasets", nargs="+", default=["acdc", "kvasir-seg"])
    parser.add_argument("--labeled", default="4%")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=12, help="labeled images a step, and as many unlabeled ones")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="that read for the recipe; 1 is best on two cores")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="counted steps of each row in a turn")
    parser.add_argument("--images", type=int, default=32, help="images segmented in a turn")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "recipe.json")
    asked = parser.parse_args()
    asked.device = pick_device(asked.device)
    record: dict[str, Any] = {
        **provenance(f"{asked.threads} threads", asked.device),
        "rows": [],
    }
    for name in asked.datasets:
        training: dict[str, list[float]] = {row: [] for row in ROWS}
        segmenting: dict[str, list[float]] = {row: [] for row in ROWS}
        with ExitStack() as stack:
            ways = {
                row: stack.enter_context(
                    ProcessPoolExecutor(1, get_context("spawn"), initializer=Turns.begin, initargs=(asked, name, row))
                )
                for row in ROWS
            }
            for _ in range(asked.turns):
                for row, way in ways.items():
                    trained, segmented = way.submit(Turns.take, asked, name).result()
                    training[row] += trained
                    segmenting[row] += segmented
        record["rows"] += compared(name, "training", training, 2 * asked.batch)
        record["rows"] += compared(name, "segmenting", segmenting, asked.images)
    write_json(asked.results, record)


if __name__ == "__main__":
    main()
