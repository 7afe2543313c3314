"""Rounds of learning: each is a run of its own that begins where the one before ended, measured on frozen cases.

    RUN/review/rounds.json            every round, and which one's model is in use
    RUN/review/round_1/               a run folder, with the Dice of each frozen case in validation.json
    RUN/review/round_1.split.json     the split it is trained on: labeled and corrected, the rest unlabeled
    RUN/review/looks/round_1.npz      how sure its model is of every image

A round is trained in a process of its own, which saves as any training does. It ends with this one, and goes on from
its last checkpoint when it is asked to.
"""

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from criinet.config import merge
from criinet.data.files import jsonable, write_text_atomically
from criinet.data.splits import Split, save_split
from criinet.engine.children import start_child
from criinet.engine.folder import RunFolder
from criinet.engine.origin import recorded_split
from criinet.errors import INTERRUPTED, CriinetError, RunError, StorageError
from criinet.metrics.statistics import FEWEST, paired_difference, verdict
from criinet.records import TrainRecord, ValidationRecord
from criinet.report.comparison import paired_values
from criinet.review.book import Round, RoundBook, Verdict, read_book
from criinet.review.validation import DicePerCase, mean_dice, read_dice, write_dice

WORDS: dict[str, Verdict] = {"helped": "better", "hurt": "worse", "did nothing": "no measurable change"}


@dataclass(frozen=True)
class RoundJob:
    """What the process of a round is told, as JSON with absolute paths; it trains in round_N beside that file."""

    dataset: str
    split: str
    initial: str
    settings: dict[str, Any]
    seed: int
    device: str
    skip_bad: bool
    groups: str | None


class Rounds:
    """The rounds of a run, one of which may be training.

    Args:
        run: the run that the review began with.
        device: that rounds are trained on.
        groups: of every case, as its patient: a round is judged by their means.
        iterations: steps of a round; None for half of the run's.
        finished: called, in a thread of its own, when a training has ended in any way.

    ``stopping`` says whether the latest training was cancelled.

    Raises:
        RunError: if rounds.json is damaged, or missing where there are rounds.
    """

    def __init__(
        self,
        run: RunFolder,
        *,
        device: str,
        groups: Mapping[str, str],
        iterations: int | None,
        finished: Callable[[Round], None] | None = None,
    ) -> None:
        self.run, self.device, self.groups, self.finished = run, device, groups, finished
        self.recorded = run.read_config()
        self.trainer = self.recorded.config().trainer
        self.iterations = iterations or max(1, self.trainer.iterations // 2)
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._follower: threading.Thread | None = None
        self._closed = False
        self.stopping = False
        self.book = self._open()

    def _open(self) -> RoundBook:
        """Read rounds.json, or begin it."""
        path = self.run.review / "rounds.json"
        if path.exists():
            return read_book(path)
        left = next((found for found in sorted(self.run.review.glob("round_*")) if found.is_dir()), None)
        if left is not None:
            raise RunError(f"{left} is of a round, but {path} is missing. Restore it, or move {left.parent} away.")
        split = recorded_split(self.run)
        first = Round(
            number=0,
            status="done",
            masks=len(split.labeled),
            minutes=0.0,
            started=now(),
            iterations=self.trainer.iterations,
        )
        return RoundBook(rounds=(first,))

    def folder(self, number: int) -> RunFolder:
        """Return the run folder of a round."""
        return self.run if number == 0 else RunFolder(self.run.review / f"round_{number}")

    @property
    def current(self) -> Round:
        """The round whose model is in use."""
        return self.round(self.book.current)

    @property
    def unfinished(self) -> Round | None:
        """The round that is training, or was stopped or failed and can go on; only the latest one can."""
        last = self.book.rounds[-1]
        return last if last.status != "done" else None

    @property
    def training(self) -> bool:
        """Whether a round is training now."""
        return self.book.rounds[-1].status == "training"

    def round(self, number: int) -> Round:
        """Return one round.

        Raises:
            RunError: if there is none of this number.
        """
        for found in self.book.rounds:
            if found.number == number:
                return found
        raise RunError(f"there is no round {number}; reload the page.")

    def measure_first(self, dice: DicePerCase) -> None:
        """Note the Dice of round 0 on the validation cases, unless these rounds are closed by then."""
        with self._lock:
            if not self._closed:
                write_dice(self.folder(0), dice)
                self._update(self.round(0), dice=mean_dice(dice))

    def start(self, split: Split, minutes: float, dataset: Path) -> Round:
        """Begin a round from the weights in use.

        Raises:
            RunError: if one is training or unfinished, or a trained one stands where the new one would.
            StorageError: if the disk is full.
        """
        with self._lock:
            if self.unfinished is not None:
                what = (
                    "training already; wait or cancel it" if self.training else "unfinished; resume or discard it first"
                )
                raise RunError(f"round {self.unfinished.number} is {what}.")
            number = self.book.rounds[-1].number + 1
            self._clear(number)
            save_split(split, self._split(number))
            begun = Round(
                number=number,
                began_from=self.book.current,
                status="training",
                masks=len(split.labeled),
                minutes=round(minutes, 2),
                started=now(),
                iterations=self.iterations,
            )
            self._write_job(begun, dataset)
            self._write(self.book.model_copy(update={"rounds": (*self.book.rounds, begun)}))
            self._launch(begun)
            return begun

    def resume(self, dataset: Path) -> Round:
        """Go on with the round that was stopped or failed, where this run and its dataset are now.

        Raises:
            RunError: if there is none.
            StorageError: if the disk is full.
        """
        with self._lock:
            left = self.unfinished
            if left is None or self.training:
                raise RunError("there is no stopped round to go on with; reload the page.")
            self._write_job(left, dataset)
            begun = self._update(left, status="training", reason="")
            self._launch(begun)
            return begun

    def cancel(self) -> None:
        """Ask the training to save and end; it can be resumed or discarded.

        Raises:
            RunError: if none is training.
        """
        with self._lock:
            if self._process is None:
                raise RunError("no round is training; reload the page.")
            self._process.send_signal(signal.SIGINT)
            self.stopping = True

    def discard(self) -> None:
        """Forget the round that was stopped or failed; masks are not touched.

        Raises:
            RunError: if there is none.
        """
        with self._lock:
            left = self.unfinished
            if left is None or self.training:
                raise RunError("there is no stopped round to discard; reload the page.")
            self.folder(left.number).discard()  # First: a trained round that the book does not list is in the way.
            self._write(self.book.model_copy(update={"rounds": self.book.rounds[:-1]}))

    def usable(self, number: int) -> Round:
        """Return a round whose model may come into use.

        Raises:
            RunError: if there is no such round, it is not finished, or one is training.
        """
        wanted = self.round(number)
        if wanted.status != "done":
            raise RunError(
                f"round {number} is not finished, so its model cannot be used; wait for its end, or resume it."
            )
        if self.training:
            raise RunError("a round is training; cancel it before another model is used.")
        return wanted

    def use(self, number: int) -> Round:
        """Note that the model of another finished round is in use: the next one begins from it.

        Raises:
            RunError: as :meth:`usable` does.
            StorageError: if the disk is full.
        """
        with self._lock:
            wanted = self.usable(number)
            self._write(self.book.model_copy(update={"current": number}))
            return wanted

    def fall_back(self) -> str:
        """Go back to the run's own model if that of the round in use is gone; return a sentence on that, or "".

        Nothing is written: once the folder is back, so is its model.
        """
        number = self.book.current
        if number == 0 or self.folder(number).checkpoint("last").exists():
            return ""
        self.book = self.book.model_copy(update={"current": 0})
        what = f"the model of round {number} is gone from {self.folder(number).root}, so the run's own is in use"
        return f"{what}; put the folder back and start the page again, or go on from the run."

    def progress(self) -> dict[str, Any] | None:
        """Return step, loss and validation Dice of the round that is training; None if none is."""
        left = self.unfinished
        if left is None:
            return None
        found: dict[str, Any] = {"step": 0, "loss": None, "dice": None, "seconds": 0.0}
        for record in self.folder(left.number).records():
            found["step"] = max(found["step"], record.step)
            if isinstance(record, TrainRecord):
                found |= {"loss": record.loss, "seconds": record.seconds}
            elif isinstance(record, ValidationRecord):
                found["dice"] = record.dice
        return jsonable(found)

    def interrupt(self) -> None:
        """Ask a training to save and end, if there is one."""
        with self._lock:
            if self._process is not None:
                self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Ask a training to save and end, and wait for it; from then on another process may write rounds.json."""
        follower = self._follower
        self.interrupt()
        if follower is not None:
            follower.join()
        with self._lock:
            self._closed = True

    def _clear(self, number: int) -> None:
        """Remove what a round left that was cut off before it learned anything.

        Raises:
            RunError: if it did learn: rounds.json is of an earlier time, then.
        """
        folder = self.folder(number)
        if any(folder.checkpoint("last").parent.glob("*.pt")):
            book = self.run.review / "rounds.json"
            raise RunError(f"{folder.root} holds a round that {book} does not list. Move it away, then retrain.")
        folder.discard()

    def _write_job(self, begun: Round, dataset: Path) -> None:
        """Write what the process of a round is told.

        Raises:
            StorageError: if the disk is full.
        """
        settings = merge(self.recorded.settings, {"trainer": {"iterations": begun.iterations}})
        about = self.recorded.dataset
        job = RoundJob(
            dataset=str(dataset.resolve()),
            split=str(self._split(begun.number).resolve()),
            initial=str(self.folder(begun.began_from or 0).root.resolve()),
            settings=settings,
            seed=self.recorded.seed + begun.number,
            device=self.device,
            skip_bad=about.skip_bad,
            groups=None if about.groups is None else str(about.groups),
        )
        write_text_atomically(self._job(begun.number), json.dumps(vars(job), indent=1) + "\n")

    def _split(self, number: int) -> Path:
        return self.run.review / f"round_{number}.split.json"

    def _job(self, number: int) -> Path:
        return self.run.review / f"round_{number}.job.json"

    def _launch(self, begun: Round) -> None:
        """Start the process of a round that is noted as training.

        Raises:
            StorageError: if there is no room for it, on the disk or in memory, or its log is a link; the round can be
                resumed or discarded.
        """
        try:
            self._process = start_child(
                "criinet.review.worker",
                self._job(begun.number),
                self.run.review / f"round_{begun.number}.log",
                threads=self.trainer.threads,
                own_session=True,
            )
        except StorageError as error:
            self._note_failed(begun, str(error))
            raise
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            why = f"round {begun.number} cannot be started ({reason}); free some space or memory, then resume it."
            self._note_failed(begun, why)
            raise StorageError(why) from error
        self.stopping = False
        self._follower = threading.Thread(target=self._follow, args=(self._process, begun), daemon=True)
        self._follower.start()

    def _follow(self, process: "subprocess.Popen[bytes]", begun: Round) -> None:
        """Wait for the process of a round and note how it ended."""
        with process:
            code = process.wait()
        with self._lock:
            self._process = None
            try:
                ended = self._ended(begun, code)
            except CriinetError as error:  # A full disk: then the page says so, and the round can go on.
                ended = self._note_failed(begun, str(error))
        if self.finished is not None:
            self.finished(ended)

    def _ended(self, begun: Round, code: int) -> Round:
        """Note how a round ended, by the exit code of its process."""
        if code == 0:
            return self._finish(begun)
        if code in (INTERRUPTED, -signal.SIGINT):
            return self._update(begun, status="stopped")
        return self._update(begun, status="failed", reason=self._why(begun.number, code))

    def _finish(self, begun: Round) -> Round:
        """Note what a round reached, and use its model from now on.

        A false alarm that one of the two models avoided counts for it, as everywhere that two are compared.
        """
        dice = read_dice(self.folder(begun.number))
        measured: dict[str, Any] = {"status": "done", "dice": mean_dice(dice)}
        before = read_dice(self.folder(begun.began_from or 0))
        after, earlier, cases = paired_values(dice, before, self.groups)
        if cases:
            paired = paired_difference(after, earlier)
            measured |= {"difference": finite(paired.mean), "low": finite(paired.low), "high": finite(paired.high)}
            measured["verdict"] = "too few to tell" if paired.n < FEWEST else WORDS[verdict(paired)]
        return self._update(begun, current=begun.number, **measured)

    def _why(self, number: int, code: int) -> str:
        """Return the last line that a failed process left behind."""
        try:
            log = (self.run.review / f"round_{number}.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            log = ""
        return log.splitlines()[-1] if log else f"the training process ended with code {code} and said nothing."

    def _note_failed(self, begun: Round, reason: str) -> Round:
        """Note here, and not on the disk, which may be full, that a round failed: it can be resumed or discarded."""
        failed = begun.model_copy(update={"status": "failed", "reason": reason})
        rounds = tuple(failed if r.number == begun.number else r for r in self.book.rounds)
        self.book = self.book.model_copy(update={"rounds": rounds})
        return failed

    def _update(self, old: Round, *, current: int | None = None, **changes: Any) -> Round:
        """Change what is noted of a round and, if asked, which one is in use."""
        with self._lock:
            new = old.model_copy(update=changes)
            rounds = tuple(new if r.number == new.number else r for r in self.book.rounds)
            used = self.book.current if current is None else current
            self._write(self.book.model_copy(update={"rounds": rounds, "current": used}))
            return new

    def _write(self, book: RoundBook) -> None:
        write_text_atomically(self.run.review / "rounds.json", book.model_dump_json(indent=1) + "\n")
        self.book = book


def now() -> str:
    """Return the time in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def finite(value: float) -> float | None:
    """Return a number, None where it is not finite."""
    return float(value) if np.isfinite(value) else None
