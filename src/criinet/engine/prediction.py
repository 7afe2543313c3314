"""Masks for a folder of images, and for the unlabeled cases of a run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from criinet.data.files import make_folder, write_atomically
from criinet.data.images import IMAGE_SUFFIXES, read_image, write_gray, write_mask
from criinet.engine.examples import spaced, write_examples
from criinet.engine.folder import RunFolder
from criinet.engine.predictor import CasePrediction, Predictor
from criinet.engine.training import load, open_recorded, recorded_split
from criinet.errors import DataError

Advance = Callable[[int, int], None]
"""Called with how many images are done, and of how many."""


@dataclass(frozen=True)
class Outputs:
    """What is written beside each mask."""

    probabilities: bool = False
    uncertainty: bool = False


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder, of its images/ if it is a dataset, or the one file that was given.

    Raises:
        DataError: if there is none, or two share a stem, since their masks would share a name.
    """
    if folder.is_file():
        return [folder]
    if (folder / "images").is_dir():
        folder = folder / "images"
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist. Give a folder of images, or one image.")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        raise DataError(f"{folder} holds no images. Supported are {kinds}.")
    stems: dict[str, Path] = {}
    for path in found:
        if path.stem in stems:
            raise DataError(f"{path} and {stems[path.stem].name} share a name, so would their masks. Rename one.")
        stems[path.stem] = path
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
    predictor = load(run, checkpoint=checkpoint, device=device, tta=tta)
    make_folder(out)
    skipped: list[str] = []
    for path, predicted in predict_files(predictor, paths, skipped if skip_bad else None, advance):
        write_prediction(out, path.stem, predicted, len(predictor.classes), outputs or Outputs())
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
    predictor: Predictor, paths: Sequence[Path], skipped: list[str] | None, advance: Advance | None
) -> Iterator[tuple[Path, CasePrediction]]:
    """Segment files in order; with a list for the ``skipped`` an unreadable one is noted there and left out."""
    readable: list[Path] = []

    def decoded() -> Iterator[Any]:
        for path in paths:
            try:
                image = read_image(path)
            except DataError as error:
                if skipped is None:
                    raise
                skipped.append(str(error))
                continue
            readable.append(path)
            yield image

    for done, predicted in enumerate(predictor.predict_many(decoded())):
        yield readable[done], predicted
        if advance is not None:
            advance(done + 1, len(paths))


def write_prediction(out: Path, name: str, predicted: CasePrediction, classes: int, outputs: Outputs) -> None:
    """Write the mask of one case, and what else was asked for, each file whole or not at all.

    NAME.png holds class indices with a palette; probabilities/NAME.npz float16 (K, H, W); uncertainty/NAME_entropy.png
    and NAME_disagreement.png 0 to 255.
    """
    write_mask(out / f"{name}.png", predicted.mask, classes)
    if outputs.probabilities:
        probs = predicted.probs.numpy().astype(np.float16)

        def save(file: IO[bytes]) -> None:
            np.savez_compressed(file, probabilities=probs)

        write_atomically(out / "probabilities" / f"{name}.npz", save)
    if outputs.uncertainty:
        write_gray(out / "uncertainty" / f"{name}_entropy.png", as_gray(predicted.entropy))
        if predicted.disagreement is not None:
            write_gray(out / "uncertainty" / f"{name}_disagreement.png", as_gray(predicted.disagreement))


def as_gray(map_of: np.ndarray) -> np.ndarray:
    """Return a map in [0, 1] as uint8."""
    return np.round(np.clip(map_of, 0, 1) * 255).astype(np.uint8)


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
