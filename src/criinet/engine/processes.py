"""The processes that train one run together, as `torchrun` starts them, and those that train for another one."""

import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from criinet.data.files import open_to_append
from criinet.errors import ConfigError

PATIENCE = timedelta(days=7)
"""How long the others wait for the first process, which validates and saves alone; torchrun notices dead ones."""


def launch(device: str, precision: str) -> Fabric:
    """Join the other processes, where `torchrun` started this one; otherwise train alone.

    Each process has a share of every batch, and gradients are averaged. Parameters without a gradient in some step, as
    those of a method's other stage, are allowed.

    Args:
        device: "cpu" or "cuda". precision: "32" or "bf16".

    Raises:
        ConfigError: if there are more processes on this machine than GPUs.
    """
    mixed = "bf16-mixed" if precision == "bf16" else "32-true"
    count, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if count == 1:
        return Fabric(accelerator=device, devices=1, precision=mixed)
    if device == "cuda" and here > torch.cuda.device_count():
        raise ConfigError(
            f"{here} processes were started on a machine with {torch.cuda.device_count()} GPUs; "
            "start one for each GPU with torchrun --nproc-per-node."
        )
    strategy = DDPStrategy(find_unused_parameters=True, timeout=PATIENCE)
    fabric = Fabric(accelerator=device, devices=here, num_nodes=count // here, strategy=strategy, precision=mixed)
    fabric.launch()
    return fabric


def is_first() -> bool:
    """Say whether this process is the one that writes files and talks to the user."""
    return int(os.environ.get("RANK", "0")) == 0


def share(batch: int, fabric: Fabric, name: str) -> slice:
    """Return which places of a batch are this process's.

    Raises:
        ConfigError: if the batch cannot be shared evenly.
    """
    if batch % fabric.world_size != 0:
        raise ConfigError(
            f"trainer.{name}={batch} cannot be shared evenly by {fabric.world_size} processes; "
            f"give a multiple, as --set trainer.{name}={-(-batch // fabric.world_size) * fabric.world_size}."
        )
    size = batch // fabric.world_size
    return slice(fabric.global_rank * size, (fabric.global_rank + 1) * size)


def anyone(asked: bool, fabric: Fabric) -> bool:
    """Say whether any process was asked to stop, so that all stop after the same step."""
    if fabric.world_size == 1:
        return asked
    return bool(cast(Tensor, fabric.all_reduce(torch.tensor(float(asked), device=fabric.device))) > 0)


def start_child(
    module: str, file: Path, log: Path, *, threads: int, jobs: int = 1, own_session: bool = False
) -> "subprocess.Popen[bytes]":
    """Start ``python -m module file``, a process that ends when this one does if it calls :func:`follow_parent`.

    Args:
        log: its output is added to it.
        threads: of its computations; 0 leaves them to the environment.
        jobs: how many such processes are there at a time, which share the memory for decoded cases.
        own_session: whether Ctrl-C in the terminal reaches this process alone.

    Raises:
        StorageError: if ``log`` cannot be written, or is a link to another file.
        OSError: if there is no room for another process.
    """
    environment = {**os.environ, "CRIINET_JOBS": str(jobs)}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    with open_to_append(log) as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, str(file)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=own_session,
        )


def follow_parent() -> None:
    """End this process when its standard input does, which whoever started it holds open."""

    def watch() -> None:
        while os.read(0, 1):
            continue
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
