"""What a training writes down as it goes, a line of `metrics.jsonl` each; and how written numbers are read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class TrainRecord:
    """A look at the losses of one step.

    progress: fraction of the training that is done. seconds: of training so far. loss: the weighted sum of the terms.
    """

    kind: ClassVar = "train"
    step: int
    progress: float
    seconds: float
    learning_rate: float
    loss: float
    terms: Mapping[str, float]
    weights: Mapping[str, float]
    images_per_second: float

    @property
    def weighted(self) -> dict[str, float]:
        """Every term times its weight."""
        return {name: value * self.weights.get(name, 1.0) for name, value in self.terms.items()}


@dataclass(frozen=True)
class ValidationRecord:
    """Dice over the validation cases without a shift, its mean over classes and each, and the shift that they chose."""

    kind: ClassVar = "validation"
    step: int
    dice: float
    dice_by_class: Mapping[str, float]
    shift: float = 0.0  # Older runs have none.


@dataclass(frozen=True)
class MonitorRecord:
    """A look at the targets of a fixed set of unlabeled images; shares in [0, 1].

    confident: the share of confident pixels. area, labeled_area: the share of each class, there and in the masks.
    target_change: mean absolute change of the target probabilities since the last look, in [0, 1]; NaN at the first.
    """

    kind: ClassVar = "monitor"
    step: int
    confident: float
    area: Mapping[str, float]
    labeled_area: Mapping[str, float]
    target_change: float


@dataclass(frozen=True)
class Alarm:
    """A sentence about targets that look collapsed or empty."""

    kind: ClassVar = "alarm"
    step: int
    message: str


Record = TrainRecord | ValidationRecord | MonitorRecord | Alarm
KINDS: Mapping[str, type[Record]] = {
    record.kind: record for record in (TrainRecord, ValidationRecord, MonitorRecord, Alarm)
}


def to_line(record: Record) -> dict[str, Any]:
    """Return a record as its line says it."""
    return {"kind": record.kind, **asdict(record)}


def from_line(line: Mapping[str, Any]) -> Record | None:
    """Return the record of a line, None for a kind that is not known here; a number that is missing is NaN.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: if the line is damaged.
    """
    record = KINDS.get(line["kind"])
    if record is None:
        return None
    known = [field for field in fields(record) if field.name in line or field.default is MISSING]
    return record(**{field.name: READ[field.type](line.get(field.name)) for field in known})


def to_number(value: Any) -> float:
    """Return a number that was written; NaN for null, which stands for it in JSON, and for an empty cell."""
    return math.nan if value is None or value == "" else float(value)


def to_count(value: Any) -> int:
    """Return a whole number that was written; 0 for null, an empty cell and NaN."""
    number = to_number(value)
    return int(number) if math.isfinite(number) else 0


def to_numbers(values: Mapping[str, Any] | None) -> dict[str, float]:
    """Return numbers by name that were written; none for null."""
    return {str(name): to_number(value) for name, value in (values or {}).items()}


def to_text(value: Any) -> str:
    """Return text that was written.

    Raises:
        TypeError: for anything else.
    """
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


READ: Mapping[Any, Callable[[Any], Any]] = {
    int: int,
    float: to_number,
    str: to_text,
    Mapping[str, float]: to_numbers,
}
"""How the value of a field of a record is read, by its type."""
