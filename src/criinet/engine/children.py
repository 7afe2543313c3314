"""Processes that work for another one, and end when it does."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from criinet.data.files import open_to_append


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
            [sys.executable, "-P", "-m", module, str(file)],  # Without -P, modules of the present folder come first.
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
