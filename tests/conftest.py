"""Fixtures that every room's tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Return the folder of a real data set by name, or skip where the sets are not beside the checkout."""

    def find(name: str) -> Path:
        if not (REAL_DATA / name).is_dir():
            pytest.skip(f"the real data set {name} is not at ../shared/data")
        return REAL_DATA / name

    return find
