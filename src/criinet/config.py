"""Typed settings: unknown keys are refused with the nearest match, and every value says what it means."""

import json
import math
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from criinet.errors import ConfigError
from criinet.registry import nearest

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Config(BaseModel):
    """Base of all settings: immutable, complete, finite, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class Ramp(Config):
    """A weight that grows over the first part of training, whatever its length in iterations.

        w(p) = to * exp(-5 (1 - min(p, over) / over)^2),   p = progress, the fraction of training that is done

    Reference: Laine & Aila, ICLR 2017, arXiv 1610.02242, section 3.1.
    Differs: over a fraction of the run instead of a count of epochs, so a shorter run ramps as a longer one does.
    """

    to: Annotated[float, Field(ge=0, description="weight once the ramp is over")]
    over: Annotated[float, Field(gt=0, le=1, description="fraction of training that the ramp takes")] = 0.4

    def __call__(self, progress: float) -> float:
        """Return the weight at ``progress`` in [0, 1]."""
        return self.to * math.exp(-5.0 * (1.0 - min(progress, self.over) / self.over) ** 2)


LossWeights = dict[str, Annotated[float, Field(ge=0)] | Ramp]


class MethodConfig(Config):
    """Base of a method's settings: one weight for each named loss term, and what the method adds.

    Attributes:
        terms: each loss term in a phrase, for `criinet settings`.
    """

    terms: ClassVar[dict[str, str]] = {"supervised": "cross-entropy and Dice on labeled pixels"}

    weights: LossWeights

    def weights_at(self, progress: float) -> dict[str, float]:
        """Return the weight of every loss term at ``progress`` in [0, 1]."""
        return {name: w(progress) if isinstance(w, Ramp) else w for name, w in self.weights.items()}


ConfigT = TypeVar("ConfigT", bound=Config)

PLAIN: TypeAdapter[Any] = TypeAdapter(Any)
"""Turns settings of any type into those that a file can hold."""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the values of ``over`` on top, table by table."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


class RepeatedKeyError(ValueError):
    """A table in a settings file that gives a key twice."""


class YamlLoader(yaml.SafeLoader):
    """Reads YAML in which a table gives every key once, as the standard asks."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return a table as it is written, before others are merged into it."""
        node = super().compose_mapping_node(anchor)
        require_once(str(key.value) for key, _ in node.value)
        return node


def require_once(keys: Iterable[str]) -> None:
    """Check that no key comes twice.

    Raises:
        RepeatedKeyError: if one does.
    """
    for key, count in Counter(keys).items():
        if count > 1:
            raise RepeatedKeyError(f"'{key}' is given twice; keep one")


def from_yaml(text: str) -> Any:
    """Read YAML.

    Raises:
        yaml.YAMLError: if it is malformed.
        RepeatedKeyError: if a table gives a key twice.
    """
    return yaml.load(text, YamlLoader)


def from_json(text: str) -> Any:
    """Read JSON.

    Raises:
        json.JSONDecodeError: if it is malformed.
        RepeatedKeyError: if a table gives a key twice.
    """

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        require_once(key for key, _ in pairs)
        return dict(pairs)

    return json.loads(text, object_pairs_hook=table)


def assignment(text: str) -> dict[str, Any]:
    """Read ``"method.ema_decay=0.995"`` as ``{"method": {"ema_decay": 0.995}}``; the value is YAML.

    Raises:
        ConfigError: if there is no ``=``, an empty key, or a value that is not YAML or gives a key twice.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {text} is not KEY=VALUE; write for instance --set trainer.iterations=500.")
    try:
        parsed = from_yaml(value)
    except RepeatedKeyError as error:
        raise ConfigError(f"in --set {text}, {error}.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"the value in --set {text} cannot be read; put it in quotes.") from error
    for part in reversed(parts):
        parsed = {part: parsed}
    return parsed


def read_settings(path: Path) -> dict[str, Any]:
    """Read a TOML, YAML or JSON file of settings.

    Raises:
        ConfigError: if the file is missing, of another kind, malformed, gives a key twice, or is not a table.
    """
    readers = {".toml": tomllib.loads, ".yaml": from_yaml, ".yml": from_yaml, ".json": from_json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path} is not a .toml, .yaml or .json file; save the settings in one of these.")
    try:
        settings: Any = reader(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"settings file {path} cannot be read ({error.strerror}); check the path.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not valid {path.suffix[1:].upper()}: {' '.join(str(error).split())}.") from error
    if not isinstance(settings, dict):
        example = '{"trainer": {"iterations": 500}}' if reader is from_json else "trainer: {iterations: 500}"
        raise ConfigError(f"{path} holds no table of settings; write for instance {example}.")
    return settings


def parse(model: type[ConfigT], settings: Mapping[str, Any], section: str) -> ConfigT:
    """Build ``model`` from ``settings`` laid over its defaults.

    Tables inside (loss weights) are merged with their defaults and may not gain keys that the defaults lack; a table
    that is empty by default takes any key.

    Args:
        section: where the settings stand ("method"), for messages.

    Raises:
        ConfigError: for an unknown key (with the nearest match), or a value of the wrong type or range.
    """
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if not field.is_required()
    }
    for name, default in defaults.items():
        given = settings.get(name)
        if isinstance(default, dict) and default and isinstance(given, Mapping):
            for key in given:
                if key not in default:
                    raise ConfigError(unknown_key(f"{section}.{name}", str(key), list(default)))
    try:
        return model.model_validate(merge(PLAIN.dump_python(defaults, mode="json"), settings))
    except ValidationError as error:
        raise ConfigError(explain(error, model, section)) from error


def unknown_key(section: str, key: str, valid: list[str]) -> str:
    """Return the sentence for a key that does not exist in ``section``."""
    return f"unknown setting '{section}.{key}'.{nearest(key, valid)} {section} has: {', '.join(valid)}."


def explain(error: ValidationError, model: type[Config], section: str) -> str:
    """Return the most telling problem of a validation error as one sentence: an unknown key first, then the deepest."""
    problem = max(error.errors(), key=lambda found: (found["type"] == "extra_forbidden", len(found["loc"])))
    path, table, field = [section], model, None
    for part in map(str, problem["loc"]):
        if part == Ramp.__name__:
            table = Ramp
        elif part in table.model_fields:
            path.append(part)
            field = table.model_fields[part]
            table = table_in(field) or table
        elif problem["type"] == "extra_forbidden" and part == str(problem["loc"][-1]):
            return unknown_key(".".join(path), part, list(table.model_fields))
        elif field is not None and get_origin(field.annotation) is dict and len(path) == 2:
            path.append(part)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    name = ".".join(path)
    if problem["type"] == "missing":
        return f"setting '{name}' is missing: it has no default, so give it a value{meaning}."
    reason = problem["msg"][0].lower() + problem["msg"][1:]
    if problem["type"] == "tuple_type":
        reason = "give a list, as [64, 64]"
    return f"setting '{name}' is {problem['input']!r}: {reason}{meaning}."


@dataclass(frozen=True)
class Setting:
    """One setting by its full name, its default as a settings file holds it, and what it means."""

    name: str
    default: Any
    meaning: str


def settings_of(model: type[Config], section: str) -> Iterator[Setting]:
    """Yield every setting of a model, those of tables within it too.

    Args:
        section: where they stand ("method"), as their names begin.
    """
    for key, field in model.model_fields.items():
        name, default = f"{section}.{key}", field.get_default(call_default_factory=True)
        if (inner := table_in(field)) is not None:
            yield from settings_of(inner, name)
        elif issubclass(model, MethodConfig) and key == "weights":
            for term, weight in default.items():
                meaning = f"weight of {model.terms.get(term, term)}"
                yield Setting(f"{name}.{term}", PLAIN.dump_python(weight, mode="json"), meaning)
        else:
            yield Setting(name, PLAIN.dump_python(default, mode="json"), field.description or "")


def table_in(field: FieldInfo) -> type[Config] | None:
    """Return the model of a setting that is itself a table of settings, or None."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Config) else None
