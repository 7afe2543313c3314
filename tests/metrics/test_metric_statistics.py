"""Means, intervals, tests and verdicts: counted misses, hand examples, clean answers for too few cases."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from criinet.errors import ShapeError
from criinet.metrics import Paired, Summary, holm, paired_difference, summarise, verdict
from criinet.metrics.statistics import (
    FEWEST,
    Ranking,
    critical_difference,
    expansion,
    indistinct_groups,
    interval_over_runs,
    rank_methods,
    resampled_means,
)

NAN, INF = math.nan, math.inf


def test_summary_by_hand():
    """Mean of 1, 2, 3, 6 is 3; squares 4 + 1 + 0 + 9 over 3."""
    summary = summarise([1, 2, 3, 6])
    assert (summary.mean, summary.n, summary.missing, summary.infinite) == (3, 4, 0, 0)
    assert summary.sd == pytest.approx(math.sqrt(14 / 3))
    assert math.isnan(summary.low)
    assert math.isnan(summary.high)
    assert 1 <= summarise([1, 2, 3, 6] * 8).low < 3 < summarise([1, 2, 3, 6] * 8).high <= 6


def test_nan_and_inf_are_counted_and_left_out():
    summary = summarise([2.0, NAN, 4.0, INF, INF])
    assert (summary.mean, summary.n, summary.missing, summary.infinite) == (3, 2, 1, 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Summary(NAN, NAN, NAN, NAN, 0, 0, 0)),
        ([NAN, INF], Summary(NAN, NAN, NAN, NAN, 0, 1, 1)),
        ([0.5], Summary(0.5, NAN, NAN, NAN, 1, 0, 0)),
        ([0.5, 0.5], Summary(0.5, 0, NAN, NAN, 2, 0, 0)),
        ([0.5] * (FEWEST - 1), Summary(0.5, 0, NAN, NAN, FEWEST - 1, 0, 0)),
        ([0.5] * FEWEST, Summary(0.5, 0, 0.5, 0.5, FEWEST, 0, 0)),
    ],
)
def test_too_few_values_never_become_zero(values, expected):
    np.testing.assert_equal(vars(summarise(values)), vars(expected))


def test_the_interval_agrees_with_scipy_and_covers_what_it_says():
    values = np.random.default_rng(0).normal(0.8, 0.1, 60)
    mine = summarise(values, resamples=9999)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=2e-3)


def test_the_interval_of_few_units_is_widened_by_the_formula():
    """t(.975; 5) is 2.571 and t(.975; 19) is 2.093 in any table; from 30 units on the percentiles are as they are."""
    assert expansion(6) == pytest.approx(2.571 * math.sqrt(6 / 5) / 1.96, abs=1e-3)
    assert expansion(20) == pytest.approx(2.093 * math.sqrt(20 / 19) / 1.96, abs=1e-3)
    assert [expansion(units) for units in (30, 31, 500)] == [1, 1, 1]
    values = np.random.default_rng(0).normal(0.8, 0.1, 10)
    bare = np.percentile(resampled_means(values[None]), [2.5, 97.5])
    expected = values.mean() + expansion(10) * (bare - values.mean())
    found, paired = summarise(values), paired_difference(values, np.zeros(10))
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert (paired.low, paired.high) == pytest.approx(tuple(expected))


def test_an_interval_of_dice_stays_within_its_bounds_and_one_of_differences_has_none():
    """Five times 1 and once 0: widened, it would end above 1."""
    values = [1.0] * 5 + [0.0]
    assert summarise(values).high > 1 == summarise(values, bounds=(0, 1)).high
    assert summarise([1 - v for v in values], bounds=(0, 1)).low == 0
    assert paired_difference(values, [0.0] * 6).high > 1


def test_the_seed_alone_decides():
    values = np.random.default_rng(0).random(30)
    assert summarise(values) == summarise(values)
    assert summarise(values, seed=1) != summarise(values)


def test_chunks_do_not_change_the_bootstrap(monkeypatch):
    """Large sets are resampled in parts, to spare memory: same draws, same interval."""
    values = np.random.default_rng(0).random(50)
    whole = summarise(values)
    monkeypatch.setattr("criinet.metrics.statistics._CHUNK", 120)
    assert summarise(values) == whole


def test_paired_difference_by_hand():
    """Six gains of 1..6 hundredths: of 2^6 sign patterns, two are as extreme, so p = 2/64; the mean is 0.035."""
    b = np.full(6, 0.7)
    paired = paired_difference(b + np.arange(1, 7) / 100, b)
    assert paired.mean == pytest.approx(0.035)
    assert paired.p == pytest.approx(2 / 64)
    assert 0 < paired.low < 0.035 < paired.high
    assert (paired.n, paired.left_out) == (6, 0)
    assert verdict(paired) == "helped"


def test_pairs_with_a_miss_are_left_out_and_counted():
    paired = paired_difference([1, 2, NAN, INF, 5], [0, INF, 1, 2, 4])
    assert (paired.mean, paired.n, paired.left_out) == (1, 2, 3)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([], [], Paired(NAN, NAN, NAN, NAN, 0, 0)),
        ([NAN], [1], Paired(NAN, NAN, NAN, NAN, 0, 1)),
        ([0.5], [0.25], Paired(0.25, NAN, NAN, 1, 1, 0)),
        ([0.3, 0.6], [0.3, 0.6], Paired(0, NAN, NAN, 1, 2, 0)),
        ([0.3] * FEWEST, [0.3] * FEWEST, Paired(0, 0, 0, 1, FEWEST, 0)),
        ([0.1 + 0.2], [0.3], Paired(0, NAN, NAN, 1, 1, 0)),
    ],
)
def test_too_few_pairs_prove_nothing(a, b, expected):
    paired = paired_difference(a, b)
    np.testing.assert_equal(vars(paired), vars(expected))
    assert verdict(paired) == "did nothing"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=12))
def test_swapping_the_arms_swaps_the_verdict(rows):
    a, b = [row[0] for row in rows], [row[1] for row in rows]
    forward, backward = (paired_difference(*arms, resamples=50) for arms in ((a, b), (b, a)))
    opposite = {"helped": "hurt", "hurt": "helped", "did nothing": "did nothing"}
    assert verdict(backward) == opposite[verdict(forward)]
    assert forward.p == pytest.approx(backward.p, nan_ok=True)
    np.testing.assert_allclose(forward.mean, -backward.mean)


@pytest.mark.parametrize(("n", "decimals"), [(8, 1), (8, 6), (13, 1), (30, 6), (50, 6), (51, 6), (200, 2)])
def test_wilcoxon_agrees_with_scipy(n, decimals):
    """Ties up to 13 pairs by SciPy's permutations, no ties up to 50 by its exact table, the normal law beyond."""
    difference = np.random.default_rng(n).normal(0.1, 0.3, n).round(decimals)
    difference = difference[difference != 0]
    expected = stats.wilcoxon(difference).pvalue
    assert paired_difference(difference, np.zeros_like(difference)).p == pytest.approx(expected, rel=1e-9)


def test_exact_p_with_ties_by_hand():
    """Gains of 1 and 1 and a loss of 2 have ranks 1.5, 1.5 and 3, so both sides sum to 3: p = 1."""
    assert paired_difference([1, 1, -2], [0, 0, 0]).p == 1
    assert paired_difference([1, 1, 2], [0, 0, 0]).p == 2 / 8
    assert paired_difference([1, -1, 2, 0], [0, 0, 0, 0]).p == pytest.approx(6 / 8), (
        "a rank sum of 0, 1.5 or 1.5, twice"
    )


def test_verdict_needs_both_the_interval_and_the_test():
    clear = Paired(mean=0.02, low=0.01, high=0.03, p=0.01, n=50, left_out=0)
    assert verdict(clear) == "helped"
    assert verdict(replace(clear, mean=-0.02, low=-0.03, high=-0.01)) == "hurt"
    assert verdict(replace(clear, low=-0.01)) == "did nothing"
    assert verdict(replace(clear, p=0.05)) == "did nothing"
    assert verdict(replace(clear, mean=-0.02, low=-0.03, high=-0.01, p=0.2)) == "did nothing"


def test_holm_by_hand():
    """Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; none may fall below the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_at_the_edges():
    assert holm([]).tolist() == []
    assert holm([0.03]).tolist() == [0.03]
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    np.testing.assert_allclose(holm([0.02, NAN, 0.01]), [0.02, NAN, 0.02])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([1.2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_raises_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    assert np.all(adjusted >= p_values)
    assert np.all(adjusted <= np.minimum(1, len(p_values) * np.asarray(p_values)))
    assert np.all(np.diff(adjusted[np.argsort(p_values)]) >= 0)


def test_input_is_checked():
    with pytest.raises(ShapeError, match="a has 2 cases and b has 1"):
        paired_difference([1, 2], [1])
    with pytest.raises(ShapeError, match="not one list"):
        summarise(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="resamples is 0"):
        summarise([1, 2], resamples=0)


DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9752, 0.9751],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
"""Demšar, JMLR 2006, table 6: AUC of four variants of C4.5; the two .975 of one row he ranks by more digits."""


def test_ranks_and_friedman_as_published():
    """He finds 3.143, 2.000, 2.893, 1.964 and chi2 9.28 without the correction for ties.

    Three pairs and one four tie: 3 * 6 + 60 = 78 of 14 * 60 = 840.
    """
    ranking = rank_methods(DEMSAR)
    assert ranking.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert ranking.statistic == pytest.approx(9.28 / (1 - 78 / 840), abs=0.01)
    assert ranking.p < 0.05
    assert ranking.blocks == 14


@pytest.mark.parametrize(("methods", "quantile"), [(2, 1.960), (4, 2.569), (7, 2.949), (10, 3.164)])
def test_critical_difference_as_published(methods, quantile):
    """His table 5 of q at .05, and CD = q sqrt(k (k + 1) / 6N)."""
    expected = quantile * math.sqrt(methods * (methods + 1) / (6 * 14))
    assert critical_difference(methods, 14) == pytest.approx(expected, abs=1e-3)


def test_few_methods_or_blocks_are_ranked_but_not_tested():
    ranking = rank_methods(np.array([[0.1, 0.2], [0.3, 0.2], [0.1, 0.2], [0.1, 0.1]]))
    assert ranking.ranks == (1.625, 1.375)
    assert math.isnan(ranking.p)
    assert ranking.critical_difference == pytest.approx(1.960 * math.sqrt(6 / 24), abs=1e-3)
    one = rank_methods(np.array([[0.3, 0.2, 0.1]]))
    assert one.ranks == (1, 2, 3)
    assert math.isnan(one.p)
    np.testing.assert_equal(vars(rank_methods(np.zeros((0, 2)))), vars(Ranking((NAN, NAN), 0, NAN, NAN, NAN)))
    assert math.isnan(rank_methods(np.zeros((2, 1))).critical_difference)


def test_methods_that_always_tie_rank_alike():
    ranking = rank_methods(np.full((3, 3), 0.5))
    assert (ranking.ranks, ranking.statistic, ranking.p) == ((2, 2, 2), 0, 1)


def test_groups_are_the_largest_that_cannot_be_told_apart():
    """Ranks 1, 2, 3 and 9: within less than 1.5 lie {1, 2} and {2, 3}; within less than 2.5 all three."""
    ranks = [9.0, 2.0, 1.0, 3.0]
    assert indistinct_groups(ranks, 1.5) == [(2, 1), (1, 3)]
    assert indistinct_groups(ranks, 2.5) == [(2, 1, 3)]
    assert indistinct_groups(ranks, 2.0) == [(2, 1), (1, 3)], "the critical difference itself is enough to differ"
    assert indistinct_groups(ranks, 0.5) == []
    assert indistinct_groups(ranks, 20) == [(2, 1, 3, 0)]


def test_a_ranking_needs_a_table_and_two_methods():
    with pytest.raises(ShapeError, match="blocks by methods"):
        rank_methods(np.zeros(3))
    with pytest.raises(ValueError, match="at least 2 on 1"):
        critical_difference(1, 5)


def test_cases_of_one_group_are_drawn_together():
    """Ten patients of twenty equal slices each: as sure as ten cases, and far less than two hundred."""
    rng = np.random.default_rng(0)
    patients = rng.uniform(0.2, 0.9, 10)
    slices, groups = np.repeat(patients, 20), np.repeat([f"p{i}" for i in range(10)], 20).tolist()
    over_slices, over_patients = summarise(slices), summarise(slices, groups=groups)
    alone = summarise(patients)
    assert over_patients.mean == over_slices.mean == pytest.approx(patients.mean())
    assert (over_patients.low, over_patients.high) == pytest.approx((alone.low, alone.high))
    assert over_patients.high - over_patients.low > 3 * (over_slices.high - over_slices.low)


def test_a_case_without_a_value_takes_its_group_out_of_no_other_case():
    """A first case that is NaN leaves the others what they are: two cases of a, two of b."""
    values, groups = [NAN, 0.1, 0.1, 0.9, 0.9, 0.2, 0.3, 0.4, 0.5], list("aaabbcdef")
    assert math.isfinite(summarise(values, groups=groups).low)
    assert summarise(values, groups=groups) == replace(summarise(values[1:], groups=groups[1:]), missing=1)


def test_groups_of_one_case_are_cases():
    many = np.random.default_rng(0).random(40)
    one, other = summarise(many), summarise(many, groups=[f"{i:02}" for i in range(40)])
    assert (other.low, other.high) == pytest.approx((one.low, one.high))
    values = [0.1, 0.9, float("nan"), 0.5, 0.7, 0.2, 0.3]
    alone, grouped = summarise(values), summarise(values, groups=list("abcdefg"))
    assert (grouped.low, grouped.high, grouped.n) == pytest.approx((alone.low, alone.high, 6))


def test_few_groups_have_no_interval_however_many_cases_they_have():
    one = summarise([0.1, 0.9, float("nan")], groups=["a", "a", "b"])
    assert one.mean == pytest.approx(0.5)
    assert math.isnan(one.low)
    assert math.isnan(summarise(np.arange(50.0), groups=[f"{i % (FEWEST - 1)}" for i in range(50)]).low)
    assert math.isfinite(summarise(np.arange(50.0), groups=[f"{i % FEWEST}" for i in range(50)]).low)
    with pytest.raises(ShapeError, match="groups has 2"):
        summarise([0.1, 0.9, 0.3], groups=["a", "b"])


def test_resampled_rows_see_the_same_cases():
    """A row and its double stay double in every drawing; a row of equal values has one mean."""
    row = np.arange(7.0)
    means = resampled_means(np.stack([row, 2 * row, np.full(7, 3.0)]), seed=3, resamples=50)
    assert means.shape == (3, 50)
    np.testing.assert_allclose(means[1], 2 * means[0])
    assert set(means[2]) == {3.0}
    assert np.ptp(means[0]) > 0
    with pytest.raises(ShapeError, match="table is"):
        resampled_means(row)


def test_where_all_cases_are_alike_the_size_of_a_group_changes_no_mean():
    found = summarise([0.7] * 12, groups=["a", *"bbb", *"ccccc", *"def"])
    assert (found.low, found.high) == pytest.approx((0.7, 0.7))


def test_the_interval_over_runs_is_of_the_mean_over_runs():
    """Twenty empty images are false alarms in one run and have no Dice in the other: the mean is (.9 + .2077) / 2."""
    found, groups = np.full((2, 26), NAN), [f"{i:02}" for i in range(26)]
    found[:, :6] = 0.9
    found[1, 6:] = 0
    low, high = interval_over_runs(found, groups, bounds=(0, 1))
    assert low < (0.9 + 0.9 * 6 / 26) / 2 < high
    assert high - low > 0.05
    whole = np.random.default_rng(0).uniform(0.4, 0.9, (3, 20))
    patients = [f"{i // 2}" for i in range(20)]
    usual = summarise(whole.mean(axis=0), groups=patients)
    assert interval_over_runs(whole, patients) == pytest.approx((usual.low, usual.high), abs=1e-12)
    with pytest.raises(ShapeError, match="not a table of runs by 26 cases"):
        interval_over_runs(found[0], groups)


def test_a_run_without_a_value_in_a_drawing_is_left_out_of_its_mean():
    """Run 2 has one case of twelve: where it is not drawn there is run 1 alone, and never a warning."""
    found = np.full((2, 12), 0.5)
    found[1, 1:] = NAN
    assert interval_over_runs(found, [f"{i:02}" for i in range(12)]) == pytest.approx((0.5, 0.5))
