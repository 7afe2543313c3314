"""Numbers never round to more than was measured: no sign of nothing, no perfect Dice, no p that denies its verdict."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest

import criinet
from criinet.report.text import chance_text, interval, number, signed

NUMBERS = Path(criinet.__file__).parent / "review" / "static" / "numbers.js"


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.0001, ".000"), (0.9996, ".999"), (-0.9996, "-.999"), (1.0, "1.000"), (1.0004, "1.000"), (12.9996, "13.000")],
)
def test_a_share_is_not_rounded_past_zero_or_one(value, text):
    assert number(value) == text


def test_a_number_that_is_no_share_is_rounded():
    assert (number(0.997, 2), number(0.96, 1)) == ("1.00", "1.0")


@pytest.mark.parametrize(("value", "text"), [(0.0, ".000"), (-0.0004, ".000"), (0.0004, ".000"), (0.0006, "+.001")])
def test_a_difference_of_nothing_has_no_sign(value, text):
    assert signed(value) == text


def test_the_end_of_an_interval_shows_on_which_side_of_zero_it_lies():
    assert interval(-0.0252, -0.0004, signed) == "[-.025, -.0004]"
    assert interval(-0.00003, 0.021, signed) == "[-.00003, +.021]"
    assert interval(0.0, 0.0002, signed) == "[.000, +.0002]"
    assert interval(0.0, 0.9999) == "[.000, .999]"


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0004, "< .001"),
        (0.0123, ".012"),
        (0.0497, ".0497"),
        (0.04999, ".0499"),
        (0.05, ".050"),
        (0.123, ".12"),
        (0.9949, ".99"),
        (0.9999, "> .99"),
        (1.0, "1.00"),
        (math.nan, "–"),
    ],
)
def test_a_p_value_does_not_deny_its_verdict(p, text):
    assert chance_text(p) == text


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_page_of_a_review_writes_numbers_alike():
    """With a longer minus."""
    values = (-0.9996, -0.0252, -0.0004, -0.00003, 0.0, 0.0004, 0.4996, 0.9996, 1.0)
    show = f"console.log(JSON.stringify({json.dumps(values)}.map((v) => [number(Math.abs(v)), signed(v), end(v)])));"
    script = NUMBERS.read_text(encoding="utf-8") + show
    done = subprocess.run(["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=True)
    ends = [interval(v, v, signed)[1:].split(",")[0] for v in values]
    expected = [[number(abs(v)), signed(v), end] for v, end in zip(values, ends, strict=True)]
    assert json.loads(done.stdout.replace("−", "-")) == expected
