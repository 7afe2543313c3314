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
