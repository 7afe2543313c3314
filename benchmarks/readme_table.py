"""Write the table of README.md from benchmarks/results/defaults/results.json.

python benchmarks/readme_table.py
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "defaults" / "results.json"
PLACE = re.compile(r"(<!-- defaults table: .*? -->\n).*?(<!-- end -->)", re.DOTALL)


def table(results: Path = RESULTS) -> str:
    """Return the table as Markdown: a row for each data set, a column for each method."""
    found = json.loads(results.read_text(encoding="utf-8"))
    rows = [row for row in found["rows"] if row["checkpoint"] == "last" and row["class"] == "mean"]
    methods = list(dict.fromkeys(row["row"] for row in rows))
    lines = ["| data set | masks of images | " + " | ".join(methods) + " |", "|---|---|" + "---|" * len(methods)]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        by_method = {row["row"]: row for row in rows if row["dataset"] == dataset}
        first = next(iter(by_method.values()))
        cells = [cell(by_method[method]) if method in by_method else "" for method in methods]
        counts = f"{first['labeled']} of {first['labeled'] + first['unlabeled']}"
        lines.append(f"| {dataset} | {counts} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(row: dict[str, float]) -> str:
    """Return Dice with its interval."""
    return f"{row['dice']:.3f} [{row['dice_low']:.3f}, {row['dice_high']:.3f}]"


def main() -> None:
    """Put the table into README.md."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(PLACE.sub(lambda found: f"{found[1]}\n{table()}\n{found[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
