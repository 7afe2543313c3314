"""Benchmark folders as the runner leaves them, drawn from the Dice of every case that a test chooses."""

import csv
import json
from pathlib import Path

import numpy as np
from report_runs import RunMaker

from criinet.benchmarking.cells import safe

QUARTERS = ("contrast", "boundary", "size")


class GridMaker:
    """Collects runs and writes them as one benchmark below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = RunMaker(root / "runs")
        self.rows: list[dict[str, object]] = []
        self.strata: list[dict[str, object]] = []
        self.cases: list[dict[str, object]] = []

    def run(
        self,
        row: str,
        dice: list[float] | np.ndarray,
        *,
        method: str = "",
        dataset: str = "moles",
        fraction: float = 0.04,
        draw: int = 0,
        seed: int = 0,
        network: str = "lite0-unet",
        misses: int = 0,
        best: float = 0.01,
        per_group: int = 1,
        strata: bool = True,
        **more: object,
    ) -> str:
        """Add a run of one class; the best checkpoint is better by ``best`` in every case. Return its name.

        ``more``: what else every row says, as the amount of masks that was asked for.
        """
        values = np.asarray(dice, dtype=float)
        parts = (dataset, row, f"{200 * fraction:g}", network, f"d{draw}s{seed}", "0" * 8)
        name = "-".join(safe(part) for part in parts)
        facts: dict[str, object] = {"row": row, "run": name, "method": method or row, "dataset": dataset}
        facts |= {"fraction": fraction, "draw": draw, "seed": seed, "network": network, **more}
        cost = {"labeled": round(200 * fraction), "unlabeled": 200 - round(200 * fraction), "regime": "pretrained"}
        cost |= {"parameters": 3_000_000, "iterations": 500, "size": "128x128", "split_hash": f"hash{draw}"}
        cost |= {"train_seconds": 60.0 + 30 * seed, "images_per_second": 12.5, "peak_memory_mb": 900}
        quartile = [1 + 4 * i // len(values) for i in range(len(values))]
        for checkpoint, shift in (("last", 0.0), ("best", best)):
            for name_of_class in ("lesion", "mean"):
                self.rows.append({**cost, **facts, "checkpoint": checkpoint, "class": name_of_class, "step": 500,
                                  "misses": misses, "false_alarms": 0, **_measures(values + shift)})  # fmt: skip
            for by in QUARTERS if strata else ():
                for q in sorted(set(quartile)):
                    part = values[np.array(quartile) == q] + shift
                    about = {"checkpoint": checkpoint, "by": by, "quartile": q, "cases": len(part)}
                    self.strata.append({**facts, **about, "dice": part.mean(), "dice_low": None, "dice_high": None})
            for i, value in enumerate(values):
                about = {"checkpoint": checkpoint, "case": f"test_{i:03d}", "group": f"patient_{i // per_group:03d}"}
                about |= {"class": "lesion", "dice": value + shift, "miss": False, "false_alarm": False}
                self.cases.append({**facts, **about, **{f"{by}_quartile": quartile[i] for by in QUARTERS}})
        return name

    def write(self, *, failed: object = (), pending: object = (), cases: bool = True, **plan: object) -> Path:
        """Write results.json and cases.csv, and return the folder."""
        self.root.mkdir(parents=True, exist_ok=True)
        about = {"name": "peers", "description": "All peers.", "command": "criinet benchmark peers.toml --out OUT"}
        value = {"format": 1, "plan": {**about, **plan}, "machine": "2 CPU cores", "rows": self.rows}
        value |= {"strata": self.strata, "failed": failed, "pending": pending}
        (self.root / "results.json").write_text(json.dumps(value))
        if cases and self.cases:
            with (self.root / "cases.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(self.cases[0]))
                writer.writeheader()
                writer.writerows(self.cases)
        return self.root


def _measures(dice: np.ndarray) -> dict[str, object]:
    mean = float(dice.mean())
    values: dict[str, object] = {"cases": len(dice), "dice": mean, "dice_sd": None, "dice_low": None, "dice_high": None}
    values |= {"iou": mean - 0.1, "hd95": 30 * (1 - mean), "assd": 9 * (1 - mean), "surface_dice": mean - 0.05}
    return values | {"boundary_iou": mean - 0.2} | {f"band_dice_{width}": mean - 0.15 for width in (2, 5, 10)}
