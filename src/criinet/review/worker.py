"""One round in a process of its own: `python -m criinet.review.worker RUN/review/round_N.job.json`.

It trains in RUN/review/round_N, beside that file, and clears nothing else. A round that was begun goes on from its last
checkpoint. What a person could mend, or what broke, is the last line of its output. The process ends when the one that
started it does, which holds its standard input open.
"""

import json
import signal
import sys
from pathlib import Path

from criinet.engine.build import load
from criinet.engine.children import follow_parent
from criinet.engine.folder import RunFolder
from criinet.engine.origin import open_recorded, recorded_split
from criinet.engine.training import train
from criinet.errors import INTERRUPTED, CriinetError, InterruptedRunError
from criinet.review.rounds import RoundJob
from criinet.review.validation import measure, write_dice


def do(job: RoundJob, folder: RunFolder) -> None:
    """Train the round, then measure it on the frozen validation cases."""
    begun = folder.clear_unless_begun()
    train(
        job.dataset,
        folder.root,
        split=Path(job.split),
        groups=None if job.groups is None else Path(job.groups),
        seed=job.seed,
        settings=job.settings,
        device=job.device,
        skip_bad=job.skip_bad,
        initial=Path(job.initial),
        resume=begun,
    )
    dataset, split = open_recorded(folder.read_config().dataset), recorded_split(folder)
    write_dice(folder, measure(load(folder.root, device=job.device), dataset, split.val))


def main(file: Path) -> int:
    """Do the job in a file; return 0 done, 1 failed, 130 interrupted."""
    folder = RunFolder(file.parent.resolve() / file.name.removesuffix(".job.json"))
    try:
        do(RoundJob(**json.loads(file.read_text(encoding="utf-8"))), folder)
    except (KeyboardInterrupt, InterruptedRunError):
        return INTERRUPTED
    except CriinetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    follow_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # systemd tells all of a service.
    sys.exit(main(Path(sys.argv[1])))
