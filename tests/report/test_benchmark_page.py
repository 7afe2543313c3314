"""A benchmark's page stands for itself, its tables compile, and what is missing is said and never a traceback."""

import csv
import json
import math
import re
import shutil
import subprocess
from itertools import combinations

import numpy as np
import pytest
from benchmark_grids import GridMaker
from report_html import Page

from criinet.report import write_benchmark_report
from criinet.report.benchmark.figures import row_styles, short
from criinet.report.benchmark.latex import as_latex, escape
from criinet.report.benchmark.tables import TextTable

CASES = 12
METHODS = ("supervised", "mean-teacher", "cps_cutmix", "crii")


def written(folder):
    text = write_benchmark_report(folder).read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two shares of labels, two draws, four methods and full supervision; run folders with curves and pictures."""
    maker = GridMaker(tmp_path_factory.mktemp("bench") / "out")
    rng = np.random.default_rng(0)
    for fraction in (0.04, 0.1):
        for draw in (0, 1):
            level = np.linspace(0.5, 0.8, CASES) + fraction
            for index, row in enumerate(METHODS):
                dice = level + 0.02 * index + rng.normal(0, 0.004, CASES)
                name = maker.run(row, dice, fraction=fraction, draw=draw)
                run = maker.runs.settings(name, row)
                maker.runs.curves(run, ["supervised"], 0.7 + 0.02 * index)
                if draw == 0:
                    maker.runs.examples(run, names=["a", "b", "u"], shift=8 - 2 * index, coarse=row == "crii")
    maker.run("supervised", np.full(CASES, 0.93), fraction=1.0)
    folder = maker.write(
        failed=[{"run": "moles-u2pl", "reason": "loss became NaN at step 412."}], pending=["moles-bcp"]
    )
    return folder, *written(folder)


def test_the_page_says_verdicts_first_and_then_the_evidence(whole):
    _, found, _ = whole
    parts = ["crii ranks best over 4 blocks", "4 % labeled (8 masks): crii is best with Dice .7", "10 % labeled"]
    parts += [
        "The grid is incomplete: 17 runs measured, 1 failed, 1 pending.",
        "criinet benchmark peers.toml --out OUT",
    ]
    parts += ["2 CPU cores", "What was measured", "against supervised training", "against the best peer of each row"]
    parts += ["Average ranks over 4 blocks", "Dice against the number of masks", "Dice on hard and easy cases"]
    parts += ["Stability of the targets", "Examples from the test images", "Images per second", "loss became NaN"]
    places = [found.text.index(part) for part in parts]
    assert places == sorted(places)
    assert "moles-bcp" in found.text


def test_the_page_says_what_its_numbers_are_about(whole):
    _, found, _ = whole
    for said in (
        "another draw of labeled images or another seed moves Dice, often by more than the interval",
        "over groups (patients) where several images belong to one",
        "on straight lines between the measured amounts over the logarithm of the number of masks",
        "for which nothing at all of it was predicted",
        "final weights, 12 test images",
        "each group (patient) counted alike, so it can be other than in the tables above",
        "So a difference can be other than that of two means.",
    ):
        assert said in found.text


def test_nothing_is_loaded_from_elsewhere(whole):
    _, found, text = whole
    assert all(link.startswith(("#", "data:image/webp;base64,")) for link in found.links)
    assert not re.search(r"https?://|url\((?!#)|@import|<script|<link|<iframe", text)
    assert len(found.ids) == len(set(found.ids))
    assert all(link[1:] in found.ids for link in found.links if link.startswith("#"))
    svg = "".join(re.findall(r"<svg aria-hidden.*?</svg>", text, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) == set()


def test_the_same_cases_are_shown_for_every_method(whole):
    _, found, _ = whole
    alts = [attrs["alt"] for tag, attrs in found.tags if tag == "img"]
    for case in ("a", "b"):
        assert sum(re.fullmatch(rf"\S+ on {case}, Dice \S+", alt) is not None for alt in alts) == len(METHODS)


def test_figures_and_tables_are_written(whole):
    folder, _, _ = whole
    stems = {"critical_difference", "label_efficiency", "contrast_quartiles", "stability", "examples_1"}
    files = {path.name for path in (folder / "figures").iterdir()}
    assert files == {f"{stem}{kind}" for stem in stems for kind in (".png", ".pdf")}
    assert b"/Subtype /Type0" in (folder / "figures" / "critical_difference.pdf").read_bytes(), "fonttype 42"
    names = {path.name for path in (folder / "tables").iterdir()}
    assert names == {
        f"{t}{k}"
        for t in ("dice", "strata", "stability", "cost", "comparisons", "savings", "wins")
        for k in (".csv", ".tex")
    }


def test_the_tables_and_the_summary_hold_the_numbers(whole):
    folder, _, _ = whole
    with (folder / "tables" / "dice.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 5 * 2, "two settings, four methods and full supervision, two checkpoints"
    full = next(row for row in rows if row["row"] == "supervised, all labels" and row["checkpoint"] == "last")
    assert (full["dice"], full["dice_sd"], full["misses"]) == ("0.93", "", "0")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["settings"][0]["entries"][-1]["last"]["values"]["dice"] == {"mean": pytest.approx(0.93), "sd": None}
    assert summary["ranking"]["rows"]["crii"] == 1
    assert summary["ranking"]["blocks"] == 4
    assert {"row": "crii", "other": "supervised", "wins": 4, "ties": 0, "losses": 0} in summary["wins"]
    comparisons = (folder / "tables" / "comparisons.tex").read_text()
    assert r"cps\_cutmix & supervised & $+$.0" in comparisons
    assert r"\textbf{.7" in (folder / "tables" / "dice.tex").read_text()


def test_every_pair_of_rows_is_compared_once(whole):
    folder, _, _ = whole
    with (folder / "tables" / "comparisons.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["family"] == "pair" and row["fraction"] == "0.04"]
    on_all = [row for row in rows if row["scope"] == "all test images"]
    pairs = [frozenset((row["row"], row["against"])) for row in on_all]
    assert set(pairs) == {frozenset(pair) for pair in combinations(METHODS, 2)}
    assert len(pairs) == len(set(pairs)) == len(rows) - len(on_all), "the hardest quarter has each pair too"
    assert all(float(row["difference"]) > 0 for row in on_all), "the better row stands first"
    third = next(row for row in on_all if (row["row"], row["against"]) == ("crii", "mean-teacher"))
    assert float(third["difference"]) == pytest.approx(0.04, abs=0.005)


def test_the_stability_table_follows_the_targets(whole):
    folder, _, _ = whole
    with (folder / "tables" / "stability.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["row"] for row in rows} == set(METHODS), "full supervision has no unlabeled images"
    changes = {row["row"]: [float(row[f"change_{quarter}"]) for quarter in (1, 2, 3, 4)] for row in rows}
    assert all(sorted(found, reverse=True) == found for found in changes.values()), "the targets of the runs calm down"
    summary = json.loads((folder / "summary.json").read_text())
    assert [row["row"] for row in summary["stability"]] == [row["row"] for row in rows]
    for row in rows:
        assert float(row["objects"]) == pytest.approx(0.12 + 0.03 * math.sin(6), abs=1e-5), "of the last look"
        assert float(row["objects_labeled"]) == pytest.approx(0.13)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_tables_compile(whole, tmp_path):
    folder, _, _ = whole
    tables = "".join(rf"\input{{{path}}}" for path in sorted((folder / "tables").glob("*.tex")))
    odd = as_latex([TextTable(r"a_b & 100% \x", ("{", "$^~"), (("[x", "<.001"), ('#"|', "±–é")))])
    (tmp_path / "all.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{tables}{odd}\end{{document}}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & c", r"a\_b \& c"),
        ("100 % of $5 #1", r"100 \% of \$5 \#1"),
        ("\\{x}^~", r"\textbackslash{}\{x\}\textasciicircum{}\textasciitilde{}"),
        (".812 ± .010", r".812 $\pm$ .010"),
        ("< .001 – é\n日", "$<$ .001 -- é ?"),
    ],
)
def test_latex_prints_text_as_it_stands(text, expected):
    assert escape(text) == expected


def test_a_row_of_latex_never_starts_with_a_bracket():
    """A bracket after a line break would be read as its option, and a star too."""
    text = as_latex([TextTable("caption", ("Row", "Dice"), (("[x]", "+.010"), ("*", "-.010")))])
    assert r"{}[x] & $+$.010 \\" in text
    assert r"{}* & $-$.010 \\" in text


def test_twenty_rows_are_told_apart():
    styles = row_styles(["supervised", *(f"method-{i}" for i in range(24))])
    assert len({(style.color, style.marker, style.line) for style in styles.values()}) == 25
    assert styles["supervised"].index == 0


def test_names_are_never_taken_as_html_or_mathematics(tmp_path):
    evil = '<script>alert("$x^$")</script>'
    maker = GridMaker(tmp_path / "out")
    for row in ("supervised", evil):
        for draw in (0, 1):
            for fraction in (0.04, 0.1):
                maker.run(row, np.linspace(0.5, 0.8, 8), draw=draw, dataset=evil, fraction=fraction)
    _, text = written(maker.write(name=evil, description=evil, command=evil, failed=[{"run": evil, "reason": evil}]))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 10


def test_one_run_alone_has_a_page(tmp_path):
    maker = GridMaker(tmp_path / "out")
    maker.run("crii", np.linspace(0.5, 0.8, 8))
    found, _ = written(maker.write())
    assert "crii reaches Dice .650 [" in found.text
    assert "there is no supervised row, so nothing is said of help or harm" in found.text
    assert "Who beats whom" not in found.text


def test_numbers_of_validation_cases_are_called_that(tmp_path):
    maker = GridMaker(tmp_path / "out")
    maker.run("crii", np.linspace(0.5, 0.8, 8))
    found, _ = written(maker.write(measure="val"))
    assert "Measured on cases held out for validation, in the place of test cases" in found.text
    found, _ = written(maker.write(measure="test"))
    assert "held out for validation" not in found.text


def test_full_supervision_alone_has_a_page(tmp_path):
    maker = GridMaker(tmp_path / "out")
    maker.run("supervised", np.linspace(0.5, 0.8, 8), fraction=1.0)
    found, _ = written(maker.write())
    assert re.search(r"supervised, all labels reaches Dice \.650 \[.*\] on 8 test images\.", found.text)


def test_nothing_measured_yet_has_a_page(tmp_path):
    found, _ = written(GridMaker(tmp_path / "out").write(pending=["moles-crii-4-0-0"]))
    for said in ("No Dice is claimed", "No run has results yet", "1 pending", "0 runs measured"):
        assert said in found.text


def test_without_strata_cases_and_run_folders_the_means_remain(tmp_path):
    maker = GridMaker(tmp_path / "out")
    for row, level in (("supervised", 0.7), ("crii", 0.8)):
        maker.run(row, np.full(8, level), strata=False)
    found, _ = written(maker.write(cases=False))
    assert "No method is judged case by case: cases.csv is missing." in found.text
    assert "crii has the highest Dice, .800." in found.text
    assert "could not be read: their curves and pictures are left out." in found.text
    assert "Dice on hard and easy cases" not in found.text
    assert "Average ranks are not drawn" in found.text


def test_a_damaged_run_folder_costs_its_pictures_only(tmp_path):
    maker = GridMaker(tmp_path / "out")
    name = maker.run("crii", np.linspace(0.5, 0.8, 8))
    (maker.runs.settings(name, "crii") / "examples.json").write_text("{")
    found, _ = written(maker.write())
    assert f"The folder of {name} could not be read: its curves and pictures are left out." in found.text


def test_two_classes_are_averaged_in_a_case(tmp_path):
    """A case with Dice .4 and .8 counts as .6; a class without an object is left out."""
    maker = GridMaker(tmp_path / "out")
    maker.run("crii", np.full(8, 0.4))
    second = [{**case, "class": "rim", "dice": 0.8 if case["case"] != "test_000" else ""} for case in maker.cases]
    maker.cases += second
    write_benchmark_report(maker.write())
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    last = summary["settings"][0]["entries"][0]["last"]
    assert last["low"] < (7 * 0.6 + 0.4) / 8 < last["high"] < 0.62


def test_long_names_keep_their_beginning_and_their_end():
    assert short("ISIC_0013346") == "ISIC_0013346"
    assert short("patient052_frame02_slice_6") == "patient0…me02_slice_6"
    assert len(short("x" * 80)) == 21
