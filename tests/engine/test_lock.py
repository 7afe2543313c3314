"""Two processes never train in one folder: the second is told so, and a killed one locks nobody out."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from criinet.benchmarking import bench, benchmark, search
from criinet.engine import lock
from criinet.engine.folder import RunFolder
from criinet.engine.lock import LOCK, exclusive
from criinet.errors import DataError, RunError, StorageError
from criinet.records import Alarm

HOLD = """
import sys
from pathlib import Path
from criinet.engine.lock import exclusive
with exclusive(Path(sys.argv[1]), "works here"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Generator[subprocess.Popen[str], None, None]:
    """Another process holds the lock ``path``."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def files(root: Path) -> dict[str, tuple[int, int]]:
    found = (path for path in root.rglob("*") if path.is_file() and path.name != LOCK)
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


def test_the_second_process_is_told_who_is_there(tmp_path):
    path = tmp_path / LOCK
    with held(path) as other, pytest.raises(RunError, match=rf"another process \({other.pid}\) works here\. Wait"):
        exclusive(path, "works here").__enter__()
    with exclusive(path, "works here"):
        assert path.read_text() == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_was_killed_locks_nobody_out(how, tmp_path):
    path = tmp_path / LOCK
    with held(path) as other:
        other.send_signal(how)
        other.wait(20)
        assert path.exists()
        with exclusive(path, "works here"):
            pass
    assert not path.exists()


def test_a_place_for_the_lock_that_is_none_is_a_sentence(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        exclusive(tmp_path / "absent" / LOCK, "works here").__enter__()


def test_a_full_disk_can_be_locked(tmp_path, monkeypatch):
    """What is to be written there then says in a sentence that it is full."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("criinet.engine.lock.os.write", full)
    with exclusive(tmp_path / LOCK, "works here"):
        assert (tmp_path / LOCK).read_text() == ""
        with pytest.raises(RunError, match=r"another process \(of unknown number\) works here"):
            exclusive(tmp_path / LOCK, "works here").__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed_to_be_locked(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    path = tmp_path / LOCK
    path.symlink_to(tmp_path / "mine.txt")
    with pytest.raises(StorageError, match=r"\.lock is a link; remove it\."):
        exclusive(path, "works here").__enter__()
    assert path.is_symlink()
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_link_is_not_followed_to_log_a_step(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    folder.metrics.symlink_to(tmp_path / "mine.txt")
    with pytest.raises(StorageError, match=r"metrics\.jsonl is a link; remove it\."):
        folder.log([Alarm(1, "collapsed")])
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_a_run_that_is_being_trained_is_left_alone(how, run, drawn, fit):
    before = files(run.root)
    with held(run.root / LOCK), pytest.raises(RunError, match=r"another process \(\d+\) trains in "):
        fit(drawn, run.root, method="crii", **{how: True})
    assert files(run.root) == before


def test_a_run_whose_review_page_is_served_is_not_overwritten(run, drawn, fit):
    run.review.mkdir()
    before = files(run.root)
    with held(run.review / LOCK), pytest.raises(RunError, match=r"another process \(\d+\) serves the review page of "):
        fit(drawn, run.root, overwrite=True)
    assert files(run.root) == before
    fit(drawn, run.root, overwrite=True)
    assert not run.review.exists()


def test_training_leaves_no_lock(drawn, fit, tmp_path):
    seen = []
    fit(drawn, tmp_path / "run", watch=lambda *_: seen.append((tmp_path / "run" / LOCK).exists()))
    assert set(seen) == {True}
    fit(drawn, tmp_path / "run", overwrite=True, watch=lambda *_: seen.append((tmp_path / "run" / LOCK).exists()))
    assert set(seen) == {True}, "what stood there is gone, the lock is not"
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_training_that_cannot_begin_leaves_no_folder(fit, tmp_path):
    with pytest.raises(DataError):
        fit(tmp_path / "absent", tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_is_not_touched(drawn, fit, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty and holds no run"):
        fit(drawn, tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_a_killed_process_left_is_free(drawn, fit, tmp_path):
    """Even if it was killed while it wrote the first file; only what has such a name goes."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).touch()
    (tmp_path / "run" / ".config.json.0a1b2c3d.tmp").write_text("half")
    assert fit(drawn, tmp_path / "run").checkpoint("last").exists()
    assert not list((tmp_path / "run").glob(".*"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".notes.tmp").write_text("mine")
    with pytest.raises(RunError, match="not empty and holds no run"):
        fit(drawn, tmp_path / "mine")


@pytest.mark.parametrize("resume", [False, True])
def test_a_benchmark_that_was_killed_over_its_first_file_can_begin(resume, tmp_path):
    plan = {"name": "one", "methods": ["supervised"], "labeled": ["4"], "datasets": [{"path": str(tmp_path / "no")}]}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".plan.json.0a1b2c3d.tmp").write_text("half")
    with pytest.raises(DataError, match="does not exist"):
        benchmark(plan, tmp_path / "out", device="cpu", resume=resume)
    assert not (tmp_path / "out").exists()


def test_a_benchmark_that_is_under_way_is_left_alone(drawn, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text(f'name = "one"\nmethods = ["supervised"]\nlabeled = ["4"]\ndatasets = [{{path = "{drawn}"}}]\n')
    out = tmp_path / "out"
    out.mkdir()
    (out / "plan.json").write_text('{"name": "one"}')
    with held(out / LOCK), pytest.raises(RunError, match=r"another process \(\d+\) works in "):
        benchmark(str(plan), out, device="cpu", resume=True)
    assert not (out / "runs").exists()
    assert (out / "plan.json").read_text() == '{"name": "one"}'
    assert RunFolder(out).is_free is False


@pytest.mark.parametrize("work", [benchmark, search])
def test_two_benchmarks_that_begin_at_once_leave_each_other_alone(work, drawn, tmp_path, monkeypatch):
    """The other one has locked the folder, or has even ended, after this one saw that it was free."""
    plan = {"name": "one", "methods": ["supervised"], "labeled": ["4"], "datasets": [{"path": str(drawn)}]}
    out = tmp_path / "out"
    out.mkdir()
    with held(out / LOCK), pytest.raises(RunError, match=r"another process \(\d+\) works in "):
        work(plan, out, device="cpu")
    assert (out / LOCK).exists()

    def late(folder: Path) -> Path:
        (folder / "plan.json").write_text('{"name": "other"}')
        return folder

    monkeypatch.setattr(bench, "make_folder", late)
    with pytest.raises(RunError, match="holds a benchmark or a search already"):
        work(plan, out, device="cpu")
    assert (out / "plan.json").read_text() == '{"name": "other"}'


def test_a_lock_that_was_removed_before_it_was_taken_is_taken_anew(tmp_path, monkeypatch):
    path, flock = tmp_path / LOCK, lock.fcntl.flock

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(lock.fcntl, "flock", flock)
        path.unlink()
        flock(descriptor, how)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    with exclusive(path, "works here"):
        assert path.read_text() == f"{os.getpid()}\n"
