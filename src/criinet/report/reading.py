"""Reads what a run recorded. Nothing is computed here."""

import csv
import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from criinet.data.files import read_records
from criinet.errors import RunError
from criinet.records import (
    Alarm,
    MonitorRecord,
    Record,
    TrainRecord,
    ValidationRecord,
    from_line,
    to_count,
    to_number,
)
from criinet.report.records import (
    MEAN,
    CaseRecord,
    Example,
    RecordedRun,
    ResultRow,
    Results,
    ReviewRound,
    SplitRecord,
    Stratum,
    Table,
)

FORMAT = 1
Pixels = NDArray[np.uint8]
T = TypeVar("T")


def read_run(path: Path) -> RecordedRun:
    """Read a run folder; only ``config.json`` has to be there.

    Raises:
        RunError: if it is no run folder, or one of its files is damaged or of a newer format.
    """
    if not path.is_dir():
        raise RunError(f"run folder {path} does not exist; give the folder that `criinet train` wrote.")
    config = read_json(path / "config.json")
    if config is None:
        raise RunError(f"{path} holds no run (no config.json); give the folder that `criinet train` wrote.")
    _check_format(config, path / "config.json")
    records, skipped = _read_metrics(path / "metrics.jsonl")
    lines = "1 line was" if skipped == 1 else f"{skipped} lines were"
    notes = (f"{path.name}/metrics.jsonl is damaged: {lines} skipped.",) if skipped else ()
    return RecordedRun(
        folder=path,
        config=config,
        split=parsed(path / "split.json", _split),
        train=tuple(record for record in records if isinstance(record, TrainRecord)),
        validation=tuple(record for record in records if isinstance(record, ValidationRecord)),
        monitor=tuple(record for record in records if isinstance(record, MonitorRecord)),
        alarms=tuple(record for record in records if isinstance(record, Alarm)),
        results=parsed(path / "results.json", _results),
        cases=_read_cases(path / "cases.csv"),
        examples=parsed(path / "examples.json", _examples) or (),
        rounds=parsed(path / "review" / "rounds.json", _rounds, "restore it") or (),
        notes=notes,
    )


def read_example(run: RecordedRun, example: Example) -> dict[str, Pixels] | None:
    """Read the arrays of an example: image, refined; target, unknown, coarse, disagreement, entropy where they are.

    Returns:
        Arrays by name, (H, W, 3) for the image and (H, W) otherwise; None if the file is missing or damaged.
    """
    path = (run.folder / example.file).resolve()
    if not path.is_relative_to(run.folder.resolve()):
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            arrays = {name: np.asarray(saved[name], dtype=np.uint8) for name in saved.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    image, refined = arrays.get("image"), arrays.get("refined")
    if image is None or refined is None or image.ndim != 3 or image.shape[2] != 3 or refined.shape != image.shape[:2]:
        return None
    return {name: array for name, array in arrays.items() if array.shape[:2] == image.shape[:2]}


def read_json(path: Path, remedy: str = "") -> Table | None:
    """Return the object in a JSON file, None if there is no such file.

    Raises:
        RunError: if it is damaged; it ends with the remedy.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise damaged(path, remedy) from error
    if not isinstance(value, dict):
        raise damaged(path, remedy)
    return value


def parsed(path: Path, parse: Callable[[Table], T], remedy: str = "") -> T | None:
    """Read a JSON file through ``parse``, None if there is no such file.

    Raises:
        RunError: if it is damaged, or of a newer format.
    """
    value = read_json(path, remedy)
    if value is None:
        return None
    _check_format(value, path)
    try:
        return parse(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, remedy) from error


def damaged(path: Path, remedy: str = "") -> RunError:
    """Return the error of a file that cannot be read, with what to do: ``remedy``, or what helps for a run's file."""
    evaluated = path.stem in ("results", "examples", "cases")
    usual = "run `criinet evaluate` on the run again" if evaluated else "restore it"
    return RunError(f"{path} is damaged; {remedy or usual}.")


def _check_format(value: Table, path: Path) -> None:
    found = value.get("format", FORMAT)
    if found != FORMAT:
        raise RunError(f"{path} has format {found}, but this criinet reads {FORMAT}; install a newer criinet.")


def _read_metrics(path: Path) -> tuple[list[Record], int]:
    """Read the records in order of steps, and count the lines skipped but for a last one cut off.

    Where a run went back to an earlier step (a resume), what it had recorded from that step on is dropped.
    """
    try:
        lines, skipped = read_records(path)
    except OSError as error:
        raise damaged(path) from error
    kinds: dict[str, dict[Any, Record]] = {}
    for line in lines:
        try:
            record = from_line(line)
        except (ValueError, KeyError, TypeError, AttributeError):
            skipped += 1
            continue
        if record is not None:
            _keep(kinds.setdefault(record.kind, {}), record)
    return [record for kept in kinds.values() for record in kept.values()], skipped


def _keep(kept: dict[Any, Record], record: Record) -> None:
    """Add a record in place of those of its step and later ones; alarms of one step stay side by side."""
    if isinstance(record, Alarm):
        kept[(record.step, record.message)] = record
        return
    for step in [step for step in reversed(kept) if step >= record.step]:
        del kept[step]
    kept[record.step] = record


def _split(value: Table) -> SplitRecord:
    return SplitRecord(
        labeled=len(value.get("labeled") or ()),
        unlabeled=len(value.get("unlabeled") or ()),
        val=len(value.get("val") or ()),
        test=len(value.get("test") or ()),
        hash=str(value.get("hash") or ""),
        seed=to_count(value.get("seed")),
        fraction=to_number(value.get("fraction")),
    )


def _results(value: Table) -> Results:
    return Results(
        facts=dict(value["run"]),
        rows=tuple(result_row(row) for row in value["rows"]),
        strata=tuple(stratum_row(stratum) for stratum in value.get("strata") or ()),
        unit=str(value.get("unit") or ""),
    )


def result_row(row: Table) -> ResultRow:
    """Return one row of ``results.json``."""
    return ResultRow(
        checkpoint=str(row["checkpoint"]),
        step=to_count(row.get("step")),
        class_name=str(row["class"]),
        cases=to_count(row.get("cases")),
        misses=to_count(row.get("misses")),
        false_alarms=to_count(row.get("false_alarms")),
        values={key: to_number(item) for key, item in row.items() if item is None or isinstance(item, int | float)},
        region=bool(row.get("region")),
    )


def stratum_row(row: Table) -> Stratum:
    """Return one stratum of ``results.json``."""
    return Stratum(
        checkpoint=str(row["checkpoint"]),
        by=str(row["by"]),
        quartile=to_count(row["quartile"]),
        cases=to_count(row.get("cases")),
        dice=to_number(row.get("dice")),
        low=to_number(row.get("dice_low")),
        high=to_number(row.get("dice_high")),
        band_dice=to_number(row.get("band_dice_5")),
    )


def _examples(value: Table) -> tuple[Example, ...]:
    return tuple(
        Example(
            case=str(item["case"]),
            part=str(item["set"]),
            rule=str(item.get("rule") or ""),
            cnr=to_number(item.get("cnr")),
            dice=to_number(item.get("dice")),
            file=str(item["file"]),
        )
        for item in value["examples"]
    )


def _rounds(value: Table) -> tuple[ReviewRound, ...]:
    """Return the rounds that are done and were measured."""
    rounds = (
        ReviewRound(
            number=int(item["number"]),
            masks=int(item["masks"]),
            minutes=to_number(item["minutes"]),
            dice=to_number(item.get("dice")),
            difference=to_number(item.get("difference")),
            verdict=str(item.get("verdict") or ""),
        )
        for item in value["rounds"]
        if item["status"] == "done"
    )
    return tuple(one for one in rounds if math.isfinite(one.dice))


def _read_cases(path: Path) -> tuple[CaseRecord, ...]:
    """Read the rows of single classes; a row that averages over classes is left to the reader."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [case_row(row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise damaged(path) from error
    return single_classes(rows)


def single_classes(rows: Sequence[CaseRecord]) -> tuple[CaseRecord, ...]:
    """Leave out the rows that average over classes, unless there are no others."""
    return tuple(row for row in rows if row.class_name != MEAN) or tuple(rows)


def case_row(row: Mapping[str, str]) -> CaseRecord:
    """Return one row of ``cases.csv``."""
    return CaseRecord(
        checkpoint=row["checkpoint"],
        case=row["case"],
        group=row.get("group") or row["case"],
        class_name=row["class"],
        dice=to_number(row["dice"]),
        contrast_quartile=to_count(row.get("contrast_quartile")),
        region=row.get("region") == "True",
        false_alarm=row["false_alarm"] == "True" if row.get("false_alarm") else None,
    )
