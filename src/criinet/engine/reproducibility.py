"""Seeds, devices, and what a result must say about where it came from."""

import math
import platform
import sys
from importlib.metadata import version
from typing import Any

import torch

from criinet.errors import ConfigError


def pick_device(asked: str) -> str:
    """Return "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Raises:
        ConfigError: for another name, or a GPU that is not there.
    """
    if asked not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device {asked} is not known; give auto, cpu or cuda.")
    if asked == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda was asked for, but PyTorch finds no GPU; use --device cpu or auto.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked


def use_threads(threads: int) -> None:
    """Let PyTorch use so many CPU threads; 0 leaves its own choice, all cores."""
    if threads > 0:
        torch.set_num_threads(threads)


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


def environment(device: str) -> dict[str, Any]:
    """Return versions and hardware, without names of people or machines."""
    return {
        "version": version("criinet"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name() if device == "cuda" else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
    }
