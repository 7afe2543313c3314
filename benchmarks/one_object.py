"""What keeping the largest object of each class gains on the validation volumes of finished runs.

    python benchmarks/one_object.py RUN [RUN ...]

Each volume is predicted once, with every object; then the smaller ones are dropped. Dice and HD95 in mm, before and
after. Nothing is trained, and no test case is opened.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from provenance import provenance

from criinet.data.draws import make_split
from criinet.data.files import write_json
from criinet.data.objects import keep_largest
from criinet.data.scans import read_scan
from criinet.engine.build import load
from criinet.engine.folder import RunFolder
from criinet.engine.origin import open_recorded
from criinet.metrics import dice, surface_distances

HERE = Path(__file__).parent


def main() -> None:
    """Measure every run and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "one_object.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    record = {
        **provenance("one thread"),
        "rows": [row for run in asked.runs for row in measure(run)],
    }
    write_json(asked.results, record)


def measure(run: Path) -> list[dict[str, Any]]:
    """Return a row for each class."""
    dataset = open_recorded(RunFolder(run).read_config().dataset)
    predictor = load(run, uncertainty=False)
    predictor.data = predictor.data.model_copy(update={"one_object": ()})
    cases = dataset.select(make_split(dataset, measure="val").test)
    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for case in cases:
        scan, target = read_scan(case.image, 3, dataset.voxel), dataset.read_mask(case)
        every = predictor.predict(scan).mask
        largest = every.copy()
        keep_largest(largest, range(1, len(dataset.classes)))
        for name, mask in (("all", every), ("largest", largest)):
            for c in range(1, len(dataset.classes)):
                distances = surface_distances(mask == c, target == c, scan.geometry.spacing)
                found.setdefault((c, name), []).append((dice(mask == c, target == c), distances.hd95()))
    rows = [
        {
            "run": run.name,
            "class": dataset.classes[c],
            "cases": len(cases),
            "objects": name,
            "dice": round(float(np.nanmean([score for score, _ in scores])), 3),
            "hd95": round(float(np.mean([far for _, far in scores if np.isfinite(far)])), 1),
        }
        for (c, name), scores in found.items()
    ]
    for row in rows:
        print(row, flush=True)
    return rows


if __name__ == "__main__":
    main()
