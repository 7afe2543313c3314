"""Which cases are labeled, unlabeled, for validation and for the test: saved, read again, and never mixed up."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from criinet.data.bad_files import BadFileError, reason_of
from criinet.data.dataset import Dataset
from criinet.data.files import read_json, write_text_atomically
from criinet.errors import DataError
from criinet.registry import nearest

DEFAULT = Path("splits") / "default.json"


class SplitError(DataError):
    """A split that contradicts itself or its dataset.

    Args:
        what: continues "the split ...", without a full stop ("names the unknown case a").
        remedy: what to do, without a full stop.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"the split {self.what}. {self.remedy}."


class Split(BaseModel):
    """Four lists of case names that share no case, and how they were drawn.

    The masks of ``unlabeled`` cases are never read, even where they exist.

    dataset: name of the dataset.
    fraction: labeled / train.
    groups: whether whole groups (patients) were drawn.
    stratified: whether labeled cases were drawn by foreground size.
    hash: first 16 hex digits of the SHA-256 of the sorted lists.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    labeled: list[str]
    unlabeled: list[str]
    val: list[str]
    test: list[str]
    fraction: float
    seed: int
    groups: bool
    stratified: bool
    hash: str

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        labeled: Iterable[str],
        unlabeled: Iterable[str],
        val: Iterable[str],
        test: Iterable[str],
        *,
        seed: int = 0,
        stratified: bool = False,
    ) -> "Split":
        """Build a split from names in any order.

        Raises:
            SplitError: if nothing is labeled, a name is twice, unknown or lacks its mask, or a group is in two parts.
        """
        parts = [sorted(part) for part in (labeled, unlabeled, val, test)]
        train = len(parts[0]) + len(parts[1])
        split = cls(
            dataset=dataset.name,
            labeled=parts[0],
            unlabeled=parts[1],
            val=parts[2],
            test=parts[3],
            fraction=len(parts[0]) / max(1, train),
            seed=seed,
            groups=dataset.grouped,
            stratified=stratified,
            hash=_hash(parts),
        )
        split.verify()
        _fit(split, dataset)
        return split

    @property
    def train(self) -> list[str]:
        """The labeled and the unlabeled cases."""
        return self.labeled + self.unlabeled

    @property
    def draw(self) -> int:
        """Which draw of labeled cases this is: the seed."""
        return self.seed

    def to_text(self) -> str:
        """Return the content of the file of the split."""
        return self.model_dump_json(indent=1) + "\n"

    def verify(self) -> None:
        """Check that a case is labeled, that no case is there twice, and that nobody edited the lists.

        Raises:
            SplitError: otherwise.
        """
        if not self.labeled:
            raise SplitError("has no labeled case", "Add masks, or name cases that have one")
        seen: dict[str, str] = {}
        for part, names in _parts(self).items():
            for name in names:
                if name in seen:
                    raise SplitError(f"has case {name} in {seen[name]} and in {part}", "Keep every case in one part")
                seen[name] = part
        if self.hash != _hash([sorted(names) for names in _parts(self).values()]):
            raise SplitError(f"does not match its hash {self.hash}", "Draw it again with `criinet split`")


class SplitFile(BaseModel):
    """A split as a person or another project writes it; what is left out is filled in from the dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: list[str] | None = None
    val: list[str] = []
    test: list[str] = []
    labeled: list[str] | None = None
    unlabeled: list[str] | None = None

    @property
    def pool(self) -> list[str]:
        """All training cases, labeled or not."""
        given = [*(self.labeled or []), *(self.unlabeled or [])]
        return list(dict.fromkeys([*(self.train or []), *given]))

    def complete(self, dataset: Dataset) -> Split:
        """Return the split; where no case is named labeled, every training case that has a mask is.

        Raises:
            SplitError: if the lists contradict each other or the dataset.
        """
        require_known(self.pool, dataset)
        masked = [case.name for case in dataset.select(self.pool) if case.mask is not None]
        labeled = masked if self.labeled is None else self.labeled
        rest = without(self.pool, labeled) if self.unlabeled is None else self.unlabeled
        return Split.of(dataset, labeled, rest, self.val, self.test)


def save_split(split: Split, path: Path) -> None:
    """Write a split as JSON, whole or not at all.

    Raises:
        StorageError: if the file cannot be written.
    """
    write_text_atomically(path, split.to_text())


def is_split(path: Path) -> bool:
    """Return whether a file holds a split of either kind, be it edited."""
    try:
        read_split(path)
    except BadFileError:
        return False
    except SplitError:
        pass  # Edited, and a split all the same.
    return True


def load_split(path: Path, dataset: Dataset) -> Split:
    """Read a split that ``save_split`` wrote, or a plain file of train, val and test lists.

    In a plain file every training case that has a mask is labeled, unless it lists labeled cases itself. Cases that
    were left out of the dataset as unreadable are left out of the split.

    Raises:
        BadFileError: if the file is missing, malformed, edited, has unknown keys, or does not fit the dataset.
    """
    try:
        found = read_split(path)
        if isinstance(found, SplitFile):
            return without_dropped(found, dataset).complete(dataset)
        parts = [dataset.kept(names) for names in _parts(found).values()]
        if parts == [*_parts(found).values()]:
            _fit(found, dataset)
            return found
        return Split.of(dataset, *parts, seed=found.seed, stratified=found.stratified)
    except SplitError as error:
        raise BadFileError(path, error.what, error.remedy) from error


def read_split(path: Path) -> Split | SplitFile:
    """Read either kind of split file; a saved one is verified.

    Raises:
        BadFileError: if the file is missing, malformed or has unknown keys.
        SplitError: if a saved one was edited.
    """
    example = 'Write {"train": [...], "val": [...], "test": [...]}, or draw one with `criinet split`'
    content = read_json(path, "Check the path and its permissions", example)
    if not isinstance(content, dict) or not content.keys() & {"train", "labeled"}:
        raise BadFileError(path, "is not a split", example)
    model = Split if "hash" in content else SplitFile
    try:
        found = model.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        key = str(problem["loc"][0])
        what = f"has a bad '{key}': {reason_of(problem['msg'])}"
        if problem["type"] == "extra_forbidden":
            what = f"has the unknown key '{key}'"
        raise BadFileError(path, what, f"{example}.{nearest(key, model.model_fields)}".rstrip(".?")) from error
    if isinstance(found, Split):
        found.verify()
    return found


def without_dropped(found: Split | SplitFile, dataset: Dataset) -> SplitFile:
    """Return the lists of a split file, spelled as the dataset spells its cases, without those that it left out."""
    lists = found.model_dump(include={"train", "labeled", "unlabeled", "val", "test"}, exclude_none=True)
    return SplitFile(**{part: dataset.kept(names) for part, names in lists.items()})


def without(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Return the names that are not taken, in their order."""
    gone = set(taken)
    return [name for name in names if name not in gone]


def _parts(split: Split) -> dict[str, list[str]]:
    return {"labeled": split.labeled, "unlabeled": split.unlabeled, "val": split.val, "test": split.test}


def _hash(parts: Sequence[Sequence[str]]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def require_known(names: Iterable[str], dataset: Dataset) -> None:
    """Check that a dataset has cases of these names.

    Raises:
        SplitError: otherwise; it names the first one.
    """
    unknown = [name for name in names if name not in dataset]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        what = f"names case {unknown[0]}{more}, which dataset {dataset.name} does not have"
        raise SplitError(what, "Add the image, or remove the name")


def _fit(split: Split, dataset: Dataset) -> None:
    """Check a split against its dataset: the cases exist, those to be scored have masks, no group is in two parts."""
    require_known([*split.train, *split.val, *split.test], dataset)
    parts = _parts(split)
    for part in ("labeled", "val", "test"):
        for case in dataset.select(parts[part]):
            if case.mask is None:
                raise SplitError(f"has case {case.name} in {part}, but it has no mask", "Add the mask or move the case")
    owner: dict[str, str] = {}
    for part, names in (("train", split.train), ("val", split.val), ("test", split.test)):
        for case in dataset.select(names):
            if owner.setdefault(case.group, part) != part:
                what = f"has cases of group {case.group} in {owner[case.group]} and in {part}"
                raise SplitError(what, "Keep a group in one part, or its test score is too good")
