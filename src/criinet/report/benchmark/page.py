"""Writes all that a benchmark leaves for its readers: page, figures, tables and a summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from criinet.data.files import write_text_atomically
from criinet.data.masks import PALETTE
from criinet.errors import RunError
from criinet.report.benchmark import tables
from criinet.report.benchmark.analysis import SettingReport, analyse, row_labels
from criinet.report.benchmark.figures import (
    EFFICIENCY,
    QUARTILES,
    RANKS,
    STABILITY,
    benchmark_panels,
    row_styles,
    save_examples,
)
from criinet.report.benchmark.grid import Grid, read_grid
from criinet.report.benchmark.latex import as_latex
from criinet.report.benchmark.savings import Saving, savings_of
from criinet.report.benchmark.sentences import Said, listed, notes, verdicts
from criinet.report.benchmark.stability import Stability, stability_of
from criinet.report.benchmark.standing import Standing, standing
from criinet.report.benchmark.summary import as_summary
from criinet.report.benchmark.tables import TextTable
from criinet.report.figures import Panel, Style, inline_svg, save_panels
from criinet.report.overlays import MAX_TILES, Gallery, gallery
from criinet.report.page import Chart, page_environment
from criinet.report.reading import read_run
from criinet.report.records import RecordedRun


@dataclass(frozen=True)
class Examples:
    """The example cases of one dataset and network: of its smallest share of labels, its first draw and seed."""

    name: str
    title: str
    shown: Gallery
    labels: tuple[str, ...]
    classes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SettingView:
    """The tables of one setting."""

    title: str
    dice: TextTable
    comparisons: tuple[TextTable, ...]
    strata: TextTable
    stability: TextTable
    cost: TextTable


@dataclass(frozen=True)
class _Benchmark:
    """All that was read and computed.

    wins: None where there is one row alone. saved: the table of ``savings``.
    """

    grid: Grid
    reports: tuple[SettingReport, ...]
    found: Standing
    styles: Mapping[str, Style]
    recorded: Mapping[str, RecordedRun]
    stability: tuple[tuple[Stability, ...], ...]
    savings: tuple[Saving, ...]
    verdicts: tuple[Said, ...]
    notes: tuple[str, ...]
    wins: TextTable | None
    saved: TextTable


def write_benchmark_report(folder: Path | str) -> Path:
    """Write ``report.html``, ``summary.json``, ``tables/`` and ``figures/`` into a benchmark's folder.

    What is missing (strata, cases, pictures, runs that failed or are pending) is named on the page and left out.

    Args:
        folder: as ``criinet benchmark`` left it, finished or not; files of an earlier report are replaced.

    Returns:
        The page.

    Raises:
        RunError: if it holds no benchmark, or its ``results.json`` or ``cases.csv`` is damaged.
        StorageError: if the folder cannot be written.
    """
    folder = Path(folder)
    grid = read_grid(folder)
    recorded, unread = _recorded(grid)
    reports, found = analyse(grid), standing(grid)
    styles = row_styles(row_labels(grid))
    said = (*notes(grid, reports, found), *unread)
    stability = tuple(tuple(stability_of(report, grid, recorded)) for report in reports)
    savings = savings_of(grid, reports)
    benchmark = _Benchmark(
        grid=grid,
        reports=reports,
        found=found,
        styles=styles,
        recorded=recorded,
        stability=stability,
        savings=savings,
        verdicts=tuple(verdicts(reports, found, savings)),
        notes=said,
        wins=tables.wins_table(found) if len(found.labels) > 1 else None,
        saved=tables.savings_table(savings),
    )
    views = [_view(report, rows, recorded, grid) for report, rows in zip(reports, stability, strict=True)]
    _write_tables(benchmark, views)
    panels = benchmark_panels(grid, reports, found, styles, stability)
    examples = _examples(benchmark)
    figures = folder / "figures"
    save_panels([panel for panel in panels if panel.group == RANKS], [], figures)
    save_panels([panel for panel in panels if panel.group != RANKS], list(styles.values()), figures)
    for one in examples:
        save_examples(one.shown, one.labels, figures / one.name)
    summary = as_summary(grid, reports, found, stability, savings, benchmark.verdicts, said)
    write_text_atomically(folder / "summary.json", summary)
    write_text_atomically(folder / "report.html", _render(benchmark, views, panels, examples))
    return folder / "report.html"


def _recorded(grid: Grid) -> tuple[dict[str, RecordedRun], list[str]]:
    """Read the run folders, for curves and pictures; the benchmark stands without them."""
    recorded: dict[str, RecordedRun] = {}
    lost: list[str] = []
    for run in grid.runs:
        try:
            recorded[run.name] = read_run(grid.folder / "runs" / run.name)
        except RunError:
            lost.append(run.name)
    more = [f"{len(lost) - 3} more"] if len(lost) > 3 else []
    folders, their = ("folder", "its") if len(lost) == 1 else ("folders", "their")
    names = listed([*lost[:3], *more])
    said = f"The {folders} of {names} could not be read: {their} curves and pictures are left out."
    return recorded, [said] if lost else []


def _view(
    report: SettingReport, stability: Sequence[Stability], recorded: Mapping[str, RecordedRun], grid: Grid
) -> SettingView:
    names = [run.name for run in grid.runs if run.setting.dataset == report.setting.dataset]
    unit = next((recorded[name].unit for name in names if name in recorded), "px")
    return SettingView(
        title=report.title,
        dice=tables.dice_table(report, unit, grid),
        comparisons=tuple(tables.comparison_tables(report)),
        strata=tables.strata_table(report),
        stability=tables.stability_table(report.title, stability),
        cost=tables.cost_table(report),
    )


def _write_tables(benchmark: _Benchmark, views: Sequence[SettingView]) -> None:
    """Write every table as CSV of plain numbers, and as LaTeX."""
    reports, found = benchmark.reports, benchmark.found
    written: dict[str, tuple[list[tables.Record], list[TextTable]]] = {
        "dice": (tables.dice_records(reports, benchmark.grid), [view.dice for view in views]),
        "strata": (tables.strata_records(reports), [view.strata for view in views if view.strata.rows]),
        "stability": (
            tables.stability_records(reports, benchmark.stability),
            [view.stability for view in views if view.stability.rows],
        ),
        "cost": (tables.cost_records(reports), [view.cost for view in views]),
        "comparisons": (tables.comparison_records(reports), [table for view in views for table in view.comparisons]),
        "wins": (tables.win_records(found), [benchmark.wins] if benchmark.wins else []),
    }
    if benchmark.savings:
        written["savings"] = (tables.saving_records(benchmark.savings), [benchmark.saved])
    folder = benchmark.grid.folder / "tables"
    for name, (records, shown) in written.items():
        write_text_atomically(folder / f"{name}.csv", tables.as_csv(records))
        write_text_atomically(folder / f"{name}.tex", as_latex(shown))


def _examples(benchmark: _Benchmark) -> list[Examples]:
    """Choose, for each dataset and network, the runs of its smallest share of labels with the first draw and seed."""
    first: dict[tuple[str, str], SettingReport] = {}
    for report in benchmark.reports:
        first.setdefault((report.setting.dataset, report.setting.network), report)
    examples: list[Examples] = []
    for i, report in enumerate(first.values(), 1):
        runs = [run for run in benchmark.grid.runs if run.setting == report.setting and run.name in benchmark.recorded]
        block = min((run.block for run in runs), default=None)
        chosen = {run.label: benchmark.recorded[run.name] for run in runs if run.block == block}
        if not any(example.part == "test" for run in chosen.values() for example in run.examples):
            continue
        labels = tuple(label for label in benchmark.styles if label in chosen)
        ordered = [chosen[label] for label in labels]
        shown = gallery(ordered, "test", labels=labels, uncertainty=False, most_tiles=MAX_TILES // len(first))
        if shown.strips:
            classes = tuple((name, f"rgb{color}") for name, color in zip(ordered[0].classes, PALETTE, strict=False))
            examples.append(Examples(f"examples_{i}", report.title, shown, labels, classes[1:]))
    return examples


def _render(
    benchmark: _Benchmark, views: Sequence[SettingView], panels: Sequence[Panel], examples: Sequence[Examples]
) -> str:
    charts: dict[str, list[Chart]] = {group: [] for group in (RANKS, EFFICIENCY, QUARTILES, STABILITY)}
    for panel in panels:
        charts[panel.group].append(Chart(panel, inline_svg(panel)))
    values: dict[str, Any] = {
        "title": benchmark.grid.name,
        "grid": benchmark.grid,
        "verdicts": benchmark.verdicts,
        "notes": benchmark.notes,
        "views": views,
        "styles": benchmark.styles,
        "wins": benchmark.wins,
        "savings": benchmark.saved,
        "found": benchmark.found,
        "charts": charts,
        "examples": examples,
    }
    return page_environment().get_template("benchmark.html.jinja").render(values)
