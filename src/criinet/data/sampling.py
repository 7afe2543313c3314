"""Which cases are looked at: some evenly spaced ones, and those of a step.

The cases of a step are a function of the seed and the step alone: resuming needs no sampler state.
"""

from functools import lru_cache

import numpy as np


def step_seed(seed: int, step: int, stream: int) -> int:
    """Return the 63-bit seed of one step and stream; streams of one step are independent."""
    words = np.random.SeedSequence([seed, step, stream]).generate_state(2, np.uint64)
    return int(words[0] >> np.uint64(1))


@lru_cache(maxsize=8)
def permutation(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """Return the order in which an epoch visits ``count`` cases."""
    return tuple(int(i) for i in np.random.default_rng([seed, epoch]).permutation(count))


def batch_indices(count: int, batch: int, seed: int, step: int) -> list[int]:
    """Return the ``batch`` cases of ``step``: epoch after epoch in random order, so all are seen equally often.

    Args:
        count: cases in the pool, at least 1; may be smaller than ``batch``.
    """
    places = range(step * batch, (step + 1) * batch)
    return [permutation(count, seed, place // count)[place % count] for place in places]


def evenly(count: int, most: int) -> list[int]:
    """Return at most ``most`` of ``count`` indices, evenly spaced from the first to the last."""
    return [int(i) for i in np.linspace(0, count - 1, max(0, min(count, most))).round()]
