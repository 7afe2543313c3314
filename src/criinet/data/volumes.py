"""Reading and writing volumes and their label masks, whatever the format. Arrays are (D, H, W)."""

import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import SKIPPABLE, BadFileError
from criinet.data.files import write_atomically
from criinet.data.formats import Volume, VolumeHeader, format_of
from criinet.data.formats.volume import SEG, corner_within, padded
from criinet.data.geometry import Geometry, Spacing
from criinet.data.masks import IGNORED_VALUE, MaskEncoding, contradiction, value_counts, with_ignored
from criinet.errors import ShapeError

Array = NDArray[Any]
Partial = Literal["auto", "yes", "no"]
"""Whether slices without a label have no ground truth: told by the pattern of slices, always, or never."""
WHOLE = 1e-3
"""How far a mask's value may be from a whole number: a scale in the header of a file leaves it that near."""


@dataclass(frozen=True)
class RawLabels:
    """A decoded mask before its values are given a meaning: (D, H, W) uint8, and where it lies."""

    values: NDArray[np.uint8]
    geometry: Geometry


def read_volume(path: Path, spacing: Spacing | None = None) -> Volume:
    """Read a volume as it is stored, with rescale slope and intercept applied.

    Args:
        spacing: (d, h, w) in mm for a file that does not know its own.

    Raises:
        BadFileError: if it is missing, damaged, in colour, not of three dimensions, without
            a finite value, or needs a library that is missing.
    """
    volume = format_of(path).read(path)
    if volume.values.dtype.kind == "f" and not any(np.isfinite(piece).any() for piece in volume.values):
        raise BadFileError(path, "has no value that is a finite number", "Write it again or remove it", SKIPPABLE)
    return replace(volume, geometry=_with_spacing(volume.geometry, spacing))


def read_volume_header(path: Path, spacing: Spacing | None = None) -> VolumeHeader:
    """Read shape and geometry of a volume, as far as its format allows without decoding it.

    Raises:
        BadFileError: as ``read_volume``, where the header tells.
    """
    header = format_of(path).header(path)
    return replace(header, geometry=_with_spacing(header.geometry, spacing))


def without_voxel_size(files: Sequence[str], total: int, kind: str) -> str:
    """Say which of ``total`` volumes have voxels of a size that nobody knows.

    Args:
        files: their names, at least one.
        kind: what is counted, as "volumes".
    """
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    says, taken = ("says", "is taken as it is") if len(files) == 1 else ("say", "are taken as they are")
    return (
        f"{len(files)} of {total} {kind} {says} no voxel size ({files[0]}{more}) and {taken}; "
        'add "spacing" to dataset.json'
    )


def read_mask_header(path: Path, image: Path) -> VolumeHeader:
    """Read shape and geometry of a mask, which are those of all voxels of its image for a DICOM-SEG of a part of them.

    Raises:
        BadFileError: if a header cannot be read.
    """
    header = read_volume_header(path)
    if header.modality != SEG:
        return header
    whole = read_volume_header(image)
    corner = corner_within(header, whole)
    if corner is None:
        return header
    return replace(header, shape=whole.shape, geometry=header.geometry.begun_at([-start for start in corner]))


def _with_spacing(geometry: Geometry, spacing: Spacing | None) -> Geometry:
    return geometry if geometry.known or spacing is None else Geometry.unknown(spacing)


def read_raw_labels(path: Path, image: Path | None = None) -> RawLabels:
    """Decode a mask without giving its values a meaning.

    Args:
        image: the volume that it belongs to. A DICOM-SEG may lack slices without any object: they are background.

    Raises:
        BadFileError: if it cannot be read, or holds values that are no whole numbers in 0..255, within a thousandth.
    """
    volume = format_of(path).read(path, labels=True)
    if image is not None and volume.modality == SEG:
        volume = padded(volume, read_volume_header(image)) or volume
    values = volume.values
    if values.dtype.kind not in "iubf":
        raise BadFileError(path, f"is a mask of {values.dtype}", "Save it as 8-bit class indices")
    if values.dtype.kind == "f":
        whole = np.rint(values)
        odd = values[~np.isclose(values, whole, rtol=0, atol=WHOLE)]
        if odd.size:
            what = f"is a mask with the value {float(odd[0]):.7g}, which is no class"
            raise BadFileError(path, what, "Save class indices; resample masks with the nearest neighbour only")
        values = whole
    if values.size and (values.min() < 0 or values.max() > 255):
        what = f"is a mask with values from {values.min():g} to {values.max():g}"
        unknown = ', and 255 with "ignore": true in dataset.json where there is no ground truth'
        raise BadFileError(path, what, f"Save it as 8-bit class indices{unknown if values.min() < 0 else ''}")
    return RawLabels(values.astype(np.uint8), volume.geometry)


def read_labels(
    path: Path,
    encoding: MaskEncoding,
    classes: Sequence[str],
    *,
    image: Path | None = None,
    ignore: bool = False,
    partial: Partial = "auto",
) -> Array:
    """Read the mask of a volume as class indices.

    Args:
        image: the volume that it belongs to; see :func:`read_raw_labels`.
        encoding: ``index``, or ``binary255``, where 255 is class 1.
        classes: the K names.
        ignore: the value 255 means "no ground truth" (only with ``index``).
        partial: whether slices without any label are unannotated; see :func:`annotated_slices`.

    Returns:
        (D, H, W) uint8 in [0, K), or int16 with IGNORE where there is no ground truth.

    Raises:
        BadFileError: if the file cannot be read, or its values contradict the encoding.
    """
    stored = read_raw_labels(path, image).values
    zero_one = bool(stored.max() <= 1)
    counts = value_counts(stored, ignore=ignore)
    problem = contradiction(counts, lossy=False, zero_one=zero_one, encoding=encoding, classes=classes)
    if problem is not None:
        raise BadFileError(path, *problem)
    labels = (stored > 127).astype(np.uint8) if encoding == "binary255" and not zero_one else stored
    if ignore and (labels == IGNORED_VALUE).any():
        return with_ignored(labels, labels == IGNORED_VALUE)
    annotated = annotated_slices(labels, partial)
    if annotated is None:
        return labels
    axis, seen = annotated
    unknown = ~seen.reshape([-1 if other == axis else 1 for other in range(3)])
    return with_ignored(labels, np.broadcast_to(unknown, labels.shape))


def annotated_slices(labels: Array, partial: Partial) -> tuple[int, NDArray[np.bool_]] | None:
    """Find the slices that a person annotated, where not all are.

    Along one axis, at least three slices hold labels, each has empty neighbours, and most gaps between them are equal:
    nobody's organ looks so, but every tenth slice does. Lesions of which each is in one slice may; then, or where an
    annotator's slices are fewer or uneven (:func:`lone_slices`), somebody has to say. With ``partial="yes"`` the slices
    that hold labels are the annotated ones whatever their pattern, along the axis on which they are fewest; with "no"
    all slices are.

    Args:
        labels: (D, H, W) class indices.

    Returns:
        The axis and, for each of its slices, whether it is annotated; None if all are.
    """
    if partial == "no" or not labels.any():
        return None
    best: tuple[float, int, Array] | None = None
    for axis, seen in enumerate(_labeled_slices(labels)):
        gaps = np.diff(np.flatnonzero(seen))
        sparse = len(gaps) >= 2 and gaps.min() >= 2 and (gaps == np.median(gaps)).mean() > 0.5
        if (sparse or partial == "yes") and (best is None or seen.mean() < best[0]):
            best = (float(seen.mean()), axis, seen)
    return None if best is None or best[2].all() else (best[1], best[2])


def lone_slices(labels: Array) -> tuple[int, int] | None:
    """Count the slices that hold labels, and all slices, along an axis where no two that do are neighbours.

    Two at least: whether the others are background or were not annotated, the mask does not tell.

    Args:
        labels: (D, H, W) class indices.

    Returns:
        Of the axis with the least share of labeled slices; None if there is none.
    """
    found = [seen for seen in _labeled_slices(labels) if seen.sum() >= 2 and not (seen[1:] & seen[:-1]).any()]
    return min(((int(seen.sum()), len(seen)) for seen in found), key=lambda count: count[0] / count[1], default=None)


def _labeled_slices(labels: Array) -> list[NDArray[np.bool_]]:
    """Return, for each axis, which slices across it hold labels."""
    return [np.asarray((labels > 0).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]


def write_labels(path: Path, labels: Array, geometry: Geometry) -> None:
    """Write class indices as NIfTI, compressed if ``path`` ends so, with the geometry of their image.

    Args:
        labels: (D, H, W) integers in 0..255.

    Raises:
        ShapeError: if ``labels`` is not (D, H, W).
        ValueError: if a value does not fit into 8 bits.
        StorageError: if the file cannot be written.
    """
    write_volume(path, _in_8_bits(labels), geometry)


def encode_labels(labels: Array, geometry: Geometry, encoding: MaskEncoding) -> bytes:
    """Return class indices as a compressed NIfTI with the geometry of their image; 255 for class 1 in ``binary255``.

    Args:
        labels: (D, H, W) integers in 0..255.

    Raises:
        ShapeError: if ``labels`` is not (D, H, W).
        ValueError: if a value does not fit into 8 bits.
    """
    content = io.BytesIO()
    values = (labels > 0).astype(np.uint8) * np.uint8(255) if encoding == "binary255" else _in_8_bits(labels)
    _save(content, values, geometry, packed=True)
    return content.getvalue()


def write_volume(path: Path, values: Array, geometry: Geometry) -> None:
    """Write (D, H, W) values of any dtype that NIfTI knows, as they are, with their geometry.

    Raises:
        ShapeError: if ``values`` is not (D, H, W).
        StorageError: if the file cannot be written.
    """
    write_atomically(path, lambda file: _save(file, values, geometry, packed=path.suffix == ".gz"))


def _in_8_bits(labels: Array) -> NDArray[np.uint8]:
    if labels.size and (labels.min() < 0 or labels.max() > 255):
        raise ValueError(f"labels have values from {labels.min()} to {labels.max()}, outside 0..255")
    return labels.astype(np.uint8)


def _save(file: IO[bytes], values: Array, geometry: Geometry, *, packed: bool) -> None:
    """Write (D, H, W) values as NIfTI; the same bytes for the same values."""
    import nibabel as nib

    if values.ndim != 3 or 0 in values.shape:
        raise ShapeError(f"expected a non-empty array of (D, H, W), got {values.shape}")
    forms = geometry.forms
    affine = geometry.nifti if forms is None else forms.affine
    image = nib.Nifti1Image(values.transpose(2, 1, 0), affine, dtype=values.dtype)
    header = cast(Any, image.header)
    if forms is not None:
        header.set_xyzt_units(xyz=forms.unit)
        image.set_qform(forms.qform, code=forms.qform_code, update_affine=False)
        image.set_sform(forms.sform, code=forms.sform_code, update_affine=False)
    elif geometry.known:
        header.set_xyzt_units(xyz="mm")
        image.set_qform(affine, code=1)
        image.set_sform(affine, code=1)
    if packed:
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=4, mtime=0) as content:
            image.to_stream(cast(Any, content))
    else:
        image.to_stream(cast(Any, file))
