"""Masks for a folder of images, and for the unlabeled cases of a run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from criinet.data.dataset import Case, Dataset
from criinet.data.files import make_folder
from criinet.data.inputs import Part
from criinet.data.kinds import stem_of
from criinet.data.predictions import (
    Outputs,
    VolumePrediction,
    predict_files,
    provenance,
    sweep_predictions,
    write_prediction,
    write_predictions,
)
from criinet.data.provenance import note_provenance
from criinet.data.scans import Scan
from criinet.data.threads import Advance
from criinet.engine.build import load
from criinet.engine.examples import pictures, spaced, write_examples
from criinet.engine.folder import RunFolder
from criinet.engine.machine import threads
from criinet.engine.origin import open_recorded, recorded_split
from criinet.engine.predictor import Predictor
from criinet.labels import IGNORE


def predict_folder(
    run: Path | str,
    images: Path | str,
    out: Path | str,
    *,
    outputs: Outputs | None = None,
    part: Part | None = None,
    checkpoint: str = "last",
    shift: float | None = None,
    tta: bool | None = None,
    device: str = "auto",
    skip_bad: bool = False,
    warn: Callable[[str], None] | None = None,
    advance: Advance | None = None,
) -> list[str]:
    """Write a mask for every image under ``images`` to ``out``; return sentences on what was skipped or is never read.

    Args:
        run: folder of the run.
        images: a folder of images or volumes, a dataset, one file, or the folder of one DICOM series.
        out: folder for the masks, each named like its image.
        outputs: what is written beside each mask; None for nothing.
        part: which of the images are segmented; None for all, whatever is there already.
        checkpoint: "last", or "best" on the validation cases.
        shift: added to the logits of objects in place of what the run's validation cases chose: a larger one finds more
            of them; None: what they chose.
        tta: average over mirrored images; None: as the run's settings say.
        device: "auto", "cpu" or "cuda".
        skip_bad: leave out images that cannot be read, instead of stopping at the first.
        warn: called with each sentence about masks that were written and that a person should know.
        advance: called with (finished, total) after each image.

    Raises:
        RunError: if there is no run.
        CheckpointError: if the checkpoint is missing, truncated, newer, or of a method that has changed since.
        DataError: if there are no images, one cannot be read and ``skip_bad`` is False, ``out`` holds originals, or
            masks that are to be kept were made by other weights or with other options.
    """
    wanted = outputs or Outputs()

    def loaded() -> Predictor:
        kept = {"uncertainty": wanted.uncertainty, "keep_probs": wanted.probabilities}
        return load(run, checkpoint=checkpoint, device=device, shift=shift, tta=tta, **kept)

    return write_predictions(
        Path(images),
        Path(out),
        loaded,
        RunFolder(Path(run)).checkpoint(checkpoint),
        outputs=wanted,
        part=part or Part(),
        skip_bad=skip_bad,
        warn=warn,
        advance=advance,
    )


def predict_unlabeled(run: Path, *, device: str = "auto", advance: Advance | None = None) -> int:
    """Write a mask for every unlabeled case to RUN/predictions, and the report's examples; return how many.

    A labeled volume of which some slices alone were annotated gets one, too: the annotated slices as they are, and the
    others predicted. PyTorch has the threads that training had.
    """
    folder = RunFolder(run)
    recorded = folder.read_config()
    dataset, split = open_recorded(recorded.dataset), recorded_split(folder)
    unlabeled = dataset.select(split.unlabeled)
    partial = {case.image: mask for case, mask in partly_annotated(dataset, split.labeled)}
    predictor = load(run, device=device)
    make_folder(folder.predictions)
    sweep_predictions(folder.predictions)
    note_provenance(
        folder.predictions, provenance(folder.checkpoint("last"), predictor, dataset.voxel, Outputs()), anew=True
    )
    shown = set(spaced([case.name for case in unlabeled], 6))
    examples: list[tuple[dict[str, Any], dict[str, np.ndarray]]] = []
    paths = [*(case.image for case in unlabeled), *partial]
    scans: dict[Path, Scan] = {}

    def keep_shown(path: Path, scan: Scan) -> None:
        if stem_of(path) in shown:
            scans[path] = scan

    with threads(recorded.config().trainer.threads):
        for path, predicted in predict_files(predictor, paths, dataset.voxel, None, advance, keep_shown):
            name = stem_of(path)
            if path in scans:
                about = {"case": name, "set": "unlabeled", "rule": "evenly spaced by name", "cnr": None, "dice": None}
                examples.append((about, pictures(predicted, scans.pop(path), None, predictor.data)))
            if path in partial and isinstance(predicted, VolumePrediction):
                filled = np.where(partial[path] == IGNORE, predicted.mask, partial[path])
                predicted = replace(predicted, mask=filled.astype(np.uint8))
            write_prediction(folder.predictions, name, predicted, len(dataset.classes), Outputs())
    write_examples(folder, "unlabeled", examples)
    return len(paths)


def partly_annotated(dataset: Dataset, names: Sequence[str]) -> Iterator[tuple[Case, Any]]:
    """Yield the labeled volumes with slices that nobody annotated, and their masks."""
    for case in dataset.select(names) if dataset.dims == 3 else ():
        mask = dataset.read_mask(case)
        if (mask == IGNORE).any():
            yield case, mask
