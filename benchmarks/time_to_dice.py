"""How near to its final Dice a run was after so many minutes, from its own log.

    criinet train DATASET --labeled 4% --out RUN
    python benchmarks/time_to_dice.py RUN [--minutes 10]

The Dice is that of the run's validation cases, on which nothing was trained; the minutes are those of training, with
validation and checkpoints, without the start before it and the masks and the report after it.
"""

import argparse
from pathlib import Path

from provenance import provenance

from criinet.data.files import write_json
from criinet.engine.folder import RunFolder
from criinet.records import TrainRecord, ValidationRecord

HERE = Path(__file__).parent


def main() -> None:
    """Read the log and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "time_to_dice.json")
    asked = parser.parse_args()
    folder = RunFolder(asked.run)
    recorded, records = folder.read_config(), folder.records()
    config = recorded.config()
    seconds = {each.step: each.seconds for each in records if isinstance(each, TrainRecord)}
    seen = [
        {"step": each.step, "minutes": round(seconds[each.step] / 60, 2), "dice": round(each.dice, 4)}
        for each in records
        if isinstance(each, ValidationRecord)
    ]
    within = [row for row in seen if row["minutes"] <= asked.minutes]
    if not within:
        parser.error(f"{asked.run}: no validation in the first {asked.minutes:g} minutes; give more --minutes.")
    record = {
        **provenance(),
        "run": {
            "dataset": recorded.dataset.name,
            "method": config.method_name,
            "network": config.network_name,
            "size": config.data.size,
            "iterations": config.trainer.iterations,
        },
        "at": within[-1],
        "end": seen[-1],
        "short_of_the_end": round(seen[-1]["dice"] - within[-1]["dice"], 4),
        "validations": seen,
    }
    print({key: record[key] for key in ("run", "at", "end", "short_of_the_end")})
    write_json(asked.results, record)


if __name__ == "__main__":
    main()
