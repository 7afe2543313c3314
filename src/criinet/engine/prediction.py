"""Masks for a folder of images, and for the unlabeled cases of a run."""

from pathlib import Path
from typing import Any

from criinet.data.images import read_image
from criinet.data.predictions import Advance, Outputs, predict_files, predict_paths, write_prediction
from criinet.engine.examples import spaced, write_examples
from criinet.engine.folder import RunFolder
from criinet.engine.predictor import CasePrediction
from criinet.engine.training import load, open_recorded, recorded_split


def predict_folder(
    run: Path | str,
    images: Path | str,
    out: Path | str,
    *,
    outputs: Outputs | None = None,
    checkpoint: str = "last",
    tta: bool = False,
    device: str = "auto",
    skip_bad: bool = False,
    advance: Advance | None = None,
) -> list[str]:
    """Write a mask for every image under ``images`` to ``out``; return one sentence for each file that was skipped.

    Raises:
        DataError: if there are no images, one cannot be read and ``skip_bad`` is False, or ``out`` holds originals.
    """
    predictor = load(run, checkpoint=checkpoint, device=device, tta=tta)
    return predict_paths(predictor, Path(images), Path(out), outputs, skip_bad=skip_bad, advance=advance)


def predict_unlabeled(run: Path, *, device: str = "auto", advance: Advance | None = None) -> int:
    """Write a mask for every unlabeled case to RUN/predictions, and the report's examples; return how many."""
    folder = RunFolder(run)
    dataset = open_recorded(folder.read_config())
    cases = dataset.select(recorded_split(folder)["unlabeled"])
    predictor = load(run, device=device)
    shown = set(spaced([case.name for case in cases], 6))
    examples: list[tuple[dict[str, Any], CasePrediction, Any, Any]] = []
    for path, predicted in predict_files(predictor, [case.image for case in cases], None, advance):
        write_prediction(folder.predictions, path.stem, predicted, len(dataset.classes), Outputs())
        if path.stem in shown:
            about = {"case": path.stem, "set": "unlabeled", "rule": "evenly spaced by name", "cnr": None, "dice": None}
            examples.append((about, predicted, read_image(path), None))
    write_examples(folder, "unlabeled", examples)
    return len(cases)
