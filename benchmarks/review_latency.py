"""Time the review page: the first page with 2,000 images, saves under 20 concurrent clients, frames while painting.

    python benchmarks/review_latency.py

Draws 80 synthetic images of 256x256, copies them until 2,000 are to be reviewed, trains a tiny run, starts
`criinet review` as a user would, and waits until every image has been looked at. Measured:

- first page: the printed address in a fresh Chromium until the first case can be painted on and the queue stands;
- saves: 20 clients, each with a case of its own, save a mask and think for a second, 10 times: from the first byte sent
  to the acknowledgement, after mask and record are on the disk. And the same without any pause, as an upper bound;
- frames: while a stroke of two seconds is painted on a 2048x2048 image, the share of frames within 1/60 s + 10 %.

Writes benchmarks/results/review_latency.json. What else runs on the machine is part of the figures: it notes the load.
"""

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from provenance import provenance

from criinet.data.files import write_json
from criinet.data.synthetic import write_dataset
from criinet.engine.training import train
from criinet.review.pictures import as_png

IMAGES, CLIENTS, SAVES, THINK = 2000, 20, 10, 1.0
LARGE = "copy_0100"
OUT = Path(__file__).parent / "results" / "review_latency.json"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SETTINGS = {
    "network": {"name": "unet", "channels": [8, 16, 16], "dropout": []},
    "data": {"size": [32, 32]},
    "trainer": {"iterations": 20, "checks": 1, "threads": 1},
}


@contextmanager
def serving(place: Path) -> Iterator[str]:
    """Start the page and yield its address."""
    command = [
        sys.executable,
        "-m",
        "criinet.cli.main",
        "review",
        str(place / "run"),
        str(place / "data"),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while "open http" not in said:
            said += process.stderr.readline()
        yield re.findall(r"http://\S+", said)[0]
        process.send_signal(signal.SIGINT)


def client_of(address: str) -> httpx2.Client:
    """Return a client that holds the token."""
    base, token = address.split("/?token=")
    return httpx2.Client(base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=120)


def wait_until_ranked(client: httpx2.Client) -> None:
    """Wait until every image was looked at."""
    while not client.get("/api/status").json()["ranked"]:
        time.sleep(1)


def first_page(page: Page, address: str) -> float:
    """Return the seconds from the address to a case that can be painted on, with its queue."""
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("#save:enabled")
    page.wait_for_selector("#queue li")
    page.wait_for_selector("#loading", state="hidden")
    return time.perf_counter() - started


def save_times(address: str, think: float) -> list[float]:
    """Return the milliseconds of every save of all clients."""
    with client_of(address) as client:
        names = [case["name"] for case in client.get("/api/cases").json()["cases"]][:CLIENTS]
    taken: list[float] = []

    def work(name: str, number: int) -> None:
        mask = np.zeros((256, 256), np.uint8)
        mask[60:180, 80:200] = 1
        body = as_png(mask)
        with client_of(address) as client:
            version = client.get(f"/api/cases/{name}").json()["version"]
            time.sleep(think * number / CLIENTS)
            for _ in range(SAVES):
                started = time.perf_counter()
                answer = client.put(
                    f"/api/cases/{name}/mask",
                    params={"action": "corrected", "version": version, "seconds": 1, "changed": 1},
                    content=body,
                    headers={"content-type": "image/png"},
                )
                taken.append(1000 * (time.perf_counter() - started))
                version = answer.raise_for_status().json()["version"]
                time.sleep(think)

    threads = [threading.Thread(target=work, args=(name, number)) for number, name in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def frame_times(page: Page, address: str, name: str) -> list[float]:
    """Return the milliseconds between frames while a stroke is painted on one image."""
    first_page(page, address)
    page.get_by_label("Search").fill(name)
    page.locator("#queue button").first.click()
    page.wait_for_selector(f"#case-name:text-is('{name}')")
    page.wait_for_selector("#loading", state="hidden")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 150, y)
    page.mouse.down()
    page.evaluate(
        "() => { window.times = []; const tick = (t) => { window.times.push(t); requestAnimationFrame(tick); };"
        " requestAnimationFrame(tick); }"
    )
    started, step = time.perf_counter(), 0
    while time.perf_counter() - started < 2:
        page.mouse.move(x - 150 + 3 * (step % 100), y + 40 * np.sin(step / 9))
        step += 1
    times = page.evaluate("() => window.times")
    page.mouse.up()
    return np.diff(times).tolist()


def summary(values: list[float]) -> dict[str, float]:
    """Return median, 95th percentile, largest and number."""
    return {
        "median": round(statistics.median(values), 1),
        "p95": round(float(np.percentile(values, 95)), 1),
        "largest": round(max(values), 1),
        "count": len(values),
    }


def main() -> None:
    """Measure everything and write it down."""
    chromium = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        place = Path(folder)
        write_dataset(place / "data", count=80, size=(256, 256), masks=20, val=10, test=10)
        drawn = sorted((place / "data" / "images").iterdir())[20:60]
        for number in range(IMAGES - len(drawn)):
            shutil.copy(drawn[number % len(drawn)], place / "data" / "images" / f"copy_{number:04d}.png")
        large = place / "data" / "images" / f"{LARGE}.png"
        Image.open(large).resize((2048, 2048)).save(large)
        train(place / "data", place / "run", method="crii", settings=SETTINGS, device="cpu")
        found: dict[str, Any] = {"load_before": os.getloadavg()}
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        with serving(place) as address:
            with client_of(address) as client:
                wait_until_ranked(client)
            pages = [first_page(browser.new_context().new_page(), address) for _ in range(5)]
            found["first_page_seconds"] = {**summary(pages), "all": [round(s, 3) for s in pages]}
            found["save_ms_20_clients_one_save_a_second_each"] = summary(save_times(address, THINK))
            found["save_ms_20_clients_without_pause"] = summary(save_times(address, 0.0))
            context = browser.new_context(viewport={"width": 1400, "height": 850})
            frames = frame_times(context.new_page(), address, LARGE)
            found["frame_ms_painting_2048x2048"] = summary(frames)
            found["frames_within_60_a_second"] = round(sum(f <= 1000 / 60 * 1.1 for f in frames) / len(frames), 3)
        browser.close()
    about = {
        **provenance("no GPU", "software canvas"),
        "images": IMAGES,
    }
    write_json(OUT, {**about, **found})
    print(OUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
