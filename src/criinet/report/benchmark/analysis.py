"""What each method reached in each setting, and how it compares with its best peer and with supervised training."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from criinet.metrics.difficulty import STRATA
from criinet.metrics.statistics import interval_over_runs, paired_difference, summarise
from criinet.report.benchmark.grid import Grid, GridRun, Setting
from criinet.report.comparison import (
    HARDEST,
    SUPERVISED,
    Effect,
    Matched,
    Pairs,
    dice_by_case,
    difference_over_images,
    is_hard,
    judged,
    matched,
    on_images,
    paired_values,
    spared,
    turned,
)
from criinet.report.records import BEST, LAST, MEAN, CaseRecord, ResultRow
from criinet.report.text import percent

MEASURES = (
    "dice",
    "iou",
    "hd95",
    "assd",
    "surface_dice",
    "boundary_iou",
    "band_dice_2",
    "band_dice_5",
    "band_dice_10",
)
COSTS = ("train_seconds", "images_per_second", "peak_memory_mb", "parameters", "iterations")
Chosen = Callable[[CaseRecord], bool]


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over runs; the latter is NaN below two."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Measured:
    """One row of a setting at one checkpoint, over its draws and seeds.

    runs: that were measured. values: each measure, the mean over classes. classes: Dice of each class.
    low, high: 95 % bootstrap interval of the mean Dice, see :func:`criinet.metrics.statistics.interval_over_runs`.
    cases: that have a Dice in a run. groups: how many these belong to. images: how many each run's mean is over, the
    fewest and the most.
    misses, false_alarms: summed over the runs. measured: of how many objects. strata: Dice of the four quartiles.
    """

    runs: int
    values: Mapping[str, Spread]
    classes: Mapping[str, Spread]
    low: float
    high: float
    cases: int
    groups: int
    images: tuple[int, int]
    misses: int
    measured: int
    false_alarms: int
    strata: Mapping[str, tuple[Spread, ...]]

    @property
    def dice(self) -> Spread:
        """Dice over the runs."""
        return self.values["dice"]

    @property
    def on(self) -> str:
        """How many images have a Dice, and of how many patients where some have several."""
        return on_images(self.cases, self.groups if self.groups < self.cases else 0)


@dataclass(frozen=True)
class Entry:
    """One row of a setting: the final weights, and those that did best on the validation cases.

    full: True for supervised training with every label: it is shown, and takes part in no comparison.
    """

    label: str
    full: bool
    last: Measured
    best: Measured | None
    cost: Mapping[str, Spread]


@dataclass(frozen=True)
class SettingReport:
    """All methods in one setting, the highest Dice first and full supervision at the end.

    masks: the number of labeled images of each draw, rising.
    supervised: every method against the supervised row. pairs: every row against every other that stands below it. Both
    at the last checkpoint, each with Holm's correction over its comparisons. peers: every row against the best of the
    others but the supervised one, out of ``pairs``: which row is best follows from the same cases, so the correction
    has to cover every row that could have been it. supervised_hard, peers_hard, pairs_hard: the same on the quarter of
    lowest contrast.
    """

    setting: Setting
    title: str
    masks: tuple[int, ...]
    entries: tuple[Entry, ...]
    supervised: tuple[Effect, ...]
    peers: tuple[Effect, ...]
    supervised_hard: tuple[Effect, ...]
    peers_hard: tuple[Effect, ...]
    pairs: tuple[Effect, ...]
    pairs_hard: tuple[Effect, ...]

    @property
    def rows(self) -> tuple[Entry, ...]:
        """The entries but full supervision."""
        return tuple(entry for entry in self.entries if not entry.full)

    @property
    def amount(self) -> float:
        """The number of masks, the mean over the draws; a draw counts once, whatever other draws have."""
        return float(np.mean(self.masks))

    def peer(self, label: str) -> Effect | None:
        """Return how a row compares with its best peer, None if it has none."""
        return next((effect for effect in self.peers if effect.run == label), None)


def analyse(grid: Grid) -> tuple[SettingReport, ...]:
    """Return the report of every setting in the order of dataset, network and fraction.

    A supervised run with every label belongs to each setting of its dataset and network.
    """
    partial = sorted({run.setting for run in grid.runs if not run.full})
    covered = {(setting.dataset, setting.network) for setting in partial}
    alone = {run.setting for run in grid.runs if run.full} - {
        run.setting for run in grid.runs if (run.setting.dataset, run.setting.network) in covered
    }
    one_network = len({run.setting.network for run in grid.runs}) < 2
    return tuple(_setting(grid, setting, one_network) for setting in sorted({*partial, *alone}))


def with_several_amounts(reports: Iterable[SettingReport]) -> list[list[SettingReport]]:
    """Return the settings of each dataset and network that was measured with several amounts of masks."""
    together: dict[tuple[str, str], list[SettingReport]] = {}
    for report in reports:
        if report.rows and report.masks:
            together.setdefault((report.setting.dataset, report.setting.network), []).append(report)
    return [members for members in together.values() if len(members) > 1]


def row_labels(grid: Grid) -> list[str]:
    """Return the labels of all rows in the order of the plan, without full supervision."""
    return list(dict.fromkeys(run.label for run in grid.runs if not run.full))


def case_means(runs: Iterable[GridRun]) -> dict[str, float]:
    """Return the Dice of every case with the final weights, the mean over the runs that have one."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for case, dice in dice_by_case(run.cases, any_case).items():
            if math.isfinite(dice):
                found.setdefault(case, []).append(dice)
    return {case: float(np.mean(values)) for case, values in found.items()}


def groups_of(runs: Iterable[GridRun]) -> dict[str, str]:
    """Return the group of every case."""
    return {case.case: case.group for run in runs for case in run.cases}


def any_case(_: CaseRecord) -> bool:
    """Choose every case."""
    return True


def _setting(grid: Grid, setting: Setting, one_network: bool) -> SettingReport:
    rows: dict[str, list[GridRun]] = {}
    for run in grid.runs:
        same_data = (run.setting.dataset, run.setting.network) == (setting.dataset, setting.network)
        if run.setting == setting or (run.full and same_data):
            rows.setdefault(run.label, []).append(run)
    entries = [entry for label, runs in rows.items() if (entry := _entry(label, runs)) is not None]
    entries.sort(key=_place)
    compared = {entry.label: rows[entry.label] for entry in entries if not entry.full and _has_cases(rows[entry.label])}
    masks = _masks(run for run in grid.runs if run.setting == setting)
    against = [(label, SUPERVISED) for label in compared if label != SUPERVISED and SUPERVISED in compared]
    peers = [(label, peer) for label in compared if (peer := _best_peer(label, list(compared)))]
    both = list(combinations(compared, 2))
    pairs, pairs_hard = _effects(compared, both, "", any_case), _effects(compared, both, HARDEST, is_hard)
    return SettingReport(
        setting=setting,
        title=_title(setting, masks, one_network),
        masks=masks,
        entries=tuple(entries),
        supervised=_effects(compared, against, "", any_case),
        peers=_out_of(pairs, peers),
        supervised_hard=_effects(compared, against, HARDEST, is_hard),
        peers_hard=_out_of(pairs_hard, peers),
        pairs=pairs,
        pairs_hard=pairs_hard,
    )


def _masks(runs: Iterable[GridRun]) -> tuple[int, ...]:
    """Return the number of labeled images of each draw, whose rows share them, rising."""
    counts = {(run.block[0], int(run.fact("labeled"))) for run in runs if run.fact("labeled") > 0}
    return tuple(sorted(labeled for _, labeled in counts))


def _place(entry: Entry) -> tuple[bool, float]:
    """Return what to sort by: the highest Dice first; rows that tie stay in the order of the plan."""
    dice = entry.last.dice.mean
    return entry.full, -round(dice, 9) if math.isfinite(dice) else math.inf


def _has_cases(runs: Sequence[GridRun]) -> bool:
    return any(run.cases for run in runs)


def _title(setting: Setting, masks: Sequence[int], one_network: bool) -> str:
    counted = " to ".join(str(count) for count in sorted({masks[0], masks[-1]})) if masks else ""
    known = f" ({counted} {'mask' if counted == '1' else 'masks'})" if counted else ""
    return f"{setting.dataset}, {percent(setting.fraction)} labeled{known}" + (
        "" if one_network else f", {setting.network}"
    )


def _best_peer(label: str, ranked: Sequence[str]) -> str:
    """Return the best of the other rows, given all in order of their Dice; the supervised row is no one's peer."""
    return next((other for other in ranked if other not in (label, SUPERVISED)), "")


def _entry(label: str, runs: Sequence[GridRun]) -> Entry | None:
    last = _measured(runs, LAST)
    if last is None:
        return None
    cost = {name: spread(run.fact(name) for run in runs) for name in COSTS}
    return Entry(label, runs[0].full, last, _measured(runs, BEST), cost)


def _measured(runs: Sequence[GridRun], checkpoint: str) -> Measured | None:
    """Gather the runs of one row at one checkpoint; None if none was measured."""
    found = [(run, row) for run in runs if (row := run.results.row(checkpoint)) is not None]
    if not found:
        return None
    rows = [row for _, row in found]
    dice, groups = _dice_of_cases([run for run, _ in found], checkpoint)
    low, high = interval_over_runs(dice, groups, bounds=(0, 1))
    return Measured(
        runs=len(rows),
        values={name: spread(row.value(name) for row in rows) for name in MEASURES},
        classes=_by_class([run for run, _ in found], checkpoint),
        low=low,
        high=high,
        cases=len(groups) or max(row.cases for row in rows),
        groups=len(set(groups)),
        images=(min(row.cases for row in rows), max(row.cases for row in rows)),
        misses=sum(row.misses for row in rows),
        measured=sum(run.results.measured(row) for run, row in found),
        false_alarms=sum(row.false_alarms for row in rows),
        strata=_strata([run for run, _ in found], checkpoint),
    )


def _dice_of_cases(runs: Sequence[GridRun], checkpoint: str) -> tuple[NDArray[np.float64], list[str]]:
    """Return the Dice of every case (column) in every run (row), NaN where it has none, and the group of each case."""
    by_run = [dice_by_case(run.cases, any_case, checkpoint) for run in runs]
    cases = dict.fromkeys(case for found in by_run for case, dice in found.items() if math.isfinite(dice))
    group_of = groups_of(runs)
    table = [[found.get(case, math.nan) for case in cases] for found in by_run]
    return np.array(table), [group_of[case] for case in cases]


def spread(values: Iterable[float]) -> Spread:
    """Return mean and sd of the finite values."""
    summary = summarise(list(values), resamples=1)
    return Spread(summary.mean, summary.sd)


def _by_class(runs: Sequence[GridRun], checkpoint: str) -> dict[str, Spread]:
    found: dict[str, list[ResultRow]] = {}
    for row in (row for run in runs for row in run.results.rows):
        if row.checkpoint == checkpoint and row.class_name != MEAN:
            found.setdefault(row.class_name, []).append(row)
    return {name: spread(row.value("dice") for row in rows) for name, rows in found.items()}


def _strata(runs: Sequence[GridRun], checkpoint: str) -> dict[str, tuple[Spread, ...]]:
    """Return Dice of the four quartiles over the runs, for what the runs were split by."""
    strata: dict[str, tuple[Spread, ...]] = {}
    for by in STRATA:
        quartiles = [[run.results.stratum(by, quartile, checkpoint) for run in runs] for quartile in (1, 2, 3, 4)]
        if any(stratum for found in quartiles for stratum in found):
            strata[by] = tuple(spread(s.dice for s in found if s) for found in quartiles)
    return strata


def _effects(
    rows: Mapping[str, Sequence[GridRun]], against: Iterable[tuple[str, str]], scope: str, chosen: Chosen
) -> tuple[Effect, ...]:
    """Compare rows with the one that each is set against; they are one family of Holm's."""
    pairs = [_pairs(label, rows[label], other, rows[other], scope, chosen) for label, other in against]
    return judged(pair for pair in pairs if pair.images or not scope)


def _out_of(pairs: Sequence[Effect], against: Iterable[tuple[str, str]]) -> tuple[Effect, ...]:
    """Return how rows compare with the one that each is set against, out of the comparisons of all pairs."""
    found = {(effect.run, effect.baseline): effect for effect in pairs}
    found |= {(effect.baseline, effect.run): turned(effect) for effect in pairs}
    return tuple(found[pair] for pair in against if pair in found)


def _pairs(
    label: str, mine: Sequence[GridRun], other: str, theirs: Sequence[GridRun], scope: str, chosen: Chosen
) -> Pairs:
    """Pair the Dice of every case, the mean over the draws and seeds in which both rows can be compared on it."""
    by_block = {run.block: run for run in theirs}
    draws: dict[int, list[Matched]] = {}
    credited: set[str] = set()
    for run in sorted(mine, key=lambda run: run.block):
        if run.block in by_block:
            a, b = (dice_by_case(r.cases, chosen) for r in (run, by_block[run.block]))
            draws.setdefault(run.block[0], []).append(matched(a, b))
            credited |= spared(a, b)
    group = groups_of(mine)
    runs = [found for several in draws.values() for found in several]
    arms = _arm_means(runs)
    one, two, images = paired_values(*arms, group)
    differences = [np.subtract(*paired_values(*_arm_means(several), group)[:2]) for several in draws.values()]
    return Pairs(
        label,
        other,
        scope,
        paired_difference(one, two),
        images,
        groups=len(one) < images,
        by_draw=tuple(round(float(found.mean()), 12) for found in differences if found.size),
        trainings=len(runs),
        credited=len(credited),
        over_images=difference_over_images(*arms),
    )


def _arm_means(runs: Iterable[Matched]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the Dice of both arms on every case, the mean over the runs that pair it."""
    found: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        for case, dice in run.items():
            found.setdefault(case, []).append(dice)
    first = {case: fmean(a for a, _ in dice) for case, dice in found.items()}
    return first, {case: fmean(b for _, b in dice) for case, dice in found.items()}
