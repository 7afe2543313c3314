"""Verdicts say what the numbers allow, and runs that differ in more than the method are not judged."""

import json
import math

import numpy as np
import pytest
from report_runs import supervised_dice

from criinet.metrics import paired_difference
from criinet.report import compare, read_run
from criinet.report.comparison import Pairs, judged, matched, spared, turned
from criinet.report.text import interval, number, signed


def compared(*paths):
    return compare([read_run(path) for path in paths])


def versus(make, change, **settings):
    base = supervised_dice()
    supervised = make.evaluated("supervised", "supervised", base)
    return compared(supervised, make.evaluated("crii", "crii", base + change, **settings))


def test_a_gain_is_told_with_interval_cases_and_p(make):
    comparison = versus(make, np.linspace(0.03, 0.05, 30))
    effect = comparison.effects[0]
    assert effect.verdict == "helped"
    low, high = effect.paired.low, effect.paired.high
    assert effect.sentence == (
        f"crii helped in this one training: Dice +.040 [{signed(low)}, {signed(high)}] over supervised on 30 test "
        "images (p < .001)."
    )
    assert comparison.sentences == (effect.sentence,)


def test_noise_is_nothing_measurable(make):
    change = np.random.default_rng(5).normal(0, 0.05, 30)
    effect = versus(make, change - change.mean()).effects[0]
    assert effect.sentence.startswith("crii did nothing measurable in this one training: Dice ")
    assert "against supervised on 30 test images (p = ." in effect.sentence


def test_harm_is_told_with_advice(make):
    comparison = versus(make, np.linspace(-0.05, -0.03, 30))
    assert comparison.effects[0].sentence.startswith("crii hurt in this one training: Dice -.040 [-.04")
    assert comparison.effects[0].sentence.endswith("Use supervised here.")
    assert "Use supervised" not in comparison.hardest[0].sentence


def test_the_hardest_quarter_is_judged_by_itself(make):
    """All of the gain lies in the eight cases of lowest contrast."""
    change = np.where(np.arange(30) < 8, np.linspace(0.1, 0.2, 30), 0.0)
    effect = versus(make, change).hardest[0]
    assert effect.images == 8
    assert effect.paired.mean == pytest.approx(change[:8].mean())
    assert effect.sentence.startswith("On the lowest-contrast quarter, crii helped: Dice +.")


def test_few_images_prove_nothing(make):
    base = supervised_dice()[:4]
    comparison = compared(make.evaluated("supervised", "supervised", base), make.evaluated("crii", "crii", base + 0.2))
    assert comparison.effects[0].verdict == "did nothing"
    assert "cannot be judged" in comparison.effects[0].sentence
    assert "on 4 test images, too few to tell" in comparison.effects[0].sentence


def test_other_splits_are_never_compared(make):
    comparison = versus(make, 0.2, split_hash="another")
    assert (comparison.effects, comparison.hardest) == ((), ())
    assert comparison.notes == ("crii is not compared with supervised: they were trained on different splits.",)
    assert comparison.sentences[0].startswith("supervised reaches Dice ")


def test_other_lengths_are_never_compared(make):
    comparison = versus(make, 0.2, iterations=1500)
    assert comparison.effects == ()
    assert "different lengths (1500 iterations against 500)" in comparison.notes[0]


def test_an_unfinished_training_is_said(make):
    run = make.settings("run", "crii")
    (run / "metrics.jsonl").write_text('{"kind": "train", "step": 250, "progress": 0.5, "loss": 1.0}\n')
    assert compared(run).notes == ("crii has finished only 50 % of its training.",)


def test_a_baseline_without_results_is_named(make):
    comparison = compared(make.settings("supervised", "supervised"), make.evaluated("crii", "crii", supervised_dice()))
    assert "its supervised run has no results" in comparison.notes[0]


def test_without_a_baseline_nothing_is_judged(make):
    comparison = compared(make.evaluated("crii", "crii", supervised_dice()))
    assert comparison.effects == ()
    assert comparison.notes == (
        "crii is not judged: give a supervised run of the same split and iterations beside it.",
    )


def test_what_else_differs_is_said(make):
    comparison = versus(make, 0.04, seed=1, lr=0.01)
    assert comparison.notes == (
        "crii and supervised differ in more than the method: trainer.learning_rate 0.01 against 0.001.",
        "crii was trained with seed 1, supervised with seed 0.",
    )


def test_the_baseline_of_the_same_seed_is_taken(make):
    base = supervised_dice()
    runs = [make.evaluated(f"supervised{s}", "supervised", base + s / 10, seed=s) for s in (0, 1)]
    comparison = compared(*runs, make.evaluated("crii", "crii", base + 0.15, seed=1))
    assert comparison.effects[0].baseline == "supervised seed 1"
    assert comparison.effects[0].paired.mean == pytest.approx(0.05)


def test_several_runs_share_the_chance_of_error(make):
    """p of one comparison is multiplied by Holm as soon as there are two."""
    base = supervised_dice()
    change = np.random.default_rng(2).normal(0.012, 0.03, 30)
    paths = [make.evaluated("supervised", "supervised", base), make.evaluated("crii", "crii", base + change)]
    alone = compared(*paths).effects[0].paired.p
    other = make.evaluated("ema", "ema", base + change[::-1])
    both = compared(*paths, other)
    assert both.effects[0].paired.p > alone
    assert "Holm's p = " in both.effects[0].sentence


def test_the_case_is_the_mean_of_the_classes_it_has(make):
    """Case 0 lacks the second class: it counts with its first alone, and the class is judged on 29 cases."""
    base = np.stack([supervised_dice(), supervised_dice()], axis=1)
    base[0, 1] = math.nan
    runs = []
    for name, gain in (("supervised", 0.0), ("crii", 0.1)):
        run = make.settings(name, name, classes=("background", "core", "rim"))
        make.results(run, base + np.array([gain, 0.0]), ("core", "rim"))
        runs.append(run)
    comparison = compared(*runs)
    assert comparison.effects[0].paired.mean == pytest.approx((0.1 + 29 * 0.05) / 30)
    core, rim = comparison.by_class
    assert (core.class_name, core.verdict, core.images) == ("core", "helped", 30)
    assert (rim.class_name, rim.verdict, rim.images) == ("rim", "did nothing", 29)
    assert core.sentence.startswith("For class 'core', crii helped")


def test_a_region_is_judged_by_itself_and_stays_out_of_the_mean(make):
    """A region in which nothing changes takes nothing off the gain, and its misses are not counted twice."""
    base = np.stack([supervised_dice()] * 3, axis=1)
    runs = []
    for name, gain in (("supervised", 0.0), ("crii", 0.1)):
        run = make.settings(name, name, classes=("background", "core", "rim"))
        make.results(run, base + np.array([gain, gain, 0.0]), ("core", "rim", "whole"), regions=("whole",))
        runs.append(run)
    comparison = compared(*runs)
    assert comparison.effects[0].paired.mean == pytest.approx(0.1)
    assert [(effect.class_name, effect.verdict) for effect in comparison.by_class] == [
        ("core", "helped"),
        ("rim", "helped"),
        ("whole", "did nothing"),
    ]
    results = read_run(runs[0]).results
    assert results.measured(results.row()) == 60


def test_a_false_alarm_is_no_object_to_miss(make):
    run = make.settings("crii", "crii")
    make.results(run, supervised_dice()[:, None])
    found = json.loads((run / "results.json").read_text())
    for row in found["rows"]:
        row["false_alarms"] = 4
    (run / "results.json").write_text(json.dumps(found))
    results = read_run(run).results
    assert results.measured(results.row()) == results.measured(results.row(class_name="lesion")) == 26


def test_images_of_one_patient_are_one_value(make):
    runs = []
    for name, gain in (("supervised", 0.0), ("crii", 0.05)):
        run = make.settings(name, name)
        make.results(run, supervised_dice()[:, None] + gain, groups=10)
        runs.append(run)
    effect = compared(*runs).effects[0]
    assert (effect.paired.n, effect.images) == (10, 30)
    assert "on 30 test images of 10 patients (p = .002; each patient counts alike)." in effect.sentence
    assert effect.by_draw == (pytest.approx(0.05),)


def test_a_gain_over_patients_that_is_a_loss_over_images_says_so(make):
    """One patient of 19 images loses .05 in each, eleven of one image gain .06: (11 * .06 - .05) / 12 over patients."""
    change = np.where(np.arange(30) < 19, -0.05, 0.06)
    for name, gain in (("supervised", 0 * change), ("crii", change)):
        run = make.evaluated(name, name, supervised_dice() + gain)
        lines = (run / "cases.csv").read_text()
        for k in range(19):
            lines = lines.replace(f"patient_{k:02d}", "patient_a")
        (run / "cases.csv").write_text(lines)
    effect = compared(make.root / "supervised", make.root / "crii").effects[0]
    assert (effect.verdict, effect.paired.n) == ("helped", 12)
    assert effect.over_images == pytest.approx((11 * 0.06 - 19 * 0.05) / 30)
    said = "each patient counts alike; over images the difference is -.010"
    assert effect.sentence.endswith(f" on 30 test images of 12 patients (p < .001; {said}).")
    assert turned(effect).sentence.count("over images the difference is +.010") == 1


def test_what_one_run_reached_names_patients_and_why_there_is_no_interval(make):
    run = make.settings("crii", "crii")
    make.results(run, supervised_dice()[:, None], groups=1)
    assert compared(run).sentences[0].endswith("] on 30 test images of 1 patient.")
    results = json.loads((run / "results.json").read_text())
    for row in results["rows"]:
        row |= {"dice_low": None, "dice_high": None}
    (run / "results.json").write_text(json.dumps(results))
    assert compared(run).sentences[0].endswith(" on 30 test images of 1 patient, too few for an interval.")


def test_a_draw_without_any_difference_does_not_disagree():
    gains = np.linspace(0.03, 0.05, 30)
    about = ("crii", "supervised", "", paired_difference(gains, np.zeros(30)), 30, False)
    (effect,) = judged([Pairs(*about, (0.0, 0.08), trainings=2)])
    assert effect.sentence.endswith("(p < .001; one draw has no difference: .000 +.080).")


def test_a_false_alarm_that_is_avoided_is_a_gain(make):
    """Half of the images hold nothing: supervised finds something in all 15, crii in 5 of them and rightly none in 10.

    So ten of thirty pairs are 1 - 0, and five are 0 - 0; where both rightly find nothing, there is no pair.
    """
    base = supervised_dice()
    alarms, crii = base.copy(), base.copy()
    alarms[15:], crii[15:20], crii[20:] = 0, 0, math.nan
    make.evaluated("supervised", "supervised", alarms)
    make.evaluated("crii", "crii", crii)
    comparison = compared(make.root / "supervised", make.root / "crii")
    effect = comparison.effects[0]
    assert (effect.verdict, effect.images, effect.credited) == ("helped", 30, 10)
    assert effect.paired.mean == pytest.approx(10 / 30)
    assert comparison.notes == (
        "In 10 test images either crii or supervised found something where there is nothing (Dice 0) and the other "
        "rightly did not, which counts as Dice 1 in their comparison.",
    )


def test_cases_in_which_both_rightly_find_nothing_or_one_was_not_measured_are_left_out():
    first, second = {"a": math.nan, "b": 0.5, "c": 0.5}, {"a": math.nan, "b": 0.25, "d": math.nan}
    assert matched(first, second) == {"b": (0.5, 0.25)}
    assert spared(first, second) == set()
    assert matched({"a": 0.0}, first) == {"a": (0.0, 1.0)}
    assert matched(first, {"a": 0.0}) == {"a": (1.0, 0.0)}


def test_what_no_number_of_gains_could_show_after_holm_is_too_few_to_tell():
    """Six pairs have p = 2 / 64 at least; nine comparisons make .28 of it, so a clear gain is no "did nothing"."""
    six = np.full(6, 0.8) + np.arange(6) / 100
    family = [Pairs(f"m{i}", "supervised", "", paired_difference(six + 0.1, six), 380, True, (0.1,)) for i in range(9)]
    nine, alone = judged(family)[0], judged(family[:1])[0]
    assert nine.sentence == (
        "m0 cannot be judged: Dice +.100 [+.100, +.100] against supervised on 380 test images of 6 patients, too few "
        "to tell in 9 comparisons (each patient counts alike)."
    )
    assert (nine.too_few, alone.too_few, alone.verdict) == (True, False, "helped")


def test_draws_that_disagree_tell_nothing_apart():
    """One draw gains .09 and the other loses .01: the mean is clear over images, and not over draws."""
    gains = np.linspace(0.03, 0.05, 30)
    about = ("crii", "supervised", "", paired_difference(gains, np.zeros(30)), 30, False)
    apart, same = (judged([Pairs(*about, by_draw, trainings=2)])[0] for by_draw in ((0.09, -0.01), (0.07, 0.01)))
    assert (apart.verdict, same.verdict) == ("did nothing", "helped")
    assert apart.sentence.startswith("crii did nothing measurable: Dice +.040 [")
    assert apart.sentence.endswith(" on 30 test images (p < .001; the draws disagree: +.090 -.010).")
    assert same.sentence.endswith(" on 30 test images (p < .001).")
    assert turned(same).sentence == judged([Pairs(
        "supervised", "crii", "", paired_difference(np.zeros(30), gains), 30, False, (-0.07, -0.01), trainings=2
    )])[0].sentence  # fmt: skip


def test_the_table_has_a_cell_for_every_header(make):
    supervised, crii = make.pair()
    headers, rows = compared(supervised, crii, make.settings("new", "ema")).table()
    assert [len(row) for row in rows] == [len(headers)] * 3
    first = dict(zip(headers, rows[1], strict=True))
    assert first["Run"] == "crii"
    assert first["Misses"] == "1 of 30"
    assert first["Train min"] == "10.2"
    assert first["Dice [95 %]"].startswith(".7")
    assert "HD95 (px)" in headers
    assert set(rows[2][2:11]) == {"–"}


def test_runs_of_one_method_get_names_that_differ(make):
    paths = [make.settings(name, "crii") for name in ("a", "b")]
    assert [row.label for row in compared(*paths).rows] == ["crii (a)", "crii (b)"]


def test_numbers_are_written_short():
    assert [number(v) for v in (0.8124, 1.0, -0.0126, 0.0, math.nan, math.inf)] == [
        ".812", "1.000", "-.013", ".000", "–", "–",
    ]  # fmt: skip
    assert [signed(v) for v in (0.041, -0.012, 0.0)] == ["+.041", "-.012", ".000"]
    assert interval(math.nan, 1.0) == ""
