"""What segments, what it gives, and the files that are written of it; needs no torch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.dicom_seg import placed_frames, require_dicom, write_segmentation
from criinet.data.files import digest, last_change, make_folder, sweep, write_npz
from criinet.data.formats import Volume
from criinet.data.geometry import Geometry, Spacing
from criinet.data.grid import require_grid
from criinet.data.images import write_gray
from criinet.data.inputs import Part, declared_voxel, images_in, spare_originals
from criinet.data.kinds import mask_suffix, not_read, stem_of
from criinet.data.masks import write_mask
from criinet.data.provenance import is_newer, note_provenance
from criinet.data.scans import Scan, read_scan
from criinet.data.threads import Advance
from criinet.data.volumes import write_labels, write_volume
from criinet.errors import ConfigError, DataError

LARGEST_SHIFT = 20
"""In nats: beyond it probabilities of one class are rounded to 1."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Outputs:
    """What is written beside each mask; a DICOM-SEG only of DICOM volumes."""

    probabilities: bool = False
    uncertainty: bool = False
    dicom_seg: bool = False


class Segmented(Protocol):
    """What is written of one case.

    mask: (H, W) or (D, H, W) uint8, the most probable class.
    probs: (K, H, W) or (K, D, H, W) float, an array or a tensor on the CPU; None of a volume if nobody asked for it.
    """

    @property
    def mask(self) -> Array: ...

    @property
    def probs(self) -> Any: ...

    def uncertainty_maps(self) -> dict[str, Array]:
        """Return maps of uncertainty by name, uint8; 255 is 1."""
        ...


@dataclass(frozen=True)
class VolumePrediction:
    """What is said of one volume, at the volume's own voxels (D, H, W).

    mask: uint8, the most probable class. coarse_mask: that of the first of two opinions, or None.
    geometry: of the volume.
    maps: ``entropy`` and ``disagreement`` as uint8, 255 is 1; only those that were asked for.
    probs: (K, D, H, W) float16, a tensor on the CPU, if it was asked for.
    """

    mask: Array
    coarse_mask: Array | None
    geometry: Geometry
    maps: dict[str, Array]
    probs: Any = None

    def uncertainty_maps(self) -> dict[str, Array]:
        """Return the maps of uncertainty that were kept."""
        return self.maps


S = TypeVar("S", bound=Segmented)
S_co = TypeVar("S_co", bound=Segmented, covariant=True)


class Segmenter(Protocol[S_co]):
    """Whatever segments images or volumes.

    classes: their names, background first.
    scan_dims: 2 if it takes images, (H, W) or (H, W, 3) uint8; 3 if it takes volumes.
    voxel: (d, h, w) in mm of the voxels of files that do not know theirs, as training was told.
    spacing: (d, h, w) in mm of the voxels that volumes are brought to if theirs are known; None: they keep theirs.
    fixed_range: the values of a volume, in HU, that are black and white; None: every volume has its own, or none.
    shift: added to the logits of objects.
    mirrors: axes along which an image is mirrored before it is segmented; the mean over all of them is predicted.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def scan_dims(self) -> int: ...

    @property
    def voxel(self) -> Spacing | None: ...

    @property
    def spacing(self) -> Spacing | None: ...

    @property
    def fixed_range(self) -> tuple[float, float] | None: ...

    @property
    def shift(self) -> float: ...

    @property
    def mirrors(self) -> Sequence[Sequence[int]]: ...

    def predict_many(self, scans: Iterable[Any], /) -> Iterator[S_co]: ...


def require_shift(shift: float) -> float:
    """Return the shift of objects' logits if it leaves more than one class.

    Raises:
        ConfigError: if it is not within LARGEST_SHIFT.
    """
    if not abs(shift) <= LARGEST_SHIFT:
        raise ConfigError(
            f"shift is {shift:g}; give a number from -{LARGEST_SHIFT} to {LARGEST_SHIFT}; above the run's own it finds "
            "more, below it less."
        )
    return shift


def write_predictions(
    images: Path,
    out: Path,
    load: Callable[[], Segmenter[Segmented]],
    weights: Path,
    *,
    outputs: Outputs,
    part: Part,
    skip_bad: bool,
    warn: Callable[[str], None] | None,
    advance: Advance | None,
) -> list[str]:
    """Write a mask for every image under ``images`` to ``out``; return a sentence for each file that was skipped.

    Files and folders among the images that are never read are named, too. The mask of an image is written after
    whatever else is asked for, so that an image with a mask newer than its last change is done. Which weights and
    options made them stands in ``out``/.prediction.json.

    Args:
        load: returns what segments, once ``images`` and ``out`` are known to be fine.
        weights: file that it is loaded from.
        warn: called with each sentence about masks that were written and that a person should know.

    Raises:
        DataError: if there are no images, one cannot be read or have the DICOM-SEG that is wanted and ``skip_bad`` is
            False, none can be read, ``out`` holds originals, masks that are to be kept were made by other weights or
            with other options, or the dataset.json of a dataset of volumes cannot be used.
    """
    paths = images_in(images)
    unread = _never_read(images, paths)
    spare_originals(paths, out)
    mine = paths[part.number - 1 :: part.of]
    if outputs.dicom_seg:
        _require_series(paths, whole=[] if skip_bad else mine)
    predictor = load()
    voxel = (declared_voxel(paths[0]) if predictor.scan_dims == 3 else None) or predictor.voxel
    make_folder(out)
    sweep_predictions(out)
    begun = note_provenance(out, provenance(weights, predictor, voxel, outputs), anew=part.begins_anew)
    masks = {path: out / f"{stem_of(path)}{mask_suffix(predictor.scan_dims)}" for path in paths}
    if part.resume:
        mine = [path for path in mine if not is_newer(masks[path], max(begun, last_change(path)))]
    skipped: list[str] = []
    remarks = _Remarks(predictor.spacing, predictor.fixed_range)
    bad = skipped if skip_bad else None
    for path, predicted in predict_files(predictor, mine, voxel, bad, advance, remarks.look_at):
        if outputs.dicom_seg:
            refused = _write_dicom_seg(out, path, predicted.mask, predictor.classes, skip_bad=skip_bad)
            remarks.without_segmentation += refused
        write_prediction(out, stem_of(path), predicted, len(predictor.classes), outputs)
        del predicted  # What is said of a large image is not needed while the next one is segmented.
    if mine and len(skipped) == len(mine) and not any(is_newer(mask, begun) for mask in masks.values()):
        raise DataError(f"none of the {len(mine)} files could be segmented; the first: {skipped[0]}")
    if warn is not None:
        for sentence in remarks.sentences():
            warn(sentence)
    return skipped + unread


def _never_read(images: Path, paths: Sequence[Path]) -> list[str]:
    """Return sentences on what lies among the images of a folder and is none of them."""
    if not images.is_dir() or images in paths:
        return []
    return not_read(sorted(set(paths[0].parent.iterdir()).difference(paths)))


def _require_series(paths: Sequence[Path], whole: Sequence[Path]) -> None:
    """Check that volumes come from DICOM, and that every slice of those in ``whole`` says where it lies.

    Raises:
        BadFileError: otherwise.
    """
    for path in paths:
        require_dicom(path)
    for path in whole:
        placed_frames(path)


def _write_dicom_seg(out: Path, series: Path, mask: Array, classes: Sequence[str], *, skip_bad: bool) -> list[str]:
    """Write the mask of a series as a DICOM-SEG; return a sentence if there can be none.

    Raises:
        BadFileError: if there can be none and ``skip_bad`` is False.
    """
    try:
        write_segmentation(out / f"{stem_of(series)}.dcm", mask, series, classes)
    except BadFileError as error:
        if not skip_bad:
            raise
        return [error.without_hint]
    return []


@dataclass
class _Remarks:
    """What a person should know of volumes whose masks were written.

    spacing: (d, h, w) in mm of the voxels that they were brought to; None: they kept theirs.
    fixed_range: the values, in HU, that were black and white; None: every volume had its own.
    without_segmentation: a sentence for each that could have no DICOM-SEG.
    unmeasured: those of unknown voxels. positive: those without a value below 0, though black is.
    """

    spacing: Spacing | None
    fixed_range: tuple[float, float] | None
    without_segmentation: list[str] = field(default_factory=list[str])
    unmeasured: list[Path] = field(default_factory=list[Path])
    positive: list[Path] = field(default_factory=list[Path])

    def look_at(self, path: Path, scan: Scan) -> None:
        """Note whether a volume is unmeasured or positive."""
        if not isinstance(scan, Volume):
            return
        if not scan.geometry.known:
            self.unmeasured.append(path)
        if self.fixed_range is not None and self.fixed_range[0] < 0 <= scan.values.min():
            self.positive.append(path)

    def sentences(self) -> list[str]:
        """Return what there is to say."""
        said = list(self.without_segmentation)
        if self.unmeasured and self.spacing is not None:
            said.append(taken_as_they_are(self.unmeasured, self.spacing))
        if self.positive and self.fixed_range is not None:
            said.append(hardly_in_hu(self.positive, self.fixed_range))
        return said


def taken_as_they_are(paths: Sequence[Path], spacing: Spacing) -> str:
    """Return a sentence on volumes of unknown voxels, which a run that was trained at ``spacing`` cannot resample."""
    files = "1 file does" if len(paths) == 1 else f"{len(paths)} files do"
    trained = " x ".join(f"{step:.4g}" for step in spacing)
    return (
        f"{files} not say how large the voxels are and were taken as they are, though the run was trained at {trained} "
        f'mm, the first is {paths[0]}; give "spacing" in dataset.json beside a folder images/'
    )


def hardly_in_hu(paths: Sequence[Path], fixed_range: tuple[float, float]) -> str:
    """Return a sentence on volumes without a value below 0, by a run that was trained on ``fixed_range`` of HU."""
    files = "1 file has" if len(paths) == 1 else f"{len(paths)} files have"
    return (
        f"{files} no value below 0, though the run was trained on CT from {fixed_range[0]:g} to {fixed_range[1]:g} HU, "
        f"the first is {paths[0]}; if an offset such as -1024 was lost, put it back and segment again"
    )


def provenance(weights: Path, predictor: Segmenter[Any], voxel: Spacing | None, outputs: Outputs) -> dict[str, Any]:
    """Return what is noted beside masks: the digest of the weights, how they were used, and the outputs.

    Args:
        voxel: (d, h, w) in mm that files were taken to have that do not know theirs.
    """
    taken = None if voxel is None else list(voxel)
    options = {"shift": predictor.shift, "tta": len(predictor.mirrors) > 1, "voxel": taken}
    return {"weights": digest(weights), **options, **asdict(outputs)}


def predict_files(
    predictor: Segmenter[S],
    paths: Sequence[Path],
    voxel: Spacing | None,
    skipped: list[str] | None,
    advance: Advance | None,
    look_at: Callable[[Path, Scan], object],
) -> Iterator[tuple[Path, S]]:
    """Segment files in order; with a list for the ``skipped`` an unreadable one is noted there and left out.

    Args:
        voxel: (d, h, w) in mm of the voxels of files that do not know theirs.
        advance: is told of each file, of one that is left out when it is read.
        look_at: is given each image or volume when it was read; nothing of it is kept here.
    """
    waiting: list[Path] = []
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if advance is not None:
            advance(done, len(paths))

    def decoded() -> Iterator[Scan]:
        for path in paths:
            try:
                scan = read_scan(path, predictor.scan_dims, voxel)
                if isinstance(scan, Volume):
                    require_grid(path, scan, predictor.spacing)
            except BadFileError as error:
                if skipped is None:
                    raise
                skipped.append(error.without_hint)
                count()
                continue
            look_at(path, scan)
            waiting.append(path)
            yield scan
            del scan  # A large one is not needed while the next one is read.

    for predicted in predictor.predict_many(decoded()):
        yield waiting.pop(0), predicted
        del predicted
        count()


def write_prediction(out: Path, name: str, predicted: Segmented, classes: int, outputs: Outputs) -> None:
    """Write what was asked for of one case, and then its mask, each file whole or not at all.

    NAME.png holds class indices with a palette, of a volume NAME.nii.gz with the volume's geometry;
    probabilities/NAME.npz float16 (K, H, W) or (K, D, H, W); uncertainty/NAME_entropy and NAME_disagreement 0 to 255,
    as PNG or NIfTI.
    """
    if outputs.probabilities and predicted.probs is not None:
        probs = np.asarray(predicted.probs).astype(np.float16)
        write_npz(out / "probabilities" / f"{name}.npz", {"probabilities": probs})
    for kind, gray in predicted.uncertainty_maps().items() if outputs.uncertainty else ():
        if isinstance(predicted, VolumePrediction):
            write_volume(out / "uncertainty" / f"{name}_{kind}.nii.gz", gray, predicted.geometry)
        else:
            write_gray(out / "uncertainty" / f"{name}_{kind}.png", gray)
    if isinstance(predicted, VolumePrediction):
        write_labels(out / f"{name}.nii.gz", predicted.mask, predicted.geometry)
    else:
        write_mask(out / f"{name}.png", predicted.mask, classes)


def sweep_predictions(out: Path) -> None:
    """Remove what predictions into ``out`` left that were killed while they wrote; others may be writing there."""
    for part in (out, out / "probabilities", out / "uncertainty"):
        sweep(part)


def gray_maps(entropy: Array, disagreement: Array | None) -> dict[str, Array]:
    """Return maps of uncertainty in [0, 1] as uint8, by their names; one opinion has no ``disagreement``."""
    maps = {"entropy": entropy, "disagreement": disagreement}
    return {name: as_gray(map_of) for name, map_of in maps.items() if map_of is not None}


def as_gray(map_of: Array) -> Array:
    """Return a map in [0, 1] as uint8."""
    return np.round(np.clip(map_of, 0, 1) * 255).astype(np.uint8)
