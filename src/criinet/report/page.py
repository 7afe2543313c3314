"""One self-contained HTML page about one run or several: verdict first, then what it rests on."""

import base64
import io
import json
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from criinet.data.files import write_text_atomically
from criinet.data.masks import PALETTE
from criinet.errors import RunError
from criinet.metrics.statistics import FEWEST
from criinet.report.comparison import SUPERVISED, Comparison, Effect, compare, unit_of_runs
from criinet.report.figures import Panel, Style, inline_svg, panels, run_styles
from criinet.report.overlays import Gallery, gallery, heat_colors
from criinet.report.reading import Pixels, read_run
from criinet.report.records import LAST, MEAN, RecordedRun, ResultRow, Stratum, zero_dice
from criinet.report.text import MISSING, chance_text, distance, interval, minutes, number, percent, signed

_HERE = Path(__file__).parent
_GENERATOR = b'<meta name="generator" content="criinet">'
_GROUPS = ("dice_by_quartile", "rounds", "curves", "losses", "stability")


@dataclass(frozen=True)
class Measured:
    """One line of the table of measures, of one checkpoint or class.

    objects: of how many the misses are. zero_dice: how many of them have Dice 0; None if unknown.
    """

    checkpoint: str
    row: ResultRow
    objects: int
    zero_dice: int | None


@dataclass(frozen=True)
class RunView:
    """A run as the page shows it.

    measured: the means over classes, last and best. classes: the last checkpoint, class by class. units: "patients" if
    these are resampled, else "images".
    """

    run: RecordedRun
    style: Style
    measured: tuple[Measured, ...]
    classes: tuple[Measured, ...]
    hardest: Stratum | None
    units: str
    command: str
    settings: str
    choices: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Chart:
    """A drawn panel."""

    panel: Panel
    svg: str


def write_report(runs: Path | str | Sequence[Path | str], out: Path | str, *, title: str | None = None) -> Path:
    """Write a page about run folders to ``out``, and return ``out``.

    The page loads nothing from elsewhere, can be printed, and needs no results: what is missing it names.

    Args:
        runs: one folder that ``criinet train`` wrote, or several; a supervised one is the baseline of the others.
        out: the HTML file; one that is there is replaced.
        title: heading of the page; the methods and the dataset otherwise.

    Raises:
        RunError: if there is no run, or one cannot be read.
        StorageError: if ``out`` cannot be written.
    """
    runs = [runs] if isinstance(runs, Path | str) else runs
    if not runs:
        raise RunError("no run was given; name at least one folder that `criinet train` wrote.")
    recorded, out = [read_run(Path(run)) for run in runs], Path(out)
    write_text_atomically(out, _render(recorded, title or _title(recorded)))
    return out


def is_report(path: Path) -> bool:
    """Return whether a file is a page that criinet wrote."""
    with path.open("rb") as file:
        return _GENERATOR in file.read(1000)


def _render(runs: Sequence[RecordedRun], title: str) -> str:
    comparison = compare(runs)
    views = _views(runs, comparison)
    charts: dict[str, list[Chart]] = {group: [] for group in _GROUPS}
    for panel in panels(runs):
        charts[panel.group].append(Chart(panel, inline_svg(panel)))
    return (
        page_environment()
        .get_template("page.html.jinja")
        .render(
            title=title,
            comparison=comparison,
            verdicts=_verdicts(comparison),
            views=views,
            charts=charts,
            examples=gallery(runs, "test"),
            unlabeled=gallery(runs, "unlabeled"),
            classes=_class_colors(runs),
            heat=", ".join(heat_colors()),
            uneven=_uneven(views),
            without_object=max((_without_object(run) for run in runs), default=0),
            waiting=any(run.split and run.split.test for run in runs),
            watched="unlabeled" if any(run.split and run.split.unlabeled for run in runs) else "labeled",
            fewest=FEWEST,
            evaluated=any(run.results for run in runs),
            shifted=any(row.shift for run in runs if run.results for row in run.results.rows),
            unit=unit_of_runs(runs),
            several_units=len({run.unit for run in runs}) > 1,
        )
    )


def _uneven(views: Iterable[RunView]) -> bool:
    """Tell whether the means of a page are over different images, so that their number stands beside them."""
    shown = [one.row for view in views for one in (*view.measured, *view.classes)]
    return len({row.cases for row in shown}) > 1 or any(row.tested > row.cases for row in shown)


def _without_object(run: RecordedRun) -> int:
    """Return how many test images are in no quartile, where there are quartiles."""
    row = run.results.row(LAST) if run.results else None
    if run.results is None or row is None:
        return 0
    counts = [s.cases for s in run.results.strata if (s.checkpoint, s.by) == (LAST, "contrast")]
    return row.tested - sum(counts) if any(counts) else 0


def page_environment() -> Environment:
    """Return the templates beside this file, with the filters and the style sheet that they use."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "number": number,
        "signed": signed,
        "chance": chance_text,
        "distance": distance,
        "minutes": minutes,
        "interval": _dice_interval,
        "to": _ends,
        "percent": percent,
        "webp": _data_uri,
        "known": math.isfinite,
        "cut": _left_out,
    }
    environment.filters.update(filters)
    shared: dict[str, Any] = {"css": (_HERE / "page.css").read_text(encoding="utf-8")}
    environment.globals.update(shared)
    return environment


def _title(runs: Sequence[RecordedRun]) -> str:
    methods = list(dict.fromkeys(run.method for run in runs))
    if SUPERVISED in methods and len(methods) > 1:
        methods.remove(SUPERVISED)
        methods[-1] += f" against {SUPERVISED}"
    datasets = list(dict.fromkeys(run.dataset for run in runs))
    return f"{', '.join(methods)} on {', '.join(datasets)}"


def _verdicts(comparison: Comparison) -> list[tuple[str, str]]:
    """Return (kind, sentence) of what stands on top; the kind decides its mark and colour."""
    if comparison.effects:
        return [(_kind(effect), effect.sentence) for effect in comparison.effects]
    return [("plain", sentence) for sentence in comparison.sentences]


def _kind(effect: Effect) -> str:
    return {"helped": "helped", "hurt": "hurt"}.get(effect.verdict, "nothing")


def _views(runs: Sequence[RecordedRun], comparison: Comparison) -> list[RunView]:
    views: list[RunView] = []
    for run, style, headline in zip(runs, run_styles(runs), comparison.rows, strict=True):
        both = _measured(run, (headline.last, headline.best))
        rows = run.results.rows if run.results else ()
        classes = [row for row in rows if row.checkpoint == LAST and row.class_name != MEAN]
        views.append(
            RunView(
                run=run,
                style=style,
                measured=both,
                classes=_measured(run, classes) if len(classes) > 1 else (),
                hardest=headline.hardest,
                units="patients" if headline.patients else "images",
                command=_command(run),
                settings=json.dumps(_without_places(run.config), indent=2, ensure_ascii=False),
                choices=tuple(run.config.get("choices") or ()),
            )
        )
    return views


def _measured(run: RecordedRun, rows: Iterable[ResultRow | None]) -> tuple[Measured, ...]:
    """Return the lines of those rows that there are, with the counts that follow from the whole run."""
    return tuple(
        Measured(row.checkpoint, row, run.results.measured(row), zero_dice(run.cases, row))
        for row in rows
        if row is not None and run.results is not None
    )


def _without_places(value: Any) -> Any:
    """Return settings with the names of files and folders alone: where they lie says who trained, and pages travel."""
    if isinstance(value, Mapping):
        return {key: _without_places(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _command(run: RecordedRun) -> str:
    """Return the command that trains the run again; what the settings add to it stands beside it on the page."""
    dataset: Any = run.config.get("dataset") or {}
    name = Path(dataset.get("path") or "DATASET").name
    parts = ["criinet", "train", name, "--out", "AGAIN", "--method", run.method]
    parts += ["--split", f"{run.folder.resolve().name}/split.json", "--seed", str(run.seed)]
    parts += ["--set", f"trainer.iterations={run.iterations}", "--set", f"network.name={run.network}"]
    return shlex.join(parts)


def _class_colors(runs: Sequence[RecordedRun]) -> list[tuple[str, str]]:
    """Return (class, CSS colour) of every foreground class, as overlays draw it; with the dataset if they differ."""
    known = {run.dataset: run.classes[1:] for run in runs if run.classes}
    several = len(set(known.values())) > 1
    return [
        (f"{name} ({dataset})" if several else name, f"rgb{color}")
        for dataset, names in (known if several else dict(list(known.items())[:1])).items()
        for name, color in zip(names, PALETTE[1:], strict=False)
    ]


def _dice_interval(row: ResultRow) -> str:
    return _ends(row.value("dice_low"), row.value("dice_high"))


def _ends(low: float, high: float) -> str:
    return interval(low, high) or MISSING


def _data_uri(pixels: Pixels) -> str:
    """Return a picture as a WebP data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="WEBP", quality=80, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _left_out(shown: Gallery) -> str:
    """Say what a gallery leaves out; nothing if it is whole."""
    left = shown.total - len(shown.strips) - len(shown.missing)
    parts = [f"{left} more are saved beside the run"] if left > 0 else []
    parts += [f"the pictures of {', '.join(shown.missing)} could not be read"] if shown.missing else []
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""
