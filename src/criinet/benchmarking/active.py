"""A simulated annotator: after every round an oracle draws the masks that a strategy asks for, and training goes on."""

from pathlib import Path
from typing import Any

from criinet.benchmarking.cells import Annotator, Cell
from criinet.data.dataset import Case, Dataset, open_dataset
from criinet.data.files import write_json
from criinet.data.images import read_image
from criinet.data.splits import Split, load_split, save_split
from criinet.engine.acquisition import choose
from criinet.engine.build import load
from criinet.engine.evaluator import evaluate
from criinet.engine.folder import RunFolder
from criinet.engine.predictor import Predictor
from criinet.engine.training import train
from criinet.engine.uncertainty import outline_length
from criinet.labels import IGNORE

EFFORT = ("corrected_pixels", "corrected_outline")
"""Of all masks drawn so far: the pixels that differ from the model's mask, and the length of the outline there."""


def simulate(cell: Cell, annotator: Annotator, out: Path) -> None:
    """Do every round of a cell's annotator, or go on with them: train, evaluate, choose, correct.

    Round 0 is an ordinary run. Each later one begins with the weights of the one before, on its labeled cases and those
    that the strategy chose among its unlabeled ones with a mask. Only the masks of chosen cases are ever read.
    """
    dataset = open_dataset(Path(cell.dataset))
    split = load_split(Path(cell.split), dataset)
    effort: dict[str, int] = dict.fromkeys(EFFORT, 0)
    before: RunFolder | None = None
    for number, name in enumerate(cell.runs):
        run, file = RunFolder(out / "runs" / name), out / "splits" / f"{name}.json"
        if before is not None:
            if not file.exists():
                save_split(next_split(cell, annotator, dataset, split, before, number), file)
            chosen = load_split(file, dataset)
            drawn = sorted(set(chosen.labeled) - set(split.labeled))
            found = correction_effort(load(before.root, device=cell.device), dataset, dataset.select(drawn))
            effort = {measure: effort[measure] + found[measure] for measure in EFFORT}
            split = chosen
        if round_results(run) is None:
            shorter = {"trainer": {**cell.settings["trainer"], "iterations": annotator.iterations}}
            train(
                cell.dataset,
                run.root,
                split=Path(cell.split) if before is None else file,
                seed=cell.seed + number,
                settings=cell.settings if before is None else {**cell.settings, **shorter},
                device=cell.device,
                initial=None if before is None else before.root,
                resume=run.clear_unless_begun(),
            )
            results = evaluate(run.root, device=cell.device)
            note(run, results, {"round": number, "strategy": annotator.strategy, **effort})
        before = run


def round_results(run: RunFolder) -> dict[str, Any] | None:
    """Return the results of a round that was trained, evaluated, and its effort noted; None otherwise."""
    results = run.whole_results()
    return results if results is not None and "round" in results["run"] else None


def note(run: RunFolder, results: dict[str, Any], about: dict[str, Any]) -> None:
    """Write the round and the effort beside what was measured."""
    rows = [{**row, **about} for row in results["rows"]]
    write_json(run.results, {**results, "run": {**results["run"], **about}, "rows": rows})


def next_split(
    cell: Cell, annotator: Annotator, dataset: Dataset, split: Split, before: RunFolder, number: int
) -> Split:
    """Return the split of a round: the one before, with the cases labeled that the strategy asks for.

    Cases that have no mask stay unlabeled: nobody could draw theirs.
    """
    left = [case for case in dataset.select(split.unlabeled) if case.mask is not None]
    chosen = choose(
        annotator.strategy,
        load(before.root, device=cell.device),
        [lambda case=case: read_image(case.image) for case in left],
        [lambda case=case: read_image(case.image) for case in dataset.select(split.labeled)],
        annotator.masks,
        seed=1000 * split.seed + number,
    )
    names = {left[i].name for i in chosen}
    unlabeled = [name for name in split.unlabeled if name not in names]
    return Split.of(dataset, [*split.labeled, *names], unlabeled, split.val, split.test, seed=split.seed)


def correction_effort(predictor: Predictor, dataset: Dataset, cases: tuple[Case, ...]) -> dict[str, int]:
    """Measure what an annotator changes who turns the model's masks into the true ones.

    Returns:
        "corrected_pixels": pixels whose class changes. "corrected_outline": length of the true outline that the model's
        mask lacks, in pairs of neighbouring pixels.
    """
    pixels = outline = 0
    for case, predicted in zip(cases, predictor.predict_many(read_image(c.image) for c in cases), strict=True):
        target = dataset.read_mask(case)
        pixels += int(((predicted.mask != target) & (target != IGNORE)).sum())
        outline += outline_length(target) - kept_outline(predicted.mask, target)
    return {"corrected_pixels": pixels, "corrected_outline": outline}


def kept_outline(mask: Any, target: Any) -> int:
    """Count the pairs of neighbouring pixels of different classes that are the same in both (H, W) masks.

    A pair with a pixel without ground truth is none that anybody draws: it counts as kept.
    """
    same = (mask == target) | (target == IGNORE)
    across = (target[1:] != target[:-1]) & same[1:] & same[:-1]
    along = (target[:, 1:] != target[:, :-1]) & same[:, 1:] & same[:, :-1]
    return int(across.sum() + along.sum())
