"""How many steps a second several runs take together that share one GPU, or one machine's cores.

    python benchmarks/many_runs.py --data FOLDER --runs 1 4 8 16

Each run is a process of its own with its own method, images and draws. All build, warm up, wait for each other, and
then train for so many seconds; what counts is the sum of their steps. FOLDER holds dataset folders.
"""

import argparse
import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
from provenance import provenance
from trainers import make_trainer, take_step

from criinet.data.dataset import open_dataset
from criinet.data.files import write_json
from criinet.engine.machine import pick_device
from criinet.engine.trainer import Trainer

HERE = Path(__file__).parent
WARM_UP = 10
LONGEST = 120
"""Seconds until a run that did not get ready ends the measurement."""


def main() -> None:
    """Measure every number of runs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset folders")
    parser.add_argument("--dataset", default="kvasir-seg")
    parser.add_argument("--method", default="crii")
    parser.add_argument("--network", default="lite0-unet")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--eager", action="store_true", help="do not record a step and replay it")
    parser.add_argument("--note", default="", help="what else a reader must know of the machine")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "many_runs.json")
    asked = parser.parse_args()
    rows = [measure(asked, count) for count in asked.runs]
    record = {
        **provenance(rows[0]["device"]),
        "note": asked.note,
        "rows": rows,
    }
    write_json(asked.results, record)


def measure(asked: argparse.Namespace, count: int) -> dict[str, Any]:
    """Train ``count`` runs side by side and return their steps and images a second."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(count), context.Queue()
    started = time.monotonic()
    processes = [context.Process(target=one_run, args=(asked, seed, barrier, queue)) for seed in range(count)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=LONGEST) for _ in processes]
    for process in processes:
        process.join()
    rate = sum(one["steps_per_second"] for one in found)
    row = {
        "runs": count,
        "steps_per_second": round(rate, 2),
        "images_per_second": round(rate * found[0]["images"], 1),
        "slowest": round(min(one["steps_per_second"] for one in found), 2),
        "memory_mb_each": max(one["memory"] for one in found),
        "seconds_until_ready": round(max(one["ready"] for one in found) - started, 1),
        "device": found[0]["device"],
    }
    print(row, flush=True)
    return row


def one_run(asked: argparse.Namespace, seed: int, barrier: Barrier, queue: Any) -> None:
    """Build one run, wait for the others, train until the time is over, and say how many steps it took."""
    torch.set_num_threads(1)
    device = pick_device(asked.device)
    gpu = device == "cuda"
    trainer = build(asked, seed, device)
    for _ in range(WARM_UP):
        take_step(trainer)
    barrier.wait(LONGEST)
    ready = begun = time.monotonic()
    steps = 0
    while time.monotonic() - begun < asked.seconds:
        terms, _ = take_step(trainer)
        steps += 1
        if steps % 10 == 0:
            torch.stack(list(terms.values())).tolist()  # As logging does: the host waits.
    if gpu:
        torch.cuda.synchronize()
    seconds = time.monotonic() - begun
    queue.put(
        {
            "steps_per_second": steps / seconds,
            "images": asked.batch * (1 + bool(trainer.method.views)),
            "memory": round(torch.cuda.max_memory_allocated() / 2**20) if gpu else 0,
            "ready": ready,
            "device": torch.cuda.get_device_name() if gpu else "cpu",
        }
    )


def build(asked: argparse.Namespace, seed: int, device: str) -> Trainer:
    """Return a trainer at its beginning."""
    settings = {
        "method": {"name": asked.method},
        "network": {"name": asked.network},
        "data": {"size": [asked.size, asked.size]},
        "trainer": {
            "labeled_batch": asked.batch,
            "unlabeled_batch": asked.batch,
            "precision": asked.precision,
            "cuda_graph": not asked.eager,
            "threads": 1,
        },
    }
    return make_trainer(open_dataset(asked.data / asked.dataset), settings, device, seed=seed)


if __name__ == "__main__":
    main()
