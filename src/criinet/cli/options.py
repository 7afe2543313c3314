"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Labeled = Annotated[
    str | None,
    typer.Option(
        help="How many training cases to label: a share, as 4%, or a count, as 32; where cases have groups "
        "(patients), of groups. [default: every mask]"
    ),
]
GroupBy = Annotated[Path | None, typer.Option(help="CSV of case and group. [default: DATASET/groups.csv]")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable files out.")]
