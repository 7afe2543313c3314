"""What a run is made from: what is asked for, what its folder recorded of it, and whether the two agree."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from criinet.config import merge
from criinet.data.dataset import Dataset, open_dataset
from criinet.data.draws import make_split
from criinet.data.splits import Split, load_split
from criinet.engine.folder import RunFolder
from criinet.engine.run_record import DatasetRecord
from criinet.engine.settings import SECTIONS, RunConfig, first_difference, resolve
from criinet.errors import OVERWRITE, DataError, RunError


@dataclass(frozen=True)
class Asked:
    """What a person asks a training for; None is what nobody said.

    dataset: its folder. labeled: how many of the training cases are labeled, as "4%" or 32. split: a file instead.
    groups: a CSV of case and group. settings: nested tables over what is picked from the data.
    skip_bad: leave unreadable files out. initial: folder of the run whose last weights training begins with.
    """

    dataset: Path
    labeled: str | int | None = None
    split: Path | None = None
    groups: Path | None = None
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: dict[str, Any]())
    skip_bad: bool = False
    initial: Path | None = None

    def open(self) -> Dataset:
        """Open the dataset."""
        return open_dataset(self.dataset, skip_bad=self.skip_bad, groups=self.groups)

    def draw(self, dataset: Dataset, seed: int) -> Split:
        """Read the split, or draw one by ``seed``."""
        return load_split(self.split, dataset) if self.split else make_split(dataset, self.labeled, seed)


def as_path(path: Path | str | None) -> Path | None:
    """Return a path given as text or as a path, None for None."""
    return None if path is None else Path(path)


def describe(dataset: Dataset, asked: Asked) -> DatasetRecord:
    """Return what a run must remember of its dataset."""
    return DatasetRecord(
        path=dataset.root.resolve(),
        name=dataset.name,
        classes=dataset.classes,
        dims=dataset.dims,
        voxel=dataset.voxel,
        spacing=dataset.spacing_of(dataset.cases[0]),
        regions=dataset.regions,
        groups=None if asked.groups is None else asked.groups.resolve(),
        skip_bad=asked.skip_bad,
    )


def open_recorded(about: DatasetRecord, moved: Path | None = None) -> Dataset:
    """Open the dataset of a run as training opened it; ``moved`` is where it is now.

    Raises:
        DataError: if it is not there, or cannot be used.
    """
    if moved is None and not about.path.is_dir():
        raise DataError(
            f"the run's dataset {about.path} does not exist; put it back, or give the folder where it is now, as "
            "`criinet evaluate RUN --dataset DIR` does."
        )
    return open_dataset(moved or about.path, skip_bad=about.skip_bad, groups=about.groups)


def recorded_split(folder: RunFolder) -> Split:
    """Return ``split.json`` of a run.

    Raises:
        RunError: if it cannot be read.
    """
    try:
        return Split.model_validate_json(folder.split.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{folder.split} cannot be read. Restore it, or train anew with {OVERWRITE}.") from error


def recorded_run(folder: RunFolder, dataset: Dataset, asked: Asked) -> tuple[RunConfig, Split]:
    """Return the settings and the split that a run was started with.

    Raises:
        RunError: if there is no run, or something else is asked for now; the message names the first difference.
        DataError: if the dataset has other classes now.
    """
    recorded = folder.read_config()
    config = recorded.config()
    difference = changed(config, asked.settings, asked.seed)
    if difference is not None:
        name, before, now = difference
        raise RunError(
            f"{folder.root} was trained with {name}={before}, now {now} is asked. "
            f"Start another run with another --out, or drop that option to resume."
        )
    require_same_classes(recorded.dataset, dataset, folder.root)
    recorded_split(folder)  # Says best how to mend a file that is missing.
    parts = load_split(folder.split, dataset)
    if asked.labeled is not None or asked.split is not None:
        wanted = asked.draw(dataset, config.seed)
        if wanted.hash != parts.hash:
            raise RunError(
                f"{folder.root} was trained on split {parts.hash} with {len(parts.labeled)} labeled cases, now split "
                f"{wanted.hash} with {len(wanted.labeled)} is asked. Start another run, or drop --labeled and --split."
            )
    return config, parts


def changed(config: RunConfig, asked: Mapping[str, Any], seed: int | None) -> tuple[str, Any, Any] | None:
    """Return the first setting that is asked for otherwise than ``config`` has it: (name, before, asked).

    Values are compared as the settings read them, so "3e-4" is 0.0003.

    Raises:
        ConfigError: for an unknown key, or a value out of range.
    """
    before = config.to_dict()
    names = {s: {"name": t["name"]} for s, t in asked.items() if isinstance(t, Mapping) and "name" in t}
    difference = first_difference(before, names)
    if difference is not None:
        return difference
    tables = merge({section: before[section] for section in SECTIONS}, asked)
    now = resolve(tables, seed=config.seed if seed is None else seed).to_dict()
    return first_difference(before, {key: now[key] for key in (*SECTIONS, "seed")})


def require_same_classes(about: DatasetRecord, dataset: Dataset, run: Path) -> None:
    """Check that a dataset has the classes that a run was trained on, in their order.

    Raises:
        DataError: otherwise.
    """
    if about.classes != dataset.classes:
        raise DataError(
            f"{run} was trained on the classes {', '.join(about.classes)}, but {dataset.root} has "
            f"{', '.join(dataset.classes)}. Give the dataset that it was trained on, with its classes in their order."
        )
