"""The local engine: so many runs at a time, each in a process of its own."""

import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from criinet.benchmarking.cells import Cell
from criinet.benchmarking.code_version import require_unchanged
from criinet.engine.children import start_child
from criinet.errors import InterruptedRunError

Finished = Callable[[Cell, int], None]
"""Called with a cell and the exit code of its process: 0 done, 1 failed."""


def run_process(cell: Cell, out: Path, jobs: int, stop: threading.Event | None = None) -> int:
    """Do one cell in a process, one of so many ``jobs`` at a time, which ends when this one does; return its exit code.

    Its output goes to OUT/logs. With ``stop`` set, the process is asked to save and end.

    Raises:
        ConfigError: if code that the cell's identity knows has changed since.
    """
    require_unchanged()
    log = out / "logs" / f"{cell.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    file, threads = out / "cells" / f"{cell.name}.json", int(cell.settings["trainer"]["threads"])
    with start_child("criinet.benchmarking.worker", file, log, threads=threads, jobs=jobs, own_session=True) as process:
        asked = False
        while process.poll() is None:
            if stop is not None and stop.is_set() and not asked:
                asked = True
                process.send_signal(signal.SIGINT)  # As Ctrl-C does: it saves and ends.
            time.sleep(0.1)
        return process.returncode


def run_local(cells: Sequence[Cell], out: Path, jobs: int, finished: Finished) -> None:
    """Do ``cells``, ``jobs`` at a time; a failed one does not stop the others.

    Raises:
        InterruptedRunError: on Ctrl-C, once the runs in flight have saved.
    """
    stop, stopped = threading.Event(), "stopped; the runs in flight are saved, --resume goes on from there."
    with ThreadPoolExecutor(jobs) as pool, ended_on_error(pool, stop, stopped):
        futures = {pool.submit(run_process, cell, out, jobs, stop): cell for cell in cells}
        for future in as_completed(futures):
            finished(futures[future], future.result())


@contextmanager
def ended_on_error(pool: ThreadPoolExecutor, stop: threading.Event, stopped: str) -> Generator[None, None, None]:
    """Let a pool begin nothing more, and its runs save and end, as soon as anything goes wrong in the block.

    Args:
        stop: what tells the runs.
        stopped: what to say after Ctrl-C.

    Raises:
        InterruptedRunError: on Ctrl-C, once the runs in flight have saved.
    """
    try:
        yield
    except BaseException as error:
        stop.set()
        pool.shutdown(cancel_futures=True)
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedRunError(stopped) from None
        raise
