"""Fixtures that every room's tests share."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from criinet.config import merge

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A shell's background jobs ignore Ctrl-C, and so would every process that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TINY: dict[str, Any] = {
    "network": {"name": "unet", "channels": [8, 16, 16], "dropout": []},
    "data": {"size": [32, 32]},
    "trainer": {"iterations": 6, "checks": 2, "labeled_batch": 2, "unlabeled_batch": 2, "threads": 1},
}


@pytest.fixture(scope="session")
def tiny_settings() -> Callable[..., dict[str, Any]]:
    """Return the settings of a run on images that takes about a second, with others on top."""

    def settings(over: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return merge(TINY, over or {})

    return settings


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Return the folder of a real data set by name, or skip where the sets are not beside the checkout."""

    def find(name: str) -> Path:
        if not (REAL_DATA / name).is_dir():
            pytest.skip(f"the real data set {name} is not at ../shared/data")
        return REAL_DATA / name

    return find


@pytest.fixture
def copy_of(tmp_path) -> Callable[[Path], Path]:
    """Return a copier of a template, data/ and run/, into this test's folder; the run knows where its data are now."""

    def copy(template: Path) -> Path:
        shutil.copytree(template / "data", tmp_path / "data")
        shutil.copytree(template / "run", tmp_path / "run")
        config = tmp_path / "run" / "config.json"
        recorded = json.loads(config.read_text())
        recorded["dataset"]["path"] = str(tmp_path / "data")
        config.write_text(json.dumps(recorded))
        return tmp_path

    return copy


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A Chromium: the one that Playwright installed, or the machine's own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = str(own) if own.exists() else next((path for name in CHROMIUM if (path := shutil.which(name))), None)
        if found is None:
            pytest.skip("no Chromium is here; `python -m playwright install chromium` gets one")
        opened = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield opened
        opened.close()
