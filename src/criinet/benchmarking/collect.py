"""What a grid has found so far: one file of rows, one of cases."""

import csv
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from criinet.benchmarking.active import round_results
from criinet.benchmarking.cells import Cell
from criinet.benchmarking.plan import Plan
from criinet.data.files import csv_text, write_json, write_text_atomically
from criinet.engine.folder import RunFolder
from criinet.errors import INTERRUPTED

FORMAT = 1
ABOUT = ("method", "dataset", "fraction", "draw", "seed", "network")
"""What the rows of strata and cases repeat of their run."""


def results_of(cell: Cell, out: Path) -> dict[str, dict[str, Any]] | None:
    """Return what evaluate found of a run, or of every round of one, by the names of their folders.

    None unless all of it was trained and evaluated to its end.
    """
    read = RunFolder.whole_results if cell.active is None else round_results
    results: dict[str, dict[str, Any]] = {}
    for name in cell.runs:
        found = read(RunFolder(out / "runs" / name))
        if found is None:
            return None
        results[name] = found
    return results


def why_failed(cell: Cell, out: Path) -> str | None:
    """Return the sentence that a failed run left behind, None for a run that did not fail."""
    file = out / "failed" / f"{cell.name}.txt"
    return file.read_text(encoding="utf-8").strip() if file.exists() else None


def note_end(cell: Cell, out: Path, code: int) -> None:
    """Leave a sentence for a run whose process ended by itself without one, as one that was killed does."""
    if code in (0, INTERRUPTED) or why_failed(cell, out) is not None:
        return
    how = f"was killed by signal {-code}, perhaps for want of memory" if code < 0 else f"ended with code {code}"
    log = out / "logs" / f"{cell.name}.txt"
    write_text_atomically(out / "failed" / f"{cell.name}.txt", f"its process {how} ({log}); --resume tries it again\n")


def collect(grid: Plan, cells: Sequence[Cell], out: Path, command: str, jobs: int) -> dict[str, Any]:
    """Write OUT/results.json and OUT/cases.csv from the runs that are done, and return the former.

    Runs that failed stand there with their reason, runs that are not done by name: nothing is averaged over silently.
    """
    ended = {cell.name: whole for cell in cells if (whole := results_of(cell, out)) is not None}
    found = [(cell, run, result) for cell in cells for run, result in ended.get(cell.name, {}).items()]
    left = [cell for cell in cells if cell.name not in ended]
    failed = {cell.name: why for cell in left if (why := why_failed(cell, out)) is not None}
    results: dict[str, Any] = {
        "format": FORMAT,
        "plan": recorded_plan(grid, command),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {jobs} runs at a time",
        "rows": [named(cell, run, row) for cell, run, result in found for row in result["rows"]],
        "strata": [
            named(cell, run, {**{key: result["run"][key] for key in ABOUT}, **row})
            for cell, run, result in found
            for row in result["strata"]
        ],
        "failed": [{"run": name, "reason": reason} for name, reason in failed.items()],
        "pending": [cell.name for cell in left if cell.name not in failed],
    }
    write_text_atomically(out / "cases.csv", csv_text(all_cases(found, out)))
    write_json(out / "results.json", results)
    return results


def recorded_plan(grid: Plan, command: str) -> dict[str, Any]:
    """Return what a benchmark's results say of its plan, and of the command that does it."""
    return {**grid.model_dump(mode="json", exclude={"datasets", "settings", "variants"}), "command": command}


def named(cell: Cell, run: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the run, the table row and the dataset that it belongs to, and the amount as asked for."""
    about = {"run": run, "row": cell.row, "amount": cell.amount, "identity": cell.identity}
    return {**about, **row, "dataset": cell.called}


def all_cases(found: Sequence[tuple[Cell, str, dict[str, Any]]], out: Path) -> Iterator[dict[str, Any]]:
    """Yield the cases of all runs, each with what tells its run."""
    for cell, run, result in found:
        about = {"run": run, "row": cell.row, **{key: result["run"][key] for key in ABOUT}, "dataset": cell.called}
        with RunFolder(out / "runs" / run).cases.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield {**about, "region": "False", **row}  # Older runs do not say so.
