"""What is noted beside masks: which weights and options made them."""

import json
from pathlib import Path
from typing import Any

from criinet.data.files import write_json
from criinet.errors import DataError

NOTE = ".prediction.json"
"""Name of the note, in the folder of the masks."""


def note_provenance(out: Path, made_by: dict[str, Any], *, anew: bool) -> int:
    """Note in ``out``/.prediction.json what makes the masks, and return when that was noted first, in nanoseconds.

    Args:
        anew: False goes on with what is noted there, or notes it if nothing is.

    Raises:
        DataError: if it is to go on, and something else is noted there.
    """
    path = out / NOTE
    if not anew and path.exists():
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            noted = None
        if noted != made_by:
            raise DataError(
                f"{out} holds masks of other weights or options. Give --out another folder, or begin anew without "
                "--resume and --shard."
            )
    else:
        write_json(path, made_by)
    return path.stat().st_mtime_ns


def noted_shift(out: Path) -> float:
    """Return the shift of objects' logits that made the masks in ``out``; 0 where none is noted."""
    try:
        return float(json.loads((out / NOTE).read_text(encoding="utf-8"))["shift"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def is_newer(path: Path, moment: int) -> bool:
    """Tell whether a file is there and was written at ``moment``, in nanoseconds, or later."""
    return path.exists() and path.stat().st_mtime_ns >= moment
