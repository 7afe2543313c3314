"""Checkpoints: whole or absent, loadable without running code, with all that resuming needs."""

import io
from pathlib import Path
from typing import Any

import torch

from criinet.data.files import write_bytes_atomically
from criinet.errors import OVERWRITE, CheckpointError

FORMAT = 1
CHECKPOINTS = ("best", "last")
"""The weights that a run keeps: of its highest validation Dice, and of its last step."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to ``path`` through a temporary name.

    Raises:
        StorageError: if the disk is full or the place cannot be written; an older checkpoint stays.
    """
    whole = io.BytesIO()  # PyTorch's own writer would hide the OSError of a full disk.
    torch.save({"format": FORMAT, **state}, whole)
    write_bytes_atomically(path, whole.getbuffer())


def load_checkpoint(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint onto ``device``.

    Raises:
        CheckpointError: if there is none, it is truncated or foreign, or a newer criinet wrote it.
    """
    if not path.is_file():
        there = ", ".join(name for name in CHECKPOINTS if path.with_stem(name).is_file())
        advice = f"the run has {there}" if there else "train the run first, or check its name"
        raise CheckpointError(f"there is no checkpoint {path}; {advice}.")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"checkpoint {path} is truncated or not a checkpoint ({type(error).__name__}). "
            f"Restore it from a copy, or train anew with {OVERWRITE}."
        ) from error
    if not isinstance(state, dict) or "format" not in state:
        raise CheckpointError(f"checkpoint {path} was not written by criinet. Give one from RUN/checkpoints.")
    if state["format"] > FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {state['format']}, this criinet reads up to {FORMAT}. "
            "Install a newer criinet."
        )
    return state
