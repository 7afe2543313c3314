"""Which cases are looked at: those of a step equally often, and some evenly spaced."""

from collections import Counter

import pytest

from criinet.data.sampling import batch_indices, evenly, permutation, step_seed


def drawn(count: int, batch: int, steps: int, seed: int = 0) -> list[int]:
    return [index for step in range(steps) for index in batch_indices(count, batch, seed, step)]


@pytest.mark.parametrize(
    ("count", "batch", "steps"), [(12, 4, 3), (10, 4, 5), (7, 3, 7), (5, 1, 5), (3, 8, 3), (1, 4, 2)]
)
def test_every_case_is_seen_equally_often(count, batch, steps):
    """Whenever batch x steps is a multiple of the pool, also where batches and epochs do not line up."""
    seen = Counter(drawn(count, batch, steps))
    assert set(seen) == set(range(count))
    assert set(seen.values()) == {batch * steps // count}


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (3, 8), (32, 5)])
def test_at_any_time_no_case_is_more_than_once_ahead(count, batch):
    for steps in range(1, 12):
        seen = Counter(drawn(count, batch, steps))
        times = [seen[case] for case in range(count)]
        assert max(times) - min(times) <= 1


def test_a_pool_smaller_than_the_batch_is_repeated():
    """Three cases in a batch of eight: two whole epochs and two cases more."""
    batch = batch_indices(3, 8, 0, 0)
    assert len(batch) == 8
    assert sorted(batch[:3]) == sorted(batch[3:6]) == [0, 1, 2]
    assert batch[6] != batch[7]


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    """Asked again, or asked for step 37 first as after a resume, the answer is the same."""
    permutation.cache_clear()
    late = batch_indices(50, 4, 5, 37)
    everything = [batch_indices(50, 4, 5, step) for step in range(40)]
    assert everything[37] == late == batch_indices(50, 4, 5, 37)


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(batch_indices(20, 20, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_seeds_of_steps_and_streams_differ_and_repeat():
    seeds = {step_seed(seed, step, stream) for seed in range(4) for step in range(50) for stream in range(4)}
    assert len(seeds) == 4 * 50 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(1, 2, 3) == step_seed(1, 2, 3)


def test_evenly_spaced_cases_reach_from_the_first_to_the_last():
    """3 of 8 are 0, 3.5 and 7, where half goes to the even number; all are taken of fewer than were asked for."""
    assert evenly(8, 3) == [0, 4, 7]
    assert evenly(3, 8) == [0, 1, 2]
    assert evenly(8, 1) == [0]
    assert evenly(8, 0) == evenly(8, -1) == evenly(0, 3) == []
    assert all(len(set(evenly(count, 16))) == min(count, 16) for count in range(100))
