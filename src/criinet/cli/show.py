"""What people see while they wait: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from criinet.data.threads import Advance

_NUMBER = 16
"""Cells shorter than this, as an interval is, are never folded."""

out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def columns() -> Progress:
    """Return a progress display on standard error that is silent where there is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=err,
        disable=not err.is_terminal,
    )


@contextmanager
def bar(what: str) -> Generator[Advance, None, None]:
    """Show progress over something countable."""
    with columns() as progress:
        task = progress.add_task(what, total=None, note="")

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield advance


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> Table:
    """Return a table: names to the left, numbers to the right; with ``words`` everything to the left."""
    drawn = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, header in enumerate(headers):
        numbers = [len(row[i]) for row in rows if len(row[i]) < _NUMBER and not words]
        justify = "left" if i == 0 or words else "right"
        drawn.add_column(header, justify=justify, overflow="fold", min_width=max(numbers, default=1))
    for row in rows:
        drawn.add_row(*row)
    return drawn
