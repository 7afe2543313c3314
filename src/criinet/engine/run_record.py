"""What a run is made from, as its ``config.json`` says it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from criinet.engine.settings import Choice, RunConfig, resolve


class Written(BaseModel):
    """A part of ``config.json``; keys that a newer version wrote are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


class DatasetRecord(Written):
    """The dataset of a run.

    path: its folder. dims: 2 for images, 3 for volumes. voxel: the declared size of a volume's voxels.
    spacing: of the first case. regions: named unions of classes. groups: a CSV of case and group.
    skip_bad: whether unreadable files are left out. What older runs did not record has a default.
    """

    path: Path
    name: str
    classes: tuple[str, ...]
    dims: int = 2
    voxel: tuple[float, float, float] | None = None
    spacing: tuple[float, ...] | None = None
    regions: Mapping[str, tuple[str, ...]] = {}
    groups: Path | None = None
    skip_bad: bool = False


class Environment(Written):
    """Versions and hardware of a training, without names of people or machines."""

    version: str
    python: str
    torch: str
    device: str
    threads: int


class RunRecord(Written):
    """What ``config.json`` holds.

    method, network, data, trainer: the settings, section by section. choices: which of them were picked, and why.
    initial: folder of the run whose last weights training began with.
    """

    format: int = 1
    method: Mapping[str, Any]
    network: Mapping[str, Any]
    data: Mapping[str, Any]
    trainer: Mapping[str, Any]
    seed: int
    choices: tuple[Choice, ...] = ()
    initial: Path | None = None
    dataset: DatasetRecord
    environment: Environment

    @property
    def settings(self) -> dict[str, Mapping[str, Any]]:
        """The sections of the settings by name."""
        return {"method": self.method, "network": self.network, "data": self.data, "trainer": self.trainer}

    def config(self) -> RunConfig:
        """Return the settings as they are used.

        Raises:
            ConfigError: if this installation has no such method, network or setting.
        """
        return replace(resolve(self.settings, seed=self.seed), choices=self.choices)


def damage(error: ValidationError) -> str:
    """Say what is wrong with a ``config.json``: the first key that it lacks, or whose value is no such thing."""
    first = next((found for found in error.errors() if found["type"] == "missing"), error.errors()[0])
    name = ".".join(map(str, first["loc"]))
    if not name:
        return "holds no settings of a run"
    return f"lacks '{name}'" if first["type"] == "missing" else f"has {first['input']!r} for '{name}'"
