"""Draws which cases are labeled, unlabeled, for validation and for the test."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from criinet.data.bad_files import BadFileError
from criinet.data.dataset import Case, Dataset
from criinet.data.splits import (
    DEFAULT,
    Split,
    SplitError,
    SplitFile,
    read_split,
    require_known,
    without,
    without_dropped,
)
from criinet.errors import DataError

FEWEST_TO_HOLD_OUT, FEWEST_GROUPS = 10, 3
"""With fewer masked cases, or groups of them, than this every mask is used for training."""

TO_HOLD_OUT = f"at least {FEWEST_TO_HOLD_OUT} masks from at least {FEWEST_GROUPS} patients"
"""What it takes that cases are held out, in words."""

Measured = Literal["test", "val"]
"""Which cases a run is measured on: the test cases, or those for validation while a method is being developed."""

_TEST, _VALIDATION, _LABELED = 0, 1, 2
"""Streams of random numbers, so that one draw does not move another."""


@dataclass(frozen=True)
class Amount:
    """How much to label: ``share`` of the training cases, or ``count`` of them."""

    text: str
    share: float | None
    count: int | None

    @classmethod
    def parse(cls, text: str | int) -> "Amount":
        """Read ``"4%"``, ``"32"`` or ``32``.

        Raises:
            DataError: for anything else, for zero, and for more than 100%.
        """
        text = str(text)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%|(\d+)", text.strip())
        if match is None:
            raise DataError(f"'{text}' is no amount of labeled cases; write a share like 4% or a count like 32.")
        share = float(match[1]) / 100 if match[1] else None
        count = int(match[2]) if match[2] else None
        if not (share or count):
            raise DataError(f"'{text}' labels no case; write a share like 4% or a count like 32.")
        if share is not None and share > 1:
            raise DataError(f"'{text}' is more than all cases; write a share up to 100%, or a count without %.")
        return cls(text, share, count)

    def of(self, total: int) -> int:
        """Return how many of ``total`` are meant, at least 1; halves round up."""
        return max(1, _round(self.share * total)) if self.share is not None else int(self.count or 0)


def make_split(
    dataset: Dataset,
    labeled: str | int | None = None,
    seed: int = 0,
    *,
    stratify: bool = False,
    validation: int | None = None,
    measure: Measured = "test",
) -> Split:
    """Draw labeled, unlabeled, validation and test cases.

    With ``splits/default.json`` its train, val and test lists are kept, and labeled cases are drawn from its train
    cases. Without it, 20 % of the masked cases (at least 2) are held out as a test set, the same for every ``seed`` so
    that draws can be compared, and up to 10 % for validation. With fewer than 10 masked cases, or fewer than 3 groups
    of them, nothing is held out: so few masks cannot both teach and measure, and all of them train.

    All the rest is unlabeled. Validation is never larger than the labeled set, since those labels have to be paid too.
    Where cases belong to groups (patients), whole groups are drawn and held out, and a group never stands in two of
    train, val and test: cases of a held-out group that are not evaluated are left out. Groups that share an image are
    held out as one, and so are the copies of an image where there are no groups. Unless stratified, a draw of
    more cases with the same seed contains the draw of fewer.

    Args:
        labeled: ``"4%"`` of the training cases or ``"32"`` of them; with groups, of the training groups. None: every
            masked training case, or the labeled list of default.json.
        seed: which draw.
        stratify: draw one case (group) from each of as many quantile bins of foreground share. This reads the masks of
            the whole training pool, so it suits simulations, not a study where labels are scarce in earnest.
        validation: most validation cases; 0 for none.
        measure: "val" keeps the test cases closed: every case that is held out for validation takes their place, and
            none is left for validation. For developing a method; the labeled cases are those of "test".

    Raises:
        DataError: if ``labeled`` is no amount or more than there are masks, if default.json does not fit the dataset,
            or if nothing is held out for "val".
    """
    amount = None if labeled is None else Amount.parse(labeled)
    if seed < 0:
        raise DataError(f"seed {seed} is negative; use 0, 1, 2, ...")
    path = dataset.root / DEFAULT
    if path.exists():
        try:
            given = without_dropped(read_split(path), dataset)
            split = _from_default(dataset, given, amount, seed, stratify, validation)
            return split if measure == "test" else _for_development(dataset, split, given.val)
        except SplitError as error:
            raise BadFileError(path, error.what, error.remedy) from error
    split = _from_scratch(dataset, amount, seed, stratify, validation)
    if measure == "test":
        return split
    return _for_development(dataset, split, _names(_hold_out(dataset.together, seed, validation)[1]))


def without_test(dataset: Dataset) -> str:
    """Say what follows where a split of ``dataset`` has no test cases, and what they take if its masks are too few."""
    if enough_to_hold_out(dataset.together):
        return "no test cases in the split, so no Dice will be reported"
    return f"no test cases, so no Dice will be reported; holding some out needs {TO_HOLD_OUT}"


def enough_to_hold_out(dataset: Dataset) -> bool:
    """Tell whether there are masks enough that some are held out."""
    groups = {case.group for case in dataset.labeled}
    return len(dataset.labeled) >= FEWEST_TO_HOLD_OUT and len(groups) >= FEWEST_GROUPS


def _from_default(
    dataset: Dataset, given: SplitFile, amount: Amount | None, seed: int, stratify: bool, validation: int | None
) -> Split:
    """Draw within the lists of default.json."""
    require_known([*given.pool, *given.val, *given.test], dataset)
    if amount is None:
        whole = given.complete(dataset)
        drawn, rest = whole.labeled, whole.unlabeled
    else:
        drawn = _draw(dataset, dataset.select(given.pool), amount, seed, stratify)
        rest = without(given.pool, drawn)
    val = _at_most(_cap(len(drawn), validation), dataset.select(given.val), seed)
    stratified = stratify and amount is not None
    return Split.of(dataset, drawn, rest, _names(val), given.test, seed=seed, stratified=stratified)


def _from_scratch(dataset: Dataset, amount: Amount | None, seed: int, stratify: bool, validation: int | None) -> Split:
    """Hold out test and validation cases and draw among the rest."""
    test, candidates = _hold_out(dataset.together, seed, validation)
    pool = _outside(dataset, (*test, *candidates))
    drawn = _draw(dataset, pool, amount, seed, stratify)
    val = _at_most(_cap(len(drawn), validation), candidates, seed)
    if amount is not None and amount.share is not None:  # Of all that train, once it is known how few validate.
        drawn = _draw(dataset, pool, amount, seed, stratify, _outside(dataset, (*test, *val)))
        val = _at_most(_cap(len(drawn), validation), candidates, seed)
    train = _outside(dataset, (*test, *val))
    if amount is None:
        drawn = [case.name for case in train if case.mask is not None]
    rest = without(_names(train), drawn)
    stratified = stratify and amount is not None
    return Split.of(dataset, drawn, rest, _names(val), _names(test), seed=seed, stratified=stratified)


def _for_development(dataset: Dataset, split: Split, held_out: Sequence[str]) -> Split:
    """Put the cases that are held out for validation in the place of the test cases, all but labeled ones."""
    measured = dataset.select(without(held_out, split.labeled))
    if not measured:
        raise DataError(f"dataset {dataset.name} holds no case out for validation; name some in {DEFAULT}.")
    apart = set(_names(_outside(dataset, measured)))
    unlabeled = [name for name in split.unlabeled if name in apart]
    stratified = split.stratified
    return Split.of(dataset, split.labeled, unlabeled, [], _names(measured), seed=split.seed, stratified=stratified)


def _hold_out(dataset: Dataset, seed: int, validation: int | None) -> tuple[list[Case], list[Case]]:
    """Choose the masked cases of the test set and the candidates for validation, by whole groups."""
    if not enough_to_hold_out(dataset):
        return [], []
    groups = _by_group(dataset.labeled)
    order = _shuffled(groups, _random(0, _TEST))
    first = max(1 if dataset.grouped else 2, _round(0.2 * len(order)))
    left = _shuffled(order[first:], _random(seed, _VALIDATION))
    most = 0 if validation == 0 else max(1, _round(0.1 * len(order)))
    return _members(order[:first], groups), _members(left[:most], groups)


def _draw(
    dataset: Dataset,
    pool: Sequence[Case],
    amount: Amount | None,
    seed: int,
    stratify: bool,
    whole: Sequence[Case] | None = None,
) -> list[str]:
    """Draw the labeled cases among the masked cases of ``pool``; all of them if ``amount`` is None.

    A share is one of ``whole``, as far as the pool goes; by default it is one of the pool.
    """
    groups = _by_group(case for case in pool if case.mask is not None)
    if not groups:
        raise DataError(f"dataset {dataset.name} has no mask to train from; add some to {dataset.root / 'masks'}.")
    if amount is None:
        return _names(_members(sorted(groups), groups))
    total = len({case.group for case in (pool if whole is None else whole)})
    wanted = amount.of(total) if whole is None else min(amount.of(total), len(groups))
    if wanted > len(groups):
        unit = "groups" if dataset.grouped else "cases"
        share = f"{amount.text} of {total} training {unit} is {wanted}"
        asked = share if amount.share is not None else f"{wanted} labeled {unit} are asked for"
        raise DataError(
            f"{asked}, but {len(groups)} have masks in dataset {dataset.name}; ask for fewer, or for {len(groups)} to "
            "use them all."
        )
    random = _random(seed, _LABELED)
    if not stratify:
        return _names(_members(_shuffled(groups, random)[:wanted], groups))
    share = {group: np.mean([(dataset.read_mask(case) > 0).mean() for case in groups[group]]) for group in groups}
    bins = np.array_split(sorted(groups, key=lambda group: (share[group], group)), wanted)
    return _names(_members([str(random.choice(members)) for members in bins], groups))


def _at_most(most: int, cases: Sequence[Case], seed: int) -> list[Case]:
    """Choose at most ``most`` cases: whole groups that fit, or a part of one group if none does."""
    groups = _by_group(cases)
    order = _shuffled(groups, _random(seed, _VALIDATION))
    chosen: list[Case] = []
    for group in order:
        if len(chosen) + len(groups[group]) <= most:
            chosen += groups[group]
    return chosen or _members(order[:1], groups)[:most]


def _cap(labeled: int, validation: int | None) -> int:
    return labeled if validation is None else min(labeled, validation)


def _outside(dataset: Dataset, cases: Iterable[Case]) -> list[Case]:
    """Return the cases of other groups, of which none shares an image with these."""
    together = dataset.together
    groups = {together.case(case.name).group for case in cases}
    return [case for case in dataset.cases if together.case(case.name).group not in groups]


def _by_group(cases: Iterable[Case]) -> dict[str, list[Case]]:
    groups: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.name):
        groups.setdefault(case.group, []).append(case)
    return groups


def _members(order: Iterable[str], groups: Mapping[str, list[Case]]) -> list[Case]:
    return [case for group in order for case in groups[group]]


def _names(cases: Iterable[Case]) -> list[str]:
    return [case.name for case in cases]


def _shuffled(names: Iterable[str], random: Generator) -> list[str]:
    """Shuffle names; their order on the way in does not matter."""
    ordered = sorted(names)
    return [ordered[i] for i in random.permutation(len(ordered))]


def _random(seed: int, stream: int) -> Generator:
    return np.random.default_rng([seed, stream])


def _round(value: float) -> int:
    return int(value + 0.5 + 1e-9)
