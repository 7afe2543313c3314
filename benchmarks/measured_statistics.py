"""What measuring batch normalisation's statistics anew does to finished runs: the same weights, with and without.

    python benchmarks/measured_statistics.py RUN [RUN ...] --results FILE

For runs that were trained with ``trainer.statistics=0``, so that their checkpoint holds running averages: the Dice on
all validation cases, at the training size, by running averages, and by statistics measured on so many unlabeled images.
Nothing is trained, and no test case is opened.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from on_validation import mean_dice, open_run
from provenance import provenance

from criinet.data.files import write_json
from criinet.data.store import load_store
from criinet.engine.batch_statistics import measure_statistics
from criinet.engine.build import load


def main() -> None:
    """Measure every run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", nargs="+", type=int, default=[64, 256, 672], help="unlabeled images")
    parser.add_argument("--checkpoint", default="last")
    parser.add_argument("--results", type=Path, required=True, help="file that the table is written to")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    record = {
        **provenance("one thread"),
        "rows": [measure(run, asked) for run in asked.runs],
    }
    write_json(asked.results, record)


def measure(run: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the validation Dice of a run's weights by each kind of statistics."""
    opened, method = open_run(run), load(run, checkpoint=asked.checkpoint).method
    store, cases = opened.validation, opened.dataset.select(opened.split.unlabeled)
    unlabeled = load_store(opened.dataset, cases, opened.config.data, with_masks=False)
    dice = {"running": mean_dice(store, lambda image: method.predict(image).probs, method)}
    for images in asked.images:
        measure_statistics(method, unlabeled, images, torch.device("cpu"))
        dice[f"measured on {images}"] = mean_dice(store, lambda image: method.predict(image).probs, method)
    row = {**opened.about(run), "dice": dice}
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
