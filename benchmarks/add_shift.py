"""Give the runs of a benchmark the shift that validation would choose today, and measure them anew.

    python benchmarks/add_shift.py FOLDER [FOLDER ...]

For folders of `criinet benchmark` whose runs were trained before predictions were shifted (``criinet.engine.shift``):
training is what it was, so their weights are those that the plan trains today. Writes into the folders; keep copies to
compare with. What has a shift keeps it. Runs on images alone.
"""

import argparse
import json
from pathlib import Path

import torch

from criinet.benchmarking.cells import Cell
from criinet.benchmarking.collect import collect
from criinet.benchmarking.plan import Plan
from criinet.config import parse
from criinet.data.store import load_store
from criinet.engine.build import load
from criinet.engine.checkpoint import load_checkpoint, save_checkpoint
from criinet.engine.evaluator import evaluate
from criinet.engine.folder import RunFolder
from criinet.engine.origin import open_recorded, recorded_split
from criinet.engine.shift import choose_shift, dice_of_images
from criinet.report.benchmark.page import write_benchmark_report


def main() -> None:
    """Shift and measure every run of every folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    torch.set_num_threads(1)
    for out in parser.parse_args().folders:
        cells = [Cell.from_json(file.read_text(encoding="utf-8")) for file in sorted((out / "cells").glob("*.json"))]
        for run in (RunFolder(out / "runs" / name) for cell in cells for name in cell.runs):
            results = run.whole_results()
            if results is None or "shift" in results["rows"][0]:
                continue
            shifts = {name: add_shift(run, name) for name in ("last", "best") if run.checkpoint(name).exists()}
            evaluate(run.root, device="cpu")
            print(run.root.name, shifts, flush=True)
        known = json.loads((out / "results.json").read_text(encoding="utf-8"))
        grid = parse(Plan, json.loads((out / "plan.json").read_text(encoding="utf-8")), "plan")
        collect(grid, cells, out, known["plan"]["command"], 1)
        write_benchmark_report(out)


def add_shift(run: RunFolder, checkpoint: str) -> float:
    """Write the shift that the run's own validation cases choose into one of its checkpoints, and return it."""
    recorded = run.read_config()
    dataset = open_recorded(recorded.dataset)
    cases = dataset.select(recorded_split(run).val)
    store = load_store(dataset, cases, recorded.config().data, with_masks=True)
    method = load(run.root, checkpoint=checkpoint, device="cpu").method
    shift = choose_shift(dice_of_images(store, lambda image: method.predict(image).probs))
    file = run.checkpoint(checkpoint)
    save_checkpoint(file, {**load_checkpoint(file), "shift": shift})
    return shift


if __name__ == "__main__":
    main()
