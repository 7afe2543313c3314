"""Several processes that train one run: the same weights as one alone, one voice, and no harm from a killed one."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from criinet.data.synthetic import write_dataset
from criinet.engine.distributed import anyone, launch, share
from criinet.errors import ConfigError

SCRIPT = Path(__file__).parent / "two_processes.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def run(*words: object, processes: int) -> subprocess.CompletedProcess[str]:
    command = [*TORCHRUN, "--nproc-per-node", str(processes), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=200, check=False)


def criinet(dataset: Path, out: Path, *words: str) -> list[str]:
    """The words of a training that torchrun starts."""
    settings = ("method.ranked.memory=8", "data.size=[32,32]", "trainer.checks=100", "trainer.threads=1")
    network = ("network.name=unet", "network.channels=[4,8]", "network.dropout=[]")
    sets = [word for setting in (*settings, *network) for word in ("--set", setting)]
    call = "from criinet.cli.main import run; run()"
    return ["--no-python", sys.executable, "-c", call, "train", str(dataset), "--out", str(out), *sets, *words]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("processes") / "dataset"
    write_dataset(root, count=24, size=(32, 48), test=6, val=2)
    return root


@pytest.mark.slow
def test_two_processes_find_the_weights_of_one(dataset, tmp_path):
    """Batches are shared, gradients averaged, batch statistics those of the whole batch.

    Of every method both processes hold exactly the same student after four steps.
    In five steps at a rate of .01 weights move by up to .05, and rounding by less than 2e-4; statistics, which are
    measured at the end, sum over many weights.
    """
    for processes in (1, 2):
        done = run(SCRIPT, dataset, tmp_path, processes=processes)
        assert done.returncode == 0, done.stderr[-3000:]
    alone, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("1_0", "2_0", "2_1"))
    for name, value in alone["weights"].items():
        rounding = 1e-3 if "running" in name else 2e-4
        torch.testing.assert_close(first["weights"][name], value, rtol=0, atol=rounding, msg=name)
        assert torch.equal(first["weights"][name], second["weights"][name]), name
    assert set(first["every"]) >= {"crii", "mean-teacher", "bcp", "st++", "dan"}
    for method, weights in first["every"].items():
        for name, value in weights.items():
            assert torch.equal(second["every"][method][name], value), (method, name)
    whole, shares = alone["normalised"], [first["normalised"], second["normalised"]]
    for name in ("out", "gradient"):
        torch.testing.assert_close(torch.cat([part[name] for part in shares]), whole[name], rtol=1e-4, atol=1e-4)
    for part in shares:
        torch.testing.assert_close(part["running_mean"], whole["running_mean"])
        torch.testing.assert_close(part["running_var"], whole["running_var"])
        assert part["num_batches_tracked"] == 1


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_one_alone_goes_on(dataset, tmp_path):
    """Two processes write one run; one is killed; the rest is trained by one process from the last checkpoint."""
    out = tmp_path / "run"
    words = criinet(dataset, out, "--labeled", "4", "--set", "trainer.iterations=2000", "--no-predict")
    command = [*TORCHRUN, "--nproc-per-node", "2", *words]
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        until = time.monotonic() + 120
        while not (out / "checkpoints" / "last.pt").exists():
            assert started.poll() is None, started.stderr.read()[-3000:] if started.stderr else ""
            assert time.monotonic() < until
            time.sleep(0.2)
        os.kill(second_of(started.pid), signal.SIGKILL)
        _, said = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode != 0
    assert "exitcode" in said.replace(" ", "").lower()
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [record["step"] for record in records if record["kind"] == "train"]
    assert steps == sorted(set(steps))

    from criinet.engine.checkpoint import load_checkpoint

    state = load_checkpoint(out / "checkpoints" / "last.pt")
    assert 0 < state["step"] < 2000
    config = json.loads((out / "config.json").read_text())
    config["trainer"]["iterations"] = state["step"] + 2
    (out / "config.json").write_text(json.dumps(config))
    from criinet.engine.training import train

    train(dataset, out, resume=True, device="cpu")
    assert load_checkpoint(out / "checkpoints" / "last.pt")["step"] == state["step"] + 2


def second_of(parent: int) -> int:
    """Return the process of rank 1 among the children of torchrun."""
    for status in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = status.read_bytes().split(b"\0")
            mother = int((status.parent / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if b"RANK=1" in environment and mother == parent:
            return int(status.parent.name)
    raise AssertionError("rank 1 is not running")


def test_a_batch_that_cannot_be_shared_is_refused():
    fabric = SimpleNamespace(world_size=4, global_rank=3)
    assert share(8, fabric, "labeled_batch") == slice(6, 8)
    with pytest.raises(ConfigError, match=r"labeled_batch=6 .* by 4 processes; .* trainer.labeled_batch=8"):
        share(6, fabric, "labeled_batch")


def test_one_process_alone_needs_no_others():
    fabric = launch("cpu", "32")
    assert (fabric.world_size, fabric.is_global_zero) == (1, True)
    assert not torch.distributed.is_initialized()
    assert anyone(True, fabric)
    assert not anyone(False, fabric)


def test_lightning_does_not_print_which_precision_it_was_asked_for(caplog, monkeypatch):
    logger = logging.getLogger("lightning_fabric")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    logger.setLevel(logging.INFO)
    assert launch("cpu", "bf16").world_size == 1
    assert caplog.messages == []
