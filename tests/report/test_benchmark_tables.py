"""The tables of a benchmark say what lies beyond what was measured, and count what was not found."""

import math

import numpy as np
import pytest
from benchmark_grids import GridMaker

from criinet.report.benchmark.analysis import analyse
from criinet.report.benchmark.grid import read_grid
from criinet.report.benchmark.latex import as_latex
from criinet.report.benchmark.savings import Saving
from criinet.report.benchmark.tables import as_csv, dice_records, dice_table, saving_records, savings_table


def saving(**more: float) -> Saving:
    found = {"masks": 28, "dice": 0.77, "needed": 106, "low": 61, "high": 120, "fewest": 28, "most": 140} | more
    return Saving(dataset="moles", network="unet", label="crii", other="unimatch", **found)


def test_the_interval_of_the_masks_says_where_it_was_not_reached():
    """Numbers stay within what was measured; beside each stands whether it lies beyond."""
    one, two, three = saving_records([saving(high=math.inf), saving(low=0), saving(needed=0, low=0)])
    assert (one["low"], one["high"], one["bound"], one["low_bound"], one["high_bound"]) == (
        61,
        140,
        "",
        "",
        "more than most",
    )
    assert (two["low"], two["high"], two["bound"], two["low_bound"], two["high_bound"]) == (
        28,
        120,
        "",
        "at most fewest",
        "",
    )
    assert (three["needed"], three["bound"], three["low_bound"]) == (28, "at most fewest", "at most fewest")
    assert as_csv([one]).splitlines()[0].endswith(",bound,low_bound,high_bound")


def test_the_interval_of_the_masks_is_written_with_what_it_does_not_know():
    table = savings_table([saving(high=math.inf), saving(masks=59.3, low=0, fewest=59.3)])
    assert [row[6] for row in table.rows] == ["[61, more than 140]", "[at most 59, 120]"]
    text = as_latex([table])
    assert "[61, more than 140]" in text
    assert "[at most 59, 120]" in text


@pytest.fixture
def grid(tmp_path):
    """Two draws of eight cases: three of Dice 0 with one false alarm among them, and one; a row without a case list."""
    maker = GridMaker(tmp_path / "out")
    half = [0.5] * 5
    maker.run("crii", [0.0, 0.0, 0.0, *half], misses=1, best=0.1)
    maker.cases[2]["false_alarm"] = True
    maker.run("crii", [0.6, 0.0, 0.7, *half], draw=1, best=0.1)
    maker.run("supervised", np.full(8, 0.5), best=0.1)
    maker.cases = [case for case in maker.cases if case["row"] != "supervised"]
    return read_grid(maker.write())


def test_objects_with_dice_0_are_counted_beside_the_misses(grid):
    """A prediction that lies elsewhere is no miss, a false alarm is neither; what was not recorded is left out."""
    reports = analyse(grid)
    table = dice_table(reports[0], "px", grid)
    at = table.headers.index("Dice 0")
    assert table.headers[at - 1 : at + 2] == ("Misses", "Dice 0", "False alarms")
    assert {row[0]: row[at - 1 : at + 1] for row in table.rows} == {
        "crii": ("1 of 16", "3"),
        "supervised": ("0 of 8", "–"),
    }
    records = {(one["row"], one["checkpoint"]): one for one in dice_records(reports, grid)}
    assert [records["crii", name]["zero_dice"] for name in ("last", "best")] == [3, 0]
    assert records["supervised", "last"]["zero_dice"] is None
