"""`criinet review` as a process of its own, for the tests that speak to it from outside."""

import subprocess
import sys
from pathlib import Path


def start_review(place: Path, *words: str) -> tuple["subprocess.Popen[str]", str]:
    """Start it on ``place``/run and ``place``/data, and return it with what it said up to its address."""
    command = [sys.executable, "-m", "criinet.cli.main", "review", "run", "data", *words]
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = ""
    while "open http" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return process, said
