"""A file is written whole or not at all, and a place that cannot be written is one sentence."""

import os
import stat

import numpy as np
import pytest

from criinet.data import files
from criinet.data.files import make_folder, sweep, temporary_for, write_atomically, write_text_atomically
from criinet.errors import StorageError


def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.txt"
    write_text_atomically(path, "old")

    def fill(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match=r"no space left to write .*a\.txt"):
        write_atomically(path, fill)
    with pytest.raises(ZeroDivisionError):
        write_atomically(path, lambda _: 1 / 0)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_told_by_name_and_age(tmp_path):
    """Another process may be writing right now, and other programs have hidden files of their own."""
    left = [tmp_path / ".a.txt.0a1b2c3d.tmp", temporary_for(tmp_path / "bundle") / "models", tmp_path / ".a.tmp"]
    left[1].mkdir(parents=True)
    for path in (left[0], left[2]):
        path.write_text("half")
    for path in (left[0], left[1].parent, left[2]):
        os.utime(path, (0, 0))
    young = temporary_for(tmp_path / "a.txt")
    young.write_text("half")
    sweep(tmp_path, meant=tmp_path / "a.txt")
    assert [path.exists() for path in (*left, young)] == [False, True, True, True]
    sweep(tmp_path)
    assert [path.exists() for path in (*left, young)] == [False, False, True, True]
    sweep(tmp_path, age=0)
    assert list(tmp_path.iterdir()) == [left[2]]
    sweep(tmp_path / "absent")


def test_arrays_are_written_by_name_and_whole(tmp_path):
    path = tmp_path / "a.npz"
    for compressed in (True, False):
        files.write_npz(path, {"path": np.arange(3), "names": np.array(["a"])}, compressed=compressed)
        with np.load(path) as found:
            assert (sorted(found), found["path"].tolist(), found["names"].tolist()) == (
                ["names", "path"],
                [0, 1, 2],
                ["a"],
            )
    assert list(tmp_path.iterdir()) == [path]


def denied() -> None:
    raise PermissionError(13, "Permission denied")


def test_rows_are_written_as_csv_below_the_keys_of_the_first():
    assert files.csv_text([{"case": "a,b", "dice": 0.5}, {"case": "c"}]) == 'case,dice\n"a,b",0.5\nc,\n'
    assert files.csv_text(iter([{"b": 1}]), ["a", "b"]) == "a,b\n,1\n"
    assert files.csv_text([]) == ""


def test_places_that_cannot_be_written_are_storage_errors(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="in the way"):
        make_folder(tmp_path / "file")
    with pytest.raises(StorageError, match="in the way"):
        write_text_atomically(tmp_path / "file" / "a.txt", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="in the way"):
        write_text_atomically(tmp_path / "folder", "")
    with pytest.raises(StorageError, match=r"cannot be written \(permission denied\); check its permissions"):
        write_atomically(tmp_path / "a", lambda _: denied())
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(StorageError, match="not writable"):
        make_folder(tmp_path / "new")


def test_a_file_that_is_written_again_keeps_its_permissions(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o600)
    write_text_atomically(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)


def test_a_written_file_has_the_usual_permissions(tmp_path):
    """A temporary file made by the tempfile module would be readable by its owner alone."""
    write_text_atomically(tmp_path / "deep" / "a.txt", "x")
    (tmp_path / "b.txt").write_text("x")
    assert (tmp_path / "deep" / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_who_reads_a_file_reads_all_of_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    write_text_atomically(path, "old")
    with path.open() as reader:
        write_text_atomically(path, "new")
        assert reader.read() == "old"


def test_two_may_write_one_file_at_a_time_and_the_last_one_stays(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, lambda file: (write_text_atomically(path, "first"), file.write(b"last")))
    assert path.read_text() == "last"
