"""The run folder: what stands where, and who may write it."""

import json
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from criinet.data.files import (
    is_temporary,
    jsonable,
    make_folder,
    open_to_append,
    read_records,
    storage_error,
    sweep,
    write_text_atomically,
)
from criinet.engine.lock import LOCK, exclusive
from criinet.engine.run_record import RunRecord, damage
from criinet.errors import OVERWRITE, RESUME, RunError, StorageError
from criinet.records import Record, from_line, to_line


@dataclass(frozen=True)
class RunFolder:
    """A run's folder: the paths of what stands in it, who may write it, and its records.

    It holds config.json, split.json, metrics.jsonl, checkpoints/, results.json, cases.csv and predictions/.
    """

    root: Path

    @property
    def config(self) -> Path:
        """Settings, dataset and choices."""
        return self.root / "config.json"

    @property
    def split(self) -> Path:
        """The split that the run was trained on."""
        return self.root / "split.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: training, validation, monitor, alarms."""
        return self.root / "metrics.jsonl"

    @property
    def results(self) -> Path:
        """What evaluate found."""
        return self.root / "results.json"

    @property
    def cases(self) -> Path:
        """What evaluate found, case by case."""
        return self.root / "cases.csv"

    @property
    def examples(self) -> Path:
        """Which cases the report shows, chosen by rule."""
        return self.root / "examples.json"

    @property
    def predictions(self) -> Path:
        """Masks of the unlabeled cases."""
        return self.root / "predictions"

    @property
    def review(self) -> Path:
        """Rounds of correcting and retraining, and what the review page remembers of the run."""
        return self.root / "review"

    @property
    def validation(self) -> Path:
        """Dice of each validation case at its own size, as rounds of review compare it."""
        return self.root / "validation.json"

    @property
    def holds_run(self) -> bool:
        """Whether a run was begun here; others, too, write files called config.json."""
        if self.config.exists() and self.split.exists():
            return True
        try:
            return bool(self.read_config())
        except RunError:
            return False

    @property
    def is_free(self) -> bool:
        """Whether nothing stands here."""
        return not self.root.exists() or (self.root.is_dir() and not self.content())

    def content(self) -> list[Path]:
        """Return what stands in the folder, but for its lock and what was never written to its end."""
        return [path for path in self.root.iterdir() if path.name != LOCK and not is_temporary(path)]

    @contextmanager
    def alone(self) -> Generator[None, None, None]:
        """Keep other processes from training here while the block runs.

        A folder that is not there is made, and goes again if nothing came of it; one that is no run is left untouched.

        Raises:
            RunError: if another process trains here.
            StorageError: if it cannot be written.
        """
        if not self.is_free and not self.holds_run:
            yield
            return
        fresh = not self.root.exists()
        make_folder(self.root)
        try:
            with exclusive(self.root / LOCK, f"trains in {self.root}"):
                yield
        finally:
            if fresh:
                with suppress(OSError):
                    self.root.rmdir()

    def checkpoint(self, name: str) -> Path:
        """The checkpoint called "last" or "best"."""
        return self.root / "checkpoints" / f"{name}.pt"

    def pseudo_labels(self, number: int) -> Path:
        """The pseudo-labels that round ``number`` of self-training began with."""
        return self.root / "checkpoints" / f"round_{number}.pt"

    def looks(self, number: int) -> Path:
        """How sure the model of a review round is of every case."""
        return self.review / "looks" / f"round_{number}.npz"

    def clear_unless_begun(self) -> bool:
        """Return whether a run has begun here; what one left that was cut off before that is removed.

        For folders that no person chose.
        """
        if self.config.exists() and self.split.exists():
            return True
        self.discard()
        return False

    def require_free(self, *, overwrite: bool) -> None:
        """Check that a run may begin here, and change nothing.

        Raises:
            RunError: if a run stands there and ``overwrite`` is False, or a folder that is no run.
        """
        if self.holds_run and not overwrite:
            raise RunError(f"{self.root} holds a run already; resume it with {RESUME}, or replace it with {OVERWRITE}.")
        if self.root.is_dir() and not self.is_free and not self.holds_run:
            raise RunError(f"{self.root} is not empty and holds no run. Give --out a new folder.")

    def create(self, *, overwrite: bool) -> None:
        """Make the folder; with ``overwrite`` a run that stands there goes first.

        Raises:
            RunError: if a run stands there and ``overwrite`` is False or its review page is served, or a folder that is
                no run.
            StorageError: if it cannot be written.
        """
        self.require_free(overwrite=overwrite)
        if self.holds_run:
            with self.unreviewed():
                self.empty()
        make_folder(self.root)
        self.sweep()

    def empty(self) -> None:
        """Remove what stands in the folder, but for its lock.

        Raises:
            StorageError: if something cannot be removed.
        """
        sweep(self.root, age=0)
        try:
            for path in self.content():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError as error:
            raise StorageError(f"{self.root} cannot be emptied ({error.strerror}); check its permissions.") from error

    @contextmanager
    def unreviewed(self) -> Generator[None, None, None]:
        """Let no other process serve the review page while the block runs: each would undo the other's rounds.

        Raises:
            RunError: if another process serves it.
            StorageError: if the folder cannot be written.
        """
        make_folder(self.review)
        with exclusive(self.review / LOCK, f"serves the review page of {self.root}"):
            yield

    def forget_results(self) -> None:
        """Remove what was measured of weights that will be trained further."""
        for path in (self.results, self.cases, self.examples, self.validation, self.looks(0)):
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a process left that was killed while it wrote a file; for whoever holds the lock."""
        for part in (self.root, self.root / "checkpoints"):
            sweep(part, age=0)

    def discard(self) -> None:
        """Remove the folder and what is in it, as far as the system lets it."""
        shutil.rmtree(self.root, ignore_errors=True)

    def read_config(self) -> RunRecord:
        """Return ``config.json``.

        Raises:
            RunError: if there is none, or it cannot be read.
        """
        if not self.config.is_file() and (self.root / "configs" / "inference.json").is_file():
            raise RunError(
                f"{self.root} is a MONAI bundle, no run. In it, `python -m monai.bundle run --config_file "
                "configs/inference.json --dataset_dir IMAGES --output_dir MASKS` predicts; or give the run itself."
            )
        if not self.config.is_file():
            raise RunError(f"{self.root} holds no run (no config.json). Give the folder that `criinet train` wrote.")
        try:
            return RunRecord.model_validate(json.loads(self.config.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise RunError(f"{self.config} {damage(error)}. Restore it, or train anew with {OVERWRITE}.") from error
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config} cannot be read. Restore it, or train anew with {OVERWRITE}.") from error

    def whole_results(self) -> dict[str, Any] | None:
        """Return ``results.json`` if the weights it measures were trained to their end and ``cases.csv`` is there, too.

        None otherwise, also where it cannot be read: evaluating again mends that.
        """
        try:
            results = json.loads(self.results.read_text(encoding="utf-8"))
            last = next(row for row in results["rows"] if row["checkpoint"] == "last")
            return results if last["step"] == last["iterations"] and self.cases.is_file() else None
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            return None

    def log(self, records: Iterable[Record]) -> None:
        """Append records to ``metrics.jsonl``.

        Raises:
            StorageError: if the disk is full, or the file is a link to another one.
        """
        text = "".join(json.dumps(jsonable(to_line(record))) + "\n" for record in records)
        try:
            with open_to_append(self.metrics) as file:
                file.write(text.encode())
        except OSError as error:
            raise storage_error(self.metrics, error) from error

    def records(self) -> list[Record]:
        """Return the records of ``metrics.jsonl``, none if there is none; lines that are damaged are left out."""
        found: list[Record | None] = []
        for line in read_records(self.metrics)[0]:
            with suppress(KeyError, TypeError, ValueError, AttributeError):
                found.append(from_line(line))
        return [record for record in found if record is not None]

    def forget_after(self, step: int) -> None:
        """Drop the records after ``step``, which a resumed run writes again, and lines that are damaged."""
        if self.metrics.exists():
            kept = [json.dumps(jsonable(to_line(record))) + "\n" for record in self.records() if record.step <= step]
            write_text_atomically(self.metrics, "".join(kept))
