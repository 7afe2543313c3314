"""How many masks one method needs for the Dice that another has with fewer."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from criinet.metrics.statistics import FEWEST, expansion, resampled_means
from criinet.report.benchmark.analysis import SettingReport, case_means, groups_of, with_several_amounts
from criinet.report.benchmark.grid import ALL_LABELS, Grid, GridRun
from criinet.report.comparison import SUPERVISED, group_means

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Saving:
    """The masks that ``other`` needs for the Dice that ``label`` has with ``masks`` masks.

    dice: that Dice, over the cases (or groups) that every run of the dataset measured.
    needed: the masks with which the other's Dice first reaches it, on straight lines between the amounts that were
        measured over the logarithm of their number; 0 where its fewest masks are enough, inf where its most are not.
    low, high: 95 % percentile bootstrap interval of ``needed`` over cases (or groups), those of both methods drawn
        together, and the resampled means moved away from the mean where there are few, see
        :func:`criinet.metrics.statistics.expansion`.
    fewest, most: masks with which the other was measured. Supervised training is also measured with every label.
    """

    dataset: str
    network: str
    label: str
    masks: float
    dice: float
    other: str
    needed: float
    low: float
    high: float
    fewest: float
    most: float


def savings_of(grid: Grid, reports: Iterable[SettingReport]) -> tuple[Saving, ...]:
    """Return what every row saves against every other, wherever there are several amounts of masks.

    Rows come in the order of the reports, from few masks to many; the row's own curve is never set against itself, and
    a row that was measured with one amount has no curve for others to be found on. Nothing is said on fewer cases (or
    groups) than there is an interval for.
    """
    return tuple(saving for members in with_several_amounts(reports) for saving in _savings(grid, members))


def best_peers(savings: Iterable[Saving]) -> Iterator[tuple[Saving, Saving | None]]:
    """Yield for every row and amount the saving against its best peer, and against supervised training if it is there.

    The best peer needs the fewest masks; supervised training is no one's peer. Rows without a peer are left out.
    """
    rows: dict[tuple[str, str, str, float], list[Saving]] = {}
    for one in savings:
        rows.setdefault((one.dataset, one.network, one.label, one.masks), []).append(one)
    for found in rows.values():
        peers = [one for one in found if one.other != SUPERVISED]
        if peers:
            yield min(peers, key=lambda one: one.needed), next((s for s in found if s.other == SUPERVISED), None)


def _savings(grid: Grid, members: Sequence[SettingReport]) -> Iterator[Saving]:
    curves = _curves(grid, members)
    points = [(label, masks) for label, curve in curves.items() for masks in curve]
    dice = [curves[label][masks] for label, masks in points]
    common = [case for case in dice[0] if all(case in other for other in dice)] if dice else []
    groups = groups_of(grid.runs)
    if len({groups[case] for case in common}) < FEWEST:
        return
    table = np.array([group_means({case: values[case] for case in common}, groups) for values in dice])
    mean = table.mean(axis=1, keepdims=True)
    resampled = mean + expansion(table.shape[1]) * (resampled_means(table) - mean)
    means = dict(zip(points, np.hstack([mean, resampled]), strict=True))
    for report in members:
        for entry in report.rows:
            own = (entry.label, report.amount)
            for other, curve in curves.items():
                if own in means and other != entry.label and len(curve) > 1:
                    amounts = sorted(curve)
                    needed = masks_needed(amounts, np.array([means[other, masks] for masks in amounts]), means[own])
                    low, high = np.percentile(needed[1:], [2.5, 97.5], method="inverted_cdf")
                    yield Saving(
                        dataset=report.setting.dataset,
                        network=report.setting.network,
                        label=entry.label,
                        masks=own[1],
                        dice=float(means[own][0]),
                        other=other,
                        needed=float(needed[0]),
                        low=float(low),
                        high=float(high),
                        fewest=amounts[0],
                        most=amounts[-1],
                    )


def masks_needed(amounts: Sequence[float], curves: Floats, levels: Floats) -> Floats:
    """Return the number of masks at which each curve first reaches its level.

    Args:
        amounts: (K,) numbers of masks, rising.
        curves: (K, R) Dice with each amount.
        levels: (R,) Dice to reach.

    Returns:
        (R,) masks; 0 where the fewest are enough, inf where the most are not.
    """
    needed = np.full(levels.shape, math.inf)
    steps = zip(amounts, amounts[1:], curves, curves[1:], strict=False)
    for fewer, more, below, above in reversed(list(steps)):
        crosses = (below < levels) & (levels <= above)
        share = np.divide(levels - below, above - below, where=crosses, out=np.zeros_like(levels))
        needed = np.where(crosses, fewer * (more / fewer) ** share, needed)
    return np.where(curves[0] >= levels, 0.0, needed)


def _curves(grid: Grid, members: Sequence[SettingReport]) -> dict[str, dict[float, dict[str, float]]]:
    """Return {row: {masks: {case: Dice}}}, supervised training also with every label.

    Its runs with every label are those of its own row, or else of the only row that has such runs: of several rows
    nobody knows which has its settings.
    """
    curves: dict[str, dict[float, dict[str, float]]] = {}
    for report in members:
        for entry in report.rows:
            runs = [run for run in grid.runs if run.setting == report.setting and run.label == entry.label]
            _put(curves, entry.label, report.amount, runs)
    first = members[0].setting
    full: dict[str, list[GridRun]] = {}
    for run in grid.runs:
        if run.full and (run.setting.dataset, run.setting.network) == (first.dataset, first.network):
            full.setdefault(run.label, []).append(run)
    own = full.get(f"{SUPERVISED}, {ALL_LABELS}") or (next(iter(full.values())) if len(full) == 1 else None)
    if own and SUPERVISED in curves:
        _put(curves, SUPERVISED, own[0].fact("labeled"), own)
    return curves


def _put(curves: dict[str, dict[float, dict[str, float]]], label: str, masks: float, runs: Sequence[GridRun]) -> None:
    dice = case_means(runs)
    if dice and masks > 0:
        curves.setdefault(label, {})[masks] = dice
