"""Time prediction through PyTorch, as `criinet predict RUN` does it, against exported ONNX files of the same run.

    criinet train DATASET --out RUN
    criinet export RUN --out RUN/model.onnx
    criinet export RUN --int8 --out RUN/model_int8.onnx
    python benchmarks/inference.py RUN RUN/model.onnx RUN/model_int8.onnx

Three parts: the network alone on one batch of 8 images at the training size; decoded images to masks at their own sizes
(resizing included); and the whole command on a folder, its start included. Every repetition runs each contestant once,
one after the other, and a ratio is the median over repetitions of PyTorch's seconds over the contestant's. Seconds are
CPU seconds of the process, which other work on the machine changes little, and beside them seconds on the clock.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from provenance import provenance

from criinet.data.files import write_json
from criinet.data.images import read_image
from criinet.data.inputs import images_in
from criinet.deploy.runtime import BATCH, load_exported
from criinet.engine.build import load
from criinet.engine.examples import spaced
from criinet.engine.folder import RunFolder

REPETITIONS = 5
COMMANDS = 3
IMAGES = 16
THREADS = (1, 2)
Work = Callable[[], object]


def both_clocks(work: Work) -> tuple[float, float]:
    """Return the CPU seconds of this process and the seconds on the clock that ``work`` takes."""
    cpu, clock = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - clock


def command_clocks(words: list[str]) -> tuple[float, float]:
    """Return the CPU seconds of a command and its seconds on the clock."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - clock


def compare(
    contestants: dict[str, Callable[[], tuple[float, float]]], images: int, repetitions: int
) -> list[dict[str, Any]]:
    """Run all contestants in turn, again and again; the first is what the others are compared with."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, measured in contestants.items():
            taken[name].append(measured())
    first = next(iter(contestants))
    rows: list[dict[str, Any]] = []
    for name, pairs in taken.items():
        row: dict[str, Any] = {"contestant": name}
        for clock, at in (("cpu", 0), ("clock", 1)):
            ratios = [base[at] / pair[at] for base, pair in zip(taken[first], pairs, strict=True)]
            row[f"images_per_{clock}_second"] = round(images / statistics.median(pair[at] for pair in pairs), 2)
            row[f"{clock}_ratio"] = round(statistics.median(ratios), 2)
            row[f"{clock}_ratio_range"] = [round(min(ratios), 2), round(max(ratios), 2)]
        rows.append(row)
        print(row, flush=True)
    return rows


def whole_commands(predictors: dict[str, Path], paths: list[Path]) -> list[dict[str, Any]]:
    """Time `criinet predict` of each run or file on the images, the start of Python included."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "images").mkdir()
        for path in paths:
            (Path(folder) / "images" / path.name).symlink_to(path.resolve())
        words = [sys.executable, "-m", "criinet.cli.main", "predict"]
        rest = [str(Path(folder) / "images"), "--out", str(Path(folder) / "predicted")]
        timed = {
            name: lambda what=what: command_clocks([*words, str(what), *rest]) for name, what in predictors.items()
        }
        return [{"what": "whole command", **row} for row in compare(timed, len(paths), COMMANDS)]


def main(run: Path, float_file: Path, int8_file: Path) -> None:
    """Measure and write the table."""
    files = {"onnx float": float_file, "onnx int8": int8_file}
    recorded = RunFolder(run).read_config()
    card = load_exported(float_file).card
    found = images_in(recorded.dataset.path)
    paths = [path for path in found if path.stem in set(spaced([path.stem for path in found], IMAGES))]
    images = [read_image(path) for path in paths]
    batch = np.random.default_rng(0).random((BATCH, card.channels, *card.size), dtype=np.float32)
    rows: list[dict[str, Any]] = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        eager = load(run, device="cpu")
        network: dict[str, Work] = {"eager PyTorch": lambda eager=eager: eager.apply(torch.from_numpy(batch))}
        whole: dict[str, Work] = {"eager PyTorch": lambda eager=eager: list(eager.predict_many(images))}
        for name, file in files.items():
            exported = load_exported(file, threads=threads)
            network[name] = lambda exported=exported: exported.apply(batch)
            whole[name] = lambda exported=exported: list(exported.predict_many(images))
        for what, works, count in (("network", network, BATCH), ("images to masks", whole, len(images))):
            for work in works.values():
                work()
            timed = {name: lambda work=work: both_clocks(work) for name, work in works.items()}
            rows += [{"what": what, "threads": threads, **row} for row in compare(timed, count, REPETITIONS)]
    rows += whole_commands({"eager PyTorch": run, **files}, paths)
    record = {
        **provenance(),
        "versions": {name: version(name) for name in ("torch", "onnxruntime", "numpy")},
        "run": {
            "method": card.method,
            "network": card.network,
            "dataset": card.dataset,
            "size": list(card.size),
            "window": card.window,
            "iterations": card.step,
        },
        "int8": load_exported(int8_file).card.model_dump()["quantisation"],
        "images": len(images),
        "repetitions": {"network and images": REPETITIONS, "whole command": COMMANDS},
        "rows": rows,
    }
    write_json(Path(__file__).parent / "results" / "inference.json", record)


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
