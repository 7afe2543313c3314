"""A plan: which methods on which datasets, with how many labels, draws, seeds and networks, under which settings."""

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from criinet.config import Config, Count, parse, read_settings
from criinet.data.draws import Measured
from criinet.defaults import DEFAULT_NETWORK
from criinet.engine.acquisition import STRATEGIES, Strategy
from criinet.engine.requirements import MOST
from criinet.errors import ConfigError
from criinet.methods import methods
from criinet.registry import nearest

Seed = Annotated[int, Field(ge=0, le=MOST - 1)]
Tables = dict[str, Any]
SYNTHETIC = "synthetic"
NAMED = {"network": "name networks in [[networks]]", "method": "say it in methods, or as method of a variant"}
"""What tables of settings do not choose, and where a plan does."""


class DatasetPlan(Config):
    """One dataset of a plan."""

    path: Annotated[str, Field(description="dataset folder below --data, or 'synthetic': drawn into OUT")]
    images: Annotated[Count, Field(description="of a synthetic dataset: how many images are drawn")] = 400
    test: Annotated[Count, Field(description="of a synthetic dataset: how many of them are for the test")] = 100
    labeled: Annotated[
        tuple[str, ...] | None, Field(description="amounts of labels for this dataset, instead of the plan's")
    ] = None
    settings: Annotated[Tables, Field(description="settings for this dataset's runs: [data], [trainer]")] = {}


class NetworkPlan(Config):
    """One network of a plan."""

    name: str
    settings: Annotated[Tables, Field(description="settings of the network")] = {}


class Variant(Config):
    """A row of the tables that is a method with settings of its own, or with other amounts of labels."""

    method: str
    settings: Annotated[Tables, Field(description="settings for this row's runs: [method], [trainer]")] = {}
    labeled: Annotated[tuple[str, ...] | None, Field(description="amounts of labels, instead of the plan's")] = None


class Range(Config):
    """Where a search looks for one setting: between two numbers; two whole ones for a setting that is whole."""

    low: int | float
    high: int | float
    log: Annotated[bool, Field(description="draw from the logarithms")] = False

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.low > self.high or (self.log and self.low <= 0):
            raise ValueError("low must not be above high, and with log it must be above 0")
        return self


class Search(Config):
    """A search for settings on validation cases, with the same number of trials for every row.

    ``space`` holds what is searched for every row, ``rows`` what is searched for one row beside that; both name
    settings in full, as trainer.learning_rate or method.weights.intra.
    """

    trials: Annotated[Count, Field(description="trials of each row; the first one is the plan as it stands")] = 10
    draws: Annotated[tuple[Seed, ...] | None, Field(description="draws to search on; the plan's first if none")] = None
    space: dict[str, Range] = {}
    rows: dict[str, dict[str, Range]] = {}


class ActiveLearning(Config):
    """A simulated annotator: after each round an oracle draws the masks that a strategy asks for.

    Every strategy is a row of the tables, with a result after each round; all start from the same run.
    """

    strategies: Annotated[
        tuple[Strategy, ...], Field(min_length=1, description="who says which images are drawn next")
    ] = STRATEGIES
    rounds: Annotated[Count, Field(description="rounds after the first training")] = 5
    masks: Annotated[Count, Field(description="masks drawn in each round")] = 10
    iterations: Annotated[Count | None, Field(description="steps of each round; half of the run's if none")] = None


class Plan(Config):
    """A grid of runs. Every row gets the same splits, initial weights, augmentation, batches and iterations.

    ``description``, ``hardware``, ``hours`` and ``expected`` tell a reader what it is, where and how long it was run,
    and what came out.
    """

    name: str
    description: str = ""
    hardware: str = ""
    hours: Annotated[float | None, Field(ge=0)] = None
    expected: str = ""
    methods: Annotated[
        Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)],
        Field(description="names of methods and of variants; 'all': every registered method and every variant"),
    ] = "all"
    variants: dict[str, Variant] = {}
    datasets: Annotated[tuple[DatasetPlan, ...], Field(min_length=1)]
    networks: Annotated[tuple[NetworkPlan, ...], Field(min_length=1)] = (NetworkPlan(name=DEFAULT_NETWORK),)
    labeled: Annotated[tuple[str, ...], Field(min_length=1, description="amounts of labels, as 4% or 32")] = ("4%",)
    draws: Annotated[tuple[Seed, ...], Field(min_length=1, description="draws of labeled cases")] = (0,)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, description="seeds of weights and batches")] = (0,)
    measure: Annotated[
        Measured,
        Field(description="test: the test cases; val: all cases held out for validation, while developing a method"),
    ] = "test"
    settings: Annotated[Tables, Field(description="settings for every run: [data], [trainer]")] = {}
    search: Search = Search()
    active: ActiveLearning | None = None

    @model_validator(mode="after")
    def _named_once(self) -> "Plan":
        """Refuse a method or a network in a table of settings, which would be another than the tables say."""
        for where, tables in self._tables():
            for section, instead in NAMED.items():
                table = tables.get(section)
                if f"{section}.name" in tables or (isinstance(table, Mapping) and "name" in table):
                    raise ConfigError(f"plan '{self.name}': {where} sets {section}.name; {instead}.")
        return self

    def _tables(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield all that can set something, and where it stands; a search by the full names of settings."""
        yield "settings", self.settings
        yield from ((f"datasets '{each.path}'.settings", each.settings) for each in self.datasets)
        yield from ((f"networks '{each.name}'.settings", {"network": each.settings}) for each in self.networks)
        yield from ((f"variants.{label}.settings", each.settings) for label, each in self.variants.items())
        yield "search.space", self.search.space
        yield from ((f"search.rows.{row}", space) for row, space in self.search.rows.items())

    def rows(self) -> dict[str, Variant]:
        """Return every row of the tables by its label.

        Raises:
            ConfigError: for a name that is neither a method nor a variant, a variant with a method's name, or one that
                ``methods`` does not name.
        """
        for label, variant in self.variants.items():
            if label in methods:
                raise ConfigError(f"plan '{self.name}': variant '{label}' has the name of a method; choose another.")
            methods.get(variant.method)
        known = {**{name: Variant(method=name) for name in methods}, **self.variants}
        asked = list(known) if self.methods == "all" else self.methods
        for label in asked:
            if label not in known:
                raise ConfigError(
                    f"plan '{self.name}': '{label}' is neither a method nor a variant.{nearest(label, known)} "
                    "`criinet methods` lists the methods."
                )
        for label in self.variants:
            if label not in asked:
                raise ConfigError(
                    f"plan '{self.name}': variant '{label}' is not named in methods; name it there, or remove it."
                )
        return {label: known[label] for label in dict.fromkeys(asked)}


def shipped_plans() -> dict[str, Path]:
    """Return the plans that come with criinet, by name."""
    folder = Path(str(resources.files("criinet.benchmarking") / "plans"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_plan(name: str) -> Plan:
    """Read a plan file (TOML, YAML or JSON), or one that comes with criinet by its name.

    Raises:
        ConfigError: if there is none, or it holds an unknown key or a value that does not fit.
    """
    shipped = shipped_plans()
    path = Path(name)
    if not path.exists() and name in shipped:
        path = shipped[name]
    if not path.exists():
        raise ConfigError(
            f"there is no plan '{name}'.{nearest(name, shipped)} Give a file, or one of: {', '.join(shipped)}."
        )
    return parse(Plan, read_settings(path), "plan")
