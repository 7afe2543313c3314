"""From the measures of single cases to means, intervals and strata."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from criinet.metrics import Summary, finite_mean, summarise
from criinet.metrics.difficulty import STRATA

COUNTED = ("miss", "false_alarm")
DISTANCES = ("hd95", "assd")
MIXED = "mm or px"
NOT_MEASURES = {"class", "region", "checkpoint", "case", "group", "target_pixels", "predicted_pixels", *COUNTED}
Row = dict[str, Any]


def unit_of(spacings: Iterable[Sequence[float] | None]) -> str:
    """Return the unit of distances: mm where spacings are known, px where they are not, MIXED if some are."""
    units = {"px" if spacing is None else "mm" for spacing in spacings}
    return MIXED if len(units) > 1 else "".join(units)


def per_case(rows: Sequence[Row]) -> list[Row]:
    """Return one row for each checkpoint and case: measures averaged over classes, not regions, and misses counted.

    The mean over these rows is the one that counts; see :func:`criinet.metrics.case_dice`.
    """
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in (row for row in rows if not row["region"]):
        grouped.setdefault((row["checkpoint"], row["case"]), []).append(row)
    return [
        {
            "checkpoint": checkpoint,
            "case": case,
            "group": found[0]["group"],
            "class": "mean",
            "region": False,
            **{key: finite_mean([row[key] for row in found]) for key in measures(found[0])},
            **{key: sum(bool(row[key]) for row in found) for key in COUNTED},
        }
        for (checkpoint, case), found in grouped.items()
    ]


def measures(row: Row) -> list[str]:
    """Return the names of what is measured."""
    return [key for key in row if key not in NOT_MEASURES]


def summary_rows(rows: Sequence[Row], unit: str = "px") -> list[Row]:
    """Return a row for each checkpoint and class or region, and one for the mean over classes: means, and misses.

    Intervals are over groups (patients) where several cases belong to one; ``groups`` have a Dice. Of
    ``distance_cases`` of ``distance_of`` the distances are the mean: a miss and a false alarm have none. In the row of
    means these are counted class by class: its cases are means of the classes that have a distance.

    Args:
        unit: of distances, see :func:`unit_of`. Where it is MIXED, the means of distances are NaN: they would add
            millimetres to pixels. Shares within a band or a tolerance stay: each is of its own case's outline, 2 mm or
            2 px wide, as the unit beside them says.
    """
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in [*rows, *per_case(rows)]:
        grouped.setdefault((row["checkpoint"], row["class"]), []).append(row)
    summaries: list[Row] = []
    for (checkpoint, name), found in grouped.items():
        dice = dice_of(found)
        single = (
            [row for row in rows if row["checkpoint"] == checkpoint and not row["region"]] if name == "mean" else found
        )
        summary: Row = {"checkpoint": checkpoint, "class": name, "region": found[0]["region"], "cases": dice.n}
        summary |= {"dice_sd": dice.sd, "dice_low": dice.low, "dice_high": dice.high, "both_empty": dice.missing}
        summary |= {key: finite_mean([row[key] for row in found]) for key in measures(found[0])}
        summary |= dict.fromkeys(DISTANCES, math.nan) if unit == MIXED else {}
        summary["groups"] = len({row["group"] for row in found if math.isfinite(row["dice"])})
        summary["distance_cases"] = sum(math.isfinite(row["hd95"]) for row in single)
        summary["distance_of"] = sum(math.isfinite(row["dice"]) for row in single)
        summary["misses"] = sum(int(row["miss"]) for row in found)
        summary["false_alarms"] = sum(int(row["false_alarm"]) for row in found)
        summaries.append(summary)
    return summaries


def dice_of(rows: Sequence[Row]) -> Summary:
    """Summarise the Dice of rows, whole groups of cases drawn for the interval."""
    return summarise([row["dice"] for row in rows], groups=[row["group"] for row in rows], bounds=(0, 1))


def strata_rows(rows: Sequence[Row], difficulty: Mapping[str, Row]) -> list[Row]:
    """Return Dice by quartile of contrast, boundary and size; quartile 1 is the hardest. Without quartiles, nothing.

    Args:
        difficulty: of each case by its name, with its quartile of every stratum.
    """
    strata: list[Row] = []
    averaged = per_case(rows)
    for checkpoint in dict.fromkeys(row["checkpoint"] for row in rows):
        for stratum in (by for by in STRATA if any(found[f"{by}_quartile"] for found in difficulty.values())):
            for quartile in range(1, 5):
                found = [
                    row
                    for row in averaged
                    if row["checkpoint"] == checkpoint and difficulty[row["case"]][f"{stratum}_quartile"] == quartile
                ]
                dice = dice_of(found)
                about: Row = {"checkpoint": checkpoint, "by": stratum, "quartile": quartile, "cases": dice.n}
                about |= {"dice": dice.mean, "dice_low": dice.low, "dice_high": dice.high}
                strata.append({**about, "band_dice_5": finite_mean([row["band_dice_5"] for row in found])})
    return strata
