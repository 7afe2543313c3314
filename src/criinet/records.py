"""What a training writes down as it goes, a line of `metrics.jsonl` each; and how written numbers are read."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
    shift: float


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


def to_line(record: Record) -> dict[str, Any]:
    """Return a record as its line says it."""
    return {"kind": record.kind, **asdict(record)}


def from_line(line: Mapping[str, Any]) -> Record | None:
    """Return the record of a line, None for a kind that is not known here; a number that is missing is NaN.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: if the line is damaged.
    """
    step = int(line["step"])
    match line["kind"]:
        case TrainRecord.kind:
            return TrainRecord(
                step=step,
                progress=to_number(line.get("progress")),
                seconds=to_number(line.get("seconds")),
                learning_rate=to_number(line.get("learning_rate")),
                loss=to_number(line.get("loss")),
                terms=_to_numbers(line.get("terms")),
                weights=_to_numbers(line.get("weights")),
                images_per_second=to_number(line.get("images_per_second")),
            )
        case ValidationRecord.kind:
            return ValidationRecord(
                step=step,
                dice=to_number(line.get("dice")),
                dice_by_class=_to_numbers(line.get("dice_by_class")),
                shift=to_number(line.get("shift", 0.0)),  # Older runs have none.
            )
        case MonitorRecord.kind:
            return MonitorRecord(
                step=step,
                confident=to_number(line.get("confident")),
                area=_to_numbers(line.get("area")),
                labeled_area=_to_numbers(line.get("labeled_area")),
                target_change=to_number(line.get("target_change")),
            )
        case Alarm.kind:
            return Alarm(step, str(line["message"]))
        case _:
            return None


def to_number(value: Any) -> float:
    """Return a number that was written; NaN for null, which stands for it in JSON, and for an empty cell."""
    return math.nan if value is None or value == "" else float(value)


def to_count(value: Any) -> int:
    """Return a whole number that was written; 0 for null, an empty cell and NaN."""
    number = to_number(value)
    return int(number) if math.isfinite(number) else 0


def _to_numbers(values: Mapping[str, Any] | None) -> dict[str, float]:
    return {str(name): to_number(value) for name, value in (values or {}).items()}
