"""From a plan to its results: what is done already is kept, what failed is named, the rest is run."""

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from criinet.benchmarking.cells import Cell, cells_of
from criinet.benchmarking.collect import collect, note_end, results_of
from criinet.benchmarking.local import run_local
from criinet.benchmarking.plan import Plan, read_plan
from criinet.config import parse
from criinet.data.files import make_folder, sweep, write_text_atomically
from criinet.data.threads import cores
from criinet.engine.folder import RunFolder
from criinet.engine.lock import LOCK, exclusive
from criinet.engine.machine import pick_device
from criinet.errors import ConfigError, RunError, StorageError

Told = Callable[[Cell, int, int, int], None]
"""Called after every run with its cell, its exit code, how many are done, and of how many."""


def benchmark(
    plan: Path | str | Plan | Mapping[str, Any],
    out: Path | str,
    *,
    data: Path | str = ".",
    jobs: int = 1,
    engine: str = "local",
    device: str = "auto",
    resume: bool = False,
    command: str = "criinet.benchmark(...)",
    told: Told | None = None,
) -> dict[str, Any]:
    """Do every run of a plan, write OUT/results.json and OUT/cases.csv, and return what the former holds.

    Both files are written anew after every run, so that a report can be made on the way. A run is known by the hash of
    its settings, its split and the code: one that is done is not repeated, one that was cut off goes on, and one that
    failed is tried again.

    Args:
        plan: a plan, its nested tables, a plan file, or the name of one that comes with criinet.
        out: folder of the benchmark.
        data: folder of the plan's dataset folders.
        jobs: runs at a time. The result of a run does not depend on it.
        engine: "local", or "ray" for the Ray cluster of the environment; its machines must share ``out`` and ``data``.
        resume: go on in an ``out`` that holds a benchmark of this plan.
        command: what a reader types to do it again; stands in the results.

    Raises:
        UserError: for anything that a person can mend, before the first run.
        InterruptedRunError: on Ctrl-C, after the runs in flight have saved.
    """
    grid, out = asked_plan(plan, jobs), Path(out).resolve()
    with alone_in(out, grid, resume):
        with noted_plan(out, grid):
            run_cells = engine_called(engine)
            cells = cells_of(grid, Path(data).resolve(), out, pick_device(device))
        for cell in cells:
            write_text_atomically(out / "cells" / f"{cell.name}.json", cell.to_json())
        todo = [cell for cell in cells if results_of(cell, out) is None]
        done = len(cells) - len(todo)

        def finished(cell: Cell, code: int) -> None:
            nonlocal done
            done += 1
            note_end(cell, out, code)
            collect(grid, cells, out, command, jobs)
            if told is not None:
                told(cell, code, done, len(cells))

        run_cells(todo, out, jobs, finished)
        return collect(grid, cells, out, command, jobs)


def asked_plan(plan: Path | str | Plan | Mapping[str, Any], jobs: int) -> Plan:
    """Return the plan that is meant, and check how many runs at a time are asked for.

    Raises:
        ConfigError: if the plan cannot be read or used, or nothing would run.
    """
    if isinstance(plan, Mapping):
        plan = parse(Plan, plan, "plan")
    grid = plan if isinstance(plan, Plan) else read_plan(str(plan))
    if jobs < 1:
        raise ConfigError(f"--jobs {jobs} runs nothing; give at least 1.")
    return grid


@contextmanager
def alone_in(out: Path, grid: Plan, resume: bool) -> Generator[None, None, None]:
    """Keep other processes from working in OUT while the block runs; the folder goes again if nothing came of it.

    Raises:
        RunError: if a plan may not begin, or go on, there, or another process works there.
        StorageError: if it cannot be written.
    """
    require_free(out, grid, resume)  # What is not ours is not even locked.
    make_folder(out)
    try:
        with exclusive(out / LOCK, f"works in {out}"):
            require_free(out, grid, resume)  # Another process may have worked there since.
            yield
    finally:
        with suppress(OSError):
            out.rmdir()


@contextmanager
def noted_plan(out: Path, grid: Plan) -> Generator[None, None, None]:
    """Note the plan in OUT, where nobody else works, and empty the folder again if it was free and the block fails."""
    folder = RunFolder(out)
    fresh = folder.is_free
    for part in (out, out / "cells", out / "splits"):
        sweep(part, age=0)
    try:
        write_text_atomically(out / "plan.json", grid.model_dump_json(indent=1) + "\n")
        yield
    except Exception:
        if fresh:
            with suppress(StorageError):
                folder.empty()
        raise


def engine_called(name: str) -> Callable[..., None]:
    """Return the function that does cells.

    Raises:
        ConfigError: for an unknown name, or an engine whose package is not installed.
    """
    if name == "local":
        return run_local
    if name == "ray":
        from criinet.benchmarking.cluster import run_on_ray

        return run_on_ray
    raise ConfigError(f"--engine {name} is not known; give local or ray.")


def require_free(out: Path, grid: Plan, resume: bool) -> None:
    """Check that a benchmark may begin, or go on, in ``out``.

    Raises:
        RunError: if another plan, a benchmark or search without --resume, or something else stands there.
    """
    record = out / "plan.json"
    if not record.exists():
        if not RunFolder(out).is_free:
            raise RunError(f"{out} is not empty and holds no benchmark. Give --out a new folder.")
        return
    if not resume:
        raise RunError(f"{out} holds a benchmark or a search already. Add --resume to go on, or give another --out.")
    try:
        name = json.loads(record.read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{record} cannot be read. Restore it, or give --out another folder.") from error
    if name != grid.name:
        raise RunError(f"{out} holds plan '{name}', now '{grid.name}' is asked. Give --out another folder.")


def usual_jobs(device: str) -> int:
    """Return how many runs of one thread each fill the machine's cores; one on a GPU."""
    return cores() if pick_device(device) == "cpu" else 1
