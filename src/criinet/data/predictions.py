"""Which files a prediction reads and which it writes, whatever segments them; needs no torch."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from criinet.data.card import declared_spacing, read_card
from criinet.data.dicom_seg import placed_frames, require_dicom, write_segmentation
from criinet.data.files import digest, make_folder, newest, write_json, write_npz
from criinet.data.formats import Volume
from criinet.data.formats.dicom import scans_apart
from criinet.data.geometry import Geometry, Spacing, voxel_of
from criinet.data.images import BadFileError, write_gray
from criinet.data.kinds import (
    PICTURE_SUFFIXES,
    SUFFIXES,
    is_readable,
    is_series,
    key_of,
    mask_suffix,
    not_read,
    stem_of,
    suffix_of,
)
from criinet.data.masks import write_mask
from criinet.data.scans import Scan, read_scan
from criinet.data.volumes import write_labels, write_volume
from criinet.errors import ConfigError, DataError

NOTE = ".prediction.json"
"""Beside masks: which weights and options made them."""

LARGEST_SHIFT = 20
"""In nats: beyond it probabilities of one class are rounded to 1."""

Array = NDArray[Any]
Advance = Callable[[int, int], None]
"""Called with how many images are done, and of how many."""


@dataclass(frozen=True)
class Outputs:
    """What is written beside each mask; a DICOM-SEG only of DICOM volumes."""

    probabilities: bool = False
    uncertainty: bool = False
    dicom_seg: bool = False


@dataclass(frozen=True)
class Part:
    """Which images of a folder are segmented: the ``number``-th of ``of`` parts, and of these, what is not done yet.

    resume: leave out images whose mask the same weights and options have written already.
    """

    number: int = 1
    of: int = 1
    resume: bool = False

    @classmethod
    def parse(cls, text: str, *, resume: bool = False) -> "Part":
        """Read ``"2/8"``.

        Raises:
            ConfigError: if it is anything else, or beyond the last part.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(
                f"--shard {text} is no part of the images; give for instance 1/8 to 8/8, one to each process."
            )
        return cls(int(found[1]), int(found[2]), resume)

    @property
    def begins_anew(self) -> bool:
        """Whether masks that are there already count for nothing."""
        return self.of == 1 and not self.resume


class Segmented(Protocol):
    """What is written of one case.

    mask: (H, W) or (D, H, W) uint8, the most probable class.
    probs: (K, H, W) or (K, D, H, W) float, an array or a tensor on the CPU; None of a volume if nobody asked for it.
    """

    @property
    def mask(self) -> Array: ...

    @property
    def probs(self) -> Any: ...

    def doubts(self) -> dict[str, Array]:
        """Return maps of doubt by name, uint8; 255 is 1."""
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

    def doubts(self) -> dict[str, Array]:
        """Return the maps of doubt that were kept."""
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


def images_in(folder: Path) -> list[Path]:
    """Return the images or volumes of a folder, of its images/ if it is a dataset, or the one that was given.

    A folder of the slices of a DICOM series is one volume.

    Raises:
        DataError: if there is none, two share a stem, since their masks would share a name, or slices of a series lie
            among other volumes.
    """
    if folder.is_file():
        return [folder]
    apart: list[Path] = []
    if (folder / "images").is_dir():
        folder = folder / "images"
    elif is_series(folder) and not is_of_dataset(folder):
        others, scans = volumes_beside(folder), scans_apart(folder)
        if not others and (scans is None or len(scans) < 2):
            return [folder]
        if scans is None:
            what = f"{folder} holds the slices of a DICOM series beside other volumes, the first is {others[0].name}"
            raise DataError(f"{what}. Put the slices into a folder of their own.")
        apart = scans
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist. Give a folder of images, or one image.")
    found = sorted({*apart, *(path for path in folder.iterdir() if is_readable(path))})
    if not found:
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(f"{folder} holds no images. Supported are {kinds}.")
    same: dict[str, Path] = {}
    for path in found:
        if same.setdefault(key_of(path), path) is not path:
            raise DataError(f"{path} and {same[key_of(path)].name} share a name, so would their masks. Rename one.")
    return found


def is_of_dataset(folder: Path) -> bool:
    """Tell whether a folder is images/ of a dataset, where every file is a case."""
    home = folder.absolute().parent
    return folder.absolute().name == "images" and ((home / "masks").is_dir() or (home / "dataset.json").exists())


def volumes_beside(folder: Path) -> list[Path]:
    """Return the volumes of a folder beside the DICOM files in it: series in folders, and files of other formats."""
    dicom_or_picture = (".dcm", *PICTURE_SUFFIXES)
    found = sorted(path for path in folder.iterdir() if is_readable(path))
    return [path for path in found if path.is_dir() or suffix_of(path) not in dicom_or_picture]


def spare_originals(paths: Sequence[Path], out: Path) -> None:
    """Refuse to write masks over the images themselves, or over files that no prediction wrote, as true masks are.

    Raises:
        DataError: if ``out`` is the folder of the images, or masks/ of their dataset with masks in it, or holds an
            image or a volume of the name of one of them without the note that predictions leave.
    """
    home = paths[0].parent.resolve()
    truth = home.parent / "masks"
    taken = home.name == "images" and truth.is_dir() and any(truth.iterdir())
    if out.resolve() == home or (taken and out.resolve() == truth):
        raise DataError(f"{out} holds the originals, which masks would overwrite. Give --out another folder.")
    if not out.is_dir() or (out / NOTE).exists():
        return
    names = {key_of(path) for path in paths}
    theirs = next((path for path in sorted(out.iterdir()) if is_readable(path) and key_of(path) in names), None)
    if theirs is not None:
        raise DataError(
            f"{out} holds {theirs.name}, which no prediction wrote and a mask would replace. Give --out another folder."
        )


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
    whatever else is asked for, so that an image with a mask newer than itself is done. Which weights and options made
    them stands in ``out``/.prediction.json.

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
    listed = images.is_dir() and images not in paths
    unread = not_read(sorted(set(paths[0].parent.iterdir()).difference(paths))) if listed else []
    spare_originals(paths, out)
    mine = paths[part.number - 1 :: part.of]
    for path in paths if outputs.dicom_seg else ():
        require_dicom(path)
    for path in mine if outputs.dicom_seg and not skip_bad else ():
        placed_frames(path)
    predictor = load()
    voxel = (declared_voxel(paths[0]) if predictor.scan_dims == 3 else None) or predictor.voxel
    make_folder(out)
    begun = begin(out, provenance(weights, predictor, voxel, outputs), anew=part.begins_anew)
    masks = {path: out / f"{stem_of(path)}{mask_suffix(predictor.scan_dims)}" for path in paths}
    if part.resume:
        mine = [path for path in mine if not is_newer(masks[path], max(begun, newest(path).st_mtime_ns))]
    skipped: list[str] = []
    unmeasured: list[Path] = []
    positive: list[Path] = []
    black = predictor.fixed_range[0] if predictor.fixed_range is not None else 0
    notes: list[str] = []
    for path, scan, predicted in predict_files(predictor, mine, voxel, skipped if skip_bad else None, advance):
        if isinstance(scan, Volume) and not scan.geometry.known:
            unmeasured.append(path)
        if isinstance(scan, Volume) and black < 0 <= scan.values.min():
            positive.append(path)
        del scan  # A large volume is not needed while the next one is read.
        if outputs.dicom_seg:
            try:
                write_segmentation(out / f"{stem_of(path)}.dcm", predicted.mask, path, predictor.classes)
            except BadFileError as error:
                if not skip_bad:
                    raise
                notes.append(error.without_hint)
        write_prediction(out, stem_of(path), predicted, len(predictor.classes), outputs)
    if mine and len(skipped) == len(mine) and not any(is_newer(mask, begun) for mask in masks.values()):
        raise DataError(f"none of the {len(mine)} files could be segmented; the first: {skipped[0]}")
    if unmeasured and predictor.spacing is not None:
        notes.append(taken_as_they_are(unmeasured, predictor.spacing))
    if positive and predictor.fixed_range is not None:
        notes.append(hardly_in_hu(positive, predictor.fixed_range))
    if warn is not None:
        for sentence in notes:
            warn(sentence)
    return skipped + unread


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


def declared_voxel(path: Path) -> Spacing | None:
    """Return the voxel (d, h, w) in mm that the dataset.json of a volume's own dataset says, None without any.

    Raises:
        BadFileError: if dataset.json cannot be used.
    """
    home = path.parent.absolute()
    if home.name != "images":
        return None
    return voxel_of(declared_spacing(read_card(home.parent), home.parent, 3), 3)


def provenance(weights: Path, predictor: Segmenter[Any], voxel: Spacing | None, outputs: Outputs) -> dict[str, Any]:
    """Return what is noted beside masks: the digest of the weights, how they were used, and the outputs.

    Args:
        voxel: (d, h, w) in mm that files were taken to have that do not know theirs.
    """
    taken = None if voxel is None else list(voxel)
    options = {"shift": predictor.shift, "tta": len(predictor.mirrors) > 1, "voxel": taken}
    return {"weights": digest(weights), **options, **asdict(outputs)}


def begin(out: Path, made_by: dict[str, Any], *, anew: bool) -> int:
    """Note in ``out``/.prediction.json what makes the masks, and return when that was noted first, in nanoseconds.

    Args:
        anew: False goes on with what is noted there, or notes it if nothing is.

    Raises:
        DataError: if it is to go on, and something else is noted there.
    """
    path = out / NOTE
    if not anew and path.exists():
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            noted = None
        if noted != made_by:
            raise DataError(
                f"{out} holds masks of other weights or options. Give --out another folder, or begin anew without "
                "--resume and --shard."
            )
    else:
        write_json(path, made_by)
    return path.stat().st_mtime_ns


def noted_shift(out: Path) -> float:
    """Return the shift of objects' logits that made the masks in ``out``; 0 where none is noted."""
    try:
        return float(json.loads((out / NOTE).read_text(encoding="utf-8"))["shift"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def is_newer(path: Path, moment: int) -> bool:
    """Tell whether a file is there and was written at ``moment``, in nanoseconds, or later."""
    return path.exists() and path.stat().st_mtime_ns >= moment


def predict_files(
    predictor: Segmenter[S],
    paths: Sequence[Path],
    voxel: Spacing | None,
    skipped: list[str] | None,
    advance: Advance | None,
) -> Iterator[tuple[Path, Scan, S]]:
    """Segment files in order; with a list for the ``skipped`` an unreadable one is noted there and left out.

    Args:
        voxel: (d, h, w) in mm of the voxels of files that do not know theirs.
    """
    readable: list[tuple[Path, Scan]] = []

    def decoded() -> Iterator[Scan]:
        for path in paths:
            try:
                readable.append((path, read_scan(path, predictor.scan_dims, voxel)))
            except BadFileError as error:
                if skipped is None:
                    raise
                skipped.append(error.without_hint)
                continue
            yield readable[-1][1]

    for done, predicted in enumerate(predictor.predict_many(decoded())):
        yield *readable.pop(0), predicted
        if advance is not None:
            advance(done + 1, len(paths))


def write_prediction(out: Path, name: str, predicted: Segmented, classes: int, outputs: Outputs) -> None:
    """Write what was asked for of one case, and then its mask, each file whole or not at all.

    NAME.png holds class indices with a palette, of a volume NAME.nii.gz with the volume's geometry;
    probabilities/NAME.npz float16 (K, H, W) or (K, D, H, W); uncertainty/NAME_entropy and NAME_disagreement 0 to 255,
    as PNG or NIfTI.
    """
    if outputs.probabilities and predicted.probs is not None:
        probs = np.asarray(predicted.probs).astype(np.float16)
        write_npz(out / "probabilities" / f"{name}.npz", {"probabilities": probs})
    for kind, gray in predicted.doubts().items() if outputs.uncertainty else ():
        if isinstance(predicted, VolumePrediction):
            write_volume(out / "uncertainty" / f"{name}_{kind}.nii.gz", gray, predicted.geometry)
        else:
            write_gray(out / "uncertainty" / f"{name}_{kind}.png", gray)
    if isinstance(predicted, VolumePrediction):
        write_labels(out / f"{name}.nii.gz", predicted.mask, predicted.geometry)
    else:
        write_mask(out / f"{name}.png", predicted.mask, classes)


def gray_maps(entropy: Array, disagreement: Array | None) -> dict[str, Array]:
    """Return maps of doubt in [0, 1] as uint8, by their names; one opinion has no ``disagreement``."""
    maps = {"entropy": entropy, "disagreement": disagreement}
    return {name: as_gray(map_of) for name, map_of in maps.items() if map_of is not None}


def as_gray(map_of: Array) -> Array:
    """Return a map in [0, 1] as uint8."""
    return np.round(np.clip(map_of, 0, 1) * 255).astype(np.uint8)
