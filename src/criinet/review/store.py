"""What people decided: masks in the dataset's own layout, and beside them who decided what, when.

    DATASET/masks/NAME.png              the mask, in the dataset's own encoding; of a volume NAME.nii.gz
    DATASET/review/NAME.json            every decision about the case, the latest last
    DATASET/review/replaced/NAME.N.png  the mask that decision N took the place of; of a volume NAME.N.nii.gz

Every file is written whole or not at all, the record before its mask, and a save is acknowledged after both. A process
that is killed in between leaves a record whose mask is missing, or is the person's earlier one: the case then counts by
the mask that is there.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from criinet.data.bad_files import BadFileError
from criinet.data.dataset import Case, Dataset
from criinet.data.files import write_bytes_atomically, write_text_atomically
from criinet.data.geometry import size_text
from criinet.data.images import Pixels
from criinet.data.kinds import suffix_of
from criinet.data.masks import encode_mask
from criinet.data.scans import mask_mismatch
from criinet.data.splits import Split
from criinet.data.volumes import annotated_slices, encode_labels
from criinet.errors import DataError, StorageError, UserError
from criinet.labels import IGNORE
from criinet.review.disk import GONE, mask_in, read_if_there, sha256, stamp
from criinet.review.slices import Slices

Array = NDArray[Any]
FORMAT = 1
FORMATS = {".png": "PNG", ".nii.gz": "compressed NIfTI (.nii.gz)"}
Action = Literal["accepted", "corrected", "rejected", "skipped"]
Status = Literal["open", "accepted", "corrected", "rejected", "skipped", "labeled"]
REVIEWED = ("accepted", "corrected", "rejected")
MASKED = ("accepted", "corrected")
LONGEST_NAME = 80


class ConflictError(UserError):
    """A save that would overwrite what somebody else saved in the meantime."""


class Decision(BaseModel):
    """What one person did with one case.

    by: as the person wishes to be called; may be empty. at: UTC, ISO 8601. seconds: that the case was open and worked
    on. changed: pixels or voxels that differ from the model's mask. round: of the model whose mask was shown. mask:
    SHA-256 of the mask file, None where none was written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    by: str
    at: str
    seconds: Annotated[float, Field(ge=0)]
    changed: Annotated[int, Field(ge=0)]
    round: Annotated[int, Field(ge=0)]
    mask: str | None = None


class Record(BaseModel):
    """All decisions about a case, the latest last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = FORMAT
    case: str
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True)
class Effort:
    """How a person came to a decision: see :class:`Decision`."""

    by: str = ""
    seconds: float = 0.0
    changed: int = 0
    round: int = 0


@dataclass(frozen=True)
class Entry:
    """A case of the queue as it stands.

    version: changes whenever the image, the mask file or the record does; a save must name it.
    image: the stamp of the image.
    """

    case: Case
    status: Status
    version: str
    decisions: tuple[Decision, ...]
    image: str

    @property
    def last(self) -> Decision | None:
        """The latest decision."""
        return self.decisions[-1] if self.decisions else None


class ReviewStore:
    """The cases that can be reviewed, and what was decided about them.

    These are the labeled cases of the run's split, and every case outside validation and test that has no mask, or one
    that was drawn here. Validation and test stay frozen, with all cases of their groups. A case with a mask of other
    origin that the run did not train on is left alone; ``left_alone`` counts them.

    Args:
        split: of the run.
    """

    def __init__(self, dataset: Dataset, split: Split) -> None:
        self.dataset = dataset
        self.folder = dataset.root / "review"
        self._masks = dataset.root / "masks"
        self._locks: dict[str, threading.Lock] = {}
        self._reading = threading.Lock()
        self._slices: dict[str, tuple[str, Slices]] = {}
        self._last_mask: tuple[Any, Pixels] | None = None
        self._entries: dict[str, Entry] = {}
        self._labeled = frozenset(split.labeled)
        frozen = {case.group for case in dataset.select([*split.val, *split.test])}
        self.left_alone = 0
        for case in dataset.cases:
            if case.group in frozen:
                continue
            entry, _ = self._read(case, self._known_mask(case))  # The dataset was just listed.
            if case.mask is not None and not entry.decisions and case.name not in self._labeled:
                self.left_alone += 1
                continue
            self._entries[case.name] = entry
            self._locks[case.name] = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def entries(self) -> list[Entry]:
        """Return every case, by name."""
        return list(self._entries.values())

    def entry(self, name: str) -> Entry:
        """Return one case as it stands.

        Raises:
            DataError: if there is none of this name.
        """
        if name not in self._entries:
            raise DataError(f"there is no case '{name}' to review; reload the page.")
        return self._entries[name]

    def names(self, *statuses: Status) -> list[str]:
        """Return the names of the cases with one of these statuses."""
        return [entry.case.name for entry in self.entries() if entry.status in statuses]

    def slices(self, name: str) -> Slices:
        """Return how the pixels of a case lie in slices.

        Raises:
            DataError: if there is no such case, or its image cannot be read.
        """
        case = self.entry(name).case
        image = stamp(case.image)
        known = self._slices.get(name)
        if known is None or known[0] != image:
            known = self._slices[name] = image, Slices.read(self.dataset, case)
        return known[1]

    def mask(self, name: str) -> Pixels | None:
        """Return the mask of a case as stored, (H, W) or (D, H, W) uint8 class indices, or None if nobody drew one.

        The latest one is kept for the next call; it must not be changed.

        Raises:
            BadFileError: if it cannot be read, does not fit its image, or nobody annotated some of its slices.
        """
        case = self.entry(name).case
        path = self._mask_path(case)
        if not path.exists():
            return None
        about = path.stat()
        which = (path, about.st_mtime_ns, about.st_size, stamp(case.image))
        with self._reading:
            if self._last_mask is None or self._last_mask[0] != which:
                self._last_mask = which, self._read_mask(replace(case, mask=path), path)
            return self._last_mask[1]

    def _read_mask(self, case: Case, path: Path) -> Pixels:
        mismatch = mask_mismatch(path, case.image, self.dataset.dims)
        if mismatch is not None:
            raise mismatch
        mask = self.dataset.read_mask(case)
        if mask.size and mask.min() == IGNORE:
            what = "has slices that nobody annotated, but the page takes every slice as annotated"
            raise BadFileError(path, what, 'Annotate them in a viewer, or say "partial": false in dataset.json')
        return mask

    def require_seen(self, name: str, version: str) -> None:
        """Check that a case is on the disk as a person saw it.

        Raises:
            ConflictError: otherwise.
            DataError: if there is no such case.
        """
        self.entry(name)
        with self._locks[name]:
            self._checked(name, version)

    def save_mask(self, name: str, mask: Array, action: Action, version: str, effort: Effort) -> Entry:
        """Write the mask that a person drew or accepted, then the record of it, and return the case as it stands now.

        A mask that stood there is kept in ``review/replaced``.

        Args:
            mask: (H, W) or (D, H, W) uint8 class indices, of the image's size and in its own order.
            version: of the case, as the person saw it.

        Raises:
            ConflictError: if somebody saved in the meantime; nothing is written.
            DataError: if the mask does not fit the image or would be read as partly annotated, or one stands there in
                another format than the page writes.
            StorageError: if the disk is full or the place cannot be written.
        """
        self._require_fitting(name, mask)
        with self._locks[name]:
            current, before = self._checked(name, version)
            path = self._mask_path(current.case)
            suffix = self.dataset.mask_suffix
            if suffix_of(path) != suffix:
                kind = FORMATS[suffix]
                what = f"{path} is not a {kind}, so it cannot be replaced exactly"
                raise DataError(f"{what}; convert it to {kind} first.")
            if before is not None:
                write_bytes_atomically(self._replaced(name, len(current.decisions) + 1, suffix), before)
            content = self._encoded(name, mask)
            recorded = self._record(current, action, effort, content)
            try:
                write_bytes_atomically(path, content)
            except StorageError:
                with suppress(StorageError):
                    self._write_record(current.case, current.decisions)
                raise
            self._entries[name] = recorded
            return recorded

    def _replaced(self, name: str, number: int, suffix: str) -> Path:
        """Return where a mask is kept that will be replaced by decision ``number``: never where one is kept already."""
        kept = (self.folder / "replaced" / f"{name}.{n}{suffix}" for n in count(number))
        return next(path for path in kept if not path.exists())

    def _require_fitting(self, name: str, mask: Array) -> None:
        """Check that a mask can be written, and is read again as what it is."""
        wanted = self.slices(name).stored
        if mask.shape != wanted:
            own, other = size_text(mask.shape), size_text(wanted)
            raise DataError(f"the mask of {name} is {own} but its image is {other}; reload the page and draw again.")
        if mask.size and mask.max() >= len(self.dataset.classes):
            raise DataError(
                f"the mask of {name} holds class {mask.max()}, but the largest is {len(self.dataset.classes) - 1}; "
                "reload the page and draw again."
            )
        if self.dataset.dims == 3 and annotated_slices(mask, self.dataset.partial) is not None:
            raise DataError(
                f"the mask of {name} has labels on slices that stand alone and evenly, so the empty ones between them "
                'would count as not annotated. Draw on those too, or say "partial": false in dataset.json and start '
                "the page again."
            )

    def _encoded(self, name: str, mask: Array) -> bytes:
        """Return a mask as the file that is written."""
        geometry = self.slices(name).geometry
        if geometry is None:
            return encode_mask(mask, self.dataset.encoding, len(self.dataset.classes))
        return encode_labels(mask, geometry, self.dataset.encoding)

    def decide(self, name: str, action: Literal["rejected", "skipped"], version: str, effort: Effort) -> Entry:
        """Record a decision that draws no mask: "rejected" leaves the case out of training, "skipped" asks later.

        Raises:
            ConflictError: if somebody saved in the meantime; nothing is written.
            DataError: for skipping a case that is reviewed already.
            StorageError: if the disk is full or the place cannot be written.
        """
        self.entry(name)
        with self._locks[name]:
            current, mask = self._checked(name, version)
            if action == "skipped" and current.status not in ("open", "skipped"):
                raise DataError(f"{name} is {current.status} already, so there is nothing to skip; open the next case.")
            recorded = self._record(current, action, effort, mask)
            self._entries[name] = recorded
            return recorded

    def labeled_now(self) -> list[str]:
        """Return the cases that training may learn from: the run's labeled ones and those drawn here."""
        return self.names("labeled", *MASKED)

    def seconds(self) -> float:
        """Return how long people worked on all decisions together."""
        return sum(decision.seconds for entry in self.entries() for decision in entry.decisions)

    def _mask_path(self, case: Case) -> Path:
        """Return the mask of a case, in whatever format another program wrote it, or where one would be written."""
        known = self._known_mask(case)
        return known if known.exists() else mask_in(self._masks, case.name) or known

    def _known_mask(self, case: Case) -> Path:
        return case.mask or self._masks / f"{case.name}{self.dataset.mask_suffix}"

    def _read(self, case: Case, mask_path: Path) -> tuple[Entry, bytes | None]:
        """Read a case from the disk, whoever wrote it: the page of another run on this dataset may have."""
        path = self.folder / f"{case.name}.json"
        mask, image = read_if_there(mask_path), stamp(case.image)
        text = read_if_there(path)
        decisions: tuple[Decision, ...] = ()
        if text is not None:
            try:
                decisions = Record.model_validate_json(text).decisions
            except ValidationError as error:
                remedy = "Restore it from a copy, or move it and the case's mask away to review the case anew"
                raise BadFileError(path, "is not a record of decisions", remedy) from error
        version = _version(decisions, sha256(mask), image)
        return Entry(case, _status(decisions, mask is not None), version, decisions, image), mask

    def _checked(self, name: str, version: str) -> tuple[Entry, bytes | None]:
        """Return the case as it is on the disk, if that is what the person saw."""
        case = self._entries[name].case
        current, mask = self._read(case, self._mask_path(case))
        if current.version != version:
            self._entries[name] = current
            raise ConflictError(_meanwhile(name, current, same_image=version.endswith(f"-{current.image}")))
        return current, mask

    def _record(self, current: Entry, action: Action, effort: Effort, mask: bytes | None) -> Entry:
        """Write one more decision about a case whose mask file holds ``mask`` afterwards."""
        written = sha256(mask)
        decision = Decision(
            action=action,
            by=effort.by.strip()[:LONGEST_NAME],
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(effort.seconds, 1),
            changed=effort.changed,
            round=effort.round,
            mask=written if action in MASKED else None,
        )
        decisions = (*current.decisions, decision)
        self._write_record(current.case, decisions)
        version = _version(decisions, written, current.image)
        return Entry(current.case, _status(decisions, mask is not None), version, decisions, current.image)

    def _write_record(self, case: Case, decisions: tuple[Decision, ...]) -> None:
        record = Record(case=case.name, decisions=decisions)
        write_text_atomically(self.folder / f"{case.name}.json", record.model_dump_json(indent=1) + "\n")


def training_split(store: ReviewStore, dataset: Dataset, before: Split) -> Split:
    """Return the split of the next round: what was drawn is labeled now, what was rejected is out, the rest unlabeled.

    Validation and test are those of ``before``.

    Args:
        dataset: the dataset as it is on the disk now.
    """
    labeled = store.labeled_now()
    kept = {case.group for case in dataset.select([*before.val, *before.test])}
    out = {*labeled, *before.labeled, *store.names("rejected")}
    unlabeled = [case.name for case in dataset.cases if case.name not in out and case.group not in kept]
    return Split.of(dataset, labeled, unlabeled, before.val, before.test, seed=before.seed)


def _status(decisions: Sequence[Decision], masked: bool) -> Status:
    """Return what a case is, from its latest decision and whether a mask is there."""
    last = decisions[-1] if decisions else None
    if last is None or (last.action == "skipped" and masked):
        return "labeled" if masked else "open"
    if last.action in MASKED and not masked:
        return "open"
    return last.action


def _meanwhile(name: str, current: Entry, *, same_image: bool) -> str:
    """Say who changed a case."""
    if current.image == GONE:
        return f"the image of {name} is gone from the disk; nothing was saved. Put it back, or open another case."
    if not same_image:
        return f"the image of {name} was changed or replaced on the disk; nothing was saved. Load it, and draw anew."
    last = current.last
    if last is None:
        return f"the mask of {name} was changed outside this page; nothing of yours was saved. Load it, and redo yours."
    who = last.by or "somebody"
    return (
        f"{who} saved {name} as {last.action} at {last.at[11:16]} UTC, after you had opened it; nothing of theirs was "
        "overwritten. Load their version, or keep drawing on yours and save it over theirs."
    )


def _version(decisions: Sequence[Decision], mask: str | None, image: str) -> str:
    return f"{len(decisions)}-{(mask or 'none')[:16]}-{image}"
