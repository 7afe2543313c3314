"""The test set, opened once: every measure of every case, with intervals, strata and misses beside the means."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from criinet.data.dataset import Case, Dataset
from criinet.data.draws import TO_HOLD_OUT
from criinet.data.files import csv_text, write_json, write_text_atomically
from criinet.data.formats import Volume
from criinet.data.mask_folders import match_masks, paired_masks
from criinet.data.splits import Split
from criinet.data.threads import Advance
from criinet.engine.build import Trained, load_trained
from criinet.engine.examples import by_contrast, pictures, write_examples
from criinet.engine.folder import RunFolder
from criinet.engine.origin import open_recorded, recorded_split, require_same_classes
from criinet.engine.predictor import Predictor
from criinet.engine.requirements import require_masks_fit
from criinet.engine.run_record import RunRecord
from criinet.engine.summaries import Row, strata_rows, summary_rows, unit_of
from criinet.errors import RunError
from criinet.labels import IGNORE
from criinet.metrics import case_difficulty, case_metrics, finite_mean, quartiles
from criinet.metrics.difficulty import STRATA


@dataclass(frozen=True)
class TestSet:
    """The test cases with what their images and ground truth alone say, before any prediction is made."""

    __test__ = False
    dataset: Dataset
    cases: tuple[Case, ...]
    difficulty: dict[str, Row]

    @classmethod
    def open(cls, dataset: Dataset, cases: Sequence[Case]) -> "TestSet":
        """Measure contrast, boundary and size of every case, and freeze the quartiles.

        A case without any object is in no quartile (0): it has no contrast and no boundary, and no small object either.
        Of few cases there are no quartiles.
        """
        require_masks_fit(cases, dataset.dims)
        facts = {case.name: difficulty_of(dataset, case) for case in cases}
        rows: dict[str, Row] = {name: dict(found) for name, found in facts.items()}
        for stratum, measure in STRATA.items():
            values = [f[measure] if f["object_share"] > 0 else math.nan for f in facts.values()]
            for name, quartile in zip(facts, quartiles(values), strict=True):
                rows[name][f"{stratum}_quartile"] = int(quartile)
        return cls(dataset, tuple(cases), rows)


def difficulty_of(dataset: Dataset, case: Case) -> dict[str, float]:
    """Measure how hard a case is, from its image and ground truth alone."""
    scan = dataset.read_scan(case)
    return case_difficulty(scan.values if isinstance(scan, Volume) else scan, dataset.read_mask(case))


def evaluate(
    run: Path | str,
    *,
    dataset: Path | str | None = None,
    device: str = "auto",
    advance: Advance | None = None,
) -> dict[str, Any]:
    """Measure a run on its test cases, write results.json and cases.csv, and return what results.json holds.

    The last checkpoint and the best one on the validation cases are both measured.

    Args:
        dataset: where the dataset is now, if it has moved.

    Raises:
        RunError: if the run has no test cases: then no number is claimed.
        DataError: if the dataset cannot be read, or has other classes than the run was trained on.
    """
    folder = RunFolder(Path(run))
    recorded = folder.read_config()
    split = recorded_split(folder)
    if not split.test:
        raise RunError(
            f"{run} has no test cases, so its quality cannot be measured. "
            f"Give {TO_HOLD_OUT}, or a split with test cases."
        )
    opened = open_recorded(recorded.dataset, None if dataset is None else Path(dataset))
    require_same_classes(recorded.dataset, opened, folder.root)
    test = TestSet.open(opened, opened.select(split.test))
    names = ["last", *(["best"] if folder.checkpoint("best").exists() else [])]
    trained = {name: load_trained(folder, name, device) for name in names}
    states = {name: {"step": each.step, "shift": each.predictor.shift} for name, each in trained.items()}
    about = describe_run(recorded, split, trained["last"])
    rows = measure_all(folder, trained, test, advance)
    unit = unit_of(opened.spacing_of(case) for case in test.cases)
    results = {
        "format": 1,
        "unit": unit,
        "run": about,
        "rows": [{**about, **row, **states[row["checkpoint"]]} for row in summary_rows(rows, unit)],
        "strata": strata_rows(rows, test.difficulty),
    }
    write_text_atomically(folder.cases, csv_text([{**row, **test.difficulty[row["case"]]} for row in rows]))
    write_json(folder.results, results)
    return results


def measure_all(folder: RunFolder, trained: Mapping[str, Trained], test: TestSet, advance: Advance | None) -> list[Row]:
    """Measure every test case with each checkpoint; where the best one is the last one, once."""
    found: dict[int, list[Row]] = {}
    total = len({each.step for each in trained.values()}) * len(test.cases)
    rows: list[Row] = []
    for name, each in trained.items():
        if each.step not in found:
            progress = offset(advance, len(found) * len(test.cases), total)
            found[each.step] = measure(folder, name, each.predictor, test, progress)
        rows += [{**row, "checkpoint": name} for row in found[each.step]]
    return rows


def offset(advance: Advance | None, before: int, total: int) -> Advance | None:
    """Shift a part's progress into the whole's."""
    return None if advance is None else lambda done, _: advance(before + done, total)


def describe_run(recorded: RunRecord, split: Split, last: Trained) -> Row:
    """Return what every row of a result says about where it came from."""
    config, method = recorded.config(), last.predictor.method
    trainer = config.trainer
    images = last.step * (trainer.labeled_batch + trainer.unlabeled_batch * bool(method.views))
    pretrained = any(network.backbone.pretrained for network in method.networks)
    return {
        "method": config.method_name,
        "dataset": recorded.dataset.name,
        "labeled": len(split.labeled),
        "unlabeled": len(split.unlabeled),
        "val": len(split.val),
        "fraction": split.fraction,
        "draw": split.seed,
        "seed": config.seed,
        "network": config.network_name,
        "regime": "pretrained" if pretrained else "scratch",
        "parameters": sum(p.numel() for p in method.student.parameters()),
        "iterations": trainer.iterations,
        "size": "x".join(str(side) for side in config.data.size),
        "kind": config.data.kind,
        "classes": list(recorded.dataset.classes),
        "split_hash": split.hash,
        "version": recorded.environment.version,
        "device": recorded.environment.device,
        "threads": recorded.environment.threads,
        "train_seconds": round(last.seconds, 3),
        "images_per_second": round(images / max(last.seconds, 1e-9), 2),
        "peak_memory_mb": round(last.memory),
    }


def measure(
    folder: RunFolder,
    checkpoint: str,
    predictor: Predictor,
    test: TestSet,
    advance: Advance | None,
) -> list[Row]:
    """Predict and measure every test case with one checkpoint; the last one's examples are kept for the report."""
    chosen = by_contrast({name: found["cnr"] for name, found in test.difficulty.items()})
    rows: list[Row] = []
    examples: list[tuple[Row, dict[str, Any]]] = []
    scans = (test.dataset.read_scan(case) for case in test.cases)
    dataset = test.dataset
    for done, (case, predicted) in enumerate(zip(test.cases, predictor.predict_many(scans), strict=True)):
        target, spacing = dataset.read_mask(case), dataset.spacing_of(case)
        found = case_metrics(predicted.mask, target, dataset.classes, spacing, regions=dataset.regions)
        rows += [{"checkpoint": checkpoint, "case": case.name, "group": case.group, **row} for row in found]
        if checkpoint == "last" and case.name in chosen:
            about: Row = {
                "case": case.name,
                "set": "test",
                "rule": chosen[case.name],
                "cnr": test.difficulty[case.name]["cnr"],
                "dice": finite_mean([float(row["dice"]) for row in found if not row["region"]]),
            }
            examples.append((about, pictures(predicted, dataset.read_scan(case), target, predictor.data)))
        if advance is not None:
            advance(done + 1, len(test.cases))
    if examples:
        examples.sort(key=lambda e: list(chosen).index(e[0]["case"]))
        write_examples(folder, "test", examples)
    return rows


def evaluate_folders(predictions: Path, targets: Path, out: Path | None = None) -> dict[str, Any]:
    """Measure a folder of masks against a folder of ground truth, file by file of the same stem.

    Of targets with ground truth in a part alone, which ``partial`` counts, that part is measured. Predictions without a
    target, which ``without_target`` counts, are left out. Where the targets are the masks of a dataset, its spacing,
    regions and groups count as they do for a run.

    Args:
        predictions: masks of any tool, in class indices, 0/255 or palette.
        targets: a folder of masks; the encoding is found in it.
        out: folder for results.json and cases.csv; None writes nothing.

    Raises:
        DataError: if a target has no prediction, sizes differ, two volumes do not lie in one place, or the dataset.json
            or groups.csv of the targets cannot be used.
        RunError: if ``out`` holds a run.
    """
    if out is not None and RunFolder(out).holds_run:
        raise RunError(f"{out} holds a run, and its results would be replaced. Give --out another folder.")
    rows: list[Row] = []
    partial = 0
    spacings: list[tuple[float, ...] | None] = []
    for pair in paired_masks(predictions, targets):
        partial += bool((pair.target == IGNORE).any())
        spacings.append(pair.spacing)
        found = case_metrics(pair.prediction, pair.target, pair.classes, pair.spacing, regions=pair.regions)
        rows += [{"checkpoint": "files", "case": pair.stem, "group": pair.group, **row} for row in found]
    unit = unit_of(spacings)
    results: dict[str, Any] = {
        "format": 1,
        "unit": unit,
        "partial": partial,
        "without_target": match_masks(predictions, targets)[1],
        "rows": summary_rows(rows, unit),
    }
    if out is not None:
        write_text_atomically(out / "cases.csv", csv_text(rows))
        write_json(out / "results.json", results)
    return results
