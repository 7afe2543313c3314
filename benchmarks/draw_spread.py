"""Tell how much a difference of two rows moves from draw to draw of the labels, and how far its interval speaks of it.

    python benchmarks/draw_spread.py TABLE [TABLE ...]

TABLE is a folder of benchmarks/results. Of all pairs of its rows with three draws or more, on all test images: the
standard deviation of the difference over draws, pooled, beside the median standard error over images or patients (its
interval's width / 3.92); in points of Dice. `against_unimatch` is what `crii-plus` has over UniMatch with Student's
interval over the draws alone. Nothing is trained.
"""

import argparse
import csv
import math
from pathlib import Path
from statistics import fmean, median, stdev, variance
from typing import Any

from provenance import provenance
from scipy import stats

from criinet.data.files import write_json

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def pairs_of(table: str) -> list[Row]:
    """Return the comparisons of all pairs of rows, on all test images, with three draws or more."""
    with (RESULTS / table / "tables" / "comparisons.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["family"], row["scope"]) == ("pair", "all test images")]
    return [row for row in rows if len(row["by_draw"].split()) >= 3]


def points(row: Row) -> list[float]:
    """Return the difference of each draw, in points."""
    return [100 * float(change) for change in row["by_draw"].split()]


def over_draws(changes: list[float]) -> tuple[float, float]:
    """Return the mean over draws and half the width of Student's 95 % interval."""
    n = len(changes)
    return fmean(changes), float(stats.t.ppf(0.975, n - 1)) * stdev(changes) / math.sqrt(n)


def spread(table: str) -> Row:
    """Return the table's line."""
    pairs = pairs_of(table)
    errors = [100 * (float(row["high"]) - float(row["low"])) / 3.92 for row in pairs]
    line: Row = {
        "table": table,
        "pairs": len(pairs),
        "sd_over_draws": round(math.sqrt(fmean(variance(points(row)) for row in pairs)), 2),
        "standard_error": round(median(errors), 2),
    }
    names = ("crii-plus", "unimatch")
    for row in pairs:
        if (row["row"], row["against"]) in (names, names[::-1]):
            mean, half = over_draws([change if row["row"] == names[0] else -change for change in points(row)])
            line["against_unimatch"] = {"mean": round(mean, 1), "half_width": round(half, 1)}
    return line


def main() -> None:
    """Compute and write the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--results", type=Path, default=RESULTS / "draw_spread.json")
    asked = parser.parse_args()
    write_json(asked.results, {**provenance(), "tables": [spread(table) for table in asked.tables]})


if __name__ == "__main__":
    main()
