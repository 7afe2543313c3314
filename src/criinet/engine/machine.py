"""Threads, memory, devices, and what a result must say about where it came from."""

import ctypes
import math
import platform
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version

import torch

from criinet.engine.run_record import Environment
from criinet.errors import ConfigError

MALLOC = {-1: 2**31 - 1, -2: 2**26, -4: 0}
"""Options of mallopt(3): what stays free at the heap's end (M_TRIM_THRESHOLD), how much it grows by (M_TOP_PAD), and no
block mapped by itself (M_MMAP_MAX)."""


def pick_device(asked: str) -> str:
    """Return "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Raises:
        ConfigError: for another name, or a GPU that is not there.
    """
    if asked not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device '{asked}' is not known; give auto, cpu or cuda.")
    if asked == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but PyTorch finds no GPU; give cpu or auto.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked


@contextmanager
def threads(count: int) -> Generator[None, None, None]:
    """Let PyTorch use so many CPU threads within; 0 leaves it as it is, at first all cores."""
    before = torch.get_num_threads()
    if count > 0:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_memory() -> None:
    """Let this process keep freed memory for its next tensors instead of giving it back to the system.

    By default the GNU C library maps every large tensor anew and unmaps it when it is freed, so each step of training
    pays for fresh, zeroed pages. The peak stays what it was. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in MALLOC.items():
            mallopt(option, value)


def peak_memory(device: str) -> float:
    """Return the most memory that this process has held so far, in MiB: of the GPU, or of the machine on a CPU."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def environment(device: str) -> Environment:
    """Return versions and hardware, without names of people or machines."""
    return Environment(
        version=version("criinet"),
        python=platform.python_version(),
        torch=str(torch.__version__),
        device=torch.cuda.get_device_name() if device == "cuda" else f"cpu ({platform.machine()})",
        threads=torch.get_num_threads(),
    )
