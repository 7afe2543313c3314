"""What the tests in a real Chromium share: a server of its own, and how a person works on its page."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect

from review_process import start_review

SLOW = 120_000
expect.set_options(timeout=SLOW)


@contextmanager
def serving(place: Path, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start `criinet review` and yield the address that it prints, and its process."""
    process, said = start_review(place, "--port", str(port), "--iterations", "4")
    with process:
        try:
            yield re.findall(r"http://\S+", said)[0], process
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def ready(page: Page) -> str:
    """Wait until a case is shown and return its name."""
    expect(page.locator("#loading")).to_be_hidden()
    expect(page.locator("#case-name")).not_to_be_empty()
    expect(page.locator("#canvas")).to_have_attribute("aria-busy", "false")
    return page.locator("#case-name").inner_text()


def stroke(page: Page, *, at: float = 0.5, length: float = 0.2) -> None:
    """Paint a horizontal stroke, in shares of the canvas."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * (0.5 - length / 2), box["y"] + box["height"] * at
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + box["width"] * length, y, steps=8)
    page.mouse.up()


def mask_of(place: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(place / "data" / "masks" / f"{name}.png"))
