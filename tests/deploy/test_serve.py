"""The example of a server refuses what would fill its memory, and segments one image at a time."""

import importlib.util
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from criinet.data import images

SERVE = Path(__file__).parents[2] / "examples" / "serve.py"


@pytest.fixture
def serve(exported, monkeypatch) -> ModuleType:
    """The example with the tiny network."""
    monkeypatch.setenv("MODEL", str(exported.path))
    spec = importlib.util.spec_from_file_location("serve", SERVE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def png(height: int, width: int, mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new(mode, (width, height)).save(content, format="PNG")
    return content.getvalue()


def test_an_image_gets_its_mask(serve):
    client = TestClient(serve.app)
    answer = client.post("/mask", content=png(20, 30))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(answer.content)).size == (30, 20)
    assert client.get("/").json()["classes"] == ["background", "lesion"]
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 404
    for content in (b"", b"none"):
        assert client.post("/mask", content=content).status_code == 422


@pytest.mark.parametrize("readable", [True, False])
def test_pixels_are_counted_before_they_are_decoded(readable, serve, monkeypatch):
    """25 million are allowed; a file of 5001x5000 has 3 kB. The same is said of so many that criinet reads none."""
    monkeypatch.setattr(serve, "read_image", lambda path: pytest.fail(f"{path} was decoded"))
    if not readable:
        monkeypatch.setattr(images, "MAX_PIXELS", 25_000_000)
    content = png(5001, 5000, "1")
    assert len(content) < 4000
    answer = TestClient(serve.app).post("/mask", content=content)
    assert answer.status_code == 413
    assert answer.json()["detail"] == "The image has over 25,000,000 pixels. Crop it or scale it down."


def test_a_long_body_is_refused(serve, monkeypatch):
    """One byte too many, with its length told beforehand or not."""
    content = png(20, 30)
    client = TestClient(serve.app)
    assert serve.MAX_BYTES == 64 * 2**20
    for limit, status in ((len(content), 200), (len(content) - 1, 413)):
        monkeypatch.setattr(serve, "MAX_BYTES", limit)
        assert client.post("/mask", content=content).status_code == status
        assert client.post("/mask", content=iter([content[:50], content[50:]])).status_code == status


def test_one_image_is_segmented_at_a_time(serve, monkeypatch):
    predict, busy, most = serve.predictor.predict, threading.Semaphore(0), []

    def slow(image: np.ndarray):
        busy.release()
        time.sleep(0.05)
        most.append(busy._value)
        busy.acquire()
        return predict(image)

    monkeypatch.setattr(serve.predictor, "predict", slow)
    with TestClient(serve.app) as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post("/mask", content=png(20, 30)), range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert most == [1] * 4
