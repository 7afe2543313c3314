"""What trained runs reach on all validation cases, what averaging gains, and where their targets went.

    python benchmarks/on_validation.py RUN [RUN ...] --results FILE

Measures, at the training size, what each run predicts, by itself and averaged over mirrored images (``tta``), and what
it would without the shift that some of these cases chose; for CRII-Net also what its coarse head says, and for methods
that keep a moving average of their student both of them by themselves. Beside it stands, from the run's own log, which
share of the pixels of some unlabeled images its targets called an object at every tenth of the run, and that share in
the labeled masks. Nothing is trained, and no test case is opened: for looking into finished runs of a benchmark.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from provenance import provenance
from torch import Tensor, nn

from criinet.data.dataset import Dataset
from criinet.data.draws import make_split
from criinet.data.files import write_json
from criinet.data.splits import Split
from criinet.data.store import Store, load_store
from criinet.engine.build import load
from criinet.engine.folder import RunFolder
from criinet.engine.origin import open_recorded, recorded_split
from criinet.engine.settings import RunConfig
from criinet.engine.shift import dice_by_class, shifted
from criinet.methods import Method
from criinet.methods.coarse_refined import CoarseRefinedMethod
from criinet.methods.ema import EMA
from criinet.records import MonitorRecord


def main() -> None:
    """Measure every run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--results", type=Path, required=True, help="file that the table is written to")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    record = {
        **provenance("one thread"),
        "rows": [measure(run) for run in asked.runs],
    }
    write_json(asked.results, record)


@dataclass(frozen=True)
class Opened:
    """A finished run, its dataset and split, and all cases that are held out for validation, as it sees them."""

    config: RunConfig
    split: Split
    dataset: Dataset
    validation: Store

    def about(self, run: Path) -> dict[str, Any]:
        """Return what a row says of the run."""
        cases = len(self.validation)
        return {"run": run.name, "method": self.config.method_name, "draw": self.split.draw, "cases": cases}


def open_run(run: Path) -> Opened:
    """Return what looking into a run needs beside its weights."""
    recorded = RunFolder(run).read_config()
    config, dataset = recorded.config(), open_recorded(recorded.dataset)
    held_out = dataset.select(make_split(dataset, measure="val").test)
    store = load_store(dataset, held_out, config.data, with_masks=True)
    return Opened(config, recorded_split(RunFolder(run)), dataset, store)


def measure(run: Path) -> dict[str, Any]:
    """Return the validation Dice of a run, and of its student and moving average where it has both."""
    opened, mirrored = open_run(run), load(run, tta=True)
    store, method = opened.validation, mirrored.method
    dice = {
        "unshifted": mean_dice(store, lambda image: method.predict(image).probs, method),
        "predicted": mean_dice(store, lambda image: shifted(method.predict(image).probs, mirrored.shift), method),
        "mirrored": mean_dice(store, lambda image: mirrored.apply(image).probs, method),
    }
    if isinstance(method, CoarseRefinedMethod):
        dice["coarse"] = mean_dice(store, lambda image: cast(Tensor, method.predict(image).coarse), method)
    averaged = next((module for module in method.modules() if isinstance(module, EMA)), None)
    if averaged is not None:
        dice["student"] = mean_dice(store, lambda image: logits(method.student, image), method)
        dice["averaged"] = mean_dice(store, lambda image: logits(averaged, image), method)
    row = {**opened.about(run), "dice": dice, **object_shares(RunFolder(run))}
    print(row, flush=True)
    return row


def object_shares(folder: RunFolder) -> dict[str, Any]:
    """Return the logged share of unlabeled pixels that targets call an object, by step, and of the labeled masks."""
    looks = [record for record in folder.records() if isinstance(record, MonitorRecord)]
    if not looks:
        return {}
    background = next(iter(looks[0].area))
    every = max(1, len(looks) // 10)
    return {
        "object_share": {look.step: round(1 - look.area[background], 3) for look in looks[every - 1 :: every]},
        "labeled_object_share": round(1 - looks[0].labeled_area[background], 3),
    }


@torch.no_grad()
def mean_dice(store: Store, scores: Callable[[Tensor], Tensor], method: Method) -> float:
    """Return the mean Dice over cases and classes of the class with the largest score."""
    found: list[Tensor] = []
    for start in range(0, len(store), 8):
        image, target = store.draw(range(start, min(start + 8, len(store))), np.random.default_rng(0))
        assert target is not None
        found.append(dice_by_class(scores(image).argmax(1), target, method.classes))
    return round(float(torch.cat(found).nanmean(0).nanmean()), 4)


def logits(network: nn.Module, image: Tensor) -> Tensor:
    """Return what a network says; of two outputs the refined one's."""
    output = network(image)
    return output.refined if hasattr(output, "refined") else output.logits


if __name__ == "__main__":
    main()
