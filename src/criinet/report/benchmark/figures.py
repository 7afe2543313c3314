"""Charts of a benchmark: ranks, label efficiency, hard cases, stability of the targets, and examples."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullFormatter, NullLocator
from numpy.typing import NDArray

from criinet.report.benchmark.analysis import Entry, SettingReport, with_several_amounts
from criinet.report.benchmark.grid import Grid, GridRun
from criinet.report.benchmark.stability import Stability
from criinet.report.benchmark.standing import Standing
from criinet.report.comparison import SUPERVISED
from criinet.report.figures import Panel, Style, Ticks, label_styles, line_panel, plain, quartile_panel, save_figure
from criinet.report.overlays import Gallery, Strip
from criinet.report.records import Stratum
from criinet.report.text import number

RANKS, EFFICIENCY, QUARTILES, STABILITY = "critical_difference", "label_efficiency", "contrast_quartiles", "stability"
_SIZE = (4.3, 3.2)
_LABEL_INCHES, _AXIS_INCHES = 0.078, 4.0
_BAR, _LINE = 0.3, 0.55
"""Distance between bars of rows that cannot be told apart, and between lines of labels, in units of the y axis."""


def row_styles(labels: Sequence[str]) -> dict[str, Style]:
    """Return a style for each row; the supervised one is gray."""
    baseline = labels.index(SUPERVISED) if SUPERVISED in labels else None
    return {style.label: style for style in label_styles(labels, baseline)}


def benchmark_panels(
    grid: Grid,
    reports: Sequence[SettingReport],
    found: Standing,
    styles: Mapping[str, Style],
    stability: Sequence[Sequence[Stability]],
) -> list[Panel]:
    """Return every chart that there is data for, group by group; ``stability`` has the rows of each report."""
    panels = [rank_panel(found, styles), *_efficiency_panels(reports, styles), *_effort_panels(grid, styles)]
    panels += [_quartiles(i, report, styles) for i, report in enumerate(reports)]
    panels += [
        _stability_panel(i, report.title, rows, styles)
        for i, (report, rows) in enumerate(zip(reports, stability, strict=True))
    ]
    return [panel for panel in panels if panel is not None]


def rank_panel(found: Standing, styles: Mapping[str, Style]) -> Panel | None:
    """Return the critical-difference diagram: average ranks on a line, bars under rows that cannot be told apart.

    The better half is labeled to the left, the other to the right; the outermost is on top, so that no line crosses a
    label. None below two rows or two blocks.

    Reference: Demšar, JMLR 2006, figure 1.
    """
    ranked = found.ranked
    if len(ranked) < 2 or found.ranking.blocks < 2:
        return None
    bars = _bars(found)
    sides = math.ceil(len(ranked) / 2)
    low = 0.5 + _BAR * (1 + max(bars.values(), default=-1)) + _LINE * sides
    text_inches = 0.55 + _LABEL_INCHES * max(len(label) + 5 for label, _ in ranked)
    margin = text_inches * (len(ranked) - 1) / _AXIS_INCHES

    def draw(axes: Axes) -> None:
        axes.set_axis_off()
        axes.set_xlim(1 - margin, len(ranked) + margin)
        axes.set_ylim(-low, 1.7)
        _draw_axis(axes, len(ranked), found.ranking.critical_difference)
        for group, level in bars.items():
            ends = [rank for label, rank in ranked if label in group]
            y = -0.45 - _BAR * level
            axes.plot([min(ends) - 0.03, max(ends) + 0.03], [y, y], color=_ink(), linewidth=3, solid_capstyle="round")
        top = -0.5 - _BAR * (1 + max(bars.values(), default=-1))
        for index, (label, rank) in enumerate(ranked):
            left = index < sides
            y = top - _LINE * (index if left else len(ranked) - 1 - index)
            edge = 1 - margin * 0.04 if left else len(ranked) + margin * 0.04
            _draw_label(axes, styles[label], (rank, y, edge), left=left)

    ranks = "; ".join(f"{label} {number(rank, 2)}" for label, rank in ranked)
    difference = number(found.ranking.critical_difference, 2)
    text = f"Average ranks over {found.ranking.blocks} blocks: {ranks}. The critical difference is {difference}."
    size = (_AXIS_INCHES + 2 * text_inches, 0.34 * (low + 1.7) + 0.2)
    return Panel(RANKS, RANKS, f"Average ranks over {found.ranking.blocks} blocks", text, draw, size)


def save_examples(shown: Gallery, labels: Sequence[str], stem: Path) -> list[Path]:
    """Write the examples as PNG and PDF: a column for each case, a row for each method."""
    return save_figure(lambda: _example_figure(shown.strips, labels), stem)


def _bars(found: Standing) -> dict[tuple[str, ...], int]:
    """Return on which level the bar of every indistinct group lies, so that no two touch."""
    ranks = dict(found.ranked)
    ends: list[float] = []
    levels: dict[tuple[str, ...], int] = {}
    for group in found.groups:
        free = [level for level, end in enumerate(ends) if end < ranks[group[0]] - 0.1]
        level = free[0] if free else len(ends)
        ends[level : level + 1] = [ranks[group[-1]]]
        levels[group] = level
    return levels


def _ink() -> str:
    return str(mpl.rcParams["text.color"])


def _draw_axis(axes: Axes, count: int, difference: float) -> None:
    """Draw the line of ranks, and above it the length of the critical difference, if it fits."""
    axes.plot([1, count], [0, 0], color=_ink(), linewidth=1, solid_capstyle="butt")
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, 0.18], color=_ink(), linewidth=1)
        axes.text(rank, 0.26, str(rank), ha="center", va="bottom", fontsize=8)
    said = f"critical difference {number(difference, 2)}"
    if difference <= count - 1:
        for x in (1, 1 + difference):
            axes.plot([x, x], [1.02, 1.26], color=_ink(), linewidth=1)
        axes.plot([1, 1 + difference], [1.14, 1.14], color=_ink(), linewidth=1.4)
        _say(axes, said, (1 + difference, 1.14), left=False, size=8)
    else:
        axes.text(1, 1.14, f"{said}, longer than the line of ranks", ha="left", va="center", fontsize=8)


def _draw_label(axes: Axes, style: Style, at: tuple[float, float, float], *, left: bool) -> None:
    """Draw a line from a rank down and outwards to its label."""
    rank, y, edge = at
    axes.plot([rank, rank, edge], [0, y, y], color=style.color, linewidth=1, solid_joinstyle="miter")
    axes.plot([rank], [0], color=style.color, marker=style.marker, markersize=4.5, zorder=3)
    text = f"{plain(style.label)} {number(rank, 2)}" if left else f"{number(rank, 2)} {plain(style.label)}"
    _say(axes, text, (edge, y), left=left, size=9)


def _say(axes: Axes, text: str, at: tuple[float, float], *, left: bool, size: float) -> None:
    """Write a text a little to the left or right of a point."""
    side = "right" if left else "left"
    offset = (-5 if left else 5, 0)
    axes.annotate(text, at, offset, textcoords="offset points", ha=side, va="center", fontsize=size)


def _efficiency_panels(reports: Sequence[SettingReport], styles: Mapping[str, Style]) -> list[Panel | None]:
    """Return a chart for each dataset and network that has several shares of labels."""
    several = with_several_amounts(reports)
    networks = {members[0].setting.network for members in several}
    return [_efficiency(i, members, styles, len(networks) > 1) for i, members in enumerate(several)]


def _efficiency(index: int, members: Sequence[SettingReport], styles: Mapping[str, Style], named: bool) -> Panel:
    """Dice against the number of masks, with sd over draws and seeds; full supervision is a dotted line."""
    masks = [report.amount for report in members]
    lines: dict[str, list[tuple[float, Entry]]] = {}
    for x, report in zip(masks, members, strict=True):
        for entry in report.rows:
            lines.setdefault(entry.label, []).append((x, entry))
    full = next((entry for report in members for entry in report.entries if entry.full), None)

    def draw(axes: Axes) -> None:
        for label, points in lines.items():
            x = [at for at, _ in points]
            mean = np.array([entry.last.dice.mean for _, entry in points])
            sd = np.array([entry.last.dice.sd for _, entry in points])
            axes.fill_between(x, mean - sd, mean + sd, color=styles[label].color, alpha=0.12, linewidth=0)
            axes.plot(x, mean, **styles[label].drawn, markersize=5)
        if full is not None:
            axes.axhline(full.last.dice.mean, color=_ink(), linestyle=":", linewidth=1)
            said = f"{full.label} {number(full.last.dice.mean)}"
            axes.annotate(plain(said), (0.02, full.last.dice.mean), xycoords=("axes fraction", "data"), fontsize=8,
                          xytext=(0, 2), textcoords="offset points", va="bottom")  # fmt: skip
        _mask_axis(axes, masks)

    setting = members[0].setting
    title = f"{setting.dataset}, {setting.network}" if named else setting.dataset
    ends = "; ".join(f"{label} {number(points[-1][1].last.dice.mean)}" for label, points in lines.items())
    text = f"Dice against the number of labeled masks on {title}. With {masks[-1]:.0f} masks: {ends}."
    return Panel(f"{EFFICIENCY}_{index}", EFFICIENCY, title, text, draw, _SIZE)


def _effort_panels(grid: Grid, styles: Mapping[str, Style]) -> list[Panel]:
    """Return charts of Dice against what a simulated annotator changed, for each dataset and network that has one."""
    together: dict[tuple[str, str], list[GridRun]] = {}
    for run in grid.runs:
        if math.isfinite(run.fact("round")):
            together.setdefault((run.setting.dataset, run.setting.network), []).append(run)
    several = len({network for _, network in together}) > 1
    return [
        _effort(i, measure, f"{dataset}, {network}" if several else dataset, runs, styles)
        for i, ((dataset, network), runs) in enumerate(together.items())
        for measure in ("corrected_pixels", "corrected_outline")
    ]


def _effort(index: int, measure: str, where: str, runs: Sequence[GridRun], styles: Mapping[str, Style]) -> Panel:
    """Mean Dice of each row and round over draws and seeds, against the mean effort of the masks drawn until then."""
    rounds: dict[str, dict[float, list[tuple[float, float]]]] = {}
    for run in runs:
        row = run.results.row()
        if row is not None:
            point = (run.fact(measure), row.value("dice"))
            rounds.setdefault(run.label, {}).setdefault(run.fact("round"), []).append(point)
    lines = {label: [np.mean(points, axis=0) for _, points in sorted(found.items())] for label, found in rounds.items()}
    what = measure.replace("_", " ")

    def draw(axes: Axes) -> None:
        for label, points in lines.items():
            axes.plot([x for x, _ in points], [y for _, y in points], **styles[label].drawn, markersize=5)
        axes.set_xlabel(what)
        axes.set_ylabel("Dice")
        axes.yaxis.set_major_formatter(Ticks())

    ends = "; ".join(f"{label} {number(points[-1][1])} after {points[-1][0]:.0f}" for label, points in lines.items())
    text = f"Dice against {what} of a simulated annotator on {where}. {ends}."
    return Panel(f"{measure}_{index}", EFFICIENCY, f"{where}: Dice against {what}", text, draw, _SIZE)


def _mask_axis(axes: Axes, masks: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(masks, [f"{x:.0f}" for x in masks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("labeled masks")
    axes.set_ylabel("Dice")
    axes.yaxis.set_major_formatter(Ticks())


def _quartiles(index: int, report: SettingReport, styles: Mapping[str, Style]) -> Panel | None:
    """Dice by quartile of contrast, the mean over the runs of each row."""
    rows: dict[str, list[Stratum]] = {}
    for entry in report.rows:
        spreads = entry.last.strata.get("contrast", ())
        rows[entry.label] = [
            Stratum("last", "contrast", quartile, 0, s.mean, math.nan, math.nan, math.nan)
            for quartile, s in enumerate(spreads, 1)
            if math.isfinite(s.mean)
        ]
    shown = [style for label, style in styles.items() if rows.get(label)]
    return quartile_panel(f"{QUARTILES}_{index}", QUARTILES, report.title, shown, rows, _SIZE)


def _stability_panel(index: int, title: str, rows: Sequence[Stability], styles: Mapping[str, Style]) -> Panel | None:
    """Change of the targets over training, the mean over the runs of each row."""
    lines = {row.label: list(row.changes.items()) for row in rows}
    shown = [style for label, style in styles.items() if label in lines]
    return line_panel(f"{STABILITY}_{index}", STABILITY, title, shown, lines, "mean change of the targets")


def _example_figure(strips: Sequence[Strip], labels: Sequence[str]) -> Figure:
    rows = ["image", "ground truth", *labels]
    height, width = strips[0].tiles[0].pixels.shape[:2]
    tall = 1.3 * height / width + 0.17
    close = ConstrainedLayoutEngine(h_pad=0.01, w_pad=0.02, hspace=0, wspace=0)
    figure = Figure(figsize=(1.35 * len(strips) + 1.0, tall * len(rows) + 0.2), layout=close)
    grid: NDArray[Any] = figure.subplots(len(rows), len(strips), squeeze=False)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    for axes, row in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(plain(row), rotation=0, ha="right", va="center", fontsize=8)
    for column, strip in zip(grid.T, strips, strict=True):
        for axes, row in zip(column, rows, strict=True):
            tile = next((t for t in strip.tiles if row in (t.owner, t.title)), None)
            if tile is not None:
                axes.imshow(tile.pixels)
                axes.set_title(
                    plain(tile.title.removeprefix(tile.owner)).strip() if tile.owner else "", fontsize=7, pad=2
                )
        column[0].set_title(plain(short(strip.case)), fontsize=7, pad=3)
    return figure


def short(name: str) -> str:
    """Shorten a name in its middle to the width of a column, 21 letters."""
    return name if len(name) <= 21 else f"{name[:8]}…{name[-12:]}"
