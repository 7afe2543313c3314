"""The same records as `metrics.jsonl`, for people who watch TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from criinet.data.files import jsonable
from criinet.engine.trainer import Watcher
from criinet.errors import ConfigError
from criinet.records import Record, to_line


def tensorboard(folder: Path, also: Watcher | None) -> Watcher:
    """Return a watcher that writes scalars under ``folder``, made at the first record, and then calls ``also``.

    Raises:
        ConfigError: if TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "trainer.tensorboard needs TensorBoard; install it with pip install 'criinet[track]'."
        ) from error
    writers: list[SummaryWriter] = []

    def watch(step: int, records: Sequence[Record]) -> None:
        if not writers:
            writers.append(SummaryWriter(str(folder)))
        for record in records:
            for name, value in scalars(jsonable(to_line(record)), record.kind):
                writers[0].add_scalar(name, value, record.step)
        writers[0].flush()
        if also is not None:
            also(step, records)

    return watch


def scalars(line: Mapping[str, Any], under: str) -> list[tuple[str, float]]:
    """Return the numbers of a record's line, named after what they are under, like "train/terms/intra"."""
    found: list[tuple[str, float]] = []
    for key, value in line.items():
        if isinstance(value, Mapping):
            found += scalars(value, f"{under}/{key}")
        elif isinstance(value, int | float) and key != "step":
            found.append((f"{under}/{key}", float(value)))
    return found
