"""What a grid has found so far: one file of rows, one of cases."""

import csv
import io
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from criinet.benchmarking.active import is_round_done
from criinet.benchmarking.cells import Cell
from criinet.benchmarking.plan import Plan
from criinet.data.files import write_json, write_text_atomically
from criinet.engine.folder import RunFolder

FORMAT = 1
ABOUT = ("method", "dataset", "fraction", "draw", "seed", "network")
"""What the rows of strata and cases repeat of their run."""


def is_done(cell: Cell, out: Path) -> bool:
    """Say whether a run, or the last round of several, was trained and evaluated to its end."""
    last = RunFolder(out / "runs" / cell.runs[-1])
    return last.results.exists() if cell.active is None else is_round_done(last)


def why_failed(cell: Cell, out: Path) -> str | None:
    """Return the sentence that a failed run left behind, None for a run that did not fail."""
    file = out / "failed" / f"{cell.name}.txt"
    return file.read_text(encoding="utf-8").strip() if file.exists() else None


def collect(grid: Plan, cells: Sequence[Cell], out: Path, command: str, jobs: int) -> dict[str, Any]:
    """Write OUT/results.json and OUT/cases.csv from the runs that are done, and return the former.

    Runs that failed stand there with their reason, runs that are not done by name: nothing is averaged over silently.
    """
    ended = [cell for cell in cells if is_done(cell, out)]
    found = [(cell, run, read_results(run, out)) for cell in ended for run in cell.runs]
    done = {cell.name for cell in ended}
    left = [cell for cell in cells if cell.name not in done]
    failed = {cell.name: why for cell in left if (why := why_failed(cell, out)) is not None}
    results: dict[str, Any] = {
        "format": FORMAT,
        "plan": {**grid.model_dump(mode="json", exclude={"datasets", "settings", "variants"}), "command": command},
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
    write_text_atomically(out / "cases.csv", all_cases(found, out))
    write_json(out / "results.json", results)
    return results


def named(cell: Cell, run: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the run and the table row that it belongs to."""
    return {"run": run, "row": cell.row, "identity": cell.identity, **row}


def read_results(run: str, out: Path) -> dict[str, Any]:
    """Return what evaluate found of a run."""
    return json.loads(RunFolder(out / "runs" / run).results.read_text(encoding="utf-8"))


def all_cases(found: Sequence[tuple[Cell, str, dict[str, Any]]], out: Path) -> str:
    """Return the cases of all runs as CSV text."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for cell, run, result in found:
        about = {"run": run, "row": cell.row, **{key: result["run"][key] for key in ABOUT}}
        with RunFolder(out / "runs" / run).cases.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if writer is None:
                    writer = csv.DictWriter(text, fieldnames=[*about, *row], lineterminator="\n")
                    writer.writeheader()
                writer.writerow({**about, **row})
    return text.getvalue()
