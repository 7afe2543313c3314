"""What a user would otherwise run: a public recipe's Mean Teacher, against runs of this project on the same images.

    criinet benchmark PLAN --data FOLDER --out OUT
    python benchmarks/product.py --data FOLDER --dataset NAME --against OUT/runs/RUN [...]

The recipe is written out in recipe.py: a U-Net from random weights, SGD at .01 falling to 0, quarter turns, mirrors,
rotations, labeled and unlabeled images in one batch, a consistency whose weight rises to .1, the last weights of the
student, nearest neighbours to the size of the network and back. Its publications train it for 30,000 steps of 24 images
at 256x256; here it gets the size, the steps and the images a step that the runs had, no more and no less.

For every split that a RUN was trained on the recipe is trained once, and both are measured on its test cases, image by
image. Runs of one method and one start, pretrained or from random weights, are a row.
"""

import argparse
import json
import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from provenance import provenance
from recipe import RecipesWay

from criinet.data.dataset import open_dataset
from criinet.data.files import write_json
from criinet.data.splits import load_split
from criinet.engine.folder import RunFolder
from criinet.engine.image_planner import look_at
from criinet.metrics import dice
from criinet.metrics.statistics import paired_difference, summarise
from criinet.report.benchmark.analysis import any_case
from criinet.report.comparison import dice_by_case
from criinet.report.reading import read_run

HERE = Path(__file__).parent


def row_of(run: Path) -> str:
    """Return the row that a run belongs to."""
    recorded = RunFolder(run).read_config()
    return f"{recorded.method['name']}, {'pretrained' if recorded.network.get('pretrained') else 'from scratch'}"


def dice_of_recipe(asked: argparse.Namespace, run: Path) -> dict[str, float]:
    """Train the recipe on the split of a run; return Dice of every test case, the mean of its classes."""
    torch.set_num_threads(1)
    config = RunFolder(run).read_config().config()
    dataset = open_dataset(asked.data / asked.dataset)
    split = load_split(RunFolder(run).split, dataset)
    trainer = config.trainer
    asked.size, asked.batch = config.data.size[0], trainer.labeled_batch
    channels = 1 if look_at(dataset, split).gray else 3
    way = RecipesWay(asked, dataset, split, channels, "cpu", total=trainer.iterations)
    way.run(trainer.iterations - 1)
    way.network.eval()
    found: dict[str, float] = {}
    for case in dataset.select(split.test):
        predicted, target = way.mask_of(case.image), dataset.read_mask(case)
        classes = range(1, len(dataset.classes))
        each = [dice(predicted == c, target == c) for c in classes if (target == c).any() or (predicted == c).any()]
        if each:
            found[case.name] = float(np.mean(each))
    return found


def dice_of_run(run: Path) -> dict[str, float]:
    """Return what the run's last weights reached on every test case, the mean of its classes."""
    found = dice_by_case(read_run(run).cases, any_case)
    return {case: value for case, value in found.items() if math.isfinite(value)}


def compared(name: str, runs: list[dict[str, float]], recipes: list[dict[str, float]]) -> dict[str, Any]:
    """Return the two means over runs and cases, and the paired difference over cases."""
    cases = sorted(set.intersection(*(set(found) for found in (*runs, *recipes))))
    ours, theirs = (np.array([[found[case] for case in cases] for found in all_of]) for all_of in (runs, recipes))
    paired = paired_difference(ours.mean(0), theirs.mean(0))
    return {
        "row": name,
        "cases": len(cases),
        "dice": [round(float(found.mean()), 4) for found in ours],
        "recipe": [round(float(found.mean()), 4) for found in theirs],
        "recipe_interval": [round(end, 4) for end in (summarise(theirs.mean(0)).low, summarise(theirs.mean(0)).high)],
        "difference": round(paired.mean, 4),
        "interval": [round(paired.low, 4), round(paired.high, 4)],
        "p": paired.p,
    }


def main() -> None:
    """Train the recipe once for every split of the runs, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset folders")
    parser.add_argument("--dataset", default="kvasir-seg")
    parser.add_argument("--against", type=Path, nargs="+", required=True, help="finished runs, of one draw each")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--workers", type=int, default=0, help="processes that read for a training; 0: itself")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "product.json")
    asked = parser.parse_args()
    dataset = open_dataset(asked.data / asked.dataset)
    split_of = {run: load_split(RunFolder(run).split, dataset).hash for run in asked.against}
    splits = {split: run for run, split in split_of.items()}
    with ProcessPoolExecutor(asked.jobs, get_context("spawn")) as pool:
        trained = dict(zip(splits, pool.map(dice_of_recipe, [asked] * len(splits), splits.values()), strict=True))
    rows: dict[str, list[Path]] = {}
    for run in asked.against:
        rows.setdefault(row_of(run), []).append(run)
    config = RunFolder(asked.against[0]).read_config().config()
    record = {
        **provenance(f"{asked.jobs} trainings at a time", "one thread each"),
        "dataset": asked.dataset,
        "iterations": config.trainer.iterations,
        "size": config.data.size,
        "rows": [
            compared(row, [dice_of_run(run) for run in runs], [trained[split_of[run]] for run in runs])
            for row, runs in rows.items()
        ],
    }
    print(json.dumps(record["rows"], indent=1))
    write_json(asked.results, record)


if __name__ == "__main__":
    main()
