"""Where a training step's time goes, and how far it is from what the machine could do.

    python benchmarks/step.py --data FOLDER

For each network, and for supervised training and CRII-Net on it: milliseconds of data, losses (forward passes
included), backward, clipping and optimizer, and what follows a step (a teacher, if any), each waited for, and in total
a whole step as the trainer takes it, on a GPU recorded and replayed where the method allows; medians over steps.

Beside it the floor: the step's multiplications and additions at the rate that one large matrix product reaches on this
machine, and the bytes that its operations read and write at the rate of a large copy, each by itself. A step cannot be
faster than the larger of the two. FOLDER holds dataset folders.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from provenance import provenance
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from trainers import make_trainer, take_step

from criinet.data.dataset import open_dataset
from criinet.data.files import write_json
from criinet.engine.machine import pick_device
from criinet.engine.trainer import Trainer
from criinet.types import LabeledBatch, UnlabeledBatch

HERE = Path(__file__).parent
PARTS = ("data", "losses", "backward", "clip and optimizer", "after step")


class Traffic(TorchDispatchMode):
    """Counts the bytes of all tensors that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation and count."""
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            leaves = torch.utils._pytree.tree_leaves((args, kwargs, out))
            self.bytes += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
        return out


def main() -> None:
    """Measure every network and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset folders")
    parser.add_argument("--dataset", default="kvasir-seg")
    parser.add_argument("--networks", nargs="+", default=["lite0-unet", "unet", "mit-unet"])
    parser.add_argument("--methods", nargs="+", default=["supervised", "crii"])
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="32")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "step.json")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = pick_device(asked.device)
    rate, bandwidth = matrix_rate(device, asked.precision), copy_rate(device)
    record: dict[str, Any] = {
        **provenance(f"{asked.threads} threads", name_of(device)),
        "gflops_per_second": round(rate / 1e9, 1),
        "gigabytes_per_second": round(bandwidth / 1e9, 1),
        "rows": [],
    }
    for network in asked.networks:
        for method in asked.methods:
            trainer = build(asked, network, method, device)
            parts = time_parts(trainer, asked.steps)
            total = time_whole(trainer, asked.steps)
            flops, moved = work_of(trainer)
            floor = 1e3 * max(flops / rate, moved / bandwidth)
            row = {
                "network": network,
                "method": method,
                "milliseconds": {name: round(value, 2) for name, value in parts.items()},
                "total": round(total, 1),
                "floor_by_operations": round(1e3 * flops / rate, 1),
                "floor_by_bytes": round(1e3 * moved / bandwidth, 1),
                "times_the_floor": round(total / floor, 1),
            }
            record["rows"].append(row)
            print(row, flush=True)
    write_json(asked.results, record)


def build(asked: argparse.Namespace, network: str, method: str, device: str) -> Trainer:
    """Return a trainer that has taken three steps, so that nothing is done for the first time."""
    settings = {
        "method": {"name": method},
        "network": {"name": network},
        "data": {"size": [asked.size, asked.size]},
        "trainer": {
            "iterations": 1000,
            "labeled_batch": asked.batch,
            "unlabeled_batch": asked.batch,
            "precision": asked.precision,
        },
    }
    trainer = make_trainer(open_dataset(asked.data / asked.dataset), settings, device)
    for _ in range(3):
        take_step(trainer)
    return trainer


def time_parts(trainer: Trainer, steps: int) -> dict[str, float]:
    """Return the median milliseconds of each part of a step."""
    seen: dict[str, list[float]] = {name: [] for name in PARTS}
    for _ in range(steps):
        (labeled, unlabeled), seconds = timed(lambda: batches_of(trainer), trainer)
        seen["data"].append(seconds)
        terms, seconds = timed(lambda batch=(labeled, unlabeled): losses_of(trainer, *batch), trainer)
        seen["losses"].append(seconds)
        weights = trainer.method.config.weights_at(0.5)
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        trainer.optimizer.zero_grad()
        seen["backward"].append(timed(lambda loss=loss: trainer.fabric.backward(loss), trainer)[1])
        seen["clip and optimizer"].append(timed(lambda: finish(trainer), trainer)[1])
        seen["after step"].append(timed(trainer.method.after_step, trainer)[1])
        trainer.step += 1
    return {name: 1e3 * statistics.median(values) for name, values in seen.items()}


def batches_of(trainer: Trainer) -> tuple[LabeledBatch, UnlabeledBatch]:
    """Return the augmented batches of this step."""
    return trainer.batches.views_of(trainer.batches.draw(trainer.step))


def losses_of(trainer: Trainer, labeled: LabeledBatch, unlabeled: UnlabeledBatch) -> dict[str, Tensor]:
    """Return the losses, in the precision that was asked for."""
    with trainer.fabric.autocast():
        return trainer.trained.losses(labeled, unlabeled, 0.5)


def time_whole(trainer: Trainer, steps: int) -> float:
    """Return the median milliseconds of a whole step as the trainer takes it: recorded and replayed, where it does."""
    seen = [timed(lambda: take_step(trainer), trainer)[1] for _ in range(steps + 5)]
    return 1e3 * statistics.median(seen[5:])


def finish(trainer: Trainer) -> None:
    """Clip and step."""
    torch.nn.utils.clip_grad_norm_(trainer.method.parameters(), trainer.settings.clip)
    trainer.optimizer.step()


def timed(do: Callable[[], Any], trainer: Trainer) -> tuple[Any, float]:
    """Return what ``do`` returns, and its seconds."""
    wait(trainer.device.type)
    started = time.perf_counter()
    found = do()
    wait(trainer.device.type)
    return found, time.perf_counter() - started


def name_of(device: str) -> str:
    """Return what the device is called."""
    return torch.cuda.get_device_name() if device == "cuda" else device


def wait(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def work_of(trainer: Trainer) -> tuple[float, float]:
    """Return the floating-point operations of a step's convolutions and products, and the bytes that it moves."""
    trainer.recorded = None
    grouped = {torch.ops.aten.convolution_backward: backward_operations}
    with FlopCounterMode(display=False, custom_mapping=grouped) as flops:
        trainer.train_step(0.5)
    with Traffic() as traffic:
        trainer.train_step(0.5)
    return float(flops.get_total_flops()), float(traffic.bytes)


def backward_operations(gradient: Any, _image: Any, weight: Any, *others: Any, **_: Any) -> int:
    """Count a convolution's backward pass, groups included, which PyTorch's own count leaves out.

    The gradients of the image and of the weight each take as many operations as the forward pass.
    """
    forward = 2 * math.prod(weight) * gradient[0] * math.prod(gradient[2:])
    wanted = others[-1]
    return forward * (bool(wanted[0]) + bool(wanted[1]))


def matrix_rate(device: str, precision: str) -> float:
    """Return the floating-point operations a second of a large matrix product."""
    side = 1024 if device == "cpu" else 8192
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one, other = torch.randn(2, side, side, device=device, dtype=dtype)
    return 2 * side**3 / best(lambda: one @ other, device)


def copy_rate(device: str) -> float:
    """Return the bytes a second that a large copy reads and writes."""
    source = torch.randn(2**25 if device == "cpu" else 2**28, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / best(lambda: target.copy_(source), device)


def best(do: Callable[[], Any], device: str) -> float:
    """Return the seconds of the fastest of ten."""
    do()
    seen: list[float] = []
    for _ in range(10):
        wait(device)
        started = time.perf_counter()
        do()
        wait(device)
        seen.append(time.perf_counter() - started)
    return min(seen)


if __name__ == "__main__":
    main()
