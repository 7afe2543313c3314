"""Tables and verdicts: every run against the supervised run of the same split and length, case by case."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from criinet.metrics.statistics import Paired, Verdict, finite_mean, holm, paired_difference, verdict
from criinet.report.records import BEST, LAST, CaseRecord, RecordedRun, ResultRow, Stratum
from criinet.report.text import MISSING, chance_after, distance, interval, minutes, number, signed

SUPERVISED = "supervised"
NO_RESULTS = "No Dice is claimed: no masks were held out, or `criinet evaluate RUN` was not run."
HARDEST = "the lowest-contrast quarter"
Matched = dict[str, tuple[float, float]]
"""Case to the Dice of both arms."""

_NEARLY = 0.95
_NOT_THE_METHOD = ("trainer.threads", "trainer.checks", "trainer.iterations")


@dataclass(frozen=True)
class Pairs:
    """Dice of two rows on the same cases, averaged over the classes of a case and the cases of a group.

    scope: "" for every test case, else what was compared ("the lowest-contrast quarter", "class 'polyp'").
    paired: of the Dice of both, per case (or per group, where groups have several cases).
    images: number of test images behind it. groups: True if a value is the mean of several cases.
    over_images: the mean difference with every image counted alike, and not every group.
    by_draw: the mean difference in each draw of the labels, over its seeds, in their order. trainings: of each row.
    credited: images in which the Dice of one row was set to 1, see :func:`matched`.
    class_name: the class, for a comparison of one class.
    """

    run: str
    baseline: str
    scope: str
    paired: Paired
    images: int
    groups: bool
    by_draw: tuple[float, ...]
    trainings: int = 1
    credited: int = 0
    over_images: float = math.nan
    class_name: str = ""

    @property
    def one_sign(self) -> bool:
        """Whether the difference is above 0 in every draw, or below 0 in every draw."""
        return all(change > 0 for change in self.by_draw) or all(change < 0 for change in self.by_draw)

    @property
    def interval(self) -> str:
        """The interval of the difference in writing; empty where there are too few units for one."""
        return interval(self.paired.low, self.paired.high, signed)

    @property
    def change(self) -> str:
        """The difference with its interval, ``+.041 [+.020, +.060]``."""
        return f"{signed(self.paired.mean)} {self.interval}".strip()

    @property
    def each_draw(self) -> str:
        """The difference in each draw, ``+.012 +.030 -.004``."""
        return " ".join(map(signed, self.by_draw))

    @property
    def units(self) -> str:
        """What is paired, in a word."""
        return "patients" if self.groups else "images"

    @property
    def on(self) -> str:
        """How many images there are, and of how many patients where these are what is paired."""
        return on_images(self.images, self.paired.n if self.groups else 0)

    @property
    def weighting(self) -> str:
        """Say that patients count alike where these are paired; and the other difference, if its sign is the other."""
        if not self.groups:
            return ""
        opposite = self.paired.mean * self.over_images < 0
        return "each patient counts alike" + (
            f"; over images the difference is {signed(self.over_images)}" if opposite else ""
        )


@dataclass(frozen=True, kw_only=True)
class Effect(Pairs):
    """One row against another, judged: ``paired`` has p after Holm's correction.

    comparisons: in the family that Holm's correction covers, as far as there was something to test.
    verdict: of the interval and p; "did nothing" also where several draws do not agree on the sign, as these trainings
        alone then make the difference: over draws of the labels it scatters more than over images.
    """

    comparisons: int
    verdict: Verdict
    sentence: str = ""

    @property
    def too_few(self) -> bool:
        """Whether nothing could have been told apart, however clear: 2^(1 - n) is the least p of n pairs.

        It is multiplied by the number of comparisons at Holm's first step.
        """
        least = max(1, self.comparisons) * 2.0 ** (1 - self.paired.n)
        return self.verdict == "did nothing" and least >= 0.05

    @property
    def draws_disagree(self) -> bool:
        """Whether interval and p tell the rows apart, and only the draws do not."""
        return self.verdict != verdict(self.paired)

    @property
    def too_few_text(self) -> str:
        """What to say where there are too few units."""
        said = "too few to tell" + (f" in {self.comparisons} comparisons" if self.comparisons > 1 else "")
        return f"{said} ({self.weighting})" if self.weighting else said

    @property
    def disagreement(self) -> str:
        """What keeps the draws from one sign."""
        return "one draw has no difference" if min(map(abs, self.by_draw)) == 0 else "the draws disagree"

    @property
    def word(self) -> str:
        """The verdict in a word, or why there is none."""
        if self.too_few:
            return f"too few {self.units}"
        return "draws disagree" if self.draws_disagree else self.verdict

    @property
    def chance(self) -> str:
        """Write ``p = .012``, or ``Holm's p = .012``; with the draws where they are why there is no verdict.

        Where patients are paired it says how they count.
        """
        said = [("Holm's p " if self.comparisons > 1 else "p ") + chance_after(self.paired.p)]
        said += [f"{self.disagreement}: {self.each_draw}"] if self.draws_disagree else []
        return "; ".join([*said, self.weighting] if self.weighting else said)


@dataclass(frozen=True)
class Headline:
    """What one run reached: the mean over classes at the last and at the best checkpoint, None if not evaluated.

    patients: that the test images with a Dice are of; 0 where each is of another one.
    """

    label: str
    run: RecordedRun
    last: ResultRow | None
    best: ResultRow | None
    hardest: Stratum | None
    patients: int

    @property
    def misses(self) -> str:
        """Missed objects of those measured, as ``1 of 30``; a dash if not evaluated."""
        results = self.run.results
        return f"{self.last.misses} of {results.measured(self.last)}" if results and self.last else MISSING


@dataclass(frozen=True)
class Comparison:
    """All runs side by side.

    rows: one for each run, in the order given.
    effects: every comparable run against its supervised baseline. hardest: the same on the quarter of lowest contrast.
    by_class: the same for each class, where there are several.
    notes: what was not compared and why, and what else differs.
    """

    rows: tuple[Headline, ...]
    effects: tuple[Effect, ...]
    hardest: tuple[Effect, ...]
    by_class: tuple[Effect, ...]
    notes: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What can be said, in as few sentences as there are runs to judge."""
        if self.effects:
            return tuple(effect.sentence for effect in self.effects)
        reached = tuple(_reached(row) for row in self.rows if row.last is not None)
        waiting = tuple(_waits(row.run) for row in self.rows if row.run.split and row.run.split.test)
        return reached or waiting or (NO_RESULTS,)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return headers and rows of text for a terminal: the last checkpoint, with the best one's Dice beside it."""
        runs = [row.run for row in self.rows]
        unit = unit_of_runs(runs)
        own = len({run.unit for run in runs}) > 1
        headers = [
            "Run",
            "Labeled",
            "Dice [95 %]",
            "Dice, best weights",
            "IoU",
            f"HD95 ({unit})",
            "Surface Dice",
            "Boundary IoU",
        ]
        headers += [f"Band Dice 5 {unit}", "Misses", "Hardest quarter", "Train min"]
        return headers, [_cells(row, row.run.unit if own else "") for row in self.rows]


def compare(runs: Sequence[RecordedRun]) -> Comparison:
    """Set runs side by side, and judge each against the supervised run with the same split and iterations.

    Dice is compared at the last checkpoint, case by case, as the mean over the classes that a case has; where several
    cases belong to one group (patient), the group's mean is one value. Holm's correction covers the runs compared (and
    the classes, for the verdicts by class). Runs on different splits are never compared; a note says so. Every verdict
    is on one training of each: it says what these weights do, not what the method does in another draw or seed.
    """
    labels = run_labels(runs)
    notes = [note for run in runs for note in run.notes]
    overall: list[Pairs] = []
    hardest: list[Pairs] = []
    by_class: list[Pairs] = []
    for run, label in zip(runs, labels, strict=True):
        notes += _unfinished(run, label)
        baseline = _baseline(run, runs)
        if baseline is None:
            notes += _why_not(run, label, runs)
            continue
        name = labels[next(i for i, other in enumerate(runs) if other is baseline)]
        notes += _differences(run, label, baseline, name)
        overall.append(_pairs(run, baseline, label, name, "", lambda _: True))
        notes += _credited(overall[-1])
        hardest.append(_pairs(run, baseline, label, name, HARDEST, is_hard))
        by_class += _class_pairs(run, baseline, label, name)
    return Comparison(
        rows=tuple(_headline(run, label) for run, label in zip(runs, labels, strict=True)),
        effects=judged(overall),
        hardest=judged(pairs for pairs in hardest if pairs.images),
        by_class=judged(by_class),
        notes=tuple(dict.fromkeys(notes)),
    )


def run_labels(runs: Sequence[RecordedRun]) -> list[str]:
    """Return the shortest names that tell the runs apart: the method, then seed, draw, and folder."""
    ways: tuple[Callable[[RecordedRun], str], ...] = (
        lambda run: run.method,
        lambda run: f"{run.method} seed {run.seed}",
        lambda run: f"{run.method} draw {run.split.seed if run.split else 0} seed {run.seed}",
        lambda run: f"{run.method} ({run.folder.name})",
        lambda run: f"{run.method} ({run.folder})",
    )
    for way in ways:
        labels = [way(run) for run in runs]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{run.method} #{index}" for index, run in enumerate(runs, 1)]


def unit_of_runs(runs: Sequence[RecordedRun]) -> str:
    """Return the unit of all distances, ``mm or px`` where the runs differ in it."""
    return " or ".join(sorted({run.unit for run in runs})) or "px"


def dice_with_interval(row: ResultRow) -> str:
    """Write ``.812 [.790, .832]``."""
    return f"{number(row.value('dice'))} {interval(row.value('dice_low'), row.value('dice_high'))}".strip()


def _headline(run: RecordedRun, label: str) -> Headline:
    results = run.results
    return Headline(
        label=label,
        run=run,
        last=results.row(LAST) if results else None,
        best=results.row(BEST) if results else None,
        hardest=results.stratum("contrast", 1) if results else None,
        patients=_patients(run),
    )


def _patients(run: RecordedRun) -> int:
    dice = dice_by_case(run.cases, lambda _: True)
    group = {case.case: case.group for case in run.cases}
    patients = {group[case] for case, value in dice.items() if math.isfinite(value)}
    return len(patients) if len(patients) < sum(map(math.isfinite, dice.values())) else 0


def _cells(row: Headline, unit: str) -> list[str]:
    """Return the cells of one run, its distance with its ``unit`` if runs differ in it."""
    run = row.run
    labeled = str(run.split.labeled) if run.split else MISSING
    if row.last is None:
        return [row.label, labeled, *[MISSING] * 9, minutes(run.train_seconds)]
    last = row.last
    return [
        row.label,
        labeled,
        dice_with_interval(last),
        number(row.best.value("dice")) if row.best else MISSING,
        number(last.value("iou")),
        f"{distance(last.value('hd95'))} {unit}".strip(),
        number(last.value("surface_dice")),
        number(last.value("boundary_iou")),
        number(last.value("band_dice_5")),
        row.misses,
        number(row.hardest.dice) if row.hardest else MISSING,
        minutes(run.train_seconds),
    ]


def _reached(row: Headline) -> str:
    if row.last is None:
        return NO_RESULTS
    few = "" if math.isfinite(row.last.value("dice_low")) else ", too few for an interval"
    return f"{row.label} reaches Dice {dice_with_interval(row.last)} on {on_images(row.last.cases, row.patients)}{few}."


def _waits(run: RecordedRun) -> str:
    images = on_images(run.split.test if run.split else 0)
    return f"No Dice is claimed yet: {images} can be measured with `criinet evaluate {run.folder.name}`."


def on_images(images: int, patients: int = 0) -> str:
    """Write ``1 test image``, or ``42 test images of 13 patients``."""
    said = f"{images} test image{'' if images == 1 else 's'}"
    return f"{said} of {patients} patient{'' if patients == 1 else 's'}" if patients else said


def _baseline(run: RecordedRun, runs: Sequence[RecordedRun]) -> RecordedRun | None:
    """Return the evaluated supervised run with the same split and iterations, of the same seed if there is one."""
    if run.method == SUPERVISED or not run.cases or run.results is None:
        return None
    fit = [other for other in runs if other.method == SUPERVISED and other.cases and _comparable(run, other)]
    return next((other for other in fit if other.seed == run.seed), fit[0] if fit else None)


def _comparable(run: RecordedRun, other: RecordedRun) -> bool:
    same_split = bool(run.split_hash) and run.split_hash == other.split_hash and run.dataset == other.dataset
    return same_split and run.iterations == other.iterations


def _why_not(run: RecordedRun, label: str, runs: Sequence[RecordedRun]) -> list[str]:
    """Say why a run has no verdict; nothing for the supervised runs themselves."""
    if run.method == SUPERVISED:
        return []
    if not any(other.results for other in runs):
        return []
    if run.results is None:
        return [f"{label} is not judged: it has no results. Run `criinet evaluate` on it if masks are held out."]
    if not run.cases:
        return [f"{label} is not judged: its cases.csv is missing. Run `criinet evaluate {run.folder.name}` again."]
    supervised = [other for other in runs if other.method == SUPERVISED]
    if not supervised:
        return [f"{label} is not judged: give a supervised run of the same split and iterations beside it."]
    same_split = [other for other in supervised if other.split_hash == run.split_hash and other.dataset == run.dataset]
    if not same_split:
        return [f"{label} is not compared with supervised: they were trained on different splits."]
    if not any(other.iterations == run.iterations for other in same_split):
        lengths = f"{run.iterations} iterations against {same_split[0].iterations}"
        return [f"{label} is not compared with supervised: they were trained for different lengths ({lengths})."]
    return [f"{label} is not judged: its supervised run has no results. Run `criinet evaluate` on it."]


def _unfinished(run: RecordedRun, label: str) -> list[str]:
    """Say that a training has not come to its end: its last record lies well before it."""
    done = run.progress(max((record.step for record in (*run.train, *run.validation, *run.monitor)), default=0))
    return [f"{label} has finished only {100 * done:.0f} % of its training."] if 0 < done < _NEARLY else []


def _differences(run: RecordedRun, label: str, baseline: RecordedRun, name: str) -> list[str]:
    """Name the settings apart from the method's own in which a run and its baseline differ."""
    notes: list[str] = []
    sections = ("network", "data", "trainer")
    mine, theirs = (dict(_flat({s: r.config.get(s, {}) for s in sections} | _facts(r))) for r in (run, baseline))
    keys = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
    keys = [key for key in keys if key not in _NOT_THE_METHOD]
    if keys:
        listed = ", ".join(f"{key} {mine.get(key)} against {theirs.get(key)}" for key in keys[:4])
        more = f" and {len(keys) - 4} more" if len(keys) > 4 else ""
        notes.append(f"{label} and {name} differ in more than the method: {listed}{more}.")
    if run.seed != baseline.seed:
        notes.append(f"{label} was trained with seed {run.seed}, {name} with seed {baseline.seed}.")
    apart = {c.case for c in run.cases} ^ {c.case for c in baseline.cases}
    if apart:
        notes.append(f"Left out of the comparison: {on_images(len(apart))} measured in only one of {label} and {name}.")
    return notes


def _facts(run: RecordedRun) -> dict[str, Any]:
    return {"regime": run.facts["regime"]} if run.facts.get("regime") else {}


def _flat(table: Mapping[str, Any], at: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        name = f"{at}.{key}" if at else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, value


def _credited(pairs: Pairs) -> list[str]:
    """Say that a false alarm that one of two runs avoided counts for it; nothing where there is none."""
    if not pairs.credited:
        return []
    return [
        f"In {on_images(pairs.credited)} either {pairs.run} or {pairs.baseline} found something where there is nothing "
        "(Dice 0) and the other rightly did not, which counts as Dice 1 in their comparison."
    ]


def is_hard(case: CaseRecord) -> bool:
    """Tell whether a case is in the quarter of lowest contrast."""
    return case.contrast_quartile == 1


def _class_pairs(run: RecordedRun, baseline: RecordedRun, label: str, name: str) -> list[Pairs]:
    classes = list(dict.fromkeys(case.class_name for case in run.cases))
    if len(classes) < 2:
        return []
    found = [
        _pairs(run, baseline, label, name, f"class '{c}'", lambda case, c=c: case.class_name == c) for c in classes
    ]
    return [replace(pairs, class_name=c) for pairs, c in zip(found, classes, strict=True)]


def _pairs(
    run: RecordedRun, baseline: RecordedRun, label: str, name: str, scope: str, chosen: Callable[[CaseRecord], bool]
) -> Pairs:
    """Pair the cases that both runs measured at their last checkpoint, one value for each group."""
    mine, theirs = (dice_by_case(r.cases, chosen) for r in (run, baseline))
    group = {case.case: case.group for case in run.cases}
    first, second, images = paired_values(mine, theirs, group)
    paired = paired_difference(first, second)
    return Pairs(
        label,
        name,
        scope,
        paired,
        images,
        groups=len(first) < images,
        by_draw=(paired.mean,) if images else (),
        credited=len(spared(mine, theirs)),
        over_images=difference_over_images(mine, theirs),
    )


def group_means(dice: Mapping[str, float], group: Mapping[str, str]) -> list[float]:
    """Return the mean over the cases of every group, given the value and the group of every case."""
    units: dict[str, list[float]] = {}
    for case, value in dice.items():
        units.setdefault(group[case], []).append(value)
    return [float(np.mean(values)) for values in units.values()]


def paired_values(
    first: Mapping[str, float], second: Mapping[str, float], group: Mapping[str, str]
) -> tuple[list[float], list[float], int]:
    """Return the group means of both arms over the cases that :func:`matched` pairs, and the number of those cases."""
    pairs = matched(first, second)
    one, two = (group_means({case: dice[arm] for case, dice in pairs.items()}, group) for arm in (0, 1))
    return one, two, len(pairs)


def difference_over_images(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Return the mean difference of both arms over the cases that :func:`matched` pairs, NaN without any."""
    return finite_mean([a - b for a, b in matched(first, second).values()])


def matched(first: Mapping[str, float], second: Mapping[str, float]) -> Matched:
    """Return the Dice of both arms on every case in which they are compared; all paired comparisons are of these.

    An arm that rightly finds nothing in a case has no Dice there (NaN), as 0 / 0 says nothing. If the other arm finds
    something, a false alarm of Dice 0, the first counts 1: were the pair left out, an arm that stops false alarms would
    gain nothing by it. If both rightly find nothing, or a case was measured in one arm alone, it is left out. A class
    that only one arm finds in a case with other objects is 0 in the mean of that arm's classes, and in no other mean.

    Args:
        first, second: case to its Dice, the mean over the classes that have one; NaN where none has.

    Reference: Maier-Hein et al., Metrics reloaded, Nature Methods 21, 2024, on empty references, for which a metric has
        to be defined before values are aggregated.
    """
    both = ((case, dice, second[case]) for case, dice in first.items() if case in second)
    return {
        case: (1.0 if math.isnan(a) else a, 1.0 if math.isnan(b) else b)
        for case, a, b in both
        if not (math.isnan(a) and math.isnan(b))
    }


def spared(first: Mapping[str, float], second: Mapping[str, float]) -> set[str]:
    """Return the cases of both arms in which one rightly found nothing and the other has a false alarm."""
    return {case for case in first.keys() & second.keys() if math.isnan(first[case]) != math.isnan(second[case])}


def dice_by_case(
    cases: Iterable[CaseRecord], chosen: Callable[[CaseRecord], bool], checkpoint: str = LAST
) -> dict[str, float]:
    """Return the mean over the classes that have a Dice, NaN for a case where none has; of regions, if alone chosen."""
    found = [case for case in cases if case.checkpoint == checkpoint and chosen(case)]
    values: dict[str, list[float]] = {}
    for case in [case for case in found if not case.region] or found:
        values.setdefault(case.case, []).append(case.dice)
    finite = {case: [value for value in dice if math.isfinite(value)] for case, dice in values.items()}
    return {case: float(np.mean(dice)) if dice else math.nan for case, dice in finite.items()}


def judged(family: Iterable[Pairs]) -> tuple[Effect, ...]:
    """Correct one family of comparisons for their number, and put each in a word and a sentence."""
    pairs = list(family)
    adjusted = holm([p.paired.p for p in pairs])
    tests = sum(p.paired.n > 0 for p in pairs)
    corrected = (
        replace(pair, paired=replace(pair.paired, p=float(p))) for pair, p in zip(pairs, adjusted, strict=True)
    )
    return tuple(_judge(Effect(**vars(pair), comparisons=tests, verdict="did nothing")) for pair in corrected)


def turned(effect: Effect) -> Effect:
    """Return the same comparison seen from the other row."""
    paired = effect.paired
    other = replace(paired, mean=0 - paired.mean, low=0 - paired.high, high=0 - paired.low)
    by_draw = tuple(0 - change for change in effect.by_draw)
    back = replace(effect, run=effect.baseline, baseline=effect.run, paired=other, by_draw=by_draw)
    return _judge(replace(back, over_images=0 - effect.over_images))


def _judge(effect: Effect) -> Effect:
    """Return a comparison, whose p is corrected already, with its verdict and the sentence on it."""
    effect = replace(effect, verdict=verdict(effect.paired) if effect.one_sign else "did nothing")
    return replace(effect, sentence=_sentence(effect))


def _sentence(effect: Effect) -> str:
    run, baseline, scope = effect.run, effect.baseline, effect.scope
    where = f"On {scope}, " if scope.startswith("the ") else f"For {scope}, " if scope else ""
    if effect.paired.n == 0:
        return f"{where}{run} cannot be judged: no test image has a Dice in both runs."
    change = f"Dice {effect.change}"
    if effect.too_few:
        return f"{where}{run} cannot be judged: {change} against {baseline} on {effect.on}, {effect.too_few_text}."
    once = _once(effect)
    if effect.verdict == "helped":
        return f"{where}{run} helped{once}: {change} over {baseline} on {effect.on} ({effect.chance})."
    if effect.verdict == "hurt":
        advice = "" if scope else f" Use {baseline} here."
        return f"{where}{run} hurt{once}: {change} against {baseline} on {effect.on} ({effect.chance}).{advice}"
    return f"{where}{run} did nothing measurable{once}: {change} against {baseline} on {effect.on} ({effect.chance})."


def _once(effect: Effect) -> str:
    """Say that a verdict is on one training, or one draw; nothing where it is on more, or on a part of the cases."""
    if effect.scope or len(effect.by_draw) > 1:
        return ""
    return " in this one training" if effect.trainings == 1 else " on this one draw"
