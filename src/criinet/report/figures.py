"""Charts of recorded runs: inline SVG for the page, PNG and PDF for a paper."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray

from criinet.data.files import write_atomically
from criinet.metrics.difficulty import STRATA
from criinet.report.comparison import SUPERVISED, run_labels
from criinet.report.overlays import Strip, gallery
from criinet.report.records import MonitorRecord, RecordedRun, Stratum
from criinet.report.text import number

BASELINE_COLOR = "#7a7a7a"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#44aa99")
"""One for each run that is not the supervised baseline: Okabe & Ito's, then two of Paul Tol's."""

LINES = {"-": "", "--": "7 3", ":": "2 2"}
"""Matplotlib's name of a line, and its dashes in a legend."""

MARKERS = {
    "o": "M19 5a4 4 0 1 1-8 0a4 4 0 1 1 8 0z",
    "s": "M11.5 1.5h7v7h-7z",
    "^": "M15 .8l4.6 8h-9.2z",
    "D": "M15 .4l4.6 4.6l-4.6 4.6l-4.6-4.6z",
    "v": "M15 9.2l4.6-8h-9.2z",
}
"""Matplotlib's name of a marker, and its outline in a legend 30 wide and 10 high."""

INK, FAINT = "#010203", "#040506"
"""Stand-ins for the page's own text and grid colours; figures saved to files get black and gray."""

SIZE = (4.3, 2.75)
"""Width and height of a chart, in inches."""

_POINTS = 60
_SPACED = 8
_KEY_MARK, _KEY_LETTER = 0.65, 0.085
"""Width of a mark and of a letter in a legend, in inches."""

_STYLE: Mapping[str, Any] = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "criinet",
}


@dataclass(frozen=True)
class Style:
    """How one run is drawn: colour and marker differ, so that a gray print tells runs apart too."""

    label: str
    color: str
    marker: str
    line: str = "-"

    @property
    def index(self) -> int:
        """Number of its colour among the page's variables."""
        return (BASELINE_COLOR, *COLORS).index(self.color)

    @property
    def outline(self) -> str:
        """Path of its marker in a legend."""
        return MARKERS[self.marker]

    @property
    def dashes(self) -> str:
        """Dashes of its line in a legend."""
        return LINES[self.line]

    @property
    def drawn(self) -> dict[str, Any]:
        """What Matplotlib takes."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.line}


@dataclass(frozen=True)
class Panel:
    """One chart.

    name: a file name's worth. group: charts that belong together. title: says what is drawn. text: what a reader who
    cannot see it should know. size: in inches.
    """

    name: str
    group: str
    title: str
    text: str
    draw: Callable[[Axes], None]
    size: tuple[float, float] = SIZE


def run_styles(runs: Sequence[RecordedRun]) -> list[Style]:
    """Give every run a style of its own; the first supervised run is gray."""
    baseline = next((index for index, run in enumerate(runs) if run.method == SUPERVISED), None)
    return label_styles(run_labels(runs), baseline)


def label_styles(labels: Sequence[str], baseline: int | None) -> list[Style]:
    """Give every label a colour and a marker, gray at the index ``baseline``; lines change once colours run out."""
    styles: list[Style] = []
    others = 0
    for index, label in enumerate(labels):
        color = BASELINE_COLOR if index == baseline else COLORS[others % len(COLORS)]
        line = list(LINES)[others // len(COLORS) % len(LINES)] if index != baseline else "-"
        others += index != baseline
        styles.append(Style(label, color, list(MARKERS)[index % len(MARKERS)], line))
    return styles


def panels(runs: Sequence[RecordedRun]) -> list[Panel]:
    """Return every chart that the runs have data for, group by group: quartiles, rounds, curves, losses, stability."""
    styled = list(zip(runs, run_styles(runs), strict=True))
    found = [_quartile_panel(styled, by) for by in STRATA]
    found += [_rounds_panel(styled, "masks"), _rounds_panel(styled, "minutes")]
    found += [_validation_panel(styled), _loss_panel(styled)]
    terms = dict.fromkeys(name for run in runs for record in run.train for name in record.terms)
    found += [_term_panel(styled, name) for name in terms]
    found += [_change_panel(styled), _confident_panel(styled)]
    classes = dict.fromkeys(name for run in runs for name in run.classes[1:])
    found += [_area_panel(styled, name) for name in classes]
    return [panel for panel in found if panel is not None]


def inline_svg(panel: Panel) -> str:
    """Draw a panel as SVG to stand inside HTML: text stays text and takes the page's colours, nothing is loaded."""
    with mpl.rc_context(chart_settings(INK, FAINT)):
        figure = Figure(figsize=panel.size, layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        panel.draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _for_page(buffer.getvalue(), panel.name)


def save_figures(runs: Sequence[RecordedRun], folder: Path) -> list[Path]:
    """Write every chart and the overlays of the test examples into ``folder`` as PNG and PDF, and return the files.

    Raises:
        StorageError: if the folder cannot be written.
    """
    written = save_panels(panels(runs), run_styles(runs), folder)
    for part in ("test", "unlabeled"):
        shown = gallery(runs, part)
        if shown.strips:
            written += save_figure(lambda s=shown.strips: _strip_figure(s), folder / f"examples_{part}")
    return written


def save_panels(shown: Sequence[Panel], styles: Sequence[Style], folder: Path) -> list[Path]:
    """Write one figure for each group of panels as PNG and PDF, and return the files.

    Raises:
        StorageError: if the folder cannot be written.
    """
    groups: dict[str, list[Panel]] = {}
    for panel in shown:
        groups.setdefault(panel.group, []).append(panel)
    written: list[Path] = []
    for name, members in groups.items():
        written += save_figure(lambda m=members: _group_figure(m, styles), folder / name)
    return written


def chart_settings(ink: str, faint: str) -> dict[Any, Any]:
    """Return Matplotlib's settings with a colour for text and axes and one for the grid."""
    keys = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {**_STYLE, **dict.fromkeys(keys, ink), "grid.color": faint}


Styled = Sequence[tuple[RecordedRun, Style]]


def _quartile_panel(styled: Styled, by: str) -> Panel | None:
    """Dice by quartile of the test images of every run."""
    rows = {
        style.label: [s for q in (1, 2, 3, 4) if run.results and (s := run.results.stratum(by, q))]
        for run, style in styled
    }
    what = {"contrast": "contrast of the object", "boundary": "sharpness of its boundary", "size": "size of the object"}
    title = f"Dice by {what[by]}"
    return quartile_panel(f"dice_by_{by}", "dice_by_quartile", title, [style for _, style in styled], rows)


def quartile_panel(
    name: str,
    group: str,
    title: str,
    styles: Sequence[Style],
    rows: Mapping[str, Sequence[Stratum]],
    size: tuple[float, float] = SIZE,
) -> Panel | None:
    """Return a chart of Dice by quartile, with intervals where they are known, one line for each label of ``rows``."""
    if not any(rows.values()):
        return None

    apart = 0.16 if any(math.isfinite(s.low) for strata in rows.values() for s in strata) else 0.0

    def draw(axes: Axes) -> None:
        for index, style in enumerate(styles):
            shift = apart * (index - (len(styles) - 1) / 2) * min(1.0, 4 / len(styles))
            for s in rows[style.label]:
                axes.vlines(s.quartile + shift, s.low, s.high, color=style.color, linewidth=2)
            x = [s.quartile + shift for s in rows[style.label]]
            y = [s.dice for s in rows[style.label]]
            axes.plot(x, y, **style.drawn, markersize=6, linewidth=0.7)
        axes.set_xticks([1, 2, 3, 4], ["hardest", "2nd", "3rd", "easiest"])
        axes.set_xlim(0.6, 4.4)
        axes.set_ylabel("Dice")
        axes.yaxis.set_major_formatter(Ticks())

    said = "; ".join(
        f"{label}: {', '.join(number(s.dice) for s in strata)}" for label, strata in rows.items() if strata
    )
    counts = sorted({s.cases for strata in rows.values() for s in strata} - {0})
    each = f", of {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} images each" if counts else ""
    text = f"Dice from the hardest to the easiest quarter{each}. {said}."
    return Panel(name, group, title, text, draw, size)


def _validation_panel(styled: Styled) -> Panel | None:
    lines = {style.label: [(run.progress(v.step), v.dice) for v in run.validation] for run, style in styled}
    title = "Dice on validation images"
    return line_panel("validation", "curves", title, _styles(styled), lines, "Dice")


def _rounds_panel(styled: Styled, against: Literal["masks", "minutes"]) -> Panel | None:
    """Dice on the frozen cases after each round of review, against what people put in."""
    lines = {
        style.label: [(float(getattr(one, against)), one.dice) for one in run.rounds]
        for run, style in styled
        if len(run.rounds) > 1
    }
    if not lines:
        return None

    def draw(axes: Axes) -> None:
        for _, style in styled:
            points = lines.get(style.label, [])
            axes.plot([x for x, _ in points], [y for _, y in points], **style.drawn, markersize=5)
        axes.set_xlabel("labeled masks" if against == "masks" else "minutes of drawing")
        axes.set_ylabel("Dice")
        axes.yaxis.set_major_formatter(Ticks())

    title = f"Dice on validation images against {against}"
    said = "; ".join(
        f"{label}: " + ", ".join(f"{number(y)} at {x:.0f}" for x, y in points) for label, points in lines.items()
    )
    return Panel(f"rounds_{against}", "rounds", title, f"{title}, round by round. {said}.", draw)


def _loss_panel(styled: Styled) -> Panel | None:
    lines = {style.label: [(t.progress, t.loss) for t in run.train] for run, style in styled}
    return line_panel("loss", "curves", "Loss: the sum of its weighted terms", _styles(styled), lines, "loss")


def _term_panel(styled: Styled, term: str) -> Panel | None:
    lines = {
        style.label: [(t.progress, t.weighted[term]) for t in run.train if term in t.terms] for run, style in styled
    }
    name = "term_" + re.sub(r"\W+", "_", term)
    title = f"{term.replace('_', ' ')}, weighted"
    return line_panel(name, "losses", title, _styles(styled), lines, "weight × term")


def _change_panel(styled: Styled) -> Panel | None:
    lines = _monitored(styled, lambda record: record.target_change)
    title = "Change of the targets since the previous check"
    return line_panel("target_change", "stability", title, _styles(styled), lines, "mean change")


def _confident_panel(styled: Styled) -> Panel | None:
    lines = _monitored(styled, lambda record: record.confident)
    title = "Share of pixels with confidence over .95"
    return line_panel("confident", "stability", title, _styles(styled), lines, "share")


def _area_panel(styled: Styled, name: str) -> Panel | None:
    lines = _monitored(styled, lambda record: record.area.get(name, math.nan))
    last = {style.label: run.monitor[-1].labeled_area.get(name, math.nan) for run, style in styled if run.monitor}
    references = {label: value for label, value in last.items() if math.isfinite(value)}
    title = f"Area of {name} in the targets; dotted: in the labeled masks"
    safe = re.sub(r"\W+", "_", name)
    return line_panel(f"area_{safe}", "stability", title, _styles(styled), lines, "share of pixels", references)


def _styles(styled: Styled) -> list[Style]:
    return [style for _, style in styled]


def _monitored(styled: Styled, value: Callable[[MonitorRecord], float]) -> dict[str, list[tuple[float, float]]]:
    return {style.label: [(run.progress(r.step), value(r)) for r in run.monitor] for run, style in styled}


def line_panel(
    name: str,
    group: str,
    title: str,
    styles: Sequence[Style],
    lines: Mapping[str, list[tuple[float, float]]],
    ylabel: str,
    references: Mapping[str, float] | None = None,
) -> Panel | None:
    """Return a chart of one line for each label against the progress of training; None if none has a point.

    references: what the labeled masks have, a dotted line for each label, or one for all that is theirs alike.
    """
    marks = dict(references or {})
    shared = len(set(marks.values())) == 1
    kept = {
        label: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)] for label, points in lines.items()
    }
    if not any(kept.values()):
        return None

    def draw(axes: Axes) -> None:
        for style in styles:
            x, y = _thinned(kept[style.label])
            spaced = max(1, len(x) // _SPACED)
            axes.plot(x, y, **style.drawn, markersize=4.5, markevery=spaced)
        for style in styles:
            if style.label in marks:
                color = mpl.rcParams["text.color"] if shared else style.color
                axes.axhline(marks[style.label], color=color, linestyle=":", linewidth=1)
        axes.set_xlim(0, 1.02)
        axes.yaxis.set_major_formatter(Ticks())
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
        axes.set_xlabel("training")
        axes.set_ylabel(ylabel)

    ends = "; ".join(f"{label} ends at {number(points[-1][1])}" for label, points in kept.items() if points)
    said = f"{title} over training. {ends}."
    if shared:
        said += f" Labeled masks: {number(next(iter(marks.values())))}."
    elif marks:
        said += f" Labeled masks: {', '.join(f'{number(value)} of {label}' for label, value in marks.items())}."
    return Panel(name, group, title, said, draw)


class Ticks(ScalarFormatter):
    """Ticks as ``.25``, all with the same number of decimals."""

    def __init__(self) -> None:
        super().__init__(useOffset=False, useMathText=False)

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = super().__call__(x, pos)
        return "0" if x == 0 else re.sub(r"^(\W?)0\.", r"\1.", text)


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Return at most 60 points, each the mean of as many neighbours."""
    size = math.ceil(len(points) / _POINTS)
    means = [np.mean(points[at : at + size], axis=0) for at in range(0, len(points), max(1, size))]
    return [float(m[0]) for m in means], [float(m[1]) for m in means]


def _for_page(svg: str, name: str) -> str:
    """Strip an SVG of all that points elsewhere, give its ids a name space, and colour it by the page's variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'( id="| href="#|url\(#)', rf"\g<1>{name}-", svg)
    for index, color in enumerate((BASELINE_COLOR, *COLORS)):
        svg = svg.replace(color, f"var(--run-{index})")
    svg = svg.replace(INK, "currentColor").replace(FAINT, "var(--grid)")
    return svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1).strip()


def _group_figure(members: Sequence[Panel], styles: Sequence[Style]) -> Figure:
    columns = min(3, len(members))
    rows = math.ceil(len(members) / columns)
    width, height = members[0].size
    entry = _KEY_MARK + _KEY_LETTER * max((len(style.label) for style in styles), default=0)
    key_columns = max(1, int(width * columns / entry))
    key_height = 0.18 * math.ceil(len(styles) / key_columns) + 0.22
    figure = Figure(figsize=(width * columns, (height + 0.25) * rows + key_height), layout="constrained")
    grid: NDArray[Any] = figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(grid.flat, members, strict=False):
        panel.draw(axes)
        axes.set_title(plain(panel.title), fontsize=9, loc="left")
    for axes in grid.flat[len(members) :]:
        axes.set_visible(False)
    if not styles:
        return figure
    handles = [Line2D([], [], **s.drawn, label=plain(s.label)) for s in styles]
    figure.legend(handles=handles, loc="outside upper left", ncols=key_columns, frameon=False)
    return figure


def _strip_figure(strips: Sequence[Strip]) -> Figure:
    columns = max(len(strip.tiles) for strip in strips)
    heights = [1.7 * strip.tiles[0].pixels.shape[0] / strip.tiles[0].pixels.shape[1] + 0.25 for strip in strips]
    figure = Figure(figsize=(1.7 * columns, sum(heights)), layout="constrained")
    grid: NDArray[Any] = figure.subplots(len(strips), columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, strip in zip(grid, strips, strict=True):
        for axes, tile in zip(row, strip.tiles, strict=False):
            axes.imshow(tile.pixels)
            axes.set_title(plain(tile.title), fontsize=7)
    return figure


def plain(text: str) -> str:
    """Keep Matplotlib from reading dollar signs as mathematics."""
    return text.replace("$", r"\$")


def save_figure(make: Callable[[], Figure], stem: Path) -> list[Path]:
    """Make a figure in black on white and write it as PNG and PDF; its layout is settled once for both."""
    paths = [stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf")]
    with mpl.rc_context(chart_settings("#000000", "#cccccc")):
        figure = make()
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for path in paths:
            write_atomically(path, lambda file, kind=path.suffix[1:]: figure.savefig(file, format=kind, dpi=160))
    return paths
