"""Masks for a folder of images, and for the unlabeled cases of a run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from criinet.data.dataset import Case, Dataset
from criinet.data.dicom_seg import require_dicom, write_segmentation
from criinet.data.files import make_folder, write_atomically
from criinet.data.geometry import Spacing
from criinet.data.images import write_gray, write_mask
from criinet.data.kinds import SUFFIXES, is_readable, is_series, stem_of
from criinet.data.scans import Scan, read_scan
from criinet.data.volumes import write_labels, write_volume
from criinet.engine.examples import pictures, spaced, write_examples
from criinet.engine.folder import RunFolder
from criinet.engine.predictor import Predicted, Predictor, VolumePrediction
from criinet.engine.training import load, open_recorded, recorded_split
from criinet.errors import DataError
from criinet.types import IGNORE

Advance = Callable[[int, int], None]
"""Called with how many images are done, and of how many."""


@dataclass(frozen=True)
class Outputs:
    """What is written beside each mask; a DICOM-SEG only of DICOM volumes."""

    probabilities: bool = False
    uncertainty: bool = False
    dicom_seg: bool = False


def images_in(folder: Path) -> list[Path]:
    """Return the images or volumes of a folder, of its images/ if it is a dataset, or the one that was given.

    A folder that directly holds DICOM files is one volume.

    Raises:
        DataError: if there is none, or two share a stem, since their masks would share a name.
    """
    if folder.is_file() or is_series(folder):
        return [folder]
    if (folder / "images").is_dir():
        folder = folder / "images"
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist. Give a folder of images, or one image.")
    found = sorted(path for path in folder.iterdir() if is_readable(path))
    if not found:
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(f"{folder} holds no images. Supported are {kinds}.")
    stems: dict[str, Path] = {}
    for path in found:
        stem = stem_of(path)
        if stem in stems:
            raise DataError(f"{path} and {stems[stem].name} share a name, so would their masks. Rename one.")
        stems[stem] = path
    return found


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
    paths, out = images_in(Path(images)), Path(out)
    spare_originals(paths, out)
    outputs = outputs or Outputs()
    for path in paths if outputs.dicom_seg else ():
        require_dicom(path)
    predictor = load(run, checkpoint=checkpoint, device=device, tta=tta)
    predictor.doubt, predictor.keep_probs = outputs.uncertainty, outputs.probabilities
    make_folder(out)
    skipped: list[str] = []
    for path, scan, predicted in predict_files(predictor, paths, skipped if skip_bad else None, advance):
        del scan  # A large volume is not needed while the next one is read.
        write_prediction(out, stem_of(path), predicted, len(predictor.classes), outputs)
        if outputs.dicom_seg:
            write_segmentation(out / f"{stem_of(path)}.dcm", predicted.mask, path, predictor.classes)
    return skipped


def spare_originals(paths: Sequence[Path], out: Path) -> None:
    """Refuse to write masks over the images themselves, or over the true masks of their dataset.

    Raises:
        DataError: if ``out`` is the folder of the images, or masks/ of their dataset with masks in it.
    """
    home = paths[0].parent.resolve()
    truth = home.parent / "masks"
    taken = home.name == "images" and truth.is_dir() and any(truth.iterdir())
    if out.resolve() == home or (taken and out.resolve() == truth):
        raise DataError(f"{out} holds the originals, which masks would overwrite. Give --out another folder.")


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    skipped: list[str] | None,
    advance: Advance | None,
    spacing: Spacing | None = None,
) -> Iterator[tuple[Path, Scan, Predicted]]:
    """Segment files in order; with a list for the ``skipped`` an unreadable one is noted there and left out.

    Args:
        spacing: (d, h, w) in mm of volumes whose files do not know theirs.
    """
    dims = 2 if predictor.data.kind == "images" else 3
    readable: list[tuple[Path, Scan]] = []

    def decoded() -> Iterator[Scan]:
        for path in paths:
            try:
                readable.append((path, read_scan(path, dims, spacing)))
            except DataError as error:
                if skipped is None:
                    raise
                skipped.append(str(error))
                continue
            yield readable[-1][1]

    for done, predicted in enumerate(predictor.predict_many(decoded())):
        yield *readable.pop(0), predicted
        if advance is not None:
            advance(done + 1, len(paths))


def write_prediction(out: Path, name: str, predicted: Predicted, classes: int, outputs: Outputs) -> None:
    """Write the mask of one case, and what else was asked for, each file whole or not at all.

    NAME.png holds class indices with a palette, of a volume NAME.nii.gz with the volume's geometry;
    probabilities/NAME.npz float16 (K, H, W) or (K, D, H, W); uncertainty/NAME_entropy and NAME_disagreement 0 to 255,
    as PNG or NIfTI.
    """
    if isinstance(predicted, VolumePrediction):
        write_labels(out / f"{name}.nii.gz", predicted.mask, predicted.geometry)
    else:
        write_mask(out / f"{name}.png", predicted.mask, classes)
    if outputs.probabilities and predicted.probs is not None:
        probs = predicted.probs.numpy().astype(np.float16)

        def save(file: IO[bytes]) -> None:
            np.savez_compressed(file, probabilities=probs)

        write_atomically(out / "probabilities" / f"{name}.npz", save)
    for kind, gray in predicted.doubts().items() if outputs.uncertainty else ():
        if isinstance(predicted, VolumePrediction):
            write_volume(out / "uncertainty" / f"{name}_{kind}.nii.gz", gray, predicted.geometry)
        else:
            write_gray(out / "uncertainty" / f"{name}_{kind}.png", gray)


def predict_unlabeled(run: Path, *, device: str = "auto", advance: Advance | None = None) -> int:
    """Write a mask for every unlabeled case to RUN/predictions, and the report's examples; return how many.

    A labeled volume of which some slices alone were annotated gets one, too: the annotated slices as they are, and the
    others predicted.
    """
    folder = RunFolder(run)
    dataset = open_recorded(folder.read_config())
    split = recorded_split(folder)
    unlabeled = dataset.select(split["unlabeled"])
    partial = {case.image: mask for case, mask in partly_annotated(dataset, split["labeled"])}
    predictor = load(run, device=device)
    shown = set(spaced([case.name for case in unlabeled], 6))
    examples: list[tuple[dict[str, Any], dict[str, np.ndarray]]] = []
    paths = [*(case.image for case in unlabeled), *partial]
    for path, scan, predicted in predict_files(predictor, paths, None, advance, dataset.voxel):
        name = stem_of(path)
        if name in shown:
            about = {"case": name, "set": "unlabeled", "rule": "evenly spaced by name", "cnr": None, "dice": None}
            examples.append((about, pictures(predicted, scan, None)))
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
