"""Decoded cases beyond what memory holds go to a file that is mapped back, page by page, as they are drawn."""

import math
import os
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from criinet.errors import StorageError

CHUNK = 2**28
"""Bytes that the file grows by, and that one mapping covers: systems allow some ten thousand mappings."""
SHARE = 0.5
"""Share of the machine's memory that decoded cases may fill."""
SHARERS = ("LOCAL_WORLD_SIZE", "CRIINET_JOBS")
"""Variables of the environment: of how many processes one run is (torchrun), and how many runs there are at a time."""


def memory_limit() -> float:
    """Return how many bytes of decoded cases stay in memory; no limit where the system does not tell its own.

    The memory is that of the machine, or what a container or a cluster's job may have of it, and is shared by the
    processes that torchrun started here, and by the runs that a benchmark does at a time.
    """
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Not on every system.
        whole = math.inf
    sharers = math.prod(int(os.environ.get(name, "1")) for name in SHARERS)
    return SHARE * min(whole, granted_memory()) / sharers


def granted_memory(groups: Path = Path("/sys/fs/cgroup"), member: Path = Path("/proc/self/cgroup")) -> float:
    """Return the bytes that Linux grants to the control groups of this process; no limit where there are none.

    Args:
        groups: where the system shows them, of version 2, or of version 1 under memory/.
        member: which ones this process is in: lines of number:controllers:path.
    """
    try:
        lines = [line.split(":", 2) for line in member.read_text().splitlines()]
    except OSError:
        return math.inf
    limits = [math.inf]
    for _, controllers, path in lines:
        if controllers not in ("", "memory"):
            continue
        root, name = (groups, "memory.max") if not controllers else (groups / "memory", "memory.limit_in_bytes")
        inner = root / path.lstrip("/")
        for group in (inner, *inner.parents[: len(inner.parts) - len(root.parts)]):
            with suppress(OSError, ValueError):  # "max", or not shown to a container.
                limits.append(int((group / name).read_text()))
    return min(limits)


def reserve(file: IO[bytes], start: int, size: int) -> None:
    """Have the disk set bytes of a file aside; where the system has no call for it, zeros are written.

    Raises:
        OSError: if there is no room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), start, size)
        return
    file.seek(start)
    file.write(bytes(size))
    file.flush()


class Spill:
    """Keeps arrays in memory up to a limit, and all later ones in a file without a name, which ends with the process.

    Threads may share it.

    Args:
        folder: where the file lies; None is the system's folder for temporary files.
        limit: bytes in memory; None is half of the machine's.
    """

    def __init__(self, folder: Path | None = None, limit: float | None = None) -> None:
        self.folder, self.limit = folder, memory_limit() if limit is None else limit
        self.in_memory, self.in_file = 0, 0
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._chunk: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._used = 0

    def keep(self, array: NDArray[Any]) -> Tensor:
        """Return a tensor of the array's own memory, or of a place in the file that now holds its values.

        Raises:
            StorageError: if the disk has no room for it.
        """
        with self._lock:
            if self.in_memory + array.nbytes <= self.limit:
                self.in_memory += array.nbytes
                return torch.from_numpy(array)
            place = self._place(array.nbytes)
        target = place.view(array.dtype).reshape(array.shape)
        target[...] = array
        return torch.from_numpy(target)

    def _place(self, size: int) -> NDArray[np.uint8]:
        """Reserve bytes of the file, at a multiple of 16."""
        if self._used + size > len(self._chunk):
            self._chunk, self._used = self._grow(max(CHUNK, size)), 0
        place = self._chunk[self._used : self._used + size]
        self._used += -(-size // 16) * 16
        return place

    def _grow(self, size: int) -> NDArray[np.uint8]:
        """Map ``size`` more bytes, which the disk has set aside: a mapping without room would kill the process."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
                weakref.finalize(self, self._file.close)  # What is mapped stays until its last tensor goes.
            start = self.in_file
            reserve(self._file, start, size)
            self.in_file += size
            return np.memmap(self._file, np.uint8, "r+", offset=start, shape=(size,))
        except OSError as error:
            where = self.folder or tempfile.gettempdir()
            raise StorageError(
                f"decoded images need {(self.in_file + size) / 2**30:.1f} GiB beside memory, for which {where} has no "
                "room. Free some, put the run elsewhere, or train at a smaller size: --set data.size=[128,128]."
            ) from error
