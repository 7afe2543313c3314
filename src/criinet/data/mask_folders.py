"""Two folders of masks, compared file by file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.card import DatasetCard, declared_spacing, read_card, read_groups
from criinet.data.encodings import read_encoding
from criinet.data.geometry import Geometry, size_text
from criinet.data.kinds import SUFFIXES, is_readable, is_volume, key_of, stem_of, unmarked
from criinet.data.provenance import NOTE
from criinet.data.scans import place_mismatch, read_target, require_picture, require_volume
from criinet.data.volumes import read_mask_header
from criinet.errors import DataError


class MaskPair(NamedTuple):
    """A prediction and its target, both (H, W) or (D, H, W) class indices.

    spacing: of the target's pixels or voxels along each axis in mm, None where unknown.
    group: the patient, by the groups.csv of the targets' dataset; the stem itself without one.
    regions: named unions of classes, by its dataset.json.
    """

    stem: str
    prediction: NDArray[Any]
    target: NDArray[Any]
    classes: tuple[str, ...]
    spacing: tuple[float, ...] | None
    group: str
    regions: Mapping[str, tuple[str, ...]]


def masks_by_stem(folder: Path) -> dict[str, Path]:
    """Return the masks of a folder by their stems, in Unicode's form NFC.

    Raises:
        DataError: if there are none, or two share a stem.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give a folder of masks.")
    found: dict[str, Path] = {}
    predicted = (folder / NOTE).exists()  # Then a DICOM-SEG is the same mask as the NIfTI file of its name.
    for path in sorted(folder.iterdir()):
        stem = key_of(path)
        same = folder / f"{stem_of(path)}.nii.gz"
        if not is_readable(path) or (predicted and path.suffix == ".dcm" and same.exists()):
            continue
        if stem in found:
            raise DataError(f"{path} and {found[stem].name} share a name. Remove one.")
        found[stem] = path
    if not found:
        raise DataError(f"{folder} holds no masks. Supported are {', '.join(suffix[1:] for suffix in SUFFIXES)}.")
    return found


def match_masks(predictions: Path, targets: Path) -> tuple[list[tuple[Path, Path]], int]:
    """Return the prediction and the target of each target, and how many predictions have no target.

    A mark like ``_mask`` at the end of either name does not matter where no mask has the very name.

    Raises:
        DataError: if a target has no prediction.
    """
    predicted, truth = masks_by_stem(predictions), masks_by_stem(targets)
    left = {stem: path for stem, path in predicted.items() if stem not in truth}
    plain: dict[str, list[Path]] = {}
    for path in left.values():
        plain.setdefault(_plain(path), []).append(path)
    pairs: list[tuple[Path, Path]] = []
    missing: list[str] = []
    for stem, path in truth.items():
        alike = [predicted[stem]] if stem in predicted else plain.pop(_plain(path), [])
        if len(alike) > 1:
            raise DataError(f"{alike[0]} and {alike[1].name} both seem to be predictions of {path.name}. Remove one.")
        pairs += [(found, path) for found in alike]
        missing += [] if alike else [stem]
    if missing:
        raise DataError(
            f"{predictions} has no prediction for {len(missing)} of {len(truth)} targets, the first is {missing[0]}. "
            "Predict it, or remove its target."
        )
    return pairs, len(predicted) - len(pairs)


def _plain(path: Path) -> str:
    """Return a mask's name without a mark at its end; behind a mark, a number says that there may be others."""
    name, numbered = unmarked(path)
    return key_of(path) if numbered else name


def paired_masks(predictions: Path, targets: Path) -> Iterator[MaskPair]:
    """Iterate over pairs of masks.

    Each folder's encoding is found in its own files, so 0/255 on one side meets class indices on the other. Where the
    targets are the masks of a dataset, its dataset.json says what they mean, and its groups.csv whose they are. Slices
    that nobody annotated are IGNORE in a target, as in training. Predictions without a target are left out.

    Raises:
        DataError: if a target has no prediction, sizes differ, two volumes do not lie in one place, or the dataset.json
            or groups.csv cannot be used.
    """
    pairs, _ = match_masks(predictions, targets)
    files, truth = [file for file, _ in pairs], {key_of(path): path for _, path in pairs}
    dims = 3 if is_volume(next(iter(truth.values()))) else 2
    for path in [*truth.values(), *files]:
        require_volume(path) if dims == 3 else require_picture(path)
    root = _dataset_of(targets)
    card = DatasetCard() if root is None else read_card(root)
    declared = None if root is None else declared_spacing(card, root, dims)
    groups = {stem: stem for stem in truth} if root is None else read_groups(root, list(truth))
    named = card.classes is not None
    mine, my_classes = read_encoding(DatasetCard(), files, dims=dims, named=named)
    theirs, their_classes = read_encoding(card, list(truth.values()), dims=dims)
    further = my_classes[len(their_classes) :]
    classes = (*their_classes, *further) if card.classes else max(their_classes, my_classes, key=len)
    for file, (stem, path) in zip(files, truth.items(), strict=True):
        found = read_target(file, dims, (mine, classes), image=path, partial="no")
        target = read_target(path, dims, (theirs, classes), image=file, ignore=card.ignore, partial=card.partial)
        if found.shape != target.shape:
            own, other = size_text(found.shape), size_text(target.shape)
            raise DataError(f"{file} is {own} but its target is {other}. Predict at the image's own size.")
        geometry = _one_place(file, path) if dims == 3 else None
        spacing = geometry.spacing if geometry is not None and geometry.known else declared
        yield MaskPair(stem, found, target, classes, spacing, groups[stem], card.regions)


def _dataset_of(targets: Path) -> Path | None:
    """Return the folder of the dataset whose masks the targets are; None for any other folder."""
    masks = targets.resolve()
    return masks.parent if masks.name == "masks" else None


def _one_place(prediction: Path, target: Path) -> Geometry:
    """Return the geometry of a target volume, which is its prediction's, too.

    Raises:
        BadFileError: if it is not.
    """
    header = read_mask_header(target, prediction)
    own = read_mask_header(prediction, target)
    problem = place_mismatch(prediction, own.geometry, header.geometry, header.shape)
    if problem is not None:
        what, remedy = (words.replace("its image", "its target") for words in (problem.what, problem.remedy))
        raise BadFileError(prediction, what, remedy)
    return header.geometry
