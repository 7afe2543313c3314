"""The fingerprint of a dataset follows its content, and nothing else."""

import os
import shutil
from pathlib import Path

import pytest

from criinet.data.fingerprint import fingerprint


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files of a dataset; what is in them is nobody's business here."""
    for name, content in {
        "images/a.png": b"one",
        "images/scan/im1.dcm": b"slice",
        "masks/a.png": b"mask",
        "dataset.json": b"{}",
        "splits/default.json": b"{}",
        "notes.txt": b"x",
    }.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "data"


def test_a_copy_has_the_same_one(root, tmp_path):
    assert len(fingerprint(root)) == 16
    other = shutil.copytree(root, tmp_path / "other")
    (other / "notes.txt").write_text("more")
    (other / "images" / ".DS_Store").write_text("hidden")
    os.utime(other / "images" / "a.png", (1, 1))
    assert fingerprint(other) == fingerprint(root)


@pytest.mark.parametrize("name", ["images/a.png", "images/scan/im1.dcm", "masks/a.png", "dataset.json"])
def test_any_byte_counts(root, name):
    before = fingerprint(root)
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[:-1] + b"!")
    os.utime(root / name, ns=(0, 0))
    assert fingerprint(root) != before
    (root / name).unlink()
    assert fingerprint(root) != before


def test_names_count(root):
    before = fingerprint(root)
    (root / "masks" / "a.png").rename(root / "masks" / "b.png")
    assert fingerprint(root) != before


def test_the_files_of_a_linked_folder_count(root, tmp_path):
    before = fingerprint(root)
    shutil.move(root / "images" / "scan", tmp_path / "elsewhere")
    (root / "images" / "scan").symlink_to(tmp_path / "elsewhere")
    assert fingerprint(root) == before
