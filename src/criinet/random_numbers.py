"""The global generators that a method may draw from: Python's, NumPy's and PyTorch's."""

import random
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


def seed_on_host(seed: int) -> None:
    """Seed the global generators of Python and NumPy."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - it is the one that a method may draw from; it takes 32 bits.


@contextmanager
def left_alone(devices: Sequence[int]) -> Generator[None, None, None]:
    """Leave the global generators of Python, NumPy and PyTorch as they were before the block.

    Args:
        devices: the GPUs whose generators PyTorch's are, beside the CPU's.
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002


@contextmanager
def seeded_cpu(seed: int) -> Generator[None, None, None]:
    """Draw from the CPU's global generators as ``seed`` has them while the block runs; afterwards they are as before.

    A GPU's generators are left alone: they may be somebody's.
    """
    with left_alone(devices=[]):
        seed_on_host(seed)
        torch.default_generator.manual_seed(seed)
        yield
