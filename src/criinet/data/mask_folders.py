"""Two folders of masks, compared file by file."""

from collections.abc import Iterator
from pathlib import Path

from criinet.data.dataset import DatasetCard, read_encoding
from criinet.data.images import IMAGE_SUFFIXES, Pixels, read_mask
from criinet.errors import DataError


def masks_by_stem(folder: Path) -> dict[str, Path]:
    """Return the masks of a folder by their stems.

    Raises:
        DataError: if there are none, or two share a stem.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give a folder of masks.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if path.stem in found:
            raise DataError(f"{path} and {found[path.stem].name} share a name. Remove one.")
        found[path.stem] = path
    if not found:
        raise DataError(f"{folder} holds no masks. Supported are {', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)}.")
    return found


def paired_masks(predictions: Path, targets: Path) -> Iterator[tuple[str, Pixels, Pixels, tuple[str, ...]]]:
    """Iterate over (stem, prediction, target, classes), both (H, W) uint8 class indices.

    Each folder's encoding is found in its own files, so 0/255 on one side meets class indices on the other. Predictions
    without a target are left out.

    Raises:
        DataError: if a target has no prediction, or sizes differ.
    """
    predicted, truth = masks_by_stem(predictions), masks_by_stem(targets)
    missing = [stem for stem in truth if stem not in predicted]
    if missing:
        raise DataError(
            f"{predictions} has no prediction for {len(missing)} of {len(truth)} targets, the first is {missing[0]}. "
            "Predict it, or remove its target."
        )
    mine, my_classes = read_encoding(DatasetCard(), [predicted[stem] for stem in truth])
    theirs, their_classes = read_encoding(DatasetCard(), list(truth.values()))
    classes = max(my_classes, their_classes, key=len)
    for stem, path in truth.items():
        found = read_mask(predicted[stem], mine, len(classes))
        target = read_mask(path, theirs, len(classes))
        if found.shape != target.shape:
            raise DataError(
                f"{predicted[stem]} is {found.shape[1]}x{found.shape[0]} but its target is "
                f"{target.shape[1]}x{target.shape[0]}. Predict at the image's own size."
            )
        yield stem, found, target, classes
