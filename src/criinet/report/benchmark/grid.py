"""Reads what a benchmark recorded: the plan, the results and cases of its runs, and what failed."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median_low
from typing import Any

from criinet.errors import RunError
from criinet.records import to_count, to_number
from criinet.report.comparison import SUPERVISED
from criinet.report.reading import case_row, damaged, parsed, read_json, result_row, single_classes, stratum_row
from criinet.report.records import CaseRecord, Results, Table

ALL_LABELS = "all labels"
PLAN = "plan.json"
_REMEDY = "run `criinet benchmark` again with --resume"
_SAME_FRACTION = 1.1
"""Where results do not say which amount was asked for, fractions that differ by less than this factor are one setting:
draws of whole patients miss what was asked for."""


@dataclass(frozen=True, order=True)
class Setting:
    """What is the same for all methods that are compared: the data, the share of it that is labeled, the network."""

    dataset: str
    network: str
    fraction: float


@dataclass(frozen=True)
class GridRun:
    """One run of the grid.

    label: the row that it belongs to. full: True for the supervised run that was given every label.
    asked: the amount of labels that was asked for, and the round of an annotator; None where that is not recorded.
    block: draw of the labels, and seed. results: one row for each checkpoint and class; its facts are the first row.
    cases: single classes of single cases, of both checkpoints; empty where they were not recorded.
    """

    name: str
    label: str
    full: bool
    asked: tuple[str, int] | None
    setting: Setting
    block: tuple[int, int]
    results: Results
    cases: tuple[CaseRecord, ...]

    def fact(self, name: str) -> float:
        """Return a number that the results hold of the run; NaN if it was not recorded."""
        return to_number(self.results.facts.get(name))


@dataclass(frozen=True)
class Grid:
    """A benchmark as it was found.

    failed: (run, reason). pending: runs that were not started. notes: what was left out on reading.
    """

    folder: Path
    plan: Table
    machine: str
    runs: tuple[GridRun, ...]
    failed: tuple[tuple[str, str], ...]
    pending: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the plan."""
        return str(self.plan.get("name") or self.folder.name)


def is_benchmark(folder: Path) -> bool:
    """Tell whether a folder holds a benchmark: a ``results.json`` with a plan, or a damaged one beside ``runs/``.

    One that was cut off before its first run ended is known by its ``plan.json``, and so is a search.
    """
    try:
        recorded = read_json(folder / "results.json")
    except RunError:
        return (folder / "runs").is_dir()
    return (folder / PLAN).is_file() if recorded is None else "plan" in recorded


def read_grid(folder: Path) -> Grid:
    """Read the folder of a benchmark; only ``results.json`` has to be there.

    Raises:
        RunError: if there is no benchmark, or its ``results.json`` or ``cases.csv`` is damaged or of a newer format.
    """
    cases = _read_cases(folder / "cases.csv")
    grid = parsed(folder / "results.json", lambda value: _grid(folder, value, cases or {}), _REMEDY)
    if grid is None:
        if (folder / PLAN).is_file():
            raise RunError(
                f"no run of {folder} has ended yet, or it is a search, which has no report; its command goes on with "
                "--resume."
            )
        raise RunError(
            f"{folder} holds no benchmark (no results.json); give the folder that `criinet benchmark` wrote."
        )
    if cases is None and grid.runs:
        grid = replace(grid, notes=(*grid.notes, "No method is judged case by case: cases.csv is missing."))
    return grid


def _grid(folder: Path, value: Table, cases: Mapping[str, Sequence[CaseRecord]]) -> Grid:
    rows = _by_run(value["rows"])
    strata = _by_run(value.get("strata") or ())
    runs = [_run(name, found, strata.get(name, []), cases.get(name, ())) for name, found in rows.items()]
    kept, notes = _without_repeats(_with_common_fractions(_with_full_rows(runs)))
    return Grid(
        folder=folder,
        plan=dict(value["plan"]),
        machine=str(value.get("machine") or ""),
        runs=kept,
        failed=tuple((str(item["run"]), str(item["reason"])) for item in value.get("failed") or ()),
        pending=tuple(str(name) for name in value.get("pending") or ()),
        notes=notes,
    )


def _by_run(rows: Iterable[Table]) -> dict[str, list[Table]]:
    found: dict[str, list[Table]] = {}
    for row in rows:
        found.setdefault(str(row["run"]), []).append(row)
    return found


def _run(name: str, rows: Sequence[Table], strata: Sequence[Table], cases: Sequence[CaseRecord]) -> GridRun:
    facts = rows[0]
    method, fraction = str(facts["method"]), to_number(facts.get("fraction"))
    if not math.isfinite(fraction):
        labeled, unlabeled = to_count(facts.get("labeled")), to_count(facts.get("unlabeled"))
        fraction = labeled / max(1, labeled + unlabeled)
    amount = facts.get("amount")
    return GridRun(
        name=name,
        label=str(facts.get("row") or method),
        full=method == SUPERVISED and fraction >= 1,
        asked=None if amount is None else (str(amount), to_count(facts.get("round") or 0)),
        setting=Setting(str(facts["dataset"]), str(facts["network"]), fraction),
        block=(to_count(facts.get("draw")), to_count(facts.get("seed"))),
        results=Results(facts, tuple(map(result_row, rows)), tuple(map(stratum_row, strata))),
        cases=single_classes(cases),
    )


def _with_full_rows(runs: Sequence[GridRun]) -> list[GridRun]:
    """Give the runs with every label a row of their own where their row has others, and always to supervised ones."""
    partial = {SUPERVISED, *(run.label for run in runs if not run.full)}
    return [
        replace(run, label=f"{run.label}, {ALL_LABELS}") if run.full and run.label in partial else run for run in runs
    ]


def _with_common_fractions(runs: Sequence[GridRun]) -> list[GridRun]:
    """Give the runs whose fractions differ by the luck of a draw one fraction, the median of them."""
    alike: dict[Any, list[GridRun]] = {}
    for run in runs:
        alike.setdefault((run.setting.dataset, run.setting.network, run.asked), []).append(run)
    groups = [group for (*_, asked), found in alike.items() for group in ([found] if asked else _near(found))]
    common = {run.name: median_low(member.setting.fraction for member in group) for group in groups for run in group}
    return [replace(run, setting=replace(run.setting, fraction=common[run.name])) for run in runs]


def _near(runs: Sequence[GridRun]) -> list[list[GridRun]]:
    """Return the runs in groups of fractions that are near each other; all labels are a group of their own."""
    groups: list[list[GridRun]] = []
    for run in sorted(runs, key=lambda run: run.setting.fraction):
        fraction, first = run.setting.fraction, groups[-1][0].setting.fraction if groups else math.inf
        if groups and not fraction >= 1 > first and fraction <= _SAME_FRACTION * first:
            groups[-1].append(run)
        else:
            groups.append([run])
    return groups


def _without_repeats(runs: Sequence[GridRun]) -> tuple[tuple[GridRun, ...], tuple[str, ...]]:
    """Keep the first run of each row, setting, draw and seed, and name the others."""
    kept: dict[Any, GridRun] = {}
    notes: list[str] = []
    for run in runs:
        first = kept.setdefault((run.label, run.setting, run.block), run)
        if first is not run:
            notes.append(f"{run.name} was left out: {first.name} has the same row, setting, draw and seed.")
    return tuple(kept.values()), tuple(notes)


def _read_cases(path: Path) -> dict[str, list[CaseRecord]] | None:
    """Return the cases of every run, None if there is no such file."""
    cases: dict[str, list[CaseRecord]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                cases.setdefault(row["run"], []).append(case_row(row))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise damaged(path, _REMEDY) from error
    return cases
