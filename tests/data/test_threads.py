"""Work in threads comes back in order, on as many cores as a process was given."""

import os

import pytest

from criinet.data.threads import cores, in_threads


def test_results_come_in_order_and_are_counted():
    told: list[tuple[int, int]] = []
    assert in_threads(lambda n: n * n, range(9), lambda *n: told.append(n)) == [n * n for n in range(9)]
    assert told == [(n, 9) for n in range(1, 10)]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system gives no process some cores alone")
def test_cores_are_those_of_this_process():
    before = os.sched_getaffinity(0)
    assert cores() == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
