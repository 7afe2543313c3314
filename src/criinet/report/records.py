"""What a run recorded, as the report draws it: settings, split, curves, results, cases and examples."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from criinet.records import Alarm, MonitorRecord, TrainRecord, ValidationRecord, to_count, to_number

MEAN = "mean"
"""The class name of a row that averages over classes."""

LAST, BEST = "last", "best"
Table = Mapping[str, Any]


@dataclass(frozen=True)
class SplitRecord:
    """How many cases each part of the split has, and its hash."""

    labeled: int
    unlabeled: int
    val: int
    test: int
    hash: str
    seed: int
    fraction: float


@dataclass(frozen=True)
class ResultRow:
    """The measures of one checkpoint and one class, region, or "mean" over classes, of the test cases."""

    checkpoint: str
    step: int
    class_name: str
    cases: int
    misses: int
    false_alarms: int
    values: Mapping[str, float]
    region: bool = False

    def value(self, name: str) -> float:
        """Return a metric; NaN if it was not recorded."""
        return self.values.get(name, math.nan)

    @property
    def tested(self) -> int:
        """How many cases there are, with those that rightly have nothing and so no Dice."""
        return self.cases + round(self.values.get("both_empty", 0))

    @property
    def images(self) -> str:
        """How many cases have a Dice, as ``12 of 14`` where some rightly have nothing."""
        return f"{self.cases} of {self.tested}" if self.tested > self.cases else str(self.cases)

    @property
    def distances(self) -> str:
        """Of how many cases, for the mean of how many classes of cases, the distances are the mean; empty if of all."""
        found, of = self.value("distance_cases"), self.value("distance_of")
        return f"{found:.0f} of {of:.0f}" if found < of else ""

    @property
    def shift(self) -> float:
        """What was added to the logits of objects; 0 in results from before there were shifts."""
        return self.values.get("shift", 0.0)


@dataclass(frozen=True)
class Stratum:
    """Dice of one quartile of the test cases; quartile 1 is the hardest."""

    checkpoint: str
    by: str
    quartile: int
    cases: int
    dice: float
    low: float
    high: float
    band_dice: float


@dataclass(frozen=True)
class Results:
    """What ``criinet evaluate`` found; ``unit`` of distances is empty where it was not recorded."""

    facts: Table
    rows: tuple[ResultRow, ...]
    strata: tuple[Stratum, ...]
    unit: str = ""

    def row(self, checkpoint: str = LAST, class_name: str = MEAN) -> ResultRow | None:
        """Return one row; for "mean" the only class's row will do."""
        rows = [row for row in self.rows if row.checkpoint == checkpoint]
        named = [row for row in rows if row.class_name == class_name]
        if not named and class_name == MEAN and len(rows) == 1:
            named = rows
        return named[0] if named else None

    def measured(self, row: ResultRow) -> int:
        """Return of how many the misses are: cases that have an object of the class, for "mean" of every class.

        A case with a Dice and no false alarm has one.
        """
        classes = [r for r in self.rows if r.checkpoint == row.checkpoint and r.class_name != MEAN and not r.region]
        counted = classes if row.class_name == MEAN and classes else [row]
        return sum(r.cases - r.false_alarms for r in counted)

    def stratum(self, by: str, quartile: int, checkpoint: str = LAST) -> Stratum | None:
        """Return one quartile, None if it was not recorded."""
        wanted = (checkpoint, by, quartile)
        return next((s for s in self.strata if (s.checkpoint, s.by, s.quartile) == wanted), None)


@dataclass(frozen=True)
class CaseRecord:
    """Dice of one class, or region, of one test case; ``contrast_quartile`` is 0 where it is unknown.

    false_alarm: the class was predicted in a case without it; None where that was not recorded.
    """

    checkpoint: str
    case: str
    group: str
    class_name: str
    dice: float
    contrast_quartile: int
    region: bool = False
    false_alarm: bool | None = None


def zero_dice(cases: Iterable[CaseRecord], row: ResultRow) -> int | None:
    """Return how many cases hold the class of a row and have Dice 0 there, for "mean" summed over the classes.

    These are its misses, and the cases in which nothing of what was predicted meets the object. None where the cases
    were not recorded.
    """
    found = [case for case in cases if case.checkpoint == row.checkpoint and _counts_for(case, row.class_name)]
    if not found or any(case.false_alarm is None for case in found):
        return None
    return sum(case.dice == 0 and not case.false_alarm for case in found)


def _counts_for(case: CaseRecord, class_name: str) -> bool:
    if class_name == MEAN:
        return case.class_name != MEAN and not case.region
    return case.class_name == class_name


@dataclass(frozen=True)
class Example:
    """A case that is shown, and the rule by which it was chosen."""

    case: str
    part: str
    rule: str
    cnr: float
    dice: float
    file: str


@dataclass(frozen=True)
class ReviewRound:
    """A round of correcting and retraining: masks and minutes of people before it, Dice on the frozen cases after it.

    difference: of the Dice to the round it began from, NaN for the first; verdict: what that shows, in words.
    """

    number: int
    masks: int
    minutes: float
    dice: float
    difference: float
    verdict: str


@dataclass(frozen=True)
class RecordedRun:
    """A run folder as it was found; ``results`` is None before ``criinet evaluate``."""

    folder: Path
    config: Table
    split: SplitRecord | None = None
    train: tuple[TrainRecord, ...] = ()
    validation: tuple[ValidationRecord, ...] = ()
    monitor: tuple[MonitorRecord, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    results: Results | None = None
    cases: tuple[CaseRecord, ...] = ()
    examples: tuple[Example, ...] = ()
    rounds: tuple[ReviewRound, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(_table(self.config, "method").get("name", "unknown"))

    @property
    def network(self) -> str:
        """Name of the network."""
        return str(_table(self.config, "network").get("name", "unknown"))

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return str(_table(self.config, "dataset").get("name", "unknown"))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, background first."""
        return tuple(str(name) for name in _table(self.config, "dataset").get("classes") or ())

    @property
    def dims(self) -> int:
        """2 for images, 3 for volumes."""
        return to_count(_table(self.config, "dataset").get("dims")) or 2

    @property
    def unit(self) -> str:
        """Unit of distances, as the results say; where there are none, mm if the dataset knows its spacing."""
        measured = self.results.unit if self.results else ""
        return measured or ("mm" if _table(self.config, "dataset").get("spacing") else "px")

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return to_count(self.config.get("seed"))

    @property
    def iterations(self) -> int:
        """Length of the training; the last recorded step where the settings do not say."""
        asked = to_count(_table(self.config, "trainer").get("iterations"))
        return asked or max((record.step for record in self.train), default=0)

    @property
    def facts(self) -> Table:
        """What the results say of the run; empty before ``criinet evaluate``."""
        return self.results.facts if self.results else {}

    @property
    def split_hash(self) -> str:
        """Hash of the split; empty if none was recorded."""
        return str(self.facts.get("split_hash") or (self.split.hash if self.split else ""))

    @property
    def train_seconds(self) -> float:
        """Seconds of training; NaN if unknown."""
        known = to_number(self.facts.get("train_seconds"))
        return self.train[-1].seconds if math.isnan(known) and self.train else known

    def progress(self, step: int) -> float:
        """Return ``step`` as a fraction of the training."""
        return step / max(1, self.iterations)


def _table(value: Table, key: str) -> Table:
    inner = value.get(key)
    return inner if isinstance(inner, Mapping) else {}
