"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Labeled = Annotated[
    str | None,
    typer.Option(
        metavar="AMOUNT",
        help="How many training cases keep their masks: a share of all that train, with or without a mask, as 4%, or "
        "a count, as 32; of groups (patients) where there are any. [default: all]",
    ),
]
GroupBy = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="CSV file with the columns case,group. [default: DATASET/groups.csv]"),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu or cuda.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable files out.")]
