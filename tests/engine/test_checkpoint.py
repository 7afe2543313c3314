"""A checkpoint is whole or absent, and one sentence says why one cannot be used."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from criinet.engine.checkpoint import FORMAT, load_checkpoint, save_checkpoint
from criinet.errors import CheckpointError, StorageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "checkpoints" / "last.pt"
    save_checkpoint(file, {"step": 3, "method": {"w": torch.arange(1000.0)}})
    return file


def test_what_is_saved_is_what_is_loaded(path):
    state = load_checkpoint(path)
    assert (state["format"], state["step"]) == (FORMAT, 3)
    assert torch.equal(state["method"]["w"], torch.arange(1000.0))
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


def test_loading_runs_no_code(path):
    """A pickle that would call a function is refused, not run."""

    class Harmful:
        def __reduce__(self):
            return (Path.touch, (path.parent / "harm",))

    torch.save({"format": FORMAT, "method": Harmful()}, path)
    with pytest.raises(CheckpointError, match="truncated or not a checkpoint"):
        load_checkpoint(path)
    assert not (path.parent / "harm").exists()


@pytest.mark.parametrize("kept", [0, 10, 500, 2000])
def test_a_truncated_checkpoint_is_named(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"last\.pt is truncated.*Restore it from a copy, or train anew"):
        load_checkpoint(path)


def test_a_checkpoint_of_a_newer_format_asks_for_a_newer_criinet(path):
    torch.save({"format": FORMAT + 1}, path)
    with pytest.raises(CheckpointError, match=rf"format {FORMAT + 1}.*reads up to {FORMAT}.*newer criinet"):
        load_checkpoint(path)


@pytest.mark.parametrize("foreign", [{"state_dict": {}}, torch.zeros(3)])
def test_a_checkpoint_of_another_project_is_refused(path, foreign):
    torch.save(foreign, path)
    with pytest.raises(CheckpointError, match="not written by criinet"):
        load_checkpoint(path)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint .*best\.pt"):
        load_checkpoint(tmp_path / "best.pt")


def test_a_full_disk_leaves_the_old_checkpoint(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("criinet.data.files.os.fsync", full)
    with pytest.raises(StorageError, match=r"no space left to write .*last\.pt; free some space"):
        save_checkpoint(path, {"step": 4, "method": {}})
    assert load_checkpoint(path)["step"] == 3
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


LIMITED = """
import json, resource, sys
from pathlib import Path
import torch
from criinet.engine.checkpoint import save_checkpoint
from criinet.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_checkpoint(Path(sys.argv[1]), {"step": 4, "method": {"w": torch.zeros(100_000)}})
except StorageError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.slow
def test_a_write_that_the_system_cuts_short_leaves_the_old_checkpoint(path):
    """The operating system itself refuses to write beyond 20 kB."""
    found = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    assert "last.pt cannot be written" in json.loads(found.stdout)
    assert load_checkpoint(path)["step"] == 3
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]
