"""Everything behind one page: what people decided, the model in use, the rounds, and the queue that follows."""

import hashlib
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from criinet.data.dataset import Dataset
from criinet.data.files import jsonable
from criinet.data.images import Pixels
from criinet.data.masks import PALETTE
from criinet.data.splits import load_split
from criinet.engine.build import load
from criinet.engine.folder import RunFolder
from criinet.engine.machine import pick_device
from criinet.engine.origin import open_recorded, require_same_classes
from criinet.engine.prediction import partly_annotated
from criinet.errors import CriinetError, DataError, UserError
from criinet.review.book import Round
from criinet.review.model import Planes, ReviewModel
from criinet.review.rounds import Rounds
from criinet.review.store import REVIEWED, Action, Effort, Entry, ReviewStore, training_split
from criinet.review.validation import measure, read_dice

GRACE = 10.0
"""Seconds that what runs in the background has to end in: PyTorch aborts a process that ends while it computes."""


class OtherRoundError(UserError):
    """Slices were asked for, or built upon, of a model that is not in use any more."""


@dataclass(frozen=True)
class Queue:
    """An order of the cases that holds until the next ranking.

    number: grows with every ranking. places: case to place, 0 first. benefit: case to benefit in [0, 1], where known.
    complete: whether every case was looked at when it was made.
    """

    number: int
    places: dict[str, int]
    benefit: dict[str, float]
    complete: bool


class ReviewSession:
    """The state of a review, shared by all requests.

    Args:
        run: folder of the run that the review begins with.
        dataset: its dataset, where it is now.
        device: "auto", "cpu" or "cuda".
        iterations: steps of a round; None for half of the run's.

    Raises:
        RunError: if there is no run.
        DataError: if the dataset cannot be used, or is another than the run's.
    """

    def __init__(self, run: Path, dataset: Path, *, device: str = "auto", iterations: int | None = None) -> None:
        folder = RunFolder(run)
        self.device = pick_device(device)
        self.recorded = folder.read_config().dataset
        self.dataset = open_recorded(self.recorded, dataset)
        require_same_classes(self.recorded, self.dataset, run)
        self.split = load_split(folder.split, self.dataset)
        require_ground_truth_everywhere(self.dataset, self.split.labeled)
        self.store = ReviewStore(self.dataset, self.split)
        groups = {case.name: case.group for case in self.dataset.cases}
        self.rounds = Rounds(
            folder, device=self.device, groups=groups, iterations=iterations, finished=self._round_ended
        )
        self.note = self.rounds.fall_back()
        self._lock = threading.Lock()
        self._beginning = threading.Thread(target=self._begin, daemon=True)
        self._queue = Queue(0, {}, {}, complete=False)
        self.model = self._model(self.rounds.current.number)
        self._rank()

    def start(self) -> None:
        """Begin to look at every case; the run itself is measured on the validation cases first."""
        self._beginning.start()

    def close(self) -> None:
        """Stop what runs in the background; a round in training saves and can be resumed."""
        self.rounds.close()
        self.model.stop()
        if self._beginning.is_alive():
            self._beginning.join(GRACE)
        self.model.wait(GRACE)

    @property
    def queue(self) -> Queue:
        """The order of the cases now."""
        return self._queue

    def retrain(self) -> Round:
        """Begin a round on what is labeled, drawn and left.

        Raises:
            UserError: if one is training, or the dataset changed so that it cannot be used.
        """
        if not self.store.names(*REVIEWED):
            raise DataError(
                "nothing was corrected or accepted yet, so there is nothing new to learn from; save a mask first."
            )
        split = training_split(self.store, open_recorded(self.recorded, self.dataset.root), self.split)
        return self.rounds.start(split, self.store.seconds() / 60, self.dataset.root)

    def resume(self) -> Round:
        """Go on with the round that was stopped or failed.

        Raises:
            UserError: as :meth:`Rounds.resume` does.
        """
        return self.rounds.resume(self.dataset.root)

    def use_round(self, number: int) -> Round:
        """Go back, or forth, to the model of another round, and rank the queue by it.

        Raises:
            RunError: if it is not finished, one is training, or its folder is gone; the model in use stays.
            CheckpointError: if its weights cannot be loaded; the model in use stays.
            StorageError: if the disk is full; the model in use stays.
        """
        self.rounds.usable(number)
        model = self._model(number)
        wanted = self.rounds.use(number)
        self._use(model)
        return wanted

    def about(self) -> dict[str, Any]:
        """Return what does not change while the page is open; a browser keeps drafts of a dataset by where it is.

        "note" is a sentence on how the page was started, or "".
        """
        names = self.dataset.classes
        return {
            "dataset": self.dataset.name,
            "drafts": hashlib.sha256(os.fsencode(self.dataset.root.resolve())).hexdigest()[:16],
            "classes": [{"name": name, "color": PALETTE[i]} for i, name in enumerate(names)],
            "left_alone": self.store.left_alone,
            "validation": len(self.split.val),
            "note": self.note,
        }

    def status(self) -> dict[str, Any]:
        """Return progress, the queue's number, the rounds, and the training."""
        entries = self.store.entries()
        model, rounds = self.model, self.rounds
        return {
            "queue": self._queue.number,
            "ranked": self._queue.complete,
            "looked": model.looked,
            "cases": len(entries),
            "reviewed": sum(entry.status in REVIEWED for entry in entries),
            "to_review": sum(entry.status != "labeled" for entry in entries),
            "decisions": sum(len(entry.decisions) for entry in entries),
            "minutes": round(self.store.seconds() / 60, 1),
            "expected": self._expected(entries),
            "rounds": [{**r.model_dump(), "current": r.number == rounds.current.number} for r in rounds.book.rounds],
            "training": rounds.training,
            "stopping": rounds.training and rounds.stopping,
            "progress": rounds.progress(),
        }

    def cases(self) -> list[dict[str, Any]]:
        """Return every case as the queue shows it, in its order."""
        queue = self._queue
        entries = sorted(
            self.store.entries(), key=lambda e: (queue.places.get(e.case.name, len(queue.places)), e.case.name)
        )
        return [self.summary(entry, queue) for entry in entries]

    def summary(self, entry: Entry, queue: Queue | None = None) -> dict[str, Any]:
        """Return a case as the queue shows it."""
        queue = queue or self._queue
        name, last = entry.case.name, entry.last
        uncertainty = self.model.uncertainty(name)
        return {
            "name": name,
            "status": entry.status,
            "version": entry.version,
            "by": last.by if last else "",
            "benefit": queue.benefit.get(name),
            "expected_dice": None if uncertainty is None else uncertainty.expected_dice,
            "disagreement": None if uncertainty is None else jsonable(uncertainty.disagreement),
            "problem": self.model.unreadable.get(name, ""),
        }

    def detail(self, name: str) -> dict[str, Any]:
        """Return a case as it is opened: its sides, its planes, and of each slice what its mask changed.

        Raises:
            DataError: if there is no such case, or its image or mask cannot be read.
        """
        entry, slices, model = self.store.entry(name), self.store.slices(name), self.model
        depth, height, width = slices.shape
        planes, mask = model.planes(entry.case), self.store.mask(name)
        shown = planes.refined if mask is None else slices.shown(mask)
        return {
            **self.summary(entry),
            "slices": depth,
            "height": height,
            "width": width,
            "aspect": slices.aspect,
            "slice": planes.least_sure,
            "changed": [int((one != by_model).sum()) for one, by_model in zip(shown, planes.refined, strict=True)],
            "planes": [*planes.named(), *([] if mask is None else ["mask"])],
            "round": model.number,
        }

    def image(self, name: str, number: int) -> Pixels:
        """Return one slice of a case in 8 bits, (H, W) or (H, W, 3).

        Raises:
            DataError: if there is no such case or slice, or the image cannot be read.
        """
        self.require_slices(name, [number])
        return self._planes(name, None).image[number]

    def plane(self, name: str, plane: str, number: int, round_: int | None) -> Pixels:
        """Return one slice of a plane of a case, (H, W) uint8; "mask" is what a person drew.

        Args:
            round_: whose model is meant; None for the one in use.

        Raises:
            DataError: if there is no such case, plane or slice, or image or mask cannot be read.
            OtherRoundError: if another model is in use by now.
        """
        self.require_slices(name, [number])
        if plane == "mask":
            mask = self.store.mask(name)
            found = None if mask is None else self.store.slices(name).shown(mask)
        else:
            found = self._planes(name, round_).named().get(plane)
        if found is None:
            raise DataError(f"{name} has no plane '{plane}'; reload the page.")
        return found[number]

    def save(
        self, name: str, numbers: Sequence[int], drawn: Pixels, action: Action, version: str, effort: Effort
    ) -> Entry:
        """Write the mask of a case: the given slices, and the others as they were shown, a person's or the model's.

        Args:
            numbers: which slices these are. drawn: (N, H, W) uint8 class indices.

        Raises:
            ConflictError: if somebody saved in the meantime; nothing is written.
            OtherRoundError: if the others were shown as another model had them; nothing is written.
            DataError, StorageError: as :meth:`ReviewStore.save_mask` does.
        """
        slices = self.store.slices(name)
        mask = np.empty(slices.shape, np.uint8)
        if len(numbers) < len(mask):
            before = self.store.mask(name)
            mask[:] = self._planes(name, effort.round).refined if before is None else slices.shown(before)
        mask[list(numbers)] = drawn
        return self.store.save_mask(name, slices.in_file(mask), action, version, effort)

    def require_slices(self, name: str, numbers: Sequence[int]) -> tuple[int, int]:
        """Check that a case has slices of these numbers, each named once, and return their height and width.

        Raises:
            DataError: otherwise, or if there is no such case.
        """
        depth, height, width = self.store.slices(name).shape
        beyond = [number for number in numbers if number >= depth]
        if beyond:
            raise DataError(f"{name} has {depth} slices, numbered from 0, so there is no {beyond[0]}; reload the page.")
        if not numbers or len(set(numbers)) < len(numbers):
            raise DataError("send at least one slice, and none twice; reload the page.")
        return height, width

    def _planes(self, name: str, round_: int | None) -> Planes:
        """Return the planes of a case by the model of a round, or by the one in use."""
        model = self.model
        if round_ is not None and round_ != model.number:
            raise OtherRoundError(
                f"another model came into use while {name} was open, so its slices are shown anew; what you drew is "
                "kept. Look at them, and save again."
            )
        return model.planes(self.store.entry(name).case)

    def _model(self, number: int) -> ReviewModel:
        predictor = load(self.rounds.folder(number).root, device=self.device, keep_probs=True)
        cases = [entry.case for entry in self.store.entries()]
        return ReviewModel(number, predictor, self.dataset, cases, self.rounds.run.looks(number), self._rank)

    def _begin(self) -> None:
        first = self.rounds.round(0)
        if self.split.val and (first.dice is None or not read_dice(self.rounds.folder(0))):
            in_use = self.model.number == 0
            predictor = self.model.predictor if in_use else load(self.rounds.run.root, device=self.device)
            try:
                self.rounds.measure_first(measure(predictor, self.dataset, self.split.val))
            except CriinetError as error:
                print(f"criinet: the run is not measured on its validation cases: {error}", file=sys.stderr)
        self.model.start()

    def _use(self, model: ReviewModel) -> None:
        self.model.stop()
        self.model = model
        model.start()

    def _round_ended(self, ended: Round) -> None:
        if ended.status == "done":
            self._use(self._model(ended.number))

    def _rank(self) -> None:
        """Order the cases anew by the model in use: those to be reviewed first, what was skipped after the others."""
        with self._lock:
            store, model = self.store, self.model
            left = store.names("open")
            order, benefit = model.order(left, store.labeled_now())
            skipped, _ = model.order(store.names("skipped"), ())
            done = store.names("labeled", *REVIEWED)
            places = {name: place for place, name in enumerate([*order, *skipped, *done])}
            self._queue = Queue(self._queue.number + 1, places, benefit, complete=model.ready)

    def _expected(self, entries: Sequence[Entry]) -> dict[str, float] | None:
        """Return the Dice that the model expects of all masks: with its own alone, and with what people decided."""
        own: list[float] = []
        now: list[float] = []
        for entry in entries:
            uncertainty = self.model.uncertainty(entry.case.name)
            if entry.status in ("labeled", "rejected") or uncertainty is None:
                continue
            own.append(uncertainty.expected_dice)
            now.append(1.0 if entry.status in REVIEWED else uncertainty.expected_dice)
        if not own or not self._queue.complete:
            return None
        return {"before": sum(own) / len(own), "now": sum(now) / len(now)}


def require_ground_truth_everywhere(dataset: Dataset, labeled: Sequence[str]) -> None:
    """Check that the page can show and keep all that the masks of a dataset say.

    Args:
        labeled: the cases that the run learned from.

    Raises:
        DataError: if pixels are marked as without ground truth, or nobody annotated some slices of a labeled volume.
    """
    if dataset.ignore:
        raise DataError(
            f'{dataset.root / "dataset.json"} says "ignore": true, but masks drawn on the review page have no pixel '
            "without ground truth. Correct them in an editor that keeps 255, or remove that line."
        )
    some = dataset.partial == "yes" or next(partly_annotated(dataset, labeled), None) is not None
    if dataset.dims == 3 and some:
        raise DataError(
            f"{dataset.root} holds volumes of which some slices alone are annotated, but a mask drawn on the review "
            'page speaks of every slice. Annotate the others in a viewer, or say "partial": false in dataset.json if '
            "they are background."
        )
