"""Every test may write run folders of its own."""

from pathlib import Path

import pytest
from report_runs import RunMaker


@pytest.fixture
def make(tmp_path: Path) -> RunMaker:
    return RunMaker(tmp_path)
