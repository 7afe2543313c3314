"""Processes that work for another one."""

import pytest

from criinet.engine.children import start_child
from criinet.errors import StorageError


def test_what_a_child_says_goes_to_no_other_file_by_a_link(tmp_path):
    log = tmp_path / "log.txt"
    log.symlink_to(tmp_path / "mine.txt")
    with pytest.raises(StorageError, match=r"log\.txt is a link; remove it\."):
        start_child("criinet", tmp_path / "file", log, threads=1)
    assert not (tmp_path / "mine.txt").exists()


def test_a_child_takes_no_module_from_the_present_folder(tmp_path, monkeypatch):
    """What lies there by chance would stand in for what is installed."""
    (tmp_path / "platform.py").write_text("print('mine')\n")
    monkeypatch.chdir(tmp_path)
    with start_child("platform", tmp_path / "file", tmp_path / "log.txt", threads=1) as process:
        assert process.wait() == 0
    said = (tmp_path / "log.txt").read_text()
    assert said
    assert "mine" not in said
