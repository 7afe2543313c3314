"""Run folders as training and evaluation leave them, drawn from numbers that a test chooses."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CASES = 30
QUARTILES = [1 + 4 * i // CASES for i in range(CASES)]
DIFFICULTY = {"contrast": 1, "boundary": 3, "size": 7}
"""Quartiles by boundary and size are those by contrast, with the cases in another order."""


class RunMaker:
    """Writes run folders below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def settings(
        self,
        name: str,
        method: str,
        *,
        classes: Sequence[str] = ("background", "lesion"),
        iterations: int = 500,
        seed: int = 0,
        split_hash: str = "5f0c2d1b9a7e4433",
        lr: float = 0.001,
    ) -> Path:
        """Write what training writes before its first step."""
        run = self.root / name
        run.mkdir(parents=True)
        config = {
            "format": 1,
            "method": {"name": method, "weights": {"supervised": 1.0}},
            "network": {"name": "lite0-unet"},
            "data": {"size": [128, 128], "window": "whole", "channels": 3, "augmentation": {"flip": True}},
            "trainer": {"iterations": iterations, "learning_rate": lr},
            "seed": seed,
            "dataset": {"path": "data/moles", "name": "moles", "classes": list(classes), "spacing": None},
            "choices": [
                {"setting": "data.size", "value": "128x128", "reason": "the median image is 128x128 pixels"},
                {"setting": "network.name", "value": "lite0-unet", "reason": "few labels: start from ImageNet weights"},
            ],
        }
        parts = {"labeled": 8, "unlabeled": 192, "val": 8, "test": CASES}
        split = {part: [f"{part}_{i:03d}" for i in range(n)] for part, n in parts.items()}
        split |= {"hash": split_hash, "seed": 0, "fraction": 0.04}
        (run / "config.json").write_text(json.dumps(config))
        (run / "split.json").write_text(json.dumps(split))
        return run

    def curves(self, run: Path, terms: Sequence[str], level: float, classes: Sequence[str] = ("lesion",)) -> None:
        """Write ``metrics.jsonl``: 100 looks at the losses, 20 checks."""
        rng = np.random.default_rng(len(terms))
        records: list[dict[str, object]] = []
        for step in range(5, 501, 5):
            t = step / 500
            raw = {n: float((1 - 0.8 * t) * (0.5 + 0.3 * i) * rng.uniform(0.8, 1.2)) for i, n in enumerate(terms)}
            weights = dict.fromkeys(terms, 1.0) | {"consistency": float(np.exp(-5 * (1 - min(t, 0.4) / 0.4) ** 2))}
            loss = sum(raw[n] * weights[n] for n in raw)
            head = {"kind": "train", "step": step, "progress": t, "seconds": 1.2 * step, "learning_rate": 1e-3}
            records.append({**head, "loss": loss, "terms": raw, "weights": weights, "images_per_second": 6.6})
            if step % 25 == 0:
                dice = level * (1 - np.exp(-6 * t)) + rng.normal(0, 0.01)
                records.append({"kind": "validation", "step": step, "dice": dice, "dice_by_class": {"lesion": dice}})
                area = {c: 0.12 + 0.03 * np.sin(6 * t + i) for i, c in enumerate(classes)}
                look = {"kind": "monitor", "step": step, "confident": 0.5 + 0.4 * t, "area": area}
                look["area"] = {"background": 1 - sum(area.values())} | area
                look |= {"labeled_area": {"background": 1 - 0.13 * len(classes)} | dict.fromkeys(classes, 0.13)}
                records.append(look | {"target_change": None if step == 25 else 0.2 * float(np.exp(-4 * t)) / level})
        (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))

    def results(
        self,
        run: Path,
        dice: np.ndarray,
        classes: Sequence[str] = ("lesion",),
        groups: int = CASES,
        regions: Sequence[str] = (),
    ) -> None:
        """Write ``results.json`` and ``cases.csv`` of (cases, classes) Dice; NaN where a case lacks the class.

        Those of ``classes`` that are ``regions`` stay out of the mean.
        """
        config = json.loads((run / "config.json").read_text())
        facts = {"method": config["method"]["name"], "dataset": "moles", "labeled": 8, "unlabeled": 192, "val": 8}
        facts |= {"fraction": 0.04, "draw": 0, "seed": config["seed"], "network": "lite0-unet", "regime": "pretrained"}
        facts |= {"iterations": config["trainer"]["iterations"], "size": [128, 128], "version": "0.1.0"}
        facts |= {"split_hash": json.loads((run / "split.json").read_text())["hash"], "device": "cpu", "threads": 2}
        facts |= {"classes": config["dataset"]["classes"], "train_seconds": 612.0}
        rows, cases, strata = [], [], []
        for checkpoint, shift in (("last", 0.0), ("best", 0.006)):
            columns = [(name, dice[:, i] + shift) for i, name in enumerate(classes)]
            means = _case_means(np.stack([values for name, values in columns if name not in regions]))
            for name, values in [*columns, ("mean", means)]:
                about = {**facts, "checkpoint": checkpoint, "step": 500, "class": name, "region": name in regions}
                rows.append({**about, **_measures(values)})
            for i, name in enumerate(classes):
                found = [_case(checkpoint, k, name, dice[k, i] + shift, groups) for k in range(len(dice))]
                cases += [{**case, "region": name in regions} for case in found]
            for by, factor in DIFFICULTY.items():
                order = [QUARTILES[k * factor % CASES] for k in range(len(dice))]
                for q in sorted(set(order)):
                    part = means[np.array(order) == q]
                    head = {"checkpoint": checkpoint, "by": by, "quartile": q, "cases": len(part)}
                    low, high = part.mean() - 0.04, part.mean() + 0.04
                    tail = {"dice": part.mean(), "dice_low": low, "dice_high": high, "band_dice_5": part.mean() - 0.1}
                    strata.append({**head, **tail})
        (run / "results.json").write_text(json.dumps({"format": 1, "run": facts, "rows": rows, "strata": strata}))
        with (run / "cases.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(cases[0]))
            writer.writeheader()
            writer.writerows(cases)

    def examples(self, run: Path, *, names: Sequence[str], shift: int, coarse: bool, classes: int = 2) -> None:
        """Write example pictures: dim discs, whose predictions are ``shift`` pixels off."""
        (run / "examples").mkdir()
        listed = []
        for index, name in enumerate(names):
            part = "test" if index < (len(names) + 1) // 2 else "unlabeled"
            file = f"examples/{index}.npz"
            arrays = picture(index, shift, coarse=coarse, classes=classes)
            if part == "unlabeled":
                del arrays["target"]
            np.savez_compressed(run / file, **arrays)
            rule = f"contrast percentile {10 + 20 * index}" if part == "test" else "evenly spaced"
            cnr, dice = (0.4 + index, 0.7 + 0.02 * index - 0.01 * shift) if part == "test" else (None, None)
            listed.append({"case": name, "set": part, "rule": rule, "cnr": cnr, "dice": dice, "file": file})
        (run / "examples.json").write_text(json.dumps({"examples": listed}))

    def evaluated(self, name: str, method: str, dice: np.ndarray, **settings: object) -> Path:
        """Write a run with results of one class and nothing else."""
        run = self.settings(name, method, **settings)
        self.results(run, dice[:, None] if dice.ndim == 1 else dice)
        return run

    def pair(self) -> tuple[Path, Path]:
        """Write a supervised and a crii run with all that a run can hold."""
        base = supervised_dice()
        names = ["case_004", "case_011", "case_017", "case_102", "case_103"]
        supervised = self.evaluated("supervised", "supervised", base)
        crii = self.evaluated("crii", "crii", np.clip(base + gain(), 0, 0.98))
        self.curves(supervised, ["supervised"], 0.7)
        self.curves(crii, ["supervised_coarse", "supervised_refined", "intra", "inter", "consistency"], 0.8)
        self.examples(supervised, names=names, shift=9, coarse=False)
        self.examples(crii, names=names, shift=4, coarse=True)
        return supervised, crii


def supervised_dice() -> np.ndarray:
    """Dice of 30 cases that rises with contrast."""
    return np.linspace(0.45, 0.9, CASES) + np.random.default_rng(0).normal(0, 0.03, CASES)


def gain() -> np.ndarray:
    """A gain that is larger on hard cases."""
    return np.linspace(0.08, 0.02, CASES) + np.random.default_rng(1).normal(0, 0.02, CASES)


def picture(index: int, shift: int, *, coarse: bool, classes: int, side: int = 96) -> dict[str, np.ndarray]:
    """Draw an image with one dim disc for each class, 1.25 times as wide as high, and what a run thinks of it."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[: side - side // 5, :side].astype(float)
    image = rng.normal(190, 6, (*x.shape, 3)) - (0, 30, 45)
    truth, refined, first = (np.zeros(x.shape, np.uint8) for _ in range(3))
    for c in range(1, classes):
        cx, cy, r = side * c / classes, x.shape[0] * (0.45 + 0.05 * c), side / (2.6 * classes)
        angle = np.arctan2(y - cy, x - cx)
        wavy = r * (1 + 0.15 * np.sin(3 * angle + index))
        inside = np.hypot(x - cx, y - cy) < wavy
        image[inside] -= 25 + 15 * index
        truth[inside] = c
        refined[np.hypot(x - cx - shift / 2, y - cy) < wavy] = c
        first[np.hypot(x - cx - shift, y - cy + 2) < 0.9 * wavy] = c
    edge = np.abs(refined.astype(float) - first)
    arrays = {"image": np.clip(image, 0, 255).astype(np.uint8), "refined": refined, "target": truth}
    arrays["entropy"] = (120 * (edge > 0)).astype(np.uint8)
    if coarse:
        arrays |= {"coarse": first, "disagreement": (90 * (edge > 0)).astype(np.uint8)}
    return arrays


def _case_means(dice: np.ndarray) -> np.ndarray:
    """Return the mean over the classes (first axis) that a case has, NaN where it has none."""
    known = np.isfinite(dice)
    return np.where(known.any(0), np.nansum(dice, axis=0) / np.maximum(known.sum(0), 1), np.nan)


def _measures(dice: np.ndarray) -> dict[str, object]:
    known = dice[np.isfinite(dice)]
    mean = float(known.mean())
    names = ("iou", "surface_dice", "boundary_iou", "band_dice_2", "band_dice_5", "band_dice_10", "band_error_2")
    values: dict[str, object] = {"cases": len(known), "dice": mean, "dice_sd": float(known.std(ddof=1))}
    values |= {"dice_low": mean - 0.05, "dice_high": mean + 0.05, "hd95": 30 * (1 - mean), "assd": 9 * (1 - mean)}
    values |= {name: mean - 0.05 * i for i, name in enumerate(names, 1)}
    return values | {"misses": 1, "false_alarms": 0}


def _case(checkpoint: str, k: int, name: str, dice: float, groups: int) -> dict[str, object]:
    row: dict[str, object] = {"checkpoint": checkpoint, "case": f"test_{k:03d}", "group": f"patient_{k % groups:02d}"}
    row |= {"class": name, "dice": "" if np.isnan(dice) else dice, "iou": 0.5, "hd95": "inf", "miss": False}
    row |= {"false_alarm": False, "cnr": k / 10, "boundary_gradient": k / 5, "object_share": 0.1}
    return row | {f"{by}_quartile": QUARTILES[k * factor % CASES] for by, factor in DIFFICULTY.items()}
