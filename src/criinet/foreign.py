"""Code that others wrote, methods and networks: which of its errors are its own, and what a sentence says of them."""

import os

import torch

from criinet.errors import DEBUG, CriinetError, ShapeError

ALLOCATOR = "DefaultCPUAllocator"
"""What PyTorch's error names when a CPU's memory is used up; it has no class of its own."""


def passes(error: Exception) -> bool:
    """Say whether an error is to be raised as it is: a sentence of criinet, used up memory, any with CRIINET_DEBUG.

    A ShapeError is none of these: it tells the author of that code which tensors do not fit.
    """
    ours = isinstance(error, CriinetError) and not isinstance(error, ShapeError)
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or ALLOCATOR in str(error)
    return ours or memory or bool(os.environ.get(DEBUG))


def failed(error: Exception) -> str:
    """Return what follows the name of that which failed: the error on one line, and how to see where it was raised."""
    text = " ".join(str(error).split()).removesuffix(".")
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"failed ({what}); run it with {DEBUG}=1 to see where"
