"""The single runs that a plan means, each with an identity that changes with whatever could change its result."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

from criinet.benchmarking.code_version import code_version, sources_of, unwrapped
from criinet.benchmarking.plan import SYNTHETIC, DatasetPlan, NetworkPlan, Plan, Variant
from criinet.config import merge
from criinet.data.dataset import Dataset, open_dataset
from criinet.data.draws import make_split
from criinet.data.files import digest
from criinet.data.fingerprint import fingerprint
from criinet.data.splits import Split, save_split
from criinet.data.synthetic import write_dataset
from criinet.engine.acquisition import Strategy
from criinet.engine.image_planner import Facts
from criinet.engine.settings import RunConfig, resolve
from criinet.engine.training import look, pick
from criinet.engine.volume_planner import VolumeFacts
from criinet.errors import ConfigError, DataError
from criinet.methods import methods
from criinet.networks import networks

ENTRIES = ("criinet.engine.training", "criinet.engine.evaluator")
"""Whatever these import can change a run's result, beside its method and its network."""

ACTIVE = "criinet.benchmarking.active"
"""What can change the result of a simulated annotator beside that."""


@dataclass(frozen=True)
class Annotator:
    """A simulated annotator: after each round an oracle draws the masks that a strategy asks for.

    rounds: after the first training. masks: drawn in each round. iterations: steps of each round.
    """

    strategy: Strategy
    rounds: int
    masks: int
    iterations: int


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    name: its folder below OUT/runs; ends with the start of ``identity``.
    row: its row in the tables. dataset, split: folder and file. called: the dataset's name in the tables.
    settings: complete tables of what is asked for.
    amount: of labels, as the plan asks for it. test: whether the test cases are opened at the end.
    identity: hash of the resolved settings, the data, the split and the code.
    active: whose rounds the cell is a chain of; None: one plain run.
    """

    name: str
    row: str
    dataset: str
    called: str
    split: str
    amount: str
    seed: int
    device: str
    settings: dict[str, Any]
    identity: str
    test: bool = True
    active: Annotator | None = None

    @property
    def runs(self) -> list[str]:
        """Names of the run folders that the cell fills, in order."""
        if self.active is None:
            return [self.name]
        return [f"{self.name}-r{number}" for number in range(self.active.rounds + 1)]

    def to_json(self) -> str:
        """Return the cell as text that ``from_json`` reads."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Cell":
        """Read what ``to_json`` wrote."""
        found: dict[str, Any] = json.loads(text)
        if found.get("active") is not None:  # Older cells do not say so.
            found["active"] = Annotator(**found["active"])
        return cls(**found)


@dataclass(frozen=True)
class Drawn:
    """What runs of one draw of labels share: the dataset, its name in the plan and its fingerprint, and the split.

    file: where the split stands. amount: of labels, as the plan asks for it.
    """

    dataset: Dataset
    name: str
    content: str
    split: Split
    file: Path
    amount: str

    @cached_property
    def facts(self) -> Facts | VolumeFacts:
        """What every run's settings are picked from, looked at when the first one asks."""
        return look(self.dataset, self.split)


def identity(config: RunConfig, drawn: Drawn, active: Annotator | None = None) -> str:
    """Return the hash of settings, data, split, weights given as a file, and code that names a run, or its rounds.

    Raises:
        ConfigError: if the method or the network is defined in a script, which other processes do not import, or the
            file of weights is missing.
    """
    settled = {key: value for key, value in config.to_dict().items() if key != "choices"}
    built = (methods.get(config.method_name), networks.get(config.network_name).build)
    for thing, name in zip(built, (config.method_name, config.network_name), strict=True):
        if unwrapped(thing).__module__ == "__main__":
            raise ConfigError(
                f"'{name}' is defined in a script, which the processes of a benchmark do not run; put it into an "
                "installed module that is a plugin (CONTRIBUTING.md)."
            )
    entries = ENTRIES if active is None else (*ENTRIES, ACTIVE)
    code = code_version(*entries, *sources_of(*built))
    known = [settled, drawn.name, drawn.content, drawn.split.hash, code, *(() if active is None else (asdict(active),))]
    if (weights := config.network.weights) is not None:
        if not weights.is_file():
            raise ConfigError(f"network.weights: {weights} is no file; check the path.")
        known.append(digest(weights))
    text = json.dumps(known, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_data(asked: DatasetPlan, data: Path, out: Path) -> Dataset:
    """Open a dataset of the plan; a synthetic one is drawn first, once.

    Raises:
        DataError: if the folder is no dataset.
    """
    if asked.path != SYNTHETIC:
        return open_dataset(data / asked.path)
    root = out / "data" / f"synthetic-{asked.images}-{asked.test}"
    if not (root / "dataset.json").exists():
        write_dataset(root, count=asked.images, test=asked.test, val=min(16, asked.images // 8))
    return open_dataset(root)


def called(asked: DatasetPlan, dataset: Dataset) -> str:
    """Return the name that tells a dataset from the others of a plan: of synthetic images how many there are."""
    return dataset.root.name if asked.path == SYNTHETIC else dataset.name


def cells_of(grid: Plan, data: Path, out: Path, device: str) -> list[Cell]:
    """Return every run that a plan means, and write the splits they share to OUT/splits.

    Where two draws are the same split, as with all labels, a row has one run of them.

    Args:
        data: folder of the plan's dataset folders.
        out: folder of the benchmark.
        device: "cpu" or "cuda".

    Raises:
        UserError: if a dataset, a name or a setting is not as it should be, before any run has begun.
    """
    rows = grid.rows()
    cells = [
        cell(grid, asked, drawn, label, variant, network, seed, device, strategy)
        for asked, drawn in draws_of(grid, data, out)
        for label, variant in rows.items()
        if drawn.amount in (variant.labeled or asked.labeled or grid.labeled)
        for network in grid.networks
        for seed in grid.seeds
        for strategy in (grid.active.strategies if grid.active else (None,))
    ]
    require_told_apart(grid, cells)
    return list({(each.row, each.identity): each for each in reversed(cells)}.values())[::-1]


def draws_of(grid: Plan, data: Path, out: Path) -> Iterator[tuple[DatasetPlan, Drawn]]:
    """Yield every draw of labels that a plan means, with the dataset's part of the plan, and write its split.

    Raises:
        UserError: if a dataset, an amount or a split is not as it should be.
    """
    rows = grid.rows()
    homes: dict[str, Path] = {}  # By name as files have it: two datasets would share splits and runs.
    for asked in grid.datasets:
        dataset = open_data(asked, data, out)
        name = called(asked, dataset)
        if homes.setdefault(safe(name), dataset.root) != dataset.root:
            raise ConfigError(
                f"plan '{grid.name}': {homes[safe(name)]} and {dataset.root} are both called {safe(name)} in file "
                "names; give one another name in its dataset.json."
            )
        if grid.active is not None and dataset.dims == 3:
            raise ConfigError(
                f"plan '{grid.name}': [active] chooses among images, but {dataset.root} holds volumes; name a dataset "
                "of images, or leave [active] out."
            )
        content = fingerprint(dataset.root)
        for amount in amounts(grid, asked, rows):
            for draw in grid.draws:
                try:
                    split = make_split(dataset, amount, draw, measure=grid.measure)
                except DataError as error:
                    raise DataError(f"plan '{grid.name}', labeled '{amount}' on {name}: {error}") from error
                file = out / "splits" / f"{safe(name)}-{safe(amount)}-draw{draw}.json"
                save_split(split, file)
                drawn = Drawn(dataset, name, content, split, file, amount)
                require_enough(grid, drawn)
                yield asked, drawn


def require_told_apart(grid: Plan, cells: Sequence[Cell]) -> None:
    """Check that no two rows share a folder, and that a row has one run of each dataset, network, split and seed.

    Raises:
        ConfigError: otherwise; the tables would show one of the two.
    """
    named: dict[str, Cell] = {}
    alike: dict[tuple[str, str], Cell] = {}  # By row and name, which is all but the identity.
    for each in cells:
        first = named.setdefault(each.name, each)
        if first.row != each.row:
            raise ConfigError(
                f"plan '{grid.name}': rows '{first.row}' and '{each.row}' are both called {safe(each.row)} in file "
                "names; give one another name."
            )
        first = alike.setdefault((each.row, each.name.rpartition("-")[0]), each)
        if first.identity != each.identity:
            raise ConfigError(
                f"plan '{grid.name}': row '{each.row}' asks twice, with other settings, for "
                f"{each.settings['network']['name']} on {each.called} at {each.amount}, which the tables cannot tell "
                "apart; make a variant of each, or a plan of each."
            )


def require_enough(grid: Plan, drawn: Drawn) -> None:
    """Check that a simulated annotator never runs out of masks to draw, nor of unlabeled cases to train on.

    Raises:
        ConfigError: if it does.
    """
    if grid.active is None:
        return
    unlabeled = drawn.dataset.select(drawn.split.unlabeled)
    most = min(sum(case.mask is not None for case in unlabeled), len(unlabeled) - 1)
    if grid.active.rounds * grid.active.masks > most:
        raise ConfigError(
            f"plan '{grid.name}': [active] asks for {grid.active.rounds} rounds of {grid.active.masks} masks, but of "
            f"{drawn.name} at {drawn.amount} it can draw {most}: an unlabeled case must have a mask, and one must stay "
            "unlabeled; plan no more than these."
        )


def amounts(grid: Plan, asked: DatasetPlan, rows: Mapping[str, Variant]) -> list[str]:
    """Return every amount of labels that some row wants on a dataset."""
    usual = asked.labeled or grid.labeled
    wanted = [amount for variant in rows.values() for amount in variant.labeled or usual]
    return list(dict.fromkeys(wanted))


def cell(
    grid: Plan,
    asked: DatasetPlan,
    drawn: Drawn,
    label: str,
    variant: Variant,
    network: NetworkPlan,
    seed: int,
    device: str,
    strategy: Strategy | None = None,
) -> Cell:
    """Return one run, its settings checked; with a strategy, a chain of rounds.

    Raises:
        ConfigError: if a setting is not as it should be.
    """
    built = {"method": {"name": variant.method}, "network": {"name": network.name, **network.settings}}
    layers = ({"trainer": {"threads": 1}}, built, grid.settings, asked.settings, variant.settings)
    settings: dict[str, Any] = reduce(merge, layers)
    try:
        config = resolve(settings, pick(drawn.facts, device, settings), seed=seed)
    except ConfigError as error:
        raise ConfigError(f"plan '{grid.name}', row '{label}': {error}") from error
    active = None
    if grid.active is not None and strategy is not None:
        iterations = grid.active.iterations or max(1, config.trainer.iterations // 2)
        active = Annotator(strategy, grid.active.rounds, grid.active.masks, iterations)
        label = strategy if len(grid.rows()) == 1 else f"{label} {strategy}"
    known, split = identity(config, drawn, active), drawn.split
    parts = (drawn.name, label, f"{len(split.labeled)}", network.name, f"d{split.seed}s{seed}", known[:8])
    return Cell(
        name="-".join(safe(part) for part in parts),
        row=label,
        dataset=str(drawn.dataset.root),
        called=drawn.name,
        split=str(drawn.file),
        amount=drawn.amount,
        seed=seed,
        device=device,
        settings=settings,
        identity=known,
        active=active,
    )


def safe(text: str) -> str:
    """Return ``text`` as part of a file name."""
    return "".join(c if c.isalnum() or c in "._+" else {"%": "pct"}.get(c, "_") for c in text)
