"""All settings of one run: resolved from the plan, a file and the command line, and dumped beside every checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from criinet.config import Config, Count, Fraction, MethodConfig, merge, parse, read_settings
from criinet.data.settings import DataConfig
from criinet.defaults import DEFAULT_METHOD, DEFAULT_NETWORK
from criinet.errors import ConfigError
from criinet.methods import methods, parse_method
from criinet.networks import NetworkConfig, networks, parse_network
from criinet.registry import nearest

FORMAT = 1
SECTIONS = ("method", "network", "data", "trainer")
Precision = Annotated[Literal["32", "bf16"], BeforeValidator(str)]
"""As text, though a settings file may write the number 32."""


class TrainerConfig(Config):
    """How long and how fast a run learns. Lengths in steps follow from ``iterations``, never the other way round."""

    iterations: Annotated[Count, Field(description="optimizer steps of the whole run")] = 1000
    labeled_batch: Annotated[Count, Field(description="labeled images a step")] = 4
    unlabeled_batch: Annotated[Count, Field(description="unlabeled images a step")] = 4
    learning_rate: Annotated[float, Field(gt=0, description="AdamW's rate for new layers")] = 1e-3
    encoder_rate: Annotated[Fraction, Field(description="rate of a pretrained encoder, as a share of it")] = 0.3
    weight_decay: Annotated[float, Field(ge=0, description="AdamW's decoupled weight decay")] = 1e-2
    warm_up: Annotated[Fraction, Field(description="fraction of training over which the rate rises from 0")] = 0.02
    clip: Annotated[float, Field(gt=0, description="largest norm of the gradient; longer ones are shortened")] = 5.0
    checks: Annotated[
        Count, Field(description="how many times a run validates, inspects its pseudo-labels and saves a checkpoint")
    ] = 20
    statistics: Annotated[
        int,
        Field(
            ge=0,
            description="images used to re-estimate batch-norm statistics after training; 0 keeps the running averages",
        ),
    ] = 256
    shift: Annotated[
        bool, Field(description="tune on the validation cases how readily a pixel counts as an object")
    ] = True
    precision: Annotated[Precision, Field(description="bf16 pays on GPUs only")] = "32"
    cuda_graph: Annotated[
        bool, Field(description="on a GPU, record a step once and replay it as one launch, for methods that allow it")
    ] = True
    threads: Annotated[int, Field(ge=0, description="CPU threads; 0: all cores")] = 0
    tensorboard: Annotated[bool, Field(description="also write RUN/tensorboard; needs criinet[track]")] = False

    def rate(self, progress: float) -> float:
        """Return the share of the learning rate at ``progress``: a linear rise, then (1 - progress)^0.9."""
        rise = min(1.0, progress / self.warm_up) if self.warm_up > 0 else 1.0
        return max(rise, 1e-3) * (1 - progress) ** 0.9

    @property
    def interval(self) -> int:
        """Steps between two checks."""
        return max(1, self.iterations // self.checks)


@dataclass(frozen=True)
class Choice:
    """One setting that was picked from the data alone, and why."""

    setting: str
    value: Any
    reason: str


@dataclass(frozen=True)
class RunConfig:
    """The settings of one run, section by section."""

    method_name: str
    method: MethodConfig
    network_name: str
    network: NetworkConfig
    data: DataConfig
    trainer: TrainerConfig
    seed: int = 0
    choices: tuple[Choice, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``config.json`` holds them."""
        return {
            "format": FORMAT,
            "method": {"name": self.method_name, **self.method.model_dump(mode="json")},
            "network": {"name": self.network_name, **self.network.model_dump(mode="json")},
            "data": self.data.model_dump(mode="json"),
            "trainer": self.trainer.model_dump(mode="json"),
            "seed": self.seed,
            "choices": [{"setting": c.setting, "value": str(c.value), "reason": c.reason} for c in self.choices],
        }


def settings_in(file: Path) -> dict[str, Any]:
    """Return the settings of a TOML, YAML or JSON file, or of the run whose config.json it is.

    Raises:
        ConfigError: if it cannot be read.
    """
    found = read_settings(file)
    return {section: found[section] for section in SECTIONS} if found.keys() >= {"format", *SECTIONS} else found


def nested(choices: tuple[Choice, ...]) -> dict[str, Any]:
    """Return choices like ``data.size`` as nested tables."""
    tables: dict[str, Any] = {}
    for choice in choices:
        value = choice.value
        for part in reversed(choice.setting.split(".")):
            value = {part: value}
        tables = merge(tables, value)
    return tables


def resolve(asked: Mapping[str, Any], choices: tuple[Choice, ...] = (), *, seed: int = 0) -> RunConfig:
    """Lay what the user asked for over what was picked, and check every key and value.

    Args:
        asked: nested tables with the keys "method", "network", "data" and "trainer".
        choices: what the plan picked; a choice that the user overrides is dropped from the list.

    Raises:
        ConfigError: for an unknown section, key or name, or a value out of range.
    """
    for section, table in asked.items():
        home, dot, key = str(section).partition(".")
        if dot and home in SECTIONS:
            raise ConfigError(f"'{section}' is no table; nest the settings, as {{'{home}': {{'{key}': ...}}}}.")
        if section not in SECTIONS:
            homes = {"data": DataConfig, "trainer": TrainerConfig}
            known = [f"{home}.{key}" for home, model in homes.items() for key in model.model_fields]
            likely = next((name for name in known if name.endswith(f".{section}")), "")
            meant = f" Did you mean '{likely}'?" if likely else nearest(section, [*SECTIONS, *known])
            raise ConfigError(f"unknown setting '{section}'.{meant} Settings stand in {', '.join(SECTIONS)}.")
        if not isinstance(table, Mapping):
            raise ConfigError(f"'{section}' is {table!r}, but it is a table; write {section}.KEY=VALUE.")
    picked = next((c.value for c in choices if c.setting == "network.name"), None)
    if asked.get("network", {}).get("name", picked) != picked:
        choices = tuple(c for c in choices if not c.setting.startswith("network."))
    kept = tuple(c for c in choices if not overridden(c.setting, asked))
    tables = merge(nested(choices), asked)
    method, network = dict(tables.get("method", {})), dict(tables.get("network", {}))
    method_name, network_name = str(method.pop("name", DEFAULT_METHOD)), str(network.pop("name", DEFAULT_NETWORK))
    require_right_sections(
        {**tables, "method": method, "network": network},
        models_of(method_name, network_name),
    )
    return RunConfig(
        method_name=method_name,
        method=parse_method(method_name, method),
        network_name=network_name,
        network=parse_network(network_name, network),
        data=parse(DataConfig, tables.get("data", {}), "data"),
        trainer=parse(TrainerConfig, tables.get("trainer", {}), "trainer"),
        seed=seed,
        choices=kept,
    )


def models_of(method: str, network: str) -> dict[str, type[Config]]:
    """Return the model of every section's settings, those of a method and of a network by name.

    Raises:
        ConfigError: if there is no such method or network.
    """
    return {
        "method": methods.get(method).Config,
        "network": networks.get(network).config,
        "data": DataConfig,
        "trainer": TrainerConfig,
    }


def require_right_sections(tables: Mapping[str, Mapping[str, Any]], models: Mapping[str, type[Config]]) -> None:
    """Refuse a key that only another section knows, and name that section.

    Raises:
        ConfigError: for the first such key.
    """
    for section, table in tables.items():
        for key in table:
            homes = [other for other, model in models.items() if key in model.model_fields]
            if homes and section not in homes:
                raise ConfigError(f"unknown setting '{section}.{key}'. Did you mean '{homes[0]}.{key}'?")


def overridden(setting: str, asked: Mapping[str, Any]) -> bool:
    """Say whether ``asked`` gives its own value for a choice."""
    value: Any = asked
    for part in setting.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True


def first_difference(
    recorded: Mapping[str, Any], asked: Mapping[str, Any], at: str = ""
) -> tuple[str, Any, Any] | None:
    """Return the first setting that ``asked`` wants otherwise than ``recorded`` has it: (name, recorded, asked)."""
    for key, value in asked.items():
        name = f"{at}.{key}" if at else str(key)
        before = recorded.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = first_difference(before, value, name)
            if inner is not None:
                return inner
        elif plain(before) != plain(value):
            return name, before, value
    return None


def plain(value: Any) -> Any:
    """Return tuples as lists, as JSON has them."""
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
