"""How long `criinet train` takes to its first step, and whether memory stays flat over 2,000 steps.

    python benchmarks/start_and_memory.py

Start: 2,600 synthetic images of 256x256 with 100 masks; from the start of the process to the line that the first step
prints, imports, reading, planning and decoding included, three times. Memory: CRII-Net on the field's U-Net at 64x64,
2,000 steps by the trainer, validation and checkpoints included; the resident memory every 100 steps.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from provenance import provenance

from criinet.data.files import write_json
from criinet.data.synthetic import write_dataset
from criinet.engine.training import train

HERE = Path(__file__).parent


def main() -> None:
    """Measure both and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2600)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "start_and_memory.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_dataset(data, count=asked.images, size=(256, 256), masks=100, seed=0)
        record = {
            **provenance(),
            "images": asked.images,
            "seconds_to_the_first_step": [to_first_step(data, Path(folder) / f"run{i}") for i in range(3)],
            "mebibytes": memory(data, Path(folder) / "long", asked.steps),
        }
    print(record)
    write_json(asked.results, record)


def to_first_step(data: Path, run: Path) -> float:
    """Start `criinet train` and return the seconds until it says that a step is done."""
    command = [str(Path(sys.executable).with_name("criinet")), "train", str(data), "--out", str(run)]
    started = time.monotonic()
    words = ["--labeled", "100", "--set", "trainer.iterations=2", "--set", "trainer.checks=2"]
    with subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 1 of"):
                seconds = time.monotonic() - started
                process.terminate()
                return round(seconds, 2)
    raise SystemExit(f"{' '.join(command)} ended before its first step")


def memory(data: Path, run: Path, steps: int) -> dict[int, int]:
    """Train and return the resident memory in MiB by step."""
    seen: dict[int, int] = {}

    def watch(step: int, _: list[dict[str, Any]]) -> None:
        if step % 100 == 0:
            seen[step] = resident()

    settings = {
        "network": {"name": "unet"},
        "data": {"size": [64, 64]},
        "trainer": {"iterations": steps, "labeled_batch": 2, "unlabeled_batch": 2, "threads": 1},
    }
    train(data, run, labeled="20", method="crii", settings=settings, device="cpu", watch=watch)
    return seen


def resident() -> int:
    """Return the memory of this process that is in use now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


if __name__ == "__main__":
    main()
