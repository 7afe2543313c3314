"""Where a result comes from: what every script here writes beside its numbers."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


def provenance(*machine: str) -> dict[str, Any]:
    """Return the command, the commit, the machine and its load now (means of 1, 5 and 15 minutes).

    Args:
        machine: what else a reader must know of it, such as its threads.
    """
    return {
        "command": " ".join([f"python benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": commit(),
        "machine": ", ".join([f"{os.cpu_count()} cores", platform.machine(), *machine]),
        "load": [round(of, 1) for of in os.getloadavg()],
    }


def commit() -> str:
    """Return the short hash of the source, with "-dirty" where it was changed since; "unknown" without git."""
    try:
        asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        return subprocess.run(
            asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
