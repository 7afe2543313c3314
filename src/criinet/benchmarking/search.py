"""A search for settings on validation cases: the same number of trials for every row, no test case opened."""

import statistics
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from operator import itemgetter
from pathlib import Path
from typing import Any

from criinet.benchmarking.bench import alone_in, asked_plan, noted_plan
from criinet.benchmarking.cells import Cell, cells_of
from criinet.benchmarking.collect import note_end, why_failed
from criinet.benchmarking.local import ended_on_error, run_process
from criinet.benchmarking.plan import Plan, Range, Search, Variant
from criinet.config import assignment, merge
from criinet.data.files import write_json, write_text_atomically
from criinet.data.splits import read_split
from criinet.engine.folder import RunFolder
from criinet.engine.machine import pick_device
from criinet.errors import ConfigError
from criinet.records import ValidationRecord


@dataclass(frozen=True)
class Trial:
    """What one trial tried and found.

    settings: by their full names; empty: the row as it stands. dice: None where a run failed. reason: of a failure.
    """

    settings: dict[str, float]
    dice: float | None
    reason: str | None = None


def search(
    plan: Path | str | Plan | Mapping[str, Any],
    out: Path | str,
    *,
    data: Path | str = ".",
    jobs: int = 1,
    device: str = "auto",
    resume: bool = False,
    told: Callable[[str, int, Trial], None] | None = None,
) -> Plan:
    """Search settings for every row of a plan, and return the plan with the best ones; it stands in OUT/tuned.json too.

    A trial's worth is the Dice on the validation cases at the last step, averaged over the plan's datasets, networks
    and amounts and over the search's draws. Optuna's tree-structured Parzen estimator proposes; the first trial is the
    row as it stands. Proposals depend on the results alone, so a search that was cut off goes on with --resume. Other
    arguments are those of ``benchmark``.

    Args:
        told: called after every trial with its row, its number and what it found.

    Raises:
        ConfigError: if Optuna is not installed, nothing is to be searched, or no trial of a row succeeded.
    """
    grid, out = asked_plan(plan, jobs), Path(out).resolve()
    with alone_in(out, grid, resume):
        with noted_plan(out, grid):
            studies = Studies(grid, Path(data).resolve(), out, pick_device(device), jobs)
            for row in grid.rows():
                for end in ("low", "high"):
                    require_validation(studies.cells(row, {n: getattr(r, end) for n, r in studies.ranges(row).items()}))
        stop = threading.Event()
        with ThreadPoolExecutor(jobs) as pool, ended_on_error(pool, stop, "stopped; --resume goes on with the search."):
            futures = {row: pool.submit(studies.row, row, stop, told) for row in grid.rows()}
            found = {row: future.result() for row, future in futures.items()}
        tuned = with_best(grid, found)
        trials = {row: [asdict(trial) for trial in tried] for row, tried in found.items()}
        write_json(out / "search.json", {"plan": grid.name, "trials": trials})
        write_text_atomically(out / "tuned.json", tuned.model_dump_json(indent=1) + "\n")
        return tuned


class Studies:
    """The trials of each row of a plan."""

    def __init__(self, grid: Plan, data: Path, out: Path, device: str, jobs: int) -> None:
        try:
            self.optuna: Any = import_module("optuna")
        except ImportError as error:
            raise ConfigError("a search needs Optuna; install it with pip install 'criinet[search]'.") from error
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        self.grid, self.data, self.out, self.device, self.jobs = grid, data, out, device, jobs
        unknown = [row for row in grid.search.rows if row not in grid.rows()]
        if unknown or not (grid.search.space or grid.search.rows):
            what = f"search.rows names '{unknown[0]}', which is no row" if unknown else "search.space is empty"
            raise ConfigError(
                f"plan '{grid.name}': {what}. Name settings as in [search.space.'trainer.learning_rate']."
            )

    def ranges(self, row: str) -> dict[str, Range]:
        """Return what is searched for a row."""
        return {**self.grid.search.space, **self.grid.search.rows.get(row, {})}

    def row(self, row: str, stop: threading.Event, told: Callable[[str, int, Trial], None] | None) -> list[Trial]:
        """Do the trials of one row, one after the other."""
        ranges = self.ranges(row)
        study = self.optuna.create_study(direction="maximize", sampler=self.optuna.samplers.TPESampler(seed=0))
        trials: list[Trial] = []
        for number in range(self.grid.search.trials if ranges else 1):
            asked = study.ask() if number > 0 else None
            settings = {} if asked is None else {name: drawn(asked, name, r) for name, r in ranges.items()}
            trial = self.try_settings(row, settings, stop)
            if stop.is_set():
                break
            if asked is not None:
                states = self.optuna.trial.TrialState
                study.tell(asked, trial.dice, state=states.FAIL if trial.dice is None else states.COMPLETE)
            trials.append(trial)
            if told is not None:
                told(row, number, trial)
        return trials

    def try_settings(self, row: str, settings: Mapping[str, float], stop: threading.Event) -> Trial:
        """Train a row with ``settings`` wherever the plan does, and return the mean validation Dice."""
        scores: list[float] = []
        for cell in self.cells(row, settings):
            run = RunFolder(self.out / "runs" / cell.name)
            if final_dice(run) is None:
                write_text_atomically(self.out / "cells" / f"{cell.name}.json", cell.to_json())
                note_end(cell, self.out, run_process(cell, self.out, self.jobs, stop))
            dice = final_dice(run)
            if dice is None:
                return Trial(dict(settings), None, why_failed(cell, self.out))
            scores.append(dice)
        return Trial(dict(settings), statistics.mean(scores))

    def cells(self, row: str, settings: Mapping[str, float]) -> list[Cell]:
        """Return the runs of one trial, which leave the test cases closed."""
        variant = with_settings(self.grid.rows()[row], settings)
        label = f"{row}-trial"
        wanted = {"methods": (label,), "variants": {label: variant}, "active": None}
        draws = self.grid.search.draws or self.grid.draws[:1]
        once = {"draws": draws, "seeds": self.grid.seeds[:1], "measure": "test"}  # So that validation cases are left.
        trial = self.grid.model_copy(update={**wanted, **once})
        return [replace(cell, test=False) for cell in cells_of(trial, self.data, self.out, self.device)]


def require_validation(cells: Iterable[Cell]) -> None:
    """Check that every run of a trial has validation cases to be judged by.

    Raises:
        ConfigError: if one has none.
    """
    for cell in cells:
        if not read_split(Path(cell.split)).val:
            raise ConfigError(
                f"{cell.dataset} has no validation cases at {cell.amount}, by which a search judges; search on a "
                "dataset with more masks."
            )


def drawn(trial: Any, name: str, within: Range) -> float:
    """Return the value that Optuna proposes for a setting: between whole numbers a whole one."""
    if isinstance(within.low, int) and isinstance(within.high, int):
        return int(trial.suggest_int(name, within.low, within.high, log=within.log))
    return float(trial.suggest_float(name, within.low, within.high, log=within.log))


def with_settings(variant: Variant, settings: Mapping[str, float]) -> Variant:
    """Return a row with settings by their full names on top of its own."""
    tables = variant.settings
    for name, value in settings.items():
        tables = merge(tables, assignment(f"{name}={value!r}"))
    return variant.model_copy(update={"settings": tables})


def final_dice(run: RunFolder) -> float | None:
    """Return the validation Dice at a run's last step; None for a run that was not trained to its end."""
    looks = [record for record in run.records() if isinstance(record, ValidationRecord)]
    whole = looks and looks[-1].step == run.read_config().config().trainer.iterations
    return looks[-1].dice if whole else None


def with_best(grid: Plan, found: Mapping[str, list[Trial]]) -> Plan:
    """Return a plan without a search, whose rows are variants with the best settings of their trials.

    Raises:
        ConfigError: if no trial of a row succeeded.
    """
    rows = grid.rows()
    variants: dict[str, Variant] = {}
    for row, trials in found.items():
        worked = [(trial.dice, trial.settings) for trial in trials if trial.dice is not None]
        if not worked:
            reason = trials[0].reason if trials else "it was stopped"
            raise ConfigError(f"plan '{grid.name}': no trial of '{row}' succeeded ({reason}). Narrow its ranges.")
        _, settings = max(worked, key=itemgetter(0))
        variants[f"{row}-tuned"] = with_settings(rows[row], settings)
    wanted = {"name": f"{grid.name}-tuned", "methods": tuple(variants), "variants": variants, "search": Search()}
    return grid.model_copy(update=wanted)
