"""Every statistic of a benchmark in one JSON file, for scripts."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from criinet.data.files import jsonable
from criinet.report.benchmark.analysis import SettingReport
from criinet.report.benchmark.grid import Grid
from criinet.report.benchmark.savings import Saving
from criinet.report.benchmark.sentences import Said
from criinet.report.benchmark.stability import Stability
from criinet.report.benchmark.standing import Standing
from criinet.report.benchmark.tables import saving_records, stability_records, win_records

FORMAT = 1


def as_summary(
    grid: Grid,
    reports: Sequence[SettingReport],
    found: Standing,
    stability: Sequence[Sequence[Stability]],
    savings: Sequence[Saving],
    said: Sequence[Said],
    notes: Sequence[str],
) -> str:
    """Return the statistics as JSON text; what is not known is null."""
    value: dict[str, Any] = {
        "format": FORMAT,
        "plan": grid.plan,
        "machine": grid.machine,
        "verdicts": [asdict(one) for one in said],
        "notes": list(notes),
        "settings": [asdict(report) for report in reports],
        "stability": stability_records(reports, stability),
        "savings": saving_records(savings),
        "wins": win_records(found),
        "ranking": {
            "rows": dict(found.ranked),
            "blocks": found.ranking.blocks,
            "blocks_left_out": found.blocks - found.ranking.blocks,
            "absent": found.absent,
            "friedman": found.ranking.statistic,
            "p": found.ranking.p,
            "critical_difference": found.ranking.critical_difference,
            "not_told_apart": found.groups,
        },
        "failed": [{"run": run, "reason": reason} for run, reason in grid.failed],
        "pending": list(grid.pending),
    }
    return json.dumps(jsonable(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
