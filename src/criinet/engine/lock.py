"""One process at a time where two would undo each other's work."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from criinet.data.files import open_own
from criinet.errors import RunError

try:
    import fcntl
except ImportError:  # Windows
    fcntl: Any = None

LOCK = ".lock"
"""The file that is locked in a folder where one process may work at a time."""


@contextmanager
def exclusive(path: Path, doing: str) -> Generator[None, None, None]:
    """Hold the file ``path`` locked while the block runs; it is gone afterwards.

    The system drops the lock when its process ends, however that ends, so a file that was left locks nobody out. Where
    neither system nor disk knows locks, nothing is held.

    Args:
        path: in a folder that is there.
        doing: what another holder does, for the message: "trains in RUN".

    Raises:
        RunError: if another process holds it.
        StorageError: if it cannot be written, or is a link to another file.
    """
    descriptor = taken(path, doing)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # Before the lock goes: nobody may lock a file that is about to.
        os.close(descriptor)


def taken(path: Path, doing: str) -> int:
    """Lock ``path``, note this process in it, and return its descriptor; see :func:`exclusive`."""
    while True:
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode(errors="replace").strip() or "of unknown number"
            os.close(descriptor)
            raise RunError(f"another process ({holder}) {doing}. Wait until it has ended, or end it.") from None
        except OSError:
            pass  # A disk without locks.
        if is_still(path, descriptor):
            with suppress(OSError):  # On a full disk the lock holds, too; it only does not say whose it is.
                os.truncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor
        os.close(descriptor)


def is_still(path: Path, descriptor: int) -> bool:
    """Say whether the file of ``descriptor`` is the one at ``path``: who held it may just have removed it."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
