"""Work on many files at a time."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")
Advance = Callable[[int, int], None]
"""Called with how many are done, and of how many."""


def cores() -> int:
    """Return how many cores this process may use: of a node it is often given some alone."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[A], B], items: Sequence[A], advance: Advance | None = None) -> list[B]:
    """Apply ``work`` to every item in a pool of threads and return the results in order.

    Args:
        advance: called with (finished, total) after each item, in order.
    """
    results: list[B] = []
    with ThreadPoolExecutor(max_workers=min(32, cores())) as pool:
        for result in pool.map(work, items):
            results.append(result)
            if advance is not None:
                advance(len(results), len(items))
    return results
