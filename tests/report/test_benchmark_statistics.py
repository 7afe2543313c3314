"""Means, comparisons, wins and ranks of small grids whose answers are worked out by hand."""

import math
from collections import Counter

import numpy as np
import pytest
from benchmark_grids import GridMaker

from criinet.errors import RunError
from criinet.metrics import summarise
from criinet.report.benchmark import is_benchmark, read_grid
from criinet.report.benchmark.analysis import analyse
from criinet.report.benchmark.savings import best_peers, masks_needed, savings_of
from criinet.report.benchmark.sentences import notes, verdicts
from criinet.report.benchmark.standing import Tally, standing
from criinet.report.benchmark.tables import comparison_records, comparison_tables, dice_table, verdict_word

GAIN = np.arange(1, 9) / 100
EVEN = np.tile([0.01, -0.01], 4)


def said_of(grid):
    reports = analyse(grid)
    return verdicts(reports, standing(grid), savings_of(grid, reports))


@pytest.fixture
def grid(tmp_path):
    """Two draws of three methods on eight cases, and supervised training with every label.

    crii gains .01 to .08 over supervised, .045 on average; cps gains and loses .01 in turn.
    """
    maker = GridMaker(tmp_path / "out")
    for draw, level in enumerate((0.70, 0.72)):
        maker.run("supervised", np.full(8, level), draw=draw, misses=draw + 1)
        maker.run("cps", level + EVEN, draw=draw)
        maker.run("crii", level + GAIN, draw=draw)
    maker.run("supervised", np.full(8, 0.9), fraction=1.0)
    return read_grid(maker.write())


def test_means_and_sds_over_draws(grid):
    """.70 and .72 have mean .71 and sd .02 / sqrt(2); every case has the mean .71, so the interval is a point."""
    (report,) = analyse(grid)
    assert [entry.label for entry in report.entries] == ["crii", "supervised", "cps", "supervised, all labels"]
    supervised = report.entries[1].last
    assert supervised.runs == 2
    assert supervised.dice.mean == pytest.approx(0.71)
    assert supervised.dice.sd == pytest.approx(0.02 / math.sqrt(2))
    assert (supervised.low, supervised.high) == pytest.approx((0.71, 0.71))
    assert report.entries[1].best.dice.mean == pytest.approx(0.72)
    assert report.entries[0].last.values["iou"].mean == pytest.approx(0.655)
    assert report.entries[0].last.strata["contrast"][0].mean == pytest.approx(0.71 + 0.015), "cases 0 and 1"
    assert report.masks == (8, 8), "of each draw"
    assert math.isnan(report.entries[3].last.dice.sd)


def test_misses_are_summed(grid):
    """One miss and two misses of eight objects each."""
    supervised = analyse(grid)[0].entries[1].last
    assert (supervised.misses, supervised.measured) == (3, 16)


def test_against_supervised_by_hand(grid):
    """Eight gains have p = 2/256, twice that after Holm over two rows; four gains and four equal losses have p = 1."""
    (report,) = analyse(grid)
    crii, cps = report.supervised
    assert (crii.run, crii.baseline, crii.verdict) == ("crii", "supervised", "helped")
    assert crii.paired.mean == pytest.approx(0.045)
    assert crii.paired.p == pytest.approx(2 * 2 / 256)
    assert (cps.verdict, cps.paired.p) == ("did nothing", 1)


def test_the_best_peer_is_never_the_supervised_row(grid):
    """crii - cps is 0, .03, .02, .05, ...: seven differ, p = 2/128. Three pairs: Holm takes 3, 2 and 1 times p."""
    peers = {effect.run: effect for effect in analyse(grid)[0].peers}
    assert {run: effect.baseline for run, effect in peers.items()} == {
        "crii": "cps",
        "cps": "crii",
        "supervised": "crii",
    }
    assert peers["supervised"].paired.p == pytest.approx(3 * 2 / 256)
    assert peers["crii"].paired.p == pytest.approx(2 * 2 / 128)
    assert peers["cps"].paired.p == pytest.approx(2 * 2 / 128)
    assert [peers[run].verdict for run in ("crii", "cps", "supervised")] == ["helped", "hurt", "hurt"]


def test_wins_ties_and_losses(grid):
    found = standing(grid)
    assert found.tallies["crii", "supervised"] == Tally(2, 0, 0)
    assert found.tallies["supervised", "crii"] == Tally(0, 0, 2)
    assert found.tallies["cps", "supervised"] == Tally(0, 2, 0)
    assert found.total("crii") == Tally(4, 0, 0)


def test_average_ranks(grid):
    """crii is first in both blocks, the others share ranks 2 and 3; CD = 2.343 sqrt(3 * 4 / 12), as Demšar's table."""
    found = standing(grid)
    assert dict(found.ranked) == {"crii": 1, "supervised": 2.5, "cps": 2.5}
    assert found.ranking.critical_difference == pytest.approx(2.343, abs=2e-3)
    assert [set(group) for group in found.groups] == [{"crii", "cps", "supervised"}]


def test_verdicts_say_what_the_numbers_say(grid):
    """Friedman: 12 * 2 / 12 * (1 + 6.25 + 6.25 - 12) = 3, over 1 - 12 / 48 for the ties is 4; p = exp(-4 / 2)."""
    said = said_of(grid)
    assert said[0].sentence == (
        "crii ranks best over 2 blocks (setting, draw, seed): average rank 1.0 of 3, Friedman's p = .14. "
        "Not told apart from that: supervised and cps (the critical difference is 2.3)."
    )
    assert said[1].kind == "helped"
    assert said[1].sentence.startswith(
        "moles, 4 % labeled (8 masks): crii is best with Dice .755 ± .014 over 2 runs, +.0"
    )
    assert said[1].sentence.endswith("over its best peer cps on 8 test images (Holm's p = .031).")
    assert "one draw" not in said[1].sentence
    assert said[1].also == ("Against supervised: crii helped; cps did nothing measurable.",)


def test_rows_that_all_share_one_rank_are_not_told_from_others(tmp_path):
    """Each is first once: both have rank 1.5, and there is nobody else."""
    maker = GridMaker(tmp_path / "out")
    for draw in (0, 1):
        maker.run("supervised", 0.7 + draw * GAIN, draw=draw)
        maker.run("crii", 0.7 + (1 - draw) * GAIN, draw=draw)
    grid = read_grid(maker.write())
    said = said_of(grid)[0].sentence
    assert said.startswith("supervised and crii share one average rank over 2 blocks (setting, draw, seed): ")
    assert "average rank 1.5 of 2" in said
    assert "told apart" not in said


def test_only_draws_and_seeds_of_both_are_compared(tmp_path):
    """Draw 1 of supervised is far lower, but crii has none: the difference is that of draw 0."""
    maker = GridMaker(tmp_path / "out")
    maker.run("supervised", np.full(8, 0.7))
    maker.run("supervised", np.full(8, 0.2), draw=1)
    maker.run("crii", 0.7 + GAIN)
    grid = read_grid(maker.write())
    (report,) = analyse(grid)
    assert report.supervised[0].paired.mean == pytest.approx(0.045)
    said = notes(grid, [report], standing(grid))
    assert "moles, 4 % labeled (8 masks): fewer than 2 runs of crii (1): less certain than the others." in said
    assert said[-1] == (
        "Average ranks leave out 1 of 2 blocks (setting, draw, seed), where these rows have no result: crii (1)."
    )


def test_patients_with_several_images_count_once(tmp_path):
    """Eight cases of four patients: four gains, p = 2/16."""
    maker = GridMaker(tmp_path / "out")
    maker.run("supervised", np.full(8, 0.7), per_group=2)
    maker.run("crii", 0.7 + GAIN, per_group=2)
    (report,) = analyse(read_grid(maker.write()))
    effect = report.supervised[0]
    assert (effect.images, effect.paired.n) == (8, 4)
    assert effect.paired.p == pytest.approx(2 / 16)
    assert report.entries[0].last.on == "8 test images of 4 patients"
    shown = comparison_tables(report)[0]
    assert dict(zip(shown.headers, shown.rows[0], strict=False))["Patients"] == "4"
    assert "paired by patient" in shown.caption


def test_too_few_patients_are_called_that(tmp_path):
    maker = GridMaker(tmp_path / "out")
    for row, change in (("supervised", 0 * GAIN), ("crii", GAIN), ("cps", 2 * GAIN)):
        maker.run(row, 0.7 + change, per_group=2)
    grid = read_grid(maker.write())
    (report,) = analyse(grid)
    (said,) = said_of(grid)
    assert said.sentence.endswith(
        ", on 8 test images of 4 patients, too few to tell in 3 comparisons (each patient counts alike)."
    )
    assert said.also == ("Against supervised: cps and crii cannot be judged on so few patients.",)
    assert verdict_word(report.peers[0], peer=True) == "too few patients"


def test_a_comparison_over_draws_that_disagree_says_so(tmp_path):
    """crii gains .09 to .16 in the first draw and loses .01 in the second."""
    maker = GridMaker(tmp_path / "out")
    for draw, change in enumerate((GAIN + 0.08, GAIN * 0 - 0.01)):
        maker.run("supervised", np.full(8, 0.6), draw=draw)
        maker.run("cps", np.full(8, 0.6) + EVEN, draw=draw)
        maker.run("crii", 0.6 + change, draw=draw)
    grid = read_grid(maker.write())
    (report,) = analyse(grid)
    crii = next(effect for effect in report.supervised if effect.run == "crii")
    assert crii.by_draw == pytest.approx((0.125, -0.01))
    assert (crii.paired.p, crii.verdict) == (pytest.approx(2 * 2 / 256), "did nothing")
    (said,) = said_of(grid)[1:]
    assert said.kind == "nothing"
    assert said.sentence.endswith("(Holm's p = .023; the draws disagree: +.125 -.010).")
    assert "crii did nothing measurable, as the draws disagree" in said.also[0]
    assert verdict_word(crii, peer=False) == "draws disagree"
    record = next(r for r in comparison_records([report]) if (r["row"], r["family"]) == ("crii", "supervised"))
    assert record["by_draw"] == "+0.125 -0.010"
    shown = comparison_tables(report)[0]
    assert dict(zip(shown.headers, shown.rows[0], strict=False))["Each draw"] == "+.125 -.010"


def test_the_reference_of_a_row_was_chosen_by_the_same_cases(tmp_path):
    """Four rows have six pairs: p of the best row against its best peer is 6 times 2/256, not 4 times."""
    maker = GridMaker(tmp_path / "out")
    for i, row in enumerate(("cps", "ict", "ema", "crii")):
        maker.run(row, 0.6 + i * GAIN)
    (report,) = analyse(read_grid(maker.write()))
    pairs = {frozenset((effect.run, effect.baseline)): effect for effect in report.pairs}
    assert len(pairs) == 6
    assert report.peer("crii").paired.p == pytest.approx(6 * 2 / 256)
    for peers, family in ((report.peers, report.pairs), (report.peers_hard, report.pairs_hard)):
        own = {frozenset((effect.run, effect.baseline)): effect for effect in family}
        for effect in peers:
            other = own[frozenset((effect.run, effect.baseline))]
            assert (effect.paired.p, effect.comparisons) == (other.paired.p, 6)
            assert abs(effect.paired.mean) == abs(other.paired.mean)
    assert {effect.run: effect.baseline for effect in report.peers}["cps"] == "crii"
    assert report.peer("cps").paired.mean == pytest.approx(-3 * 0.045)


def test_false_alarms_that_are_avoided_are_said_of_a_setting(tmp_path):
    """Of twelve images four hold nothing: cps finds something in them, crii in one of them."""
    maker = GridMaker(tmp_path / "out")
    level = np.full(12, 0.7)
    cps, crii = level.copy(), level.copy()
    cps[8:], crii[8:11], crii[11] = 0, math.nan, 0
    maker.run("cps", cps, best=0)
    maker.run("crii", crii, best=0)
    for row in maker.rows:
        row["dice"] = float(np.nanmean(cps if row["row"] == "cps" else crii))
    grid = read_grid(maker.write())
    (report,) = analyse(grid)
    assert report.peer("crii").paired.mean == pytest.approx(3 / 12)
    assert (report.peer("crii").images, report.peer("crii").credited) == (12, 3)
    assert any(
        "in up to 3 test images of a comparison one row found" in note for note in notes(grid, [report], standing(grid))
    )
    assert standing(grid).tallies["crii", "cps"] == Tally(0, 1, 0)


def test_every_draw_counts_once_in_the_number_of_masks(tmp_path):
    """Draws of 52, 52 and 66 masks: 56.67 on average, and 52 to 66 in the title; a second row changes nothing."""
    maker = GridMaker(tmp_path / "out")
    for amount, counts in (("50", (52, 52, 66)), ("100", (100, 104, 104))):
        for draw, labeled in enumerate(counts):
            for row in ("crii", "cps"):
                maker.run(row, 0.6 + EVEN, draw=draw, fraction=np.median(counts) / 200, amount=amount, labeled=labeled)
    grid = read_grid(maker.write())
    few, many = analyse(grid)
    assert (few.masks, many.masks) == ((52, 52, 66), (100, 104, 104))
    assert few.amount == pytest.approx(170 / 3)
    assert few.title == "moles, 26 % labeled (52 to 66 masks)"
    found = {(one.label, one.other): one for one in savings_of(grid, [few, many]) if one.masks < 60}
    assert found["crii", "cps"].masks == found["crii", "cps"].fewest == pytest.approx(170 / 3)


def test_harm_and_a_supervised_leader_are_said(tmp_path):
    maker = GridMaker(tmp_path / "out")
    maker.run("supervised", np.full(8, 0.7))
    maker.run("crii", 0.7 - GAIN)
    grid = read_grid(maker.write())
    (said,) = said_of(grid)
    assert said.kind == "hurt"
    assert said.sentence == "moles, 4 % labeled (8 masks): no method has a higher Dice than supervised, .700."
    assert said.also == ("Against supervised: crii hurt.",)


def test_the_leader_is_best_only_if_it_is_told_apart_from_supervised_training(tmp_path):
    """crii gains .01 to .08 over cps; over supervised training it gains in four cases what it loses in the others."""
    maker = GridMaker(tmp_path / "out")
    maker.run("supervised", np.full(8, 0.744))
    maker.run("cps", np.full(8, 0.7))
    maker.run("crii", 0.7 + GAIN)
    (said,) = said_of(read_grid(maker.write()))
    assert said.kind == "nothing"
    assert "on this one draw crii has the highest Dice, .745, +.045 [" in said.sentence
    assert (
        "over its best peer cps on 8 test images (Holm's p = .023), but is not told apart from supervised: +.001 ["
        in (said.sentence)
    )


def test_noise_and_few_images_are_no_verdict(tmp_path):
    """unimatch - cps is 0 and .02 in turn: four of eight cases differ, p = 2/16; the two are one comparison."""
    maker = GridMaker(tmp_path / "out")
    maker.run("cps", 0.7 + EVEN)
    maker.run("unimatch", np.full(8, 0.71))
    for row, level in (("cps", 0.7), ("unimatch", 0.8)):
        maker.run(row, np.full(4, level), dataset="polyps")
    grid = read_grid(maker.write())
    noise, few = said_of(grid)[1:]
    assert (noise.kind, few.kind) == ("nothing", "nothing")
    assert "on this one draw unimatch has the highest Dice, .710, but is not told apart from cps: +.010 [" in (
        noise.sentence
    )
    assert noise.sentence.endswith("] on 8 test images (p = .12).")
    assert few.sentence.endswith("unimatch has the highest Dice, .800, on 4 test images, too few to tell.")


def test_a_fraction_that_was_not_recorded_is_counted(tmp_path):
    maker = GridMaker(tmp_path / "out")
    maker.run("crii", GAIN)
    for record in maker.rows:
        record["fraction"] = None
    assert read_grid(maker.write()).runs[0].setting.fraction == 8 / 200


def test_amounts_that_were_asked_for_are_settings_however_near_they_are(tmp_path):
    """20 and 21 of 200 masks, and rounds of two more masks each, with as many seeds as there are rounds."""
    maker = GridMaker(tmp_path / "amounts")
    for amount in (20, 21):
        for draw, luck in enumerate((0, 0.001)):
            maker.run("crii", GAIN, fraction=amount / 200 + luck, draw=draw, amount=str(amount))
    grid = read_grid(maker.write())
    assert [report.setting.fraction for report in analyse(grid)] == [0.1, 0.105]
    maker = GridMaker(tmp_path / "rounds")
    for number in range(3):
        for seed in range(3):
            about = {"amount": "160", "round": number}
            maker.run("random", GAIN, fraction=0.8 + 0.01 * number, seed=seed + number, **about)
    grid = read_grid(maker.write())
    assert grid.notes == ()
    assert sorted(Counter(run.setting.fraction for run in grid.runs).values()) == [3, 3, 3]


def test_all_labels_are_a_row_of_their_own_in_a_row_of_several_amounts(tmp_path):
    maker = GridMaker(tmp_path / "out")
    for row in ("supervised", "plain"):
        maker.run(row, np.full(8, 0.65), method="supervised", fraction=0.1)
        maker.run(row, np.full(8, 0.85), method="supervised", fraction=1.0)
    maker.run("full", np.full(8, 0.9), method="supervised", fraction=1.0)
    labels = {run.label for run in read_grid(maker.write()).runs if run.full}
    assert labels == {"supervised, all labels", "plain, all labels", "full"}


def test_fractions_that_differ_by_the_luck_of_a_draw_are_one_setting(tmp_path):
    maker = GridMaker(tmp_path / "out")
    for fraction in (0.0398, 0.0402, 0.1, 0.95):
        maker.run("crii", GAIN, fraction=fraction, draw=round(1000 * fraction))
    maker.run("supervised", GAIN, fraction=1.0)
    reports = analyse(read_grid(maker.write()))
    assert [report.setting.fraction for report in reports] == [0.0398, 0.1, 0.95]


def test_networks_and_datasets_are_settings_of_their_own(tmp_path):
    maker = GridMaker(tmp_path / "out")
    for dataset, network in (("moles", "unet"), ("moles", "lite0-unet"), ("polyps", "unet")):
        maker.run("crii", GAIN, dataset=dataset, network=network)
    titles = [report.title for report in analyse(read_grid(maker.write()))]
    assert titles == [f"{data}, 4 % labeled (8 masks), {net}" for data, net in (
        ("moles", "lite0-unet"), ("moles", "unet"), ("polyps", "unet"))]  # fmt: skip


def test_a_run_given_twice_counts_once(tmp_path):
    maker = GridMaker(tmp_path / "out")
    name = maker.run("crii", GAIN, method="a")
    maker.run("crii", GAIN + 0.5, method="b")
    for record in (*maker.rows, *maker.strata, *maker.cases):
        record["run"] = f"{record['run']}-{record['method']}"
    grid = read_grid(maker.write())
    assert len(grid.runs) == 1
    assert grid.notes == (f"{name}-b was left out: {name}-a has the same row, setting, draw and seed.",)


def test_a_benchmark_is_known_by_its_plan(tmp_path):
    assert not is_benchmark(tmp_path)
    (tmp_path / "results.json").write_text('{"format": 1, "rows": []}')
    assert not is_benchmark(tmp_path)
    assert is_benchmark(GridMaker(tmp_path / "out").write())
    (tmp_path / "results.json").write_text("{")
    assert not is_benchmark(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_benchmark(tmp_path), "what is damaged is best reported as such"


def test_a_benchmark_of_which_no_run_has_ended_says_how_to_go_on(tmp_path):
    (tmp_path / "plan.json").write_text('{"name": "mine"}')
    assert is_benchmark(tmp_path)
    with pytest.raises(RunError, match=r"no run of .* has ended yet, or it is a search, .* goes on with --resume"):
        read_grid(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"plan": {}, "rows": [3]}', '{"plan": {}, "rows": [{"run": "a"}]}'])
def test_a_damaged_benchmark_is_named(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(RunError, match=r"results\.json is damaged; run `criinet benchmark` again with --resume\."):
        read_grid(tmp_path)


def test_what_is_no_benchmark_newer_or_has_damaged_cases_is_refused(tmp_path):
    with pytest.raises(RunError, match="holds no benchmark"):
        read_grid(tmp_path)
    (tmp_path / "results.json").write_text('{"format": 2, "plan": {}, "rows": []}')
    with pytest.raises(RunError, match="install a newer criinet"):
        read_grid(tmp_path)
    (tmp_path / "cases.csv").write_text("run,case\na,b\n")
    with pytest.raises(RunError, match=r"cases\.csv is damaged"):
        read_grid(tmp_path)


@pytest.fixture
def amounts(tmp_path):
    """Mean Dice with 8, 16 and 80 masks: crii .7, .8, .9; cps .6, .7, .8; supervised .5, .6, .65, and .85 with 200."""
    maker = GridMaker(tmp_path / "amounts")
    for row, levels in {"crii": (0.7, 0.8, 0.9), "cps": (0.6, 0.7, 0.8), "supervised": (0.5, 0.6, 0.65)}.items():
        for fraction, level in zip((0.04, 0.08, 0.4), levels, strict=True):
            maker.run(row, np.full(8, level) + EVEN, fraction=fraction)
    maker.run("entropy-min", np.full(8, 0.62), fraction=0.04)
    maker.run("supervised", 0.85 + EVEN, fraction=1.0)
    return read_grid(maker.write())


def test_the_masks_that_others_need_by_hand(amounts):
    """cps is at .7 with 16 masks; supervised at .65 with 80 and .85 with 200, so .7 at a quarter of the way there."""
    found = {(one.label, one.masks, one.other): one for one in savings_of(amounts, analyse(amounts))}
    assert {other for label, masks, other in found if (label, masks) == ("crii", 8)} == {"cps", "supervised"}
    assert found["crii", 8, "cps"].needed == pytest.approx(16)
    assert found["crii", 8, "supervised"].needed == pytest.approx(80 * 2.5**0.25)
    assert found["crii", 16, "cps"].needed == pytest.approx(80)
    assert found["crii", 80, "cps"].needed == math.inf
    assert found["cps", 8, "crii"].needed == 0
    assert found["entropy-min", 8, "cps"].needed == pytest.approx(8 * 2**0.2)
    equal = found["crii", 8, "cps"]
    assert (equal.low, equal.high) == pytest.approx((16, 16)), "all cases move alike, so no drawing changes it"
    assert (equal.fewest, equal.most, found["crii", 8, "supervised"].most) == (8, 80, 200)


def test_the_curve_of_supervised_training_ends_with_its_own_row(tmp_path):
    """Of another row with every label nobody knows whether it has its settings, unless there is no other."""

    def needed(*full: str) -> float:
        maker = GridMaker(tmp_path / "-".join(full))
        for fraction, level in ((0.1, 0.6), (0.3, 0.7)):
            maker.run("supervised", np.full(8, level) + EVEN, fraction=fraction)
        maker.run("crii", np.full(8, 0.75) + EVEN, fraction=0.1)
        for row in full:
            level = 0.5 if row == "short" else 0.8
            maker.run(row, np.full(8, level) + EVEN, method="supervised", fraction=1.0)
        grid = read_grid(maker.write())
        return next(one.needed for one in savings_of(grid, analyse(grid)) if one.label == "crii")

    half = 60 * (200 / 60) ** 0.5
    assert needed("supervised", "short") == pytest.approx(half)
    assert needed("long") == pytest.approx(half)
    assert needed("long", "short") == math.inf


def test_the_best_peer_needs_the_fewest_masks_and_is_never_the_supervised_row(amounts):
    pairs = {
        (p.label, p.masks): (p.other, plain and plain.other)
        for p, plain in best_peers(savings_of(amounts, analyse(amounts)))
    }
    assert pairs["crii", 8] == ("cps", "supervised")
    assert pairs["entropy-min", 8] == ("crii", "supervised")
    assert pairs["supervised", 8] == ("crii", None)


def test_what_is_saved_is_said_of_the_best_row_with_the_fewest_masks(amounts):
    assert said_of(amounts)[-1].sentence == (
        "moles, 4 % labeled (8 masks): for what crii reaches there cps needs 16 [16, 16] and supervised needs 101 "
        "[101, 101] masks."
    )


def test_the_interval_of_the_masks_follows_from_the_cases(tmp_path):
    """crii leads by .1 on half of the cases: with few of those cps needs few masks, with many more than it had."""
    maker = GridMaker(tmp_path / "out")
    half = np.tile([0.1, 0.0], 20)
    for fraction, level in ((0.04, 0.60), (0.1, 0.66)):
        maker.run("crii", level + half, fraction=fraction)
        maker.run("cps", np.full(40, level), fraction=fraction)
    grid = read_grid(maker.write())
    one = next(s for s in savings_of(grid, analyse(grid)) if (s.label, s.masks) == ("crii", 8))
    assert one.needed == pytest.approx(8 * 2.5 ** (5 / 6))
    assert 8 < one.low < one.needed < one.high == math.inf
    assert "crii reaches there cps needs 18 [" in said_of(grid)[-1].sentence
    assert said_of(grid)[-1].sentence.endswith(", more than 20] masks.")


def test_the_interval_of_the_masks_is_wider_where_cases_are_few(tmp_path):
    """cps is the same in every case, so the ends are the masks with which it has the two ends of crii's own Dice."""
    maker = GridMaker(tmp_path / "out")
    own = 0.7 + np.tile([0.05, -0.05], 4)
    for fraction, level in ((0.04, 0.6), (0.4, 0.8)):
        maker.run("crii", own, fraction=fraction)
        maker.run("cps", np.full(8, level), fraction=fraction)
    grid = read_grid(maker.write())
    one = next(s for s in savings_of(grid, analyse(grid)) if (s.label, s.masks) == ("crii", 8))
    dice = summarise(own)
    ends = [8 * 10 ** ((end - 0.6) / 0.2) for end in (dice.low, dice.high)]
    assert [one.low, one.high] == pytest.approx(ends, rel=0.02)


def test_nothing_is_said_of_masks_saved_in_five_cases(tmp_path):
    maker = GridMaker(tmp_path / "out")
    for fraction in (0.04, 0.4):
        maker.run("crii", np.full(5, 0.7), fraction=fraction)
        maker.run("cps", np.full(5, 0.6 + fraction), fraction=fraction)
    grid = read_grid(maker.write())
    assert savings_of(grid, analyse(grid)) == ()


def test_one_amount_of_masks_says_nothing_of_others(grid):
    assert savings_of(grid, analyse(grid)) == ()


def test_a_curve_that_falls_reaches_its_level_where_it_first_does():
    """Up to .8 with 20 masks, down to .6 and up again: .7 is first reached half way to 20, in the logarithm."""
    curve = np.array([[0.6], [0.8], [0.6], [0.9]])
    assert masks_needed([10, 20, 40, 80], curve, np.array([0.7])) == pytest.approx(10 * 2**0.5)


def test_the_interval_is_of_the_mean_that_it_stands_beside(tmp_path):
    """Six cases of one patient with .2 and five of others with .9: the mean over cases lies inside its interval."""
    maker = GridMaker(tmp_path / "out")
    maker.run("crii", [0.2] * 6 + [0.9] * 5)
    for case in maker.cases:
        number = int(str(case["case"])[-3:])
        case["group"] = "a" if number < 6 else f"patient_{number}"
    (report,) = analyse(read_grid(maker.write()))
    found = report.entries[0].last
    assert found.dice.mean == pytest.approx((6 * 0.2 + 5 * 0.9) / 11)
    assert 0 <= found.low <= found.dice.mean <= found.high <= 1
    assert found.groups == 6


def test_a_mean_lies_in_its_interval_where_runs_differ_in_the_images_that_have_a_dice(tmp_path):
    """Twelve images without an object: false alarms in the first draw, rightly empty and without Dice in the second."""
    maker = GridMaker(tmp_path / "out")
    objects, means = np.linspace(0.85, 0.95, 8), []
    for draw, empty in enumerate((0.0, math.nan)):
        dice = np.concatenate([objects, np.full(12, empty)])
        name = maker.run("crii", dice, draw=draw, best=0)
        means.append(float(np.nanmean(dice)))
        for row in maker.rows:
            if row["run"] == name:
                row |= {"dice": means[-1], "cases": int(np.isfinite(dice).sum())}
    grid = read_grid(maker.write())
    (report,) = analyse(grid)
    shown = dice_table(report, "px", grid)
    assert shown.caption.endswith("final weights, 20 test images")
    assert dict(zip(shown.headers, shown.rows[0], strict=True))["Images"] == "8 to 20"
    found = report.entries[0].last
    assert found.dice.mean == pytest.approx(np.mean(means))
    assert (found.cases, found.images) == (20, (8, 20))
    assert found.low < found.dice.mean < found.high
