"""Who beats whom over all settings, draws and seeds: wins, ties, losses, and average ranks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from criinet.metrics.statistics import Ranking, indistinct_groups, paired_difference, rank_methods, verdict
from criinet.report.benchmark.analysis import any_case, groups_of, row_labels
from criinet.report.benchmark.grid import Grid, GridRun, Setting
from criinet.report.comparison import dice_by_case, paired_values
from criinet.report.records import LAST

Block = tuple[Setting, tuple[int, int]]


@dataclass(frozen=True)
class Tally:
    """Blocks in which one row was better than another, could not be told apart from it, or was worse."""

    wins: int = 0
    ties: int = 0
    losses: int = 0

    def __str__(self) -> str:
        return f"{self.wins}/{self.ties}/{self.losses}"


@dataclass(frozen=True)
class Standing:
    """All rows but full supervision over all blocks; a block is a setting, a draw and a seed.

    tallies: of (row, other). ranking: average ranks of ``labels`` by Dice at the last checkpoint, over the blocks in
    which every row was measured. blocks: how many there are. absent: in how many of them a row has no result.
    """

    labels: tuple[str, ...]
    tallies: Mapping[tuple[str, str], Tally]
    ranking: Ranking
    blocks: int
    absent: Mapping[str, int]

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Labels with their average ranks, the best first; empty where no block is complete."""
        pairs = [(label, rank) for label, rank in zip(self.labels, self.ranking.ranks, strict=True) if rank == rank]
        return sorted(pairs, key=lambda pair: pair[1])

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The largest sets of rows that the critical difference cannot tell apart, best first."""
        if not math.isfinite(self.ranking.critical_difference):
            return []
        found = indistinct_groups(self.ranking.ranks, self.ranking.critical_difference)
        return [tuple(self.labels[i] for i in group) for group in found]

    def total(self, label: str) -> Tally:
        """Return the tally of one row against all others."""
        own = [tally for (row, _), tally in self.tallies.items() if row == label]
        return Tally(sum(t.wins for t in own), sum(t.ties for t in own), sum(t.losses for t in own))


def standing(grid: Grid) -> Standing:
    """Count wins, ties and losses of every pair of rows, and rank all rows.

    A row wins a block if the paired difference of Dice per case (or group) is significant: its bootstrap interval lies
    above 0 and Wilcoxon's p is below .05, uncorrected. It loses if the interval lies below 0. Either is of the one
    training of each row in that block. Cases are paired by :func:`criinet.report.comparison.matched`.
    """
    labels = row_labels(grid)
    blocks: dict[Block, dict[str, GridRun]] = {}
    for run in grid.runs:
        if not run.full and math.isfinite(_dice(run)):
            blocks.setdefault((run.setting, run.block), {})[run.label] = run
    complete = [runs for runs in blocks.values() if len(runs) == len(labels)]
    scores = np.array([[_dice(runs[label]) for label in labels] for runs in complete])
    absent = {label: sum(label not in runs for runs in blocks.values()) for label in labels}
    return Standing(
        labels=tuple(labels),
        tallies=_tallies(labels, list(blocks.values())),
        ranking=rank_methods(scores.reshape(len(complete), len(labels))) if labels else _nothing(),
        blocks=len(blocks),
        absent={label: count for label, count in absent.items() if count},
    )


def _nothing() -> Ranking:
    return Ranking((), 0, math.nan, math.nan, math.nan)


def _dice(run: GridRun) -> float:
    row = run.results.row(LAST)
    return row.value("dice") if row else math.nan


def _tallies(labels: Sequence[str], blocks: Sequence[Mapping[str, GridRun]]) -> dict[tuple[str, str], Tally]:
    counts = {(a, b): [0, 0, 0] for a in labels for b in labels if a != b}
    for runs in blocks:
        dice = {label: dice_by_case(run.cases, any_case) for label, run in runs.items() if run.cases}
        group = groups_of(runs.values())
        for a, b in combinations(dice, 2):
            outcome = _outcome(dice[a], dice[b], group)
            counts[a, b][outcome] += 1
            counts[b, a][2 - outcome] += 1
    return {pair: Tally(*count) for pair, count in counts.items()}


def _outcome(first: Mapping[str, float], second: Mapping[str, float], group: Mapping[str, str]) -> int:
    """Return 0 for a win of the first, 1 for a tie, 2 for a loss."""
    one, two, _ = paired_values(first, second, group)
    return {"helped": 0, "did nothing": 1, "hurt": 2}[verdict(paired_difference(one, two))]
