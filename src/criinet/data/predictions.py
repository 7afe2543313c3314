"""Which images a prediction reads and which files it writes, whatever segments them; needs no torch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from criinet.data.files import make_folder, write_atomically
from criinet.data.images import IMAGE_SUFFIXES, read_image, write_gray, write_mask
from criinet.errors import DataError

Advance = Callable[[int, int], None]
"""Called with how many images are done, and of how many."""


class Predicted(Protocol):
    """What is written of one image.

    probs: (K, H, W) float32, an array or a tensor on the CPU.
    mask: (H, W) uint8, the most probable class.
    entropy: (H, W) float32 in [0, 1].
    disagreement: (H, W) float32 in [0, 1] of two opinions; None with one.
    """

    @property
    def probs(self) -> Any: ...

    @property
    def mask(self) -> NDArray[Any]: ...

    @property
    def entropy(self) -> NDArray[Any]: ...

    @property
    def disagreement(self) -> NDArray[Any] | None: ...


P = TypeVar("P", bound=Predicted)
P_co = TypeVar("P_co", bound=Predicted, covariant=True)


class Segments(Protocol[P_co]):
    """Whatever segments images: it names its classes, background first, and takes (H, W) or (H, W, 3) uint8."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def predict_many(self, images: Iterable[NDArray[Any]]) -> Iterator[P_co]: ...


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


def predict_paths(
    predictor: Segments[Predicted],
    images: Path,
    out: Path,
    outputs: Outputs | None,
    *,
    skip_bad: bool,
    advance: Advance | None,
) -> list[str]:
    """Write a mask for every image under ``images`` to ``out``; return one sentence for each file that was skipped.

    Raises:
        DataError: if there are no images, one cannot be read and ``skip_bad`` is False, or ``out`` holds originals.
    """
    paths = images_in(images)
    spare_originals(paths, out)
    make_folder(out)
    skipped: list[str] = []
    for path, predicted in predict_files(predictor, paths, skipped if skip_bad else None, advance):
        write_prediction(out, path.stem, predicted, len(predictor.classes), outputs or Outputs())
    return skipped


def predict_files(
    predictor: Segments[P], paths: Sequence[Path], skipped: list[str] | None, advance: Advance | None
) -> Iterator[tuple[Path, P]]:
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


def write_prediction(out: Path, name: str, predicted: Predicted, classes: int, outputs: Outputs) -> None:
    """Write the mask of one case, and what else was asked for, each file whole or not at all.

    NAME.png holds class indices with a palette; probabilities/NAME.npz float16 (K, H, W); uncertainty/NAME_entropy.png
    and NAME_disagreement.png 0 to 255.
    """
    write_mask(out / f"{name}.png", predicted.mask, classes)
    if outputs.probabilities:
        probs = np.asarray(predicted.probs).astype(np.float16)

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
