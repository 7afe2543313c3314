"""What may be said of a benchmark, in sentences: the best in every setting, how sure that is, and what is missing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from criinet.report.benchmark.analysis import Entry, SettingReport
from criinet.report.benchmark.grid import Grid
from criinet.report.benchmark.savings import Saving, best_peers
from criinet.report.benchmark.standing import Standing
from criinet.report.comparison import NO_RESULTS, SUPERVISED, Effect
from criinet.report.text import chance_after, interval, number

_WORDS = {"helped": "helped", "did nothing": "did nothing measurable", "hurt": "hurt"}


@dataclass(frozen=True)
class Said:
    """One verdict; ``kind`` decides its colour (helped, hurt, nothing, plain), ``also`` are sentences below it."""

    kind: str
    sentence: str
    also: tuple[str, ...] = ()


def verdicts(reports: Sequence[SettingReport], found: Standing, savings: Sequence[Saving]) -> list[Said]:
    """Return what stands on top of the page: the average ranks, setting by setting, what is saved."""
    ranks = _ranks(found)
    said = [Said("plain", ranks)] if ranks else []
    said += [_setting(report) for report in reports if report.entries]
    said += [Said("plain", sentence) for sentence in _savings(reports, savings)]
    return said or [Said("plain", NO_RESULTS)]


def notes(grid: Grid, reports: Sequence[SettingReport], found: Standing) -> list[str]:
    """Return what is missing and what limits the comparison."""
    said = list(grid.notes)
    if grid.plan.get("measure") == "val":
        said.append(
            "Measured on cases held out for validation, in the place of test cases: for developing a method. "
            "A choice that was made on these numbers must be confirmed on test cases."
        )
    if grid.failed or grid.pending:
        counted = f"{len(grid.runs)} runs measured, {len(grid.failed)} failed, {len(grid.pending)} pending"
        said.append(f"The grid is incomplete: {counted}.")
    for report in reports:
        most = max((entry.last.runs for entry in report.rows), default=0)
        short = [f"{entry.label} ({entry.last.runs})" for entry in report.rows if entry.last.runs < most]
        if short:
            said.append(f"{report.title}: fewer than {most} runs of {listed(short)}: less certain than the others.")
        if report.rows and SUPERVISED not in {entry.label for entry in report.rows}:
            said.append(f"{report.title}: there is no supervised row, so nothing is said of help or harm.")
        if credited := max((effect.credited for effect in report.pairs), default=0):
            said.append(
                f"{report.title}: in up to {credited} test images of a comparison one row found something where there "
                "is nothing (Dice 0) and the other rightly did not, which counts as Dice 1 there."
            )
    if found.blocks and found.ranking.blocks < found.blocks and len(found.labels) > 1:
        left = found.blocks - found.ranking.blocks
        names = ", ".join(f"{label} ({count})" for label, count in found.absent.items())
        said.append(
            f"Average ranks leave out {left} of {found.blocks} blocks (setting, draw, seed), where these rows have no "
            f"result: {names}."
        )
    return said


def listed(names: Sequence[str]) -> str:
    """Write ``a, b and c``."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def with_sd(mean: float, sd: float) -> str:
    """Write ``.812 ± .010``, the mean alone where there is one run."""
    return f"{number(mean)} ± {number(sd)}" if math.isfinite(sd) else number(mean)


def masks_text(saving: Saving, masks: float) -> str:
    """Write masks as ``61``, rounded up; those beyond what was measured as ``at most 28`` or ``more than 140``."""
    if masks <= saving.fewest:
        return f"at most {saving.fewest:.0f}"
    return str(math.ceil(round(masks, 6))) if masks <= saving.most else f"more than {saving.most:.0f}"


def masks_interval(saving: Saving) -> str:
    """Write ``[44, 97]``."""
    return f"[{masks_text(saving, saving.low)}, {masks_text(saving, saving.high)}]"


def _savings(reports: Sequence[SettingReport], savings: Sequence[Saving]) -> list[str]:
    """Say what the best row of every dataset and network saves where masks are fewest."""
    leaders: dict[tuple[str, str], tuple[str, str]] = {}
    for report in reports:
        if report.rows:
            setting = report.setting
            leaders.setdefault((setting.dataset, setting.network), (report.rows[0].label, report.title))
    said: dict[tuple[str, str], str] = {}
    for peer, plain in best_peers(savings):
        where = (peer.dataset, peer.network)
        label, title = leaders[where]
        if where not in said and peer.label == label != SUPERVISED:
            needs = [
                f"{one.other} needs {masks_text(one, one.needed)} {masks_interval(one)}" for one in (peer, plain) if one
            ]
            said[where] = f"{title}: for what {label} reaches there {listed(needs)} masks."
    return list(said.values())


def _ranks(found: Standing) -> str:
    ranked, ranking = found.ranked, found.ranking
    if len(ranked) < 2 or ranking.blocks < 2:
        return ""
    (best, rank), blocks = ranked[0], ranking.blocks
    first = [label for label, other in ranked if other == rank]
    told = f"{listed(first)} {'rank' if len(first) > 1 else 'ranks'} best over {blocks} blocks (setting, draw, seed)"
    place = f"average rank {number(rank, 1)} of {len(ranked)}"
    place += f", Friedman's p {chance_after(ranking.p)}" if math.isfinite(ranking.p) else ""
    near = [label for group in found.groups if best in group for label in group if label not in first]
    limit = f"the critical difference is {number(ranking.critical_difference, 1)}"
    if len(first) == len(ranked):
        return f"{listed(first)} share one average rank over {blocks} blocks (setting, draw, seed): {place}."
    told_apart = f"Not told apart from that: {listed(near)}" if near else "All others are told apart from that"
    return f"{told}: {place}. {told_apart} ({limit})."


def _setting(report: SettingReport) -> Said:
    if not report.rows:
        entry = report.entries[0]
        return Said("plain", f"{report.title}: {_reached(entry)}.")
    leader = report.rows[0]
    kind, sentence = _leader(report, leader)
    return Said(kind, f"{report.title}: {sentence}", _against_supervised(report.supervised))


def _leader(report: SettingReport, leader: Entry) -> tuple[str, str]:
    if len(report.rows) == 1:
        return "plain", f"{_reached(leader)}."
    effect = report.peer(leader.label)
    if leader.label == SUPERVISED:
        return "hurt", f"no method has a higher Dice than supervised, {_dice(leader)}."
    if effect is None:
        return "plain", f"{leader.label} has the highest Dice, {_dice(leader)}."
    highest = f"{leader.label} has the highest Dice, {_dice(leader)}"
    if effect.too_few:
        return "nothing", f"{highest}, on {effect.on}, {effect.too_few_text}."
    once = "" if len(effect.by_draw) > 1 else "on this one draw "
    plain = next((one for one in report.supervised if one.run == leader.label), None)
    if effect.verdict == "helped" and plain is not None and plain.verdict != "helped":
        over = f"{effect.change} over its best peer {effect.baseline} on {effect.on} ({effect.chance})"
        apart = "worse than" if plain.verdict == "hurt" else "not told apart from"
        return "nothing", f"{once}{highest}, {over}, but is {apart} supervised: {plain.change} ({plain.chance})."
    if effect.verdict == "helped":
        return "helped", (
            f"{once}{leader.label} is best with Dice {_dice(leader)}, {effect.change} over its best peer "
            f"{effect.baseline} on {effect.on} ({effect.chance})."
        )
    apart = "worse than" if effect.verdict == "hurt" else "not told apart from"
    rest = f"{effect.change} on {effect.on} ({effect.chance})"
    return "nothing", f"{once}{highest}, but is {apart} {effect.baseline}: {rest}."


def _reached(entry: Entry) -> str:
    last = entry.last
    ends = interval(last.low, last.high)
    return f"{entry.label} reaches Dice {f'{_dice(entry)} {ends}'.strip()} on {last.on}" + (
        "" if ends else ", too few for an interval"
    )


def _dice(entry: Entry) -> str:
    runs = f" over {entry.last.runs} runs" if entry.last.runs > 1 else ""
    return f"{with_sd(entry.last.dice.mean, entry.last.dice.sd)}{runs}"


def _against_supervised(effects: Sequence[Effect]) -> tuple[str, ...]:
    """Say which methods helped and which did not, in one sentence."""
    if not effects:
        return ()
    words: dict[str, list[str]] = {}
    for effect in sorted(effects, key=lambda effect: list(_WORDS).index(effect.verdict)):
        words.setdefault(_word(effect), []).append(effect.run)
    parts = [f"{listed(names)} {word}" for word, names in words.items()]
    return (f"Against supervised: {'; '.join(parts)}.",)


def _word(effect: Effect) -> str:
    """Say in a few words what a method did, or why that cannot be said."""
    if effect.too_few:
        return f"cannot be judged on so few {effect.units}"
    return _WORDS[effect.verdict] + (f", as {effect.disagreement}" if effect.draws_disagree else "")
