"""Tables of a benchmark: as text for the page and for LaTeX, and as plain numbers for CSV."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from criinet.data.files import csv_text
from criinet.metrics.difficulty import STRATA
from criinet.report.benchmark.analysis import COSTS, MEASURES, Entry, Measured, SettingReport
from criinet.report.benchmark.grid import Grid
from criinet.report.benchmark.savings import Saving, best_peers
from criinet.report.benchmark.sentences import masks_interval, masks_text, with_sd
from criinet.report.benchmark.stability import QUARTERS, Stability
from criinet.report.benchmark.standing import Standing
from criinet.report.comparison import Effect
from criinet.report.records import BEST, LAST, zero_dice
from criinet.report.text import MISSING, chance_text, distance, interval, minutes, number, signed

Record = dict[str, Any]
_TWO_COLUMNS = ("Row", "Against")
_BOUNDS = {"bound": "needed", "low_bound": "low", "high_bound": "high"}
"""What says whether a number of masks lies beyond what was measured, and of which number."""


@dataclass(frozen=True)
class TextTable:
    """A table of text. ``names``: how many columns hold words. ``strong``: (row, column) of the cells that stand out.

    font: of LaTeX. gap: between its columns, in points.
    """

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1
    strong: frozenset[tuple[int, int]] = frozenset()
    font: str = "scriptsize"
    gap: float = 4

    def bold(self, row: int) -> frozenset[int]:
        """Return the columns of a row that stand out."""
        return frozenset(column for at, column in self.strong if at == row)


def dice_table(report: SettingReport, unit: str, grid: Grid) -> TextTable:
    """Return the measures of every row, the highest Dice first."""
    uneven = len({count for entry in report.entries for count in entry.last.images}) > 1
    headers = ("Row", "Runs", "Dice", "95 % interval", "Dice, best weights", "IoU", f"HD95 ({unit})")
    headers += ("Surface Dice", "Boundary IoU", f"Band Dice 5 {unit}", "Misses", "Dice 0", "False alarms")
    headers += ("Images",) * uneven
    rows = tuple(_measures(entry, zero_dice_of(grid, report, entry, LAST), uneven) for entry in report.entries)
    most = max(report.entries, key=lambda entry: entry.last.cases).last.on
    caption = f"{report.title}: mean ± sd over draws and seeds, final weights, {most}"
    return TextTable(caption, headers, rows, strong=_best(report))


def strata_table(report: SettingReport) -> TextTable:
    """Return Dice of the hardest and the easiest quarter of the test images."""
    shown = [by for by in STRATA if any(by in entry.last.strata for entry in report.entries)]
    headers = ("Row", "Dice", *(f"{by}: {end}" for by in shown for end in ("hardest", "easiest")))
    rows = tuple(
        (entry.label, number(entry.last.dice.mean), *_ends(entry.last, shown)) for entry in report.entries if shown
    )
    return TextTable(f"{report.title}: Dice of the hardest and easiest quarter, final weights", headers, rows)


def comparison_tables(report: SettingReport) -> list[TextTable]:
    """Return how every row compares with supervised training, and with its best peer; only what there is."""
    families = (
        ("against supervised training", "these rows", report.supervised, report.supervised_hard, False),
        ("against the best peer of each row", "all pairs of rows", report.peers, report.peers_hard, True),
    )
    grouped = any(effect.groups for effect in (*report.supervised, *report.peers))
    headers = (*_TWO_COLUMNS, "Dice", "95 % interval", "Each draw", "Holm's p", "Images")
    headers += ("Patients",) * grouped
    headers += ("Verdict", "Hardest quarter", "95 % interval", "Holm's p", "Verdict")
    return [
        TextTable(
            f"{report.title}: difference in Dice {against}, final weights, paired by "
            f"{'patient' if grouped else 'image'}; Holm's p over {covered}",
            headers,
            tuple(_compared(effect, hard, peer=peer, grouped=grouped) for effect in effects),
            names=len(_TWO_COLUMNS),
            gap=3,
        )
        for against, covered, effects, hard, peer in families
        if effects
    ]


def cost_table(report: SettingReport) -> TextTable:
    """Return what every row costs to train."""
    headers = ("Row", "Training (min)", "Images per second", "Peak memory (MiB)", "Parameters (M)", "Iterations")
    return TextTable(f"{report.title}: mean over runs", headers, tuple(_costs(entry) for entry in report.entries))


def stability_table(title: str, found: Sequence[Stability]) -> TextTable:
    """Return how much the targets of every row moved in each quarter of the training, and what they end with."""
    headers = ("Row", "Runs", *(f"Quarter {i}" for i in range(1, QUARTERS + 1)), "Objects", "Objects, labeled masks")
    rows = tuple(
        (
            row.label,
            str(row.runs),
            *(with_sd(change.mean, change.sd) for change in (*row.quarters, row.area)),
            number(row.labeled_area.mean),
        )
        for row in found
    )
    changes = "change of the targets since the previous check, by quarter of the training"
    return TextTable(f"{title}: {changes}; share of objects at its end", headers, rows)


def savings_table(savings: Sequence[Saving]) -> TextTable:
    """Return how many masks the best peer of every row, and supervised training, need for the row's Dice."""
    headers = ("Row", "Dataset", "Masks", "Dice", "Best peer", "Needs", "95 % interval", "Supervised needs")
    rows = tuple(
        (
            peer.label,
            peer.dataset,
            f"{peer.masks:.0f}",
            number(peer.dice),
            peer.other,
            *(masks_text(peer, peer.needed), masks_interval(peer)),
            *((masks_text(plain, plain.needed), masks_interval(plain)) if plain else (MISSING, MISSING)),
        )
        for peer, plain in best_peers(savings)
    )
    caption = "Masks that others need for the same Dice, final weights; Dice over the images that every run measured"
    return TextTable(f"{caption}, each patient counted alike", (*headers, "95 % interval"), rows, names=2)


def wins_table(found: Standing) -> TextTable:
    """Return wins, ties and losses of every row against every other, the best average rank first."""
    ranks = dict(found.ranked)
    order = sorted(found.labels, key=lambda label: (ranks.get(label, math.inf), -found.total(label).wins))
    headers = ("Row", "No.", "Average rank", "All", *(str(i) for i in range(1, len(order) + 1)))
    rows = tuple(
        (
            label,
            str(i),
            number(ranks.get(label, math.nan), 2),
            str(found.total(label)),
            *(str(found.tallies[label, other]) if other != label else MISSING for other in order),
        )
        for i, label in enumerate(order, 1)
    )
    caption = f"Blocks won/tied/lost by a row against the others, of {found.blocks} (setting, draw, seed)"
    return TextTable(caption, headers, rows, font="tiny", gap=2)


def dice_records(reports: Iterable[SettingReport], grid: Grid) -> list[Record]:
    """Return every measure of every row at both checkpoints."""
    return [
        {
            **_where(report, entry),
            "checkpoint": checkpoint,
            "runs": measured.runs,
            "cases": measured.cases,
            "groups": measured.groups,
            "dice_low": measured.low,
            "dice_high": measured.high,
            "misses": measured.misses,
            "zero_dice": zero_dice_of(grid, report, entry, checkpoint),
            "false_alarms": measured.false_alarms,
            "measured": measured.measured,
            **_spreads({name: measured.values[name] for name in MEASURES}),
        }
        for report, entry, checkpoint, measured in _all_measured(reports)
    ]


def strata_records(reports: Iterable[SettingReport]) -> list[Record]:
    """Return Dice by quartile of contrast, boundary and size at both checkpoints."""
    return [
        {
            **_where(report, entry),
            "checkpoint": checkpoint,
            "by": by,
            "quartile": quartile,
            **_spreads({"dice": spread}),
        }
        for report, entry, checkpoint, measured in _all_measured(reports)
        for by, spreads in measured.strata.items()
        for quartile, spread in enumerate(spreads, 1)
    ]


def cost_records(reports: Iterable[SettingReport]) -> list[Record]:
    """Return what every row costs."""
    return [
        {**_where(report, entry), **_spreads({name: entry.cost[name] for name in COSTS})}
        for report in reports
        for entry in report.entries
    ]


def comparison_records(reports: Iterable[SettingReport]) -> list[Record]:
    """Return every comparison with supervised training, with the best peer, and of all pairs of rows."""
    return [
        {**_setting(report), "row": effect.run, "against": effect.baseline, "family": family, **_effect(effect)}
        for report in reports
        for family, effects in (
            ("supervised", (*report.supervised, *report.supervised_hard)),
            ("peer", (*report.peers, *report.peers_hard)),
            ("pair", (*report.pairs, *report.pairs_hard)),
        )
        for effect in effects
    ]


def stability_records(reports: Sequence[SettingReport], found: Sequence[Sequence[Stability]]) -> list[Record]:
    """Return how much the targets of every row of each report moved, and the share of objects in them at the end."""
    return [
        {
            **_setting(report),
            "row": row.label,
            "runs": row.runs,
            **_spreads({f"change_{i}": change for i, change in enumerate(row.quarters, 1)}),
            **_spreads({"objects": row.area, "objects_labeled": row.labeled_area}),
        }
        for report, rows in zip(reports, found, strict=True)
        for row in rows
    ]


def saving_records(savings: Iterable[Saving]) -> list[Record]:
    """Return the masks that every row needs for the Dice of every other; those beyond what was measured say so."""
    return [
        {**vars(one), **{name: _tried(one, getattr(one, name)) for name in ("needed", "low", "high")}}
        | {bound: _bound(getattr(one, name)) for bound, name in _BOUNDS.items()}
        for one in savings
    ]


def win_records(found: Standing) -> list[Record]:
    """Return the tally of every ordered pair of rows."""
    return [{"row": row, "other": other, **vars(tally)} for (row, other), tally in found.tallies.items()]


def as_csv(records: Sequence[Record]) -> str:
    """Return records as CSV; numbers with six digits, an empty cell for what is not known."""
    return csv_text({key: _plain(value) for key, value in record.items()} for record in records)


def zero_dice_of(grid: Grid, report: SettingReport, entry: Entry, checkpoint: str) -> int | None:
    """Return how many objects of a row have Dice 0, summed over its runs; None where a run has no cases."""
    setting = report.setting
    runs = [run for run in grid.runs if run.label == entry.label and (run.full or run.setting == setting)]
    of_data = [run for run in runs if (run.setting.dataset, run.setting.network) == (setting.dataset, setting.network)]
    found = [(run, row) for run in of_data if (row := run.results.row(checkpoint)) is not None]
    counts = [zero_dice(run.cases, row) for run, row in found]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def verdict_word(effect: Effect, *, peer: bool) -> str:
    """Say in a word how a row compares with supervised training, or with its peer."""
    words = {"helped": "better", "did nothing": "not told apart", "hurt": "worse"}
    return words.get(effect.word, effect.word) if peer else effect.word


def _tried(saving: Saving, masks: float) -> float:
    """Return a number of masks, or the nearest that the other was measured with."""
    return min(max(masks, saving.fewest), saving.most)


def _bound(masks: float) -> str:
    return {0.0: "at most fewest", math.inf: "more than most"}.get(masks, "")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return value


def _all_measured(reports: Iterable[SettingReport]) -> Iterator[tuple[SettingReport, Entry, str, Measured]]:
    for report in reports:
        for entry in report.entries:
            for checkpoint, measured in ((LAST, entry.last), (BEST, entry.best)):
                if measured is not None:
                    yield report, entry, checkpoint, measured


def _setting(report: SettingReport) -> Record:
    setting = report.setting
    return {"dataset": setting.dataset, "network": setting.network, "fraction": setting.fraction}


def _where(report: SettingReport, entry: Entry) -> Record:
    return {**_setting(report), "row": entry.label}


def _spreads(values: Mapping[str, Any]) -> Record:
    return {key: item for name, s in values.items() for key, item in ((name, s.mean), (f"{name}_sd", s.sd))}


def _effect(effect: Effect) -> Record:
    paired = effect.paired
    about: Record = {"scope": effect.scope or "all test images", "difference": paired.mean}
    about |= {"low": paired.low, "high": paired.high, "p_holm": paired.p, "pairs": paired.n, "images": effect.images}
    about["by_draw"] = " ".join(f"{change:+.3f}" for change in effect.by_draw)
    return {**about, "verdict": effect.verdict}


def _best(report: SettingReport) -> frozenset[tuple[int, int]]:
    return frozenset({(0, 2)}) if len(report.rows) > 1 else frozenset()


def _measures(entry: Entry, zero: int | None, uneven: bool) -> tuple[str, ...]:
    last, values = entry.last, entry.last.values
    return (
        entry.label,
        str(last.runs),
        with_sd(last.dice.mean, last.dice.sd),
        interval(last.low, last.high) or MISSING,
        with_sd(entry.best.dice.mean, entry.best.dice.sd) if entry.best else MISSING,
        number(values["iou"].mean),
        distance(values["hd95"].mean),
        *(number(values[name].mean) for name in ("surface_dice", "boundary_iou", "band_dice_5")),
        f"{last.misses} of {last.measured}",
        MISSING if zero is None else str(zero),
        str(last.false_alarms),
        *(" to ".join(str(count) for count in dict.fromkeys(last.images)),) * uneven,
    )


def _ends(measured: Measured, shown: Sequence[str]) -> list[str]:
    ends = [measured.strata[by][at] if by in measured.strata else None for by in shown for at in (0, 3)]
    return [with_sd(end.mean, end.sd) if end else MISSING for end in ends]


def _compared(effect: Effect, hard: Sequence[Effect], *, peer: bool, grouped: bool) -> tuple[str, ...]:
    own = next((other for other in hard if other.run == effect.run), None)
    return (
        effect.run,
        effect.baseline,
        signed(effect.paired.mean),
        effect.interval or MISSING,
        effect.each_draw or MISSING,
        chance_text(effect.paired.p),
        str(effect.images),
        *(str(effect.paired.n),) * grouped,
        verdict_word(effect, peer=peer),
        *(_hard(own, peer=peer) if own else (MISSING,) * 4),
    )


def _hard(effect: Effect, *, peer: bool) -> tuple[str, ...]:
    change, chance = signed(effect.paired.mean), chance_text(effect.paired.p)
    return change, effect.interval or MISSING, chance, verdict_word(effect, peer=peer)


def _costs(entry: Entry) -> tuple[str, ...]:
    cost = {name: entry.cost[name].mean for name in COSTS}
    return (
        entry.label,
        minutes(cost["train_seconds"]),
        distance(cost["images_per_second"]),
        _whole(cost["peak_memory_mb"]),
        number(cost["parameters"] / 1e6, 2),
        _whole(cost["iterations"]),
    )


def _whole(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else MISSING
