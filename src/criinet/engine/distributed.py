"""The processes that train one run together, as `torchrun` starts them."""

import logging
import os
from datetime import timedelta
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

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
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # It prints which precision it was asked for.
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
