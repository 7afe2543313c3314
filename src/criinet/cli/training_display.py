"""What people see of a training: what will be done and why, a bar, alarms and notes, and what was tuned."""

from collections.abc import Sequence

from criinet.cli.show import columns, err
from criinet.data.dataset import Dataset
from criinet.data.draws import without_test
from criinet.data.splits import Split
from criinet.engine.settings import RunConfig
from criinet.engine.shift import FEWEST
from criinet.methods import methods
from criinet.records import Alarm, Record, TrainRecord, ValidationRecord


class TrainingDisplay:
    """Follows a training on standard error: a bar on a terminal, a line at each validation elsewhere.

    Args:
        quiet: show the bar, alarms and notes alone.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.progress = columns()
        self.task = self.progress.add_task("", note="")
        self.iterations = 0
        self.loss, self.dice, self.shift = "", "", 0.0

    def __enter__(self) -> "TrainingDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def announce(self, config: RunConfig, split: Split, dataset: Dataset) -> None:
        """Say what will be done, and begin the bar."""
        for sentence in dataset.skipped:
            err.print(f"skipped: {sentence}")
        for line in introduction(config, split, dataset) if not self.quiet else ():
            err.print(line)
        self.iterations = config.trainer.iterations
        self.progress.update(self.task, description=config.method_name, total=self.iterations)
        self.progress.start()

    def warn(self, sentence: str) -> None:
        """Say what somebody should know."""
        err.print(f"note: {sentence}")

    def watch(self, step: int, records: Sequence[Record]) -> None:
        """Show what was logged."""
        for record in records:
            if isinstance(record, TrainRecord):
                self.loss = f"loss {record.loss:.3f}"
            elif isinstance(record, ValidationRecord):
                self.dice, self.shift = f"val Dice {record.dice:.3f}", record.shift
                if not err.is_terminal:
                    err.print(f"step {step} of {self.iterations}: {self.loss}, {self.dice}")
            elif isinstance(record, Alarm):
                err.print(f"alarm at step {step}: {record.message}")
        self.progress.update(self.task, completed=step, note=f"{self.loss} {self.dice}")

    def finish(self) -> None:
        """End the bar, and say which shift the validation cases chose, if they chose one."""
        self.progress.stop()
        if self.shift and not self.quiet:
            more = "more" if self.shift > 0 else "fewer"
            tuned = f"object logits are shifted by {self.shift:+g}, so {more} pixels count as objects"
            err.print(f"tuned on validation cases: {tuned}")


def introduction(config: RunConfig, split: Split, dataset: Dataset) -> list[str]:
    """Return what will be done: the cases, and every choice with its reason, one line each."""
    learns_from_unlabeled = bool(methods.get(config.method_name).views)
    kind = "images" if dataset.dims == 2 else "volumes"
    lines = [
        f"{dataset.name}: {len(dataset)} {kind}, classes {', '.join(dataset.classes)}",
        f"split {split.hash}: {len(split.labeled)} labeled, {len(split.unlabeled)} unlabeled, "
        f"{len(split.val)} validation, {len(split.test)} test",
    ]
    if config.trainer.shift and len(split.val) < FEWEST:
        cases = f"{len(split.val) or 'no'} validation case{'s' if len(split.val) != 1 else ''}"
        lines.append(f"{cases}: object logits are not shifted, as tuning that takes {FEWEST}")
    if not split.test:
        lines.append(without_test(dataset))
    if learns_from_unlabeled and not split.unlabeled:
        lines.append("no unlabeled cases: the labeled images stand in for them, without their masks")
    lines.append(f"method {config.method_name}, seed {config.seed}")
    told = [one for one in config.choices if learns_from_unlabeled or one.setting != "trainer.unlabeled_batch"]
    return lines + [f"{choice.setting} = {choice.value}: {choice.reason}" for choice in told]
