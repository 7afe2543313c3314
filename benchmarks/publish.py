"""Put what benchmarks found into benchmarks/results/NAME, with what their runs recorded.

    python benchmarks/publish.py NAME [--plan FILE --data DATA] FOLDER [FOLDER ...]

A folder is the --out of `criinet benchmark`, or one of benchmarks/results: so a row, a draw or a data set can be added
to a published table without training the rest of it again. Folders must have had the same splits. The plan, its command
and machine are those of the first; with --plan the plan is the one in that file, which does all of these runs at once:
other runs of a FOLDER are left out, and those on DATA, the folder of its datasets, that no FOLDER has stand as pending.
Nothing is computed but the report: results.json and cases.csv are the runs' own.

`records.tar.xz` holds all that a run wrote but its weights and pictures: settings (without the path of the data),
split, log, results and cases. Unpacked, it is a benchmark's folder, of which `criinet report` makes the page.
"""

import argparse
import csv
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from criinet.benchmarking.cells import cells_of
from criinet.benchmarking.collect import recorded_plan
from criinet.benchmarking.plan import read_plan
from criinet.data.files import csv_text, write_json, write_text_atomically
from criinet.report.benchmark.page import write_benchmark_report

RESULTS = Path(__file__).parent / "results"
ARCHIVE = "records.tar.xz"
OF_RUN = ("config.json", "split.json", "metrics.jsonl", "results.json", "cases.csv")
SHOWN = ("results.json", "summary.json", "tables")
Row = dict[str, Any]


def main() -> None:
    """Join, report and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="folder below benchmarks/results")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--plan", type=Path, help="file of the plan that the table is of, where it grew out of several")
    parser.add_argument("--data", type=Path, help="folder of that plan's datasets")
    asked = parser.parse_args()
    if (asked.plan is None) != (asked.data is None):
        parser.error("--plan and --data go together: what of the plan was not run depends on its datasets.")
    with tempfile.TemporaryDirectory() as scratch:
        joined = Path(scratch) / "joined"
        wanted = None if asked.plan is None else runs_of(asked.plan, asked.data)
        join([unpacked(folder, Path(scratch)) for folder in asked.folders], joined, wanted)
        if asked.plan is not None:
            tell_plan(joined, asked.plan, wanted or [], asked.name)
        write_benchmark_report(joined)
        publish(joined, RESULTS / asked.name)


def unpacked(folder: Path, scratch: Path) -> Path:
    """Return a benchmark's folder: the one given, or what the archive in it holds."""
    if not (folder / ARCHIVE).exists():
        return folder
    place = Path(tempfile.mkdtemp(dir=scratch))
    with tarfile.open(folder / ARCHIVE) as archive:
        archive.extractall(place, filter="data")
    return place


def runs_of(plan: Path, data: Path) -> list[str]:
    """Return the names of all runs of a plan."""
    with tempfile.TemporaryDirectory() as scratch:
        return [run for cell in cells_of(read_plan(str(plan)), data, Path(scratch), "cpu") for run in cell.runs]


def join(folders: Iterable[Path], out: Path, wanted: Iterable[str] | None) -> None:
    """Write the folder of one benchmark with every run of several, or those wanted; of two that are one, the first."""
    out.mkdir()
    names = None if wanted is None else {without_identity(run) for run in wanted}
    first: Row = {}
    lists: dict[str, list[Row]] = {"rows": [], "strata": [], "cases": [], "failed": []}
    pending: list[str] = []
    for folder in folders:
        found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        with (folder / "cases.csv").open(encoding="utf-8", newline="") as file:
            found["cases"] = list(csv.DictReader(file))
        first = first or found
        known = {place(row) for row in lists["rows"]}
        new = {row["run"] for row in found["rows"] if place(row) not in known}
        new = {run for run in new if names is None or without_identity(run) in names}
        for name, rows in lists.items():
            rows.extend(row for row in found[name] if row["run"] in new or name == "failed")
        pending.extend(found["pending"])
        for run in sorted(new):
            copy_run(folder / "runs" / run, out / "runs" / run)
    require_same_splits(lists["rows"])
    left = without_runs_of(pending, lists["rows"])
    cases = lists.pop("cases")
    results = {**first, **lists, "pending": left}
    results.pop("cases")
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    columns = list(dict.fromkeys(key for row in cases for key in row))
    write_text_atomically(out / "cases.csv", csv_text(cases, columns))


def tell_plan(folder: Path, plan: Path, wanted: Iterable[str], name: str) -> None:
    """Let a folder's results be of the plan in a file, with the command that does it and what of it is still to run."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    grid = read_plan(str(plan))
    results["pending"] = without_runs_of(wanted, [*results["rows"], *results["failed"]])
    command = re.sub(r"benchmark \S+", f"benchmark {plan.as_posix()}", results["plan"]["command"])
    command = re.sub(r"--out \S+", f"--out runs/{name}", command).removesuffix(" --resume")
    results["plan"] = recorded_plan(grid, command)
    write_json(folder / "results.json", results)


def place(row: Row) -> tuple[Any, ...]:
    """Return where a run stands in the table."""
    return tuple(row.get(key) for key in ("row", "dataset", "network", "regime", "amount", "draw", "seed", "round"))


def without_identity(run: str) -> str:
    """Return the name of a run without the hash of its settings and code."""
    return run.rsplit("-", 1)[0]


def without_runs_of(names: Iterable[str], rows: Iterable[Row]) -> list[str]:
    """Return each of the runs once, but for those that rows are of, whatever settings and code these had."""
    known = {without_identity(row["run"]) for row in rows}
    return [name for name in dict.fromkeys(names) if without_identity(name) not in known]


def require_same_splits(rows: Iterable[Row]) -> None:
    """Stop where runs that would be compared had other images labeled, or other test cases."""
    splits: dict[tuple[Any, ...], str] = {}
    for row in rows:
        key = tuple(row[name] for name in ("dataset", "labeled", "draw"))
        if splits.setdefault(key, row["split_hash"]) != row["split_hash"]:
            raise SystemExit(f"{row['run']} had another split than the runs before it of {key}; nothing was written.")


def copy_run(source: Path, target: Path) -> None:
    """Copy what a run recorded, without the path of its data."""
    target.mkdir(parents=True)
    for name in OF_RUN:
        shutil.copyfile(source / name, target / name)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    config["dataset"]["path"] = Path(config["dataset"]["path"]).name
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def publish(folder: Path, out: Path) -> None:
    """Replace what was published of a benchmark; files beside it that others wrote stay."""
    out.mkdir(parents=True, exist_ok=True)
    for name in SHOWN:
        if (folder / name).is_dir():
            shutil.rmtree(out / name, ignore_errors=True)
            shutil.copytree(folder / name, out / name)
        else:
            shutil.copyfile(folder / name, out / name)
    with tarfile.open(out / ARCHIVE, "w:xz") as archive:
        for name in ("results.json", "cases.csv", "runs"):
            archive.add(folder / name, name, filter=plain)


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out owner and time, so that the same records are the same bytes."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
