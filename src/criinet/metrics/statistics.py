"""Means with intervals, paired comparisons, and what may be said of them.

Cases are resampled as if independent: give one value per patient (the mean over slices, draws or seeds) where several
images come from one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from criinet.errors import ShapeError

FloatArray = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[Any]
Verdict = Literal["helped", "did nothing", "hurt"]

FEWEST = 6
"""Units (cases, or groups of them) below which there is no interval: resampling so few says too little."""

_CHUNK = 1_000_000
"""Resampled values held in memory at a time."""

_ENOUGH = 30
"""Units from which the percentiles of resampled means are the interval as they are."""

_EXACT = 50
"""Pairs up to which Wilcoxon's test is exact; beyond, the normal approximation is."""

_DIGITS = 12
"""Decimals that count: 0.8 - 0.7 and 0.7 - 0.6 are one difference, and 1e-17 is none."""


@dataclass(frozen=True)
class Summary:
    """A mean over the cases that have a finite value, and how many do not.

    mean: over finite values; NaN if there is none.
    sd: sample standard deviation (n - 1); NaN below two values.
    low, high: 95 % bootstrap interval of the mean, see :func:`expansion`; NaN below FEWEST values, or groups of them.
    n: finite values. missing: NaN (no object to measure). infinite: inf (a distance of a miss or a false alarm).
    """

    mean: float
    sd: float
    low: float
    high: float
    n: int
    missing: int
    infinite: int


@dataclass(frozen=True)
class Ranking:
    """Average ranks of several methods over blocks (datasets, draws, seeds); rank 1 is the best.

    ranks: one for each method, in the order given; NaN without blocks.
    blocks: on which all methods were measured.
    statistic, p: Friedman's test that all methods rank alike; NaN below three methods or two blocks.
    critical_difference: by which two average ranks must differ for p < .05 after Nemenyi; NaN without blocks.
    """

    ranks: tuple[float, ...]
    blocks: int
    statistic: float
    p: float
    critical_difference: float


@dataclass(frozen=True)
class Paired:
    """A comparison of two arms on the same cases.

    mean: of a - b over the pairs where both are finite; NaN if there is none.
    low, high: 95 % bootstrap interval of that mean, see :func:`expansion`; NaN below FEWEST pairs.
    p: two-sided Wilcoxon signed-rank test; 1 if no pair differs, NaN without pairs.
    n: pairs where both are finite. left_out: pairs where one is not.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int
    left_out: int


def finite_mean(values: Numbers) -> float:
    """Return the mean of the finite values, NaN if there is none."""
    numbers = _vector(values, "values")
    finite = numbers[np.isfinite(numbers)]
    return float(finite.mean()) if finite.size else math.nan


def summarise(
    values: Numbers,
    *,
    groups: Sequence[str] | None = None,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    seed: int = 0,
    resamples: int = 2000,
) -> Summary:
    """Summarise one metric over cases, misses counted beside the mean and never inside it.

    Args:
        values: (N,) float; NaN and inf are counted and left out of the mean.
        groups: (N,) what each case belongs to, as a patient. Whole groups are then drawn for the interval, as cases of
            one group are alike; the mean stays that over cases. None: every case is a group of its own.
        bounds: that no mean can leave, (0, 1) for Dice: the interval is cut there.
        seed: of the bootstrap; the same values and seed give the same interval.
        resamples: of the bootstrap, over cases.

    Returns:
        See :class:`Summary`.

    Raises:
        ShapeError: if values is not one list of numbers, or groups has another length.

    Reference: Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8, for groups.
    """
    numbers = _vector(values, "values")
    known = np.isfinite(numbers)
    finite = numbers[known]
    if groups is None:
        low, high = _bootstrap_interval(finite, seed, resamples)
    elif len(groups) != numbers.size:
        raise ShapeError(f"values has {numbers.size} cases and groups has {len(groups)}. Give the group of each case.")
    else:
        low, high = _grouped_interval(numbers[None], np.asarray(groups), seed, resamples)
    low, high = np.clip((low, high), *bounds)
    return Summary(
        mean=float(finite.mean()) if finite.size else math.nan,
        sd=float(finite.std(ddof=1)) if finite.size > 1 else math.nan,
        low=float(low),
        high=float(high),
        n=int(finite.size),
        missing=int(np.isnan(numbers).sum()),
        infinite=int(np.isinf(numbers).sum()),
    )


def interval_over_runs(
    values: NDArray[Any],
    groups: Sequence[str],
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    seed: int = 0,
    resamples: int = 2000,
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over runs, each of which is the mean over its cases.

        mean over runs r of  (sum over the cases of run r of v) / (their number)

    The cases of a run are those that have a finite value there: a correct empty mask has no Dice, and a false alarm on
    the same image in another run has one. Whole groups are drawn, the same for all runs.

    Args:
        values: (R, N) float, a row for each run and a column for each case; what is not finite is left out.
        groups: (N,) what each case belongs to, as a patient.
        bounds, seed, resamples: see :func:`summarise`, whose interval this is where there is one run.

    Returns:
        low, high; NaN below FEWEST groups with a value.

    Raises:
        ShapeError: if values is no table, or groups has another length than its rows.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(groups):
        raise ShapeError(f"values is {table.shape}, not a table of runs by {len(groups)} cases, one group for each.")
    low, high = np.clip(_grouped_interval(table, np.asarray(groups), seed, resamples), *bounds)
    return float(low), float(high)


def paired_difference(a: Numbers, b: Numbers, seed: int = 0, *, resamples: int = 2000) -> Paired:
    """Compare two arms case by case: bootstrap over cases and Wilcoxon signed-rank test of a - b.

    Args:
        a, b: (N,) float, the same cases in the same order. Pairs with a NaN or inf are left out, and counted: with
            distances, compare the misses of the two arms too.
        seed: of the bootstrap.
        resamples: of the bootstrap, over cases.

    Returns:
        See :class:`Paired`. Positive means that a is larger.

    Raises:
        ShapeError: if a and b are not two lists of one length.

    Reference: Wilcoxon, Biometrics Bulletin 1945; pairs that tie are left out of the test, as he did.
    Differs: differences are rounded to 12 decimals before ranking, so that equal ones tie; p is exact up to 50 pairs,
        with ties too, where SciPy turns to a normal approximation from 14 pairs on.
    """
    first, second = _vector(a, "a"), _vector(b, "b")
    if first.shape != second.shape:
        raise ShapeError(f"a has {first.size} cases and b has {second.size}. Compare the same cases in the same order.")
    both = np.isfinite(first) & np.isfinite(second)
    difference = np.round(first[both] - second[both], _DIGITS)
    low, high = _bootstrap_interval(difference, seed, resamples)
    return Paired(
        mean=float(difference.mean()) if difference.size else math.nan,
        low=low,
        high=high,
        p=_signed_rank_p(difference),
        n=int(difference.size),
        left_out=int((~both).sum()),
    )


def expansion(units: int) -> float:
    """Return by what the percentiles of resampled means are moved away from the mean, for an interval of few units.

        t(.975; n - 1) * sqrt(n / (n - 1)) / 1.96 below 30 units, 1 from there on

    Resampled means scatter by sd / sqrt(n), with n and not n - 1 in the sd, and with the quantiles of a normal law and
    not of Student's t; so the bare percentiles are too narrow, the more so the fewer units there are.

    Args:
        units: n >= 2, cases or groups.

    Returns:
        >= 1; 1.44 for 6 units, 1.10 for 20.

    Reference: Hesterberg, The American Statistician 69(4), 2015, the expanded percentile interval.
    Differs: he takes percentiles further out by that factor; here the 2.5th and the 97.5th are moved by it.
    """
    if units >= _ENOUGH:
        return 1.0
    return float(stats.t.ppf(0.975, units - 1)) * math.sqrt(units / (units - 1)) / 1.96


def resampled_means(table: NDArray[Any], seed: int = 0, *, resamples: int = 2000) -> FloatArray:
    """Return the mean of every row over cases that are drawn anew, the same ones for all rows.

    Args:
        table: (M, N) finite floats, a column for each case.
        seed: of the drawing.
        resamples: R, how often N of the N cases are drawn with replacement.

    Returns:
        (M, R) float64: the bootstrap distribution of the M means, and with it of anything that follows from them.

    Raises:
        ShapeError: if table is not a table of at least one case.
    """
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ShapeError(f"table is {values.shape}, not a table of rows by cases.")
    rows, cases = values.shape
    generator = np.random.default_rng(seed)
    means = np.empty((rows, resamples))
    step = max(1, _CHUNK // cases)
    for start in range(0, resamples, step):
        drawn = generator.integers(cases, size=(min(step, resamples - start), cases))
        for row, numbers in zip(means, values, strict=True):
            row[start : start + step] = numbers[drawn].mean(axis=1)
    return means


def holm(p_values: Numbers) -> FloatArray:
    """Adjust p values for the number of comparisons made.

        adjusted_(i) = max over j <= i of min(1, (m - j + 1) p_(j)),  p_(1) <= ... <= p_(m)

    Args:
        p_values: (M,) float in [0, 1]; NaN means that no test was made, and is neither counted nor changed.

    Returns:
        (M,) float64 in the order given, each at least its p value; compare it with 0.05 as if it stood alone.

    Raises:
        ShapeError: if p_values is not one list of numbers.
        ValueError: if one is outside [0, 1].

    Reference: Holm, Scandinavian Journal of Statistics 1979.
    """
    given = _vector(p_values, "p_values")
    if np.any((given < 0) | (given > 1)):
        raise ValueError(f"p values must lie in [0, 1], got {given.tolist()}.")
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    adjusted = np.full(given.shape, math.nan)
    steps = np.arange(len(order), 0, -1) * given[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def verdict(paired: Paired) -> Verdict:
    """Say in a word what arm a did compared with arm b, for a metric of which more is better.

    It "helped" if the interval of a - b lies wholly above 0 and p < 0.05, "hurt" if the interval lies wholly below 0
    and p < 0.05, and "did nothing" otherwise: that includes too few cases to tell. For a distance or an error rate,
    where less is better, compare (b, a). After several comparisons, put Holm's p in first:
    ``replace(paired, p=adjusted)``.
    """
    if paired.p < 0.05 and paired.low > 0:
        return "helped"
    if paired.p < 0.05 and paired.high < 0:
        return "hurt"
    return "did nothing"


def rank_methods(scores: NDArray[Any]) -> Ranking:
    """Rank methods within every block, and test whether their average ranks differ.

        chi2 = 12 N / (k (k + 1)) * (sum over j of R_j^2 - k (k + 1)^2 / 4) / (1 - sum(t^3 - t) / (N (k^3 - k)))

    for N blocks, k methods, average ranks R_j, and t methods that tie in a block.

    Args:
        scores: (N, k) finite floats, more is better.

    Returns:
        See :class:`Ranking`. Methods that tie share the mean of their ranks.

    Raises:
        ShapeError: if scores is not a table of at least one method.

    Reference: Friedman, JASA 1937; Demšar, JMLR 2006, section 3.2.2.
    Differs: chi2 is corrected for ties, as in SciPy; where every block ties wholly, it is 0 and p is 1.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ShapeError(f"scores is {table.shape}, not a table of blocks by methods.")
    blocks, methods = table.shape
    if blocks == 0:
        return Ranking((math.nan,) * methods, 0, math.nan, math.nan, math.nan)
    table = np.round(table, _DIGITS)
    ranks = np.asarray(stats.rankdata(-table, axis=1)).mean(axis=0)
    statistic, p = math.nan, math.nan
    if methods > 2 and blocks > 1:
        alike = bool(np.all(table == table[:, :1]))
        result: Any = (0.0, 1.0) if alike else stats.friedmanchisquare(*table.T)
        statistic, p = float(result[0]), float(result[1])
    difference = critical_difference(methods, blocks) if methods > 1 else math.nan
    return Ranking(tuple(float(rank) for rank in ranks), blocks, statistic, p, difference)


def critical_difference(methods: int, blocks: int, alpha: float = 0.05) -> float:
    """Return by how much the average ranks of two methods must differ to be told apart, all pairs being compared.

        CD = q_alpha * sqrt(k (k + 1) / (6 N)),  q_alpha = Q(1 - alpha; k, infinite degrees of freedom) / sqrt(2)

    with Q the quantile of the studentized range, for k methods and N blocks.

    Raises:
        ValueError: below two methods or one block.

    Reference: Nemenyi 1963; Demšar, JMLR 2006, section 3.2.2.
    """
    if methods < 2 or blocks < 1:
        raise ValueError(f"{methods} methods on {blocks} blocks cannot be compared; give at least 2 on 1.")
    quantile = float(stats.studentized_range.ppf(1 - alpha, methods, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * blocks))


def indistinct_groups(ranks: Sequence[float], difference: float) -> list[tuple[int, ...]]:
    """Return the largest sets of two or more methods whose average ranks lie within ``difference`` of each other.

    Args:
        ranks: (k,) average ranks.
        difference: see :func:`critical_difference`.

    Returns:
        Indices into ranks, best first within a group; no group lies inside another.
    """
    order = sorted(range(len(ranks)), key=lambda i: ranks[i])
    groups: list[tuple[int, ...]] = []
    reached = 0
    for start, first in enumerate(order):
        below = round(ranks[first] + difference, _DIGITS)
        within = [i for i in order[start:] if round(ranks[i], _DIGITS) < below]
        if len(within) > 1 and start + len(within) > reached:
            groups.append(tuple(within))
            reached = start + len(within)
    return groups


def _vector(values: Numbers, name: str) -> FloatArray:
    """Return the numbers as a float vector."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise ShapeError(f"{name} is {numbers.shape}, not one list of numbers.")
    return numbers


def _signed_rank_p(difference: FloatArray) -> float:
    """Return the two-sided p of Wilcoxon's test; 1 if no pair differs, with nothing to rank, NaN if there is none.

    Up to 50 pairs that differ, the chances of every rank sum are added up sign by sign, exact with ties too.
    """
    if not difference.size:
        return math.nan
    changed = difference[difference != 0]
    if not changed.size:
        return 1.0
    if changed.size > _EXACT:
        result: Any = stats.wilcoxon(changed, method="asymptotic")
        return float(result.pvalue)
    doubled = np.rint(2 * np.asarray(stats.rankdata(np.abs(changed)))).astype(np.int64)  # ranks of ties end in .5
    chances = np.ones(1)
    for rank in doubled:
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    smaller = min(int(doubled[changed > 0].sum()), int(doubled[changed < 0].sum()))
    return min(1.0, 2 * float(chances[: smaller + 1].sum()))


def _bootstrap_interval(values: FloatArray, seed: int, resamples: int) -> tuple[float, float]:
    """Return the interval of the mean from the means of resampled values; NaN below FEWEST values."""
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}, but must be at least 1.")
    if values.size < FEWEST:
        return math.nan, math.nan
    means = resampled_means(values[None], seed, resamples=resamples)
    return _expanded(means, float(values.mean()), values.size)


def _grouped_interval(table: FloatArray, groups: NDArray[Any], seed: int, resamples: int) -> tuple[float, float]:
    """Return the same of the mean over runs, each the mean over the values of resampled groups; NaN below FEWEST."""
    known = np.isfinite(table)
    measured = known.any(axis=0)
    _, member = np.unique(groups[measured], return_inverse=True)
    counts = np.stack([np.bincount(member, row) for row in known[:, measured]])
    if counts.shape[1] < FEWEST:
        return math.nan, math.nan
    sums = np.stack([np.bincount(member, row) for row in np.where(known, table, 0)[:, measured]])
    totals, numbers = np.split(resampled_means(np.vstack([sums, counts]), seed, resamples=resamples), 2)
    ratios = np.divide(totals, numbers, where=numbers > 0, out=np.full_like(totals, math.nan))
    means = [row[valid].mean() for row, valid in zip(table, known, strict=True) if valid.any()]
    return _expanded(np.nanmean(ratios, axis=0), float(np.mean(means)), counts.shape[1])


def _expanded(means: FloatArray, mean: float, units: int) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of resampled means, moved away from the mean where units are few."""
    low, high = np.percentile(means, [2.5, 97.5])
    factor = expansion(units)
    return float(mean + factor * (low - mean)), float(mean + factor * (high - mean))
