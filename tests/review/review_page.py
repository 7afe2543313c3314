"""What the tests of the review page share: its address, a drawn mask, and saving it as the page does."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from criinet.review.pictures import as_png

TOKEN = "the-token"
HOST = "127.0.0.1:8000"


def square(value: int = 1, size: tuple[int, int] = (48, 48)) -> np.ndarray:
    """A mask with one object."""
    mask = np.zeros(size, np.uint8)
    mask[10:20, 12:30] = value
    return mask


class Save:
    """Saves masks as the page does."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def __call__(self, name: str, mask: np.ndarray | None = None, *, body: bytes | None = None, **about: Any) -> Any:
        """Save a mask of a case; its present version unless another is given."""
        if "version" not in about:
            about["version"] = self.client.get(f"/api/cases/{name}").json()["version"]
        content = body if body is not None else as_png(square() if mask is None else mask)
        params = {"action": "corrected", "by": "Ann", "seconds": 12.5, "changed": 7, **about}
        headers = {"content-type": "image/png"}
        return self.client.put(f"/api/cases/{name}/mask", params=params, content=content, headers=headers)


def eventually(condition: Callable[[], object], seconds: float = 240) -> None:
    """Wait until something that happens in the background is so."""
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    assert condition()
