"""Fill the tables of README.md and docs/ from benchmarks/results, so that no number is typed.

    python benchmarks/doc_tables.py

A table stands between `<!-- methods LAYOUT: NAME -->` and `<!-- end -->`; NAME is a folder of benchmarks/results.
"Across" has a row for each data set, "down" one for each method, with its draws and what was found against supervised
training, "labels" one for each method and a column for each number of masks. `NAME; ROW ROW` shows these rows alone.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from criinet.metrics.statistics import Paired, verdict
from criinet.report.text import interval, number, signed

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PLACE = re.compile(r"<!-- methods (across|down|labels): (([^\s;]+)(?:; ([^>]+))?) -->\n.*?<!-- end -->", re.DOTALL)
Row = dict[str, Any]


def filled(text: str) -> str:
    """Return Markdown with every table made anew."""
    layouts = {"across": across, "down": down, "labels": labels}

    def table(found: re.Match[str]) -> str:
        lines = layouts[found[1]](RESULTS / found[3], found[4].split() if found[4] else [])
        return f"<!-- methods {found[1]}: {found[2]} -->\n\n" + "\n".join(lines) + "\n\n<!-- end -->"

    return PLACE.sub(table, text)


def measured(folder: Path, shown: list[str]) -> list[Row]:
    """Return what each run's last checkpoint reached, averaged over classes: of all rows, or of those to show."""
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    rows = [row for row in found["rows"] if row["checkpoint"] == "last" and row["class"] == "mean"]
    missing = set(shown) - {row["row"] for row in rows}
    if missing:
        raise SystemExit(f"{folder} has no row {', '.join(sorted(missing))}.")
    return [row for row in rows if not shown or row["row"] in shown]


def across(folder: Path, shown: list[str]) -> list[str]:
    """Return a row for each data set and a column for each method: Dice of one run with its interval over images."""
    rows = measured(folder, shown)
    methods = list(dict.fromkeys(row["row"] for row in rows))
    lines = ["| data set | masks of images | " + " | ".join(methods) + " |", "|---|---|" + "---|" * len(methods)]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        by_method = {row["row"]: row for row in rows if row["dataset"] == dataset}
        first = next(iter(by_method.values()))
        cells = [with_interval(by_method[method]) if method in by_method else "" for method in methods]
        counts = f"{first['labeled']} of {first['labeled'] + first['unlabeled']}"
        lines.append(f"| {dataset} | {counts} | {' | '.join(cells)} |")
    return lines


def with_interval(row: Row) -> str:
    """Return Dice with its interval; without one where there are too few images or patients for it."""
    return with_zeros(f"{number(row['dice'])} {ends(row['dice_low'], row['dice_high'])}".strip())


def ends(low: float | None, high: float | None, write: Callable[[float, int], str] = number) -> str:
    """Return an interval in writing; nothing where there is none."""
    return "" if low is None or high is None else interval(low, high, write)


def with_zeros(text: str) -> str:
    """Return numbers as ``.812`` written as ``0.812``, as the tables of the documentation have them."""
    return re.sub(r"(?<!\d)\.(?=\d)", "0.", text)


def average(dice: list[float]) -> str:
    """Return the mean in writing; nothing where there is no Dice."""
    return with_zeros(number(sum(dice) / len(dice))) if dice else ""


def labels(folder: Path, shown: list[str]) -> list[str]:
    """Return a row for each method: its mean Dice with each amount of masks, and how many runs that is the mean of.

    Where whole groups are drawn, one amount is another number of masks in each draw.
    """
    rows = measured(folder, shown)
    counts: dict[str, set[int]] = {}
    dice: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        amount = str(row.get("amount") or row["labeled"])  # Older results know the number alone.
        counts.setdefault(amount, set()).add(row["labeled"])
        dice.setdefault(row["row"], {}).setdefault(amount, []).append(row["dice"])
    amounts = sorted(counts, key=lambda amount: min(counts[amount]))
    titles = [" to ".join(map(str, sorted({min(counts[a]), max(counts[a])}))) + " masks" for a in amounts]

    def cell(found: list[float]) -> str:
        return f"{average(found)} ({len(found)})" if found else ""

    lines = ["| method | " + " | ".join(titles) + " |", "|---|" + "---|" * len(amounts)]
    for method, of in sorted(dice.items(), key=lambda item: -max(max(found) for found in item[1].values())):
        lines.append(f"| {method} | {' | '.join(cell(of.get(amount, [])) for amount in amounts)} |")
    return lines


def down(folder: Path, shown: list[str]) -> list[str]:
    """Return a row for each method, best first: for each data set its mean Dice, each draw's, and its verdict."""
    rows = measured(folder, shown)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    datasets = [name for name in dict.fromkeys(row["dataset"] for row in rows) if compared(rows, name)]
    rows = [row for row in rows if row["dataset"] in datasets]
    effects = {
        (setting["setting"]["dataset"], effect["run"]): effect
        for setting in summary["settings"]
        for effect in setting["supervised"]
        if not effect["scope"] and not effect["class_name"]
    }

    def draws(method: str, dataset: str) -> list[float]:
        found = [row for row in rows if (row["row"], row["dataset"]) == (method, dataset)]
        return [row["dice"] for row in sorted(found, key=lambda row: (row["draw"], row["seed"]))]

    def standing(method: str) -> float:
        means = [sum(found) / len(found) for found in (draws(method, dataset) for dataset in datasets) if found]
        return sum(means) / len(means)

    heads = [part for dataset in datasets for part in (f"{dataset}", "each draw", "against supervised")]
    lines = ["| method | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for method in sorted(dict.fromkeys(row["row"] for row in rows), key=standing, reverse=True):
        cells: list[str] = []
        for dataset in datasets:
            found = draws(method, dataset)
            each = " ".join(average([dice]) for dice in found)
            cells += [average(found), each, against(effects.get((dataset, method)))]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def compared(rows: list[Row], dataset: str) -> bool:
    """Whether more than one method has a run on a data set: of a benchmark that was cut off, one may stand alone."""
    return len({row["row"] for row in rows if row["dataset"] == dataset}) > 1


def against(effect: Row | None) -> str:
    """Return a verdict with the paired difference that it follows from."""
    if effect is None:
        return ""
    paired = effect["paired"]
    change = f"{signed(paired['mean'])} {ends(paired['low'], paired['high'], signed)}".strip()
    return with_zeros(f"{word(effect)} {change}")


def word(effect: Row) -> str:
    """Return the verdict; "draws disagree" where interval and p tell two rows apart and the draws alone do not."""
    if "by_draw" not in effect:
        return str(effect["verdict"])
    paired = Paired(**{name: math.nan if value is None else value for name, value in effect["paired"].items()})
    return "draws disagree" if verdict(paired) != effect["verdict"] else str(effect["verdict"])


def main() -> None:
    """Fill the tables of every Markdown file."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        path.write_text(filled(text), encoding="utf-8")


if __name__ == "__main__":
    main()
