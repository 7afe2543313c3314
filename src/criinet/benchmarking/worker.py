"""One run of a grid in a process of its own: `python -m criinet.benchmarking.worker OUT/cells/NAME.json`.

A run that is there goes on where it was. What a person could mend, or what broke, is left as one sentence in
OUT/failed/NAME.txt. The process ends when the one that started it does, which holds its standard input open.
"""

import sys
from pathlib import Path

from criinet.benchmarking.active import simulate
from criinet.benchmarking.cells import Cell
from criinet.data.files import write_text_atomically
from criinet.engine.evaluator import evaluate
from criinet.engine.folder import RunFolder
from criinet.engine.processes import follow_parent
from criinet.engine.training import train
from criinet.errors import INTERRUPTED, CriinetError, InterruptedRunError


def do(cell: Cell, out: Path) -> None:
    """Train one run below ``out``, or go on with it, and evaluate it if its test cases are to be opened.

    A cell of a simulated annotator is a chain of such runs.
    """
    if cell.active is not None:
        simulate(cell, cell.active, out)
        return
    run = out / "runs" / cell.name
    train(
        cell.dataset,
        run,
        split=Path(cell.split),
        seed=cell.seed,
        settings=cell.settings,
        device=cell.device,
        resume=RunFolder(run).clear_unless_begun(),
    )
    if cell.test:
        evaluate(run, device=cell.device)


def main(file: Path) -> int:
    """Do the run of a cell file; return 0 done, 1 failed, 130 interrupted."""
    out, failure = file.parent.parent, file.parent.parent / "failed" / f"{file.stem}.txt"
    failure.unlink(missing_ok=True)
    try:
        do(Cell.from_json(file.read_text(encoding="utf-8")), out)
    except (KeyboardInterrupt, InterruptedRunError):
        return INTERRUPTED
    except CriinetError as error:
        write_text_atomically(failure, f"{error}\n")
        return 1
    except Exception as error:
        write_text_atomically(failure, f"internal error ({type(error).__name__}: {error})\n")
        raise
    return 0


if __name__ == "__main__":
    follow_parent()
    sys.exit(main(Path(sys.argv[1])))
