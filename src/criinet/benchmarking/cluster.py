"""The Ray engine: the same cells, spread over a cluster, one run in each worker."""

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from criinet.benchmarking.cells import Cell
from criinet.benchmarking.local import Finished, run_process
from criinet.errors import ConfigError, InterruptedRunError


def run_on_ray(cells: Sequence[Cell], out: Path, jobs: int, finished: Finished) -> None:
    """Do ``cells`` on the Ray cluster that the environment names, or on one started here with ``jobs`` workers.

    Each task starts the same process that the local engine starts, so results are the same. All machines must see
    ``out`` and the datasets under the same paths. A task takes as many CPUs as its run has threads, and on GPU machines
    one GPU.

    Raises:
        ConfigError: if Ray is not installed.
        InterruptedRunError: on Ctrl-C; runs in flight go on from their last checkpoint with --resume.
    """
    try:
        library: Any = import_module("ray")
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray; install it with pip install 'criinet[cluster]'.") from error
    if not library.is_initialized():
        cpus = jobs * max((resources(cell)["num_cpus"] for cell in cells), default=1)
        library.init(address=None if no_cluster() else "auto", num_cpus=cpus if no_cluster() else None)
    task = library.remote(max_retries=3)(run_process)
    waiting = {task.options(**resources(cell)).remote(cell, out, jobs): cell for cell in cells}
    try:
        while waiting:
            ready, _ = library.wait(list(waiting), num_returns=1)
            finished(waiting.pop(ready[0]), library.get(ready[0]))
    except KeyboardInterrupt:
        raise InterruptedRunError("stopped; --resume goes on with the runs in flight.") from None
    finally:
        library.shutdown()


def no_cluster() -> bool:
    """Say whether the environment names no cluster."""
    return not os.environ.get("RAY_ADDRESS")


def resources(cell: Cell) -> dict[str, int]:
    """Return what a run needs of a machine."""
    threads = int(cell.settings["trainer"]["threads"])
    return {"num_cpus": max(1, threads), "num_gpus": int(cell.device == "cuda")}
