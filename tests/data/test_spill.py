"""What memory cannot hold comes back from a file as it was, and a full disk is said in a sentence."""

import errno
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from criinet.data import spill as module
from criinet.data.spill import Spill, granted_memory, memory_limit
from criinet.errors import StorageError


def arrays(count: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3, *rng.integers(5, 40, 2)), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("has_call", [True, False])
def test_arrays_of_any_size_come_back_from_memory_and_from_the_file(has_call, tmp_path, monkeypatch):
    """Chunks are so small that several are needed, one array is larger than any, and threads put them in at once."""
    monkeypatch.setattr(module, "CHUNK", 4096)
    if not has_call:
        monkeypatch.delattr(os, "posix_fallocate")
    spill = Spill(tmp_path, limit=10_000)
    given = [*arrays(), np.arange(9000, dtype=np.int64).reshape(90, 100)]
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(spill.keep, given))
    for array, tensor in zip(given, kept, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)
    assert 0 < spill.in_memory <= 10_000
    assert spill.in_file >= sum(array.nbytes for array in given) - spill.in_memory
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_while_memory_suffices(tmp_path):
    spill = Spill(tmp_path)
    given = arrays()
    assert all(spill.keep(array).numpy() is not None for array in given)
    assert (spill.in_memory, spill.in_file) == (sum(array.nbytes for array in given), 0)
    assert memory_limit() > 2**28


@pytest.mark.parametrize(
    ("member", "limits", "granted"),
    [
        ("0::/", {}, math.inf),
        ("0::/", {"memory.max": "max\n"}, math.inf),
        ("0::/job/step", {"job/memory.max": "4000\n", "job/step/memory.max": "max\n", "memory.max": "9000"}, 4000),
        ("0::/not/shown", {"memory.max": "5000"}, 5000),
        ("3:cpu:/job\n2:memory:/job", {"memory/job/memory.limit_in_bytes": "7000", "job/memory.max": "1"}, 7000),
    ],
)
def test_memory_is_what_a_container_or_a_job_was_granted(member, limits, granted, tmp_path):
    (tmp_path / "member").write_text(f"{member}\n")
    for name, text in limits.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    assert granted_memory(tmp_path / "groups", tmp_path / "member") == granted
    assert granted_memory(tmp_path / "groups", tmp_path / "absent") == math.inf


def test_processes_of_one_machine_share_its_memory(monkeypatch):
    alone = memory_limit()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_limit() == alone / 4
    monkeypatch.setenv("CRIINET_JOBS", "2")
    assert memory_limit() == alone / 8


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"decoded images need 0\.2 GiB beside memory, for which .* has no room"):
        Spill(tmp_path, limit=0).keep(arrays()[0])
