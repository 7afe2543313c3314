"""Whether the targets of the unlabeled images came to rest, and how much of them was called an object."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from criinet.records import MonitorRecord
from criinet.report.benchmark.analysis import SettingReport, Spread, spread
from criinet.report.benchmark.grid import Grid, GridRun
from criinet.report.records import RecordedRun

QUARTERS = 4


@dataclass(frozen=True)
class Stability:
    """What the looks at the targets of one row say, over its runs.

    changes: {progress: mean change of the target probabilities since the last look}, in [0, 1].
    quarters: that change in each quarter of the training. runs: whose targets were looked at.
    area, labeled_area: share of the pixels of any object, in the last targets and in the labeled masks.
    """

    label: str
    runs: int
    changes: Mapping[float, float]
    quarters: tuple[Spread, ...]
    area: Spread
    labeled_area: Spread


def stability_of(report: SettingReport, grid: Grid, recorded: Mapping[str, RecordedRun]) -> list[Stability]:
    """Return a row for every row of a setting whose targets were looked at, in the order of the page."""
    runs = [run for run in grid.runs if run.setting == report.setting and not run.full and run.name in recorded]
    found = [
        _stability(entry.label, [run for run in runs if run.label == entry.label], recorded) for entry in report.rows
    ]
    return [row for row in found if row is not None]


def _stability(label: str, runs: Sequence[GridRun], recorded: Mapping[str, RecordedRun]) -> Stability | None:
    looks = [[(recorded[run.name].progress(look.step), look) for look in _changed(recorded[run.name])] for run in runs]
    looks = [found for found in looks if found]
    if not looks:
        return None
    at: dict[float, list[float]] = {}
    for progress, look in (pair for found in looks for pair in found):
        at.setdefault(progress, []).append(look.target_change)
    ends = [found[-1][1] for found in looks]
    return Stability(
        label,
        len(looks),
        {progress: float(np.mean(changes)) for progress, changes in sorted(at.items())},
        tuple(spread(_means(looks, quarter)) for quarter in range(QUARTERS)),
        spread([_objects(look.area) for look in ends]),
        spread([_objects(look.labeled_area) for look in ends]),
    )


def _changed(run: RecordedRun) -> list[MonitorRecord]:
    return [look for look in run.monitor if math.isfinite(look.target_change)]


def _means(looks: Iterable[Sequence[tuple[float, MonitorRecord]]], quarter: int) -> list[float]:
    """Return the mean change of every run that was looked at in a quarter."""
    low, high = quarter / QUARTERS, (quarter + 1) / QUARTERS
    inside = [[look.target_change for progress, look in found if low < progress <= high] for found in looks]
    return [float(np.mean(changes)) for changes in inside if changes]


def _objects(area: Mapping[str, float]) -> float:
    """Return the share of every class but the first, which is the background."""
    return sum(list(area.values())[1:])
