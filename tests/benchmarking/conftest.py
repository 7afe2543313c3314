"""A plan whose runs take about two seconds each, and what a benchmark leaves behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from criinet.benchmarking import Plan, benchmark
from criinet.config import parse

TINY: dict[str, Any] = {
    "name": "tiny",
    "methods": ["supervised", "crii"],
    "labeled": ["4"],
    "datasets": [{"path": "synthetic", "images": 30, "test": 8}],
    "networks": [{"name": "unet", "settings": {"channels": [4, 8, 8], "dropout": []}}],
    "settings": {
        "data": {"size": [32, 32]},
        "trainer": {"iterations": 4, "checks": 2, "labeled_batch": 2, "unlabeled_batch": 2},
    },
}


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Plan]:
    """Return the tiny plan, with other values on top."""

    def make(**over: Any) -> Plan:
        return parse(Plan, {**TINY, **over}, "plan")

    return make


@pytest.fixture(scope="session")
def benched(tiny, tmp_path_factory) -> Path:
    """The tiny plan, done. Read only."""
    out = tmp_path_factory.mktemp("benched") / "bench"
    benchmark(tiny(), out, device="cpu")
    return out


@pytest.fixture(scope="session")
def table() -> Callable[[Path], list[dict[str, Any]]]:
    """Return the rows of a benchmark without what no two runs share: time and memory."""

    def rows(out: Path) -> list[dict[str, Any]]:
        found = json.loads((out / "results.json").read_text())["rows"]
        cost = ("train_seconds", "images_per_second", "peak_memory_mb")
        return [{key: value for key, value in row.items() if key not in cost} for row in found]

    return rows
