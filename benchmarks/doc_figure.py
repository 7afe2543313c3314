"""Draw docs/images/dice.png from published results, and write what it shows into README.md as its alternative text.

    python benchmarks/doc_figure.py

One panel for each benchmark of PANELS: a line for each method, a small dot for each draw of labels, a large one for
their mean, and a broken line where plain training is with all masks. In the last panel, the rows of BY_STEPS over the
length of training, with the draws that all of them have there. The picture carries its own text, by which a test knows
that it is one of the results that are published now.
"""

import re

import matplotlib as mpl
from doc_tables import RESULTS, ROOT, Row, measured
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from criinet.report.text import number

PICTURE = ROOT / "docs" / "images" / "dice.png"
PLACE = re.compile(r"!\[[^\]]*\]\(docs/images/dice\.png\)")
PANELS = {
    "deep_supervision": "Polyps, pretrained",
    "deep_supervision_from_scratch": "Polyps, from scratch",
    "deep_supervision_heart": "Heart slices, pretrained",
    "deep_supervision_heart_from_scratch": "Heart slices, from scratch",
    "deep_supervision_from_scratch_long": "Polyps, from scratch, 3000 steps",
}
LENGTHS = (
    "deep_supervision_from_scratch",
    "deep_supervision_from_scratch_long",
    "deep_supervision_from_scratch_longer",
)
BY_STEPS = ("crii-plus", "crii", "unimatch", "supervised", "supervised-full")
BY_STEPS_TITLE = "Polyps, from scratch, by steps of training"
OURS, PEER, PLAIN = "#0072b2", "#d55e00", "#7a7a7a"
ALL_MASKS, SUPERVISED = "supervised-full", "supervised"


def found() -> dict[str, dict[str, list[float]]]:
    """Return the Dice of every draw, of each method in each panel, best mean first."""
    shown: dict[str, dict[str, list[float]]] = {}
    for name, title in PANELS.items():
        rows = sorted(measured(RESULTS / name, []), key=lambda row: row["draw"])
        dice = {row["row"]: [other["dice"] for other in rows if other["row"] == row["row"]] for row in rows}
        shown[title] = dict(sorted(dice.items(), key=lambda item: -mean(item[1])))
    return shown


def by_steps() -> dict[str, dict[int, list[float]]]:
    """Return the Dice of the rows of BY_STEPS at each length of training, of the draws that all of them have there."""
    found = [row for name in LENGTHS for row in measured(RESULTS / name, []) if row["row"] in BY_STEPS]
    rows = sorted(in_common(found), key=lambda row: (BY_STEPS.index(row["row"]), row["iterations"], row["draw"]))
    dice: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        dice.setdefault(row["row"], {}).setdefault(row["iterations"], []).append(row["dice"])
    return dice


def in_common(rows: list[Row]) -> list[Row]:
    """Return the rows of those draws of labels that every method has at their length of training.

    Other draws of one method alone would move its mean and not that of the others. With all masks nothing is drawn.
    """
    draws: dict[int, dict[str, set[int]]] = {}
    for row in rows:
        if row["row"] != ALL_MASKS:
            draws.setdefault(row["iterations"], {}).setdefault(row["row"], set()).add(row["draw"])
    common = {length: set.intersection(*of.values()) for length, of in draws.items()}
    return [row for row in rows if row["row"] == ALL_MASKS or row["draw"] in common[row["iterations"]]]


def mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def alternative_text() -> str:
    """Return what the figure shows, in words."""
    panels = [
        f"{title}: " + ", ".join(f"{method} {number(mean(dice))}" for method, dice in rows.items())
        for title, rows in found().items()
    ]
    lengths = [
        f"{method} " + " ".join(f"{number(mean(dice))} ({steps})" for steps, dice in of.items())
        for method, of in by_steps().items()
    ]
    panels.append(f"{BY_STEPS_TITLE}: " + ", ".join(lengths))
    return "Dice with 4 % of the masks. " + ". ".join(panels) + "."


def filled(text: str) -> str:
    """Return Markdown whose figure has its text."""
    return PLACE.sub(f"![{alternative_text()}](docs/images/dice.png)", text)


def color_of(method: str) -> str:
    """Return the colour of a method: ours, plain training, or a peer."""
    return OURS if method.startswith("crii") else PLAIN if method.startswith(SUPERVISED) else PEER


def draw_panel(axes: Axes, title: str, rows: dict[str, list[float]]) -> None:
    """Draw one benchmark."""
    methods = [method for method in rows if method != ALL_MASKS]
    for y, method in enumerate(methods):
        color = color_of(method)
        axes.scatter(rows[method], [y] * len(rows[method]), s=12, color=color, alpha=0.5, linewidths=0)
        axes.scatter([mean(rows[method])], [y], s=55, color=color, zorder=3)
        axes.annotate(number(mean(rows[method])), (1.02, y), xycoords=("axes fraction", "data"), va="center")
    if ALL_MASKS in rows:
        axes.axvline(mean(rows[ALL_MASKS]), color=PLAIN, linestyle=(0, (4, 3)), linewidth=1)
        axes.annotate("all masks ", (mean(rows[ALL_MASKS]), len(methods) - 0.5), ha="right", color=PLAIN)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.2, -0.6)
    axes.set_title(title, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda dice, _: number(dice, 2)))
    axes.set_xlabel("Dice")


def draw_steps(axes: Axes) -> None:
    """Draw Dice over the length of training, one line for each row, with its name at the end."""
    for method, of in by_steps().items():
        color, full = color_of(method), method == ALL_MASKS
        name = "all masks" if full else method
        for steps, dice in of.items():
            axes.scatter([steps] * len(dice), dice, s=12, color=color, alpha=0.5, linewidths=0)
        means = [mean(dice) for dice in of.values()]
        style = (0, (4, 3)) if full else "--" if method == "crii" else "-"
        axes.plot(list(of), means, color=color, linestyle=style, linewidth=1 if full else 1.6, marker="o", markersize=5)
        axes.annotate(f"  {name}", (max(of), means[-1]), va="center", color=color)
    lengths = sorted({steps for of in by_steps().values() for steps in of})
    axes.set_xlim(lengths[0] * 0.8, lengths[-1] * 1.3)
    axes.set_xticks(lengths, [str(steps) for steps in lengths])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda dice, _: number(dice, 2)))
    axes.set_title(BY_STEPS_TITLE, loc="left")
    axes.set_xlabel("steps")
    axes.set_ylabel("Dice")


def main() -> None:
    """Draw the picture and fill in its text."""
    shown = found()
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True}
    with mpl.rc_context(style | {"axes.grid.axis": "x", "grid.linewidth": 0.5, "axes.axisbelow": True}):
        figure = Figure(figsize=(9.2, 8.7), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        *panels, last = figure.subplots(3, 2).flat
        for axes, (title, rows) in zip(panels, shown.items(), strict=True):
            draw_panel(axes, title, rows)
        draw_steps(last)
        canvas.draw()
        figure.savefig(PICTURE, dpi=100, metadata={"Description": alternative_text(), "Software": None})
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
