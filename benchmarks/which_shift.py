"""What a shift of objects' logits gains on validation cases that did not choose it, by several ways to choose it.

    python benchmarks/which_shift.py RUN [RUN ...] --results FILE

Every run held some of the validation cases back while it trained. Those choose the shift, the other held-out cases
measure it, at the training size and without mirrors. Nothing is trained, and no test case is opened. A row says of each
way which shift it takes and how many points of Dice that gains; "best" is the best on the very cases that measure it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from on_validation import open_run
from provenance import provenance
from torch import Tensor

from criinet.data.draws import make_split
from criinet.data.files import write_json
from criinet.engine.build import load
from criinet.engine.shift import SHIFTS, choose_shift, dice_of_images


def mean(dice: Tensor) -> Tensor:
    """Return the mean Dice under each shift (S,): over cases, then classes."""
    return dice.nanmean(0).nanmean(1)


def best_within(limit: float) -> Callable[[Tensor], float]:
    """Return the rule that takes the best of the shifts up to ``limit``."""
    allowed = torch.tensor([abs(shift) <= limit for shift in SHIFTS])
    return lambda dice: SHIFTS[int(mean(dice).masked_fill(~allowed, -1).argmax())]


WAYS: dict[str, Callable[[Tensor], float]] = {
    "one_standard_error": choose_shift,
    "best_within_2": best_within(2),
    "best_within_3": best_within(3),
    "always_1": lambda _: 1.0,
}


def main() -> None:
    """Measure every run and write the table, and the mean of each way over all runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--results", type=Path, required=True, help="file that the table is written to")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(run) for run in asked.runs]
    gains = {way: [row["gain"][way] for row in rows] for way in rows[0]["gain"]}
    record = {
        **provenance("one thread"),
        "gain": {way: {"mean": round(float(np.mean(of)), 2), "least": min(of)} for way, of in gains.items()},
        "rows": rows,
    }
    asked.results.parent.mkdir(exist_ok=True)
    write_json(asked.results, record)


def measure(run: Path) -> dict[str, Any]:
    """Return what each way chooses and gains in one run."""
    opened = open_run(run)
    held_out = make_split(opened.dataset, measure="val").test
    own = torch.tensor([name in set(opened.split.val) for name in held_out])
    method = load(run, device="cpu").method
    dice = dice_of_images(opened.validation, lambda image: method.predict(image).probs)
    found = mean(dice[~own]) - mean(dice[~own])[SHIFTS.index(0)]
    chosen = {way: choose(dice[own]) for way, choose in WAYS.items()} | {"best": SHIFTS[int(found.argmax())]}
    row = {
        **opened.about(run),
        "cases": {"choosing": int(own.sum()), "measuring": int((~own).sum())},
        "shift": chosen,
        "gain": {way: round(100 * float(found[SHIFTS.index(shift)]), 2) for way, shift in chosen.items()},
    }
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
