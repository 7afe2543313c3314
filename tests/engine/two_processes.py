"""What the tests of several processes run: `torchrun --nproc-per-node N two_processes.py DATASET OUT`.

Trains with plain cross-entropy, whose mean over a batch is the mean over its shares, and with nothing that draws random
numbers for each process, so that any number of processes must find the same weights.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from criinet.config import LossWeights, MethodConfig
from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split
from criinet.engine.build import build_method
from criinet.engine.distributed import launch
from criinet.engine.pools import load_pools
from criinet.engine.settings import resolve
from criinet.engine.trainer import Trainer
from criinet.methods import methods
from criinet.methods.base import Method
from criinet.networks.normalisation import BatchNorm2d
from criinet.types import LabeledBatch, UnlabeledBatch

STILL = {
    "flip_horizontal": False,
    "flip_vertical": False,
    "rotate": 0.0,
    "zoom": 0.0,
    "shift": 0.0,
    "labeled_colour_probability": 0.0,
}


class CrossEntropy(Method):
    """Cross-entropy of the labeled images."""

    class Config(MethodConfig):
        weights: LossWeights = {"supervised": 1.0}

    summary = reference = "cross-entropy alone"

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        logits = self.student(labeled.image).logits
        return {"supervised": torch.nn.functional.cross_entropy(logits, labeled.target)}


def train(dataset: Path) -> dict[str, Tensor]:
    """Return the weights and the logged losses after five steps."""
    opened = open_dataset(dataset)
    split = make_split(opened, "4")
    methods.add("cross-entropy", CrossEntropy)
    asked = {
        "method": {"name": "cross-entropy"},
        "network": {"name": "unet", "channels": [4, 8], "dropout": []},
        "data": {"size": [32, 48], "augmentation": STILL},
        "trainer": {"iterations": 5, "checks": 1, "labeled_batch": 4, "learning_rate": 1e-2},
    }
    config = resolve(asked)
    method = build_method(config, opened.classes)
    Trainer(method, load_pools(opened, split, config), config, opened.classes, fabric=launch("cpu", "32")).fit()
    return method.state_dict()


def train_every_method(dataset: Path) -> dict[str, dict[str, Tensor]]:
    """Return what each method's student holds after four steps, in which an untrained network's labels teach too."""
    opened = open_dataset(dataset)
    split = make_split(opened, "4")
    fabric = launch("cpu", "32")
    found: dict[str, dict[str, Tensor]] = {}
    for name in methods:
        sure = {"confidence": 0.0} if "confidence" in methods.get(name).Config.model_fields else {}
        asked = {
            "method": {"name": name, **sure},
            "network": {"name": "unet", "channels": [4, 8], "dropout": []},
            "data": {"size": [32, 32]},
            "trainer": {"iterations": 4, "checks": 1, "labeled_batch": 4, "unlabeled_batch": 4},
        }
        config = resolve(asked)
        method = build_method(config, opened.classes)
        Trainer(method, load_pools(opened, split, config), config, opened.classes, fabric=fabric).fit()
        found[name] = {key: value for key, value in method.student.state_dict().items() if value.is_floating_point()}
    return found


def normalise(rank: int, count: int) -> dict[str, Tensor]:
    """Return what this process's share of one batch becomes, the layer's state, and the gradients."""
    generator = torch.Generator().manual_seed(0)
    batch, pull = torch.randn(2, 4, 3, 5, 6, generator=generator) * 3 + 7
    layer = BatchNorm2d(3)
    torch.nn.init.uniform_(layer.weight, generator=generator)
    mine = slice(rank * 4 // count, (rank + 1) * 4 // count)
    image = batch[mine].clone().requires_grad_()
    out = layer(image)
    (out * pull[mine]).sum().backward()
    return {"out": out.detach(), "gradient": image.grad, **layer.state_dict()}


def main(dataset: Path, out: Path) -> None:
    weights = train(dataset)
    fabric = launch("cpu", "32")
    every = train_every_method(dataset) if fabric.world_size > 1 else {}
    found = {"every": every, "weights": weights, "normalised": normalise(fabric.global_rank, fabric.world_size)}
    torch.save(found, out / f"{fabric.world_size}_{fabric.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
