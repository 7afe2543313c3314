"""DICOM: a folder that holds one series, or one file of a frame or many, by pydicom.

Only the tags in ``TAGS`` are read, none of which names a person, an institution or a date.
"""

import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.formats.volume import SEG, Format, Volume, VolumeHeader, library, reading, three_axes
from criinet.data.geometry import LPS, Geometry
from criinet.data.kinds import is_dicom

TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "InstanceNumber",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SpacingBetweenSlices",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
"""SOP class of DICOM-SEG."""
DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
"""SOP class of RTDOSE, what a plan of radiotherapy gives to each voxel."""
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""SOP class of pictures of a screen, or of films that were scanned; those of the classes below it have many frames."""

_KIND = "DICOM file"
_DAMAGED = "is damaged or cut short, so a slice is missing"
_UNEVEN = 0.02
"""Share of the slice distance by which a distance may differ from the others."""

_REMEDY = "Export the series again, whole and once, into a folder of its own"


@dataclass(frozen=True)
class Frame:
    """One slice: its file and number in it, where it lies, and how stored numbers become values.

    position: (3,) of its first pixel, left-posterior-superior mm, or None. orientation: (2, 3) directions along a row
    and along a column, or None. step: (h, w) mm, or None. window: (centre, width), or None.
    """

    file: Path
    index: int
    dataset: Any
    position: NDArray[np.float64] | None
    orientation: NDArray[np.float64] | None
    step: tuple[float, float] | None
    slope: float
    intercept: float
    window: tuple[float, float] | None


@contextmanager
def quietly() -> Generator[None, None, None]:
    """Keep pydicom from printing what headers hold."""
    from pydicom.config import disable_value_validation

    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def read_tags(path: Path, *, pixels: bool = False, more: tuple[str, ...] = ()) -> Any:
    """Read the tags in ``TAGS`` and ``more``, and the pixels if asked; nothing else is ever in memory."""
    import pydicom

    tags = [*TAGS, *more, *(["PixelData", "FloatPixelData", "DoubleFloatPixelData"] if pixels else [])]
    with quietly():
        return pydicom.dcmread(path, stop_before_pixels=not pixels, specific_tags=list(tags))


def slice_files(path: Path) -> list[Path]:
    """Return the DICOM files of a series' folder, or the one file.

    Raises:
        BadFileError: if there is none, or one is only called so.
    """
    if not path.is_dir():
        return [path]
    files, damaged = told_apart(_visible_files(path))
    if damaged:
        raise damaged_slice(damaged[0])
    if not files:
        raise BadFileError(path, "holds no DICOM files", "Give the folder that holds the slices themselves")
    return files


def told_apart(files: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the DICOM files among those of a folder but for DICOMDIR, and those that are only called like them.

    A slice that is empty or cut short no longer says that it is DICOM. It is known by ``.dcm``, or by the suffix of the
    others; where they have none, by a digit in its name, which README and LICENSE lack.
    """
    says = {file: is_dicom(file) for file in sorted(files) if file.name.upper() != "DICOMDIR"}
    whole = [file for file in says if says[file]]
    endings = {".dcm", *map(_ending, whole)}
    others = [file for file in says if not says[file] and _ending(file) in endings]
    return whole, [file for file in others if _ending(file) or any(map(str.isdigit, file.name))]


def _visible_files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]


def _ending(file: Path) -> str:
    """Return the suffix of a file; a number, as at the end of a UID, is none."""
    return "" if file.suffix[1:].isdigit() else file.suffix.lower()


def damaged_slice(file: Path) -> BadFileError:
    """Return the problem of a file that cannot be read, and without which its series is no whole volume."""
    return BadFileError(file, _DAMAGED, _REMEDY)


def scans_apart(folder: Path) -> list[Path] | None:
    """Return the DICOM images that lie in a folder if each is a scan: all of many frames, or all of different series.

    None if they are the slices of a series or of several, or are too damaged to tell.
    """
    files, _ = told_apart(_visible_files(folder))
    try:
        with reading(folder, _KIND):
            headers = {file: read_tags(file) for file in files}
    except BadFileError:
        return None
    if any(map(is_cut_off, headers.values())):
        return None
    images = {file: dataset for file, dataset in headers.items() if is_image(dataset)}
    series = {str(dataset.get("SeriesInstanceUID", "")) for dataset in images.values()}
    many = all(_count(dataset) > 1 for dataset in images.values())
    return list(images) if many or len(series) == len(images) else None


def is_image(dataset: Any) -> bool:
    """Tell whether a file holds an image, and not contours, a report or a segmentation."""
    return has_size(dataset) and str(dataset.get("SOPClassUID", "")) != SEGMENTATION


def is_no_scan(kind: str) -> bool:
    """Tell of a SOP class whether its files are made beside scans: doses, and pictures of a screen."""
    return kind in (DOSE, CAPTURE) or kind.startswith(f"{CAPTURE}.")


def name_of_class(kind: str) -> str:
    """Return what DICOM calls a SOP class."""
    from pydicom.uid import UID

    return UID(kind).name


def has_size(dataset: Any) -> bool:
    """Tell whether a header says how many rows and columns there are."""
    return bool(dataset.get("Rows")) and bool(dataset.get("Columns"))


def is_cut_off(dataset: Any) -> bool:
    """Tell whether a header ends before it says what it is, or is an image's and lacks its size."""
    kind = str(dataset.get("SOPClassUID") or "")
    return not kind or ("Image Storage" in name_of_class(kind) and not has_size(dataset))


def frames_in(path: Path, files: Sequence[Path]) -> list[Frame]:
    """Return the slices of a series in the order of their positions, or of their numbers where they have none.

    Args:
        path: what messages call the series.

    Raises:
        BadFileError: if they are of several series, or do not make one volume; the slices at fault are named.
    """
    found = [(file, read_tags(file)) for file in files]
    cut_off = next((file for file, dataset in found if is_cut_off(dataset)), None)
    if cut_off is not None:
        raise damaged_slice(cut_off)
    images = [(file, dataset) for file, dataset in found if is_image(dataset)]
    if not images:
        raise BadFileError(path, "holds no DICOM image", "Give the series of the scan itself")
    series: dict[str, int] = {}
    for _, dataset in images:
        uid = str(dataset.get("SeriesInstanceUID", ""))
        series[uid] = series.get(uid, 0) + 1
    if len(series) > 1:
        counts = " and ".join(str(count) for count in sorted(series.values()))
        what = f"holds {len(series)} series ({counts} files)"
        raise BadFileError(path, what, "Put each into a folder of its own, or use `criinet data import dicom`")
    for file, dataset in images:
        _require_long_enough(file, dataset)
    first = images[0][1]
    three_axes(path, (sum(_count(dataset) for _, dataset in images), first.Rows, first.Columns))
    frames = [frame for file, dataset in images for frame in _frames(file, dataset)]
    _require_alike(path, frames)
    if any(frame.position is None or frame.orientation is None or frame.step is None for frame in frames):
        return sorted(frames, key=lambda frame: (int(frame.dataset.get("InstanceNumber") or 0), frame.index))
    return _in_order(path, frames)


def _require_long_enough(file: Path, dataset: Any) -> None:
    """Check that a file that is not compressed is as long as the pixels that its header names.

    Raises:
        BadFileError: otherwise.
    """
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    plain = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
    if dataset.file_meta.get("TransferSyntaxUID") not in plain:
        return
    bits = _count(dataset) * int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("BitsAllocated") or 1)
    if bits > 8 * file.stat().st_size:
        raise damaged_slice(file)


def _count(dataset: Any) -> int:
    """Return how many frames a header names."""
    return int(dataset.get("NumberOfFrames") or 1)


def _frames(file: Path, dataset: Any) -> list[Frame]:
    """Return the frames of one file with what its functional groups, or its header, say of each."""
    shared: Any = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), None)
    each: Sequence[Any] = dataset.get("PerFrameFunctionalGroupsSequence") or []
    count = _count(dataset)

    def numbers(index: int, group: str, tag: str) -> NDArray[np.float64] | None:
        own = each[index] if index < len(each) else None
        for place in (own, shared):
            items = None if place is None else place.get(group)
            if items and items[0].get(tag) is not None:
                return np.atleast_1d(np.asarray(items[0].get(tag), np.float64))
        plain = dataset.get(tag)
        many = count > 1 and tag == "ImagePositionPatient"
        return None if plain is None or many else np.atleast_1d(np.asarray(plain, np.float64))

    frames: list[Frame] = []
    for index in range(count):
        position = numbers(index, "PlanePositionSequence", "ImagePositionPatient")
        orientation = numbers(index, "PlaneOrientationSequence", "ImageOrientationPatient")
        step = numbers(index, "PixelMeasuresSequence", "PixelSpacing")
        if step is None:
            step = numbers(index, "PixelMeasuresSequence", "ImagerPixelSpacing")
        slope = numbers(index, "PixelValueTransformationSequence", "RescaleSlope")
        intercept = numbers(index, "PixelValueTransformationSequence", "RescaleIntercept")
        centre = numbers(index, "FrameVOILUTSequence", "WindowCenter")
        width = numbers(index, "FrameVOILUTSequence", "WindowWidth")
        frames.append(
            Frame(
                file,
                index,
                dataset,
                position if position is not None and position.size == 3 else None,
                orientation.reshape(2, 3) if orientation is not None and orientation.size == 6 else None,
                (float(step[0]), float(step[1])) if step is not None and step.size == 2 else None,
                1.0 if slope is None else float(slope[0]),
                0.0 if intercept is None else float(intercept[0]),
                None if centre is None or width is None else (float(centre[0]), float(width[0])),
            )
        )
    return frames


def _require_alike(path: Path, frames: Sequence[Frame]) -> None:
    """Check that all slices have one size, one direction, one pixel spacing, and one gray value a pixel."""
    first = frames[0]
    for frame in frames:
        if int(frame.dataset.get("SamplesPerPixel") or 1) > 1:
            raise BadFileError(path, "is in colour", "Save one gray value for each voxel")
        sizes = [(int(f.dataset.Rows), int(f.dataset.Columns)) for f in (first, frame)]
        if sizes[0] != sizes[1]:
            what = f"has slices of {sizes[0][1]}x{sizes[0][0]} and {sizes[1][1]}x{sizes[1][0]} pixels"
            raise BadFileError(path, f"{what} ({first.file.name}, {frame.file.name})", _REMEDY)
        for mine, theirs, name in (
            (first.orientation, frame.orientation, "directions"),
            (first.step, frame.step, "pixel spacings"),
        ):
            if (mine is None) != (theirs is None) or (
                mine is not None and theirs is not None and not np.allclose(mine, theirs, atol=1e-3)
            ):
                what = f"has slices of different {name} ({first.file.name}, {frame.file.name})"
                raise BadFileError(path, what, _REMEDY)


def _in_order(path: Path, frames: Sequence[Frame]) -> list[Frame]:
    """Sort slices along their normal and check that none is missing, double, or off the line."""
    axes, places = _required(frames[0].orientation), [_required(frame.position) for frame in frames]
    normal = np.cross(axes[0], axes[1])
    along = np.array([place @ normal for place in places])
    order = np.argsort(along, kind="stable")
    ordered, along = [frames[i] for i in order], along[order]
    if len(ordered) < 2:
        return ordered
    gaps = np.diff(along)
    for i, gap in enumerate(gaps):
        if gap < 1e-3:
            names = f"{_name(ordered[i])} and {_name(ordered[i + 1])}"
            raise BadFileError(path, f"has two slices at one place ({along[i]:.4g} mm): {names}", _REMEDY)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    for i, gap in enumerate(gaps):
        if abs(gap - usual) <= max(_UNEVEN * usual, 0.01):
            continue
        names = f"{_name(ordered[i])} and {_name(ordered[i + 1])}"
        missing = round(gap / usual) - 1
        if missing >= 1 and abs(gap / (missing + 1) - usual) <= max(_UNEVEN * usual, 0.01):
            lacks = "1 slice" if missing == 1 else f"{missing} slices"
            raise BadFileError(path, f"lacks {lacks} between {names} (every {usual:.4g} mm)", _REMEDY)
        what = f"has unevenly spaced slices: {gap:.4g} mm between {names}, {usual:.4g} mm elsewhere"
        raise BadFileError(path, what, "Resample it to even slices first")
    shift = _required(ordered[-1].position) - _required(ordered[0].position)
    aside = float(np.linalg.norm(shift - (shift @ normal) * normal))
    if aside > 0.01 * float(np.linalg.norm(shift)):
        tilt = float(np.degrees(np.arctan2(aside, abs(shift @ normal))))
        raise BadFileError(path, f"is tilted by {tilt:.1f} degrees (gantry tilt)", "Resample it to a straight volume")
    return ordered


def _name(frame: Frame) -> str:
    many = _count(frame.dataset) > 1
    return f"{frame.file.name} frame {frame.index + 1}" if many else frame.file.name


def _required(value: NDArray[np.float64] | None) -> NDArray[np.float64]:
    assert value is not None
    return value


def geometry_of(frames: Sequence[Frame]) -> Geometry:
    """Return the affine of slices that are in order."""
    first, last = frames[0], frames[-1]
    if first.position is None or last.position is None or first.orientation is None or first.step is None:
        between = _between(first)
        return Geometry.unknown(None if first.step is None or between is None else (between, *first.step))
    normal = np.cross(first.orientation[0], first.orientation[1])
    if len(frames) > 1:
        through = (last.position - first.position) / (len(frames) - 1)
    else:
        through = normal * (_between(first) or 1.0)
    columns = [first.orientation[0] * first.step[1], first.orientation[1] * first.step[0], through]
    lengths = np.array([np.linalg.norm(column) for column in columns])
    return Geometry.from_lps(lengths, first.position, np.stack(columns, axis=1) / lengths)


def _between(frame: Frame) -> float | None:
    """Return the slice distance that a header gives, or else the thickness of a slice; None without either."""
    said = (frame.dataset.get(tag) for tag in ("SpacingBetweenSlices", "SliceThickness"))
    return next((abs(float(length)) for length in said if length), None)


def header_of(frames: Sequence[Frame]) -> VolumeHeader:
    """Return shape, geometry and modality of slices that are in order."""
    dataset = frames[0].dataset
    shape = (len(frames), int(dataset.Rows), int(dataset.Columns))
    return VolumeHeader(shape, geometry_of(frames), str(dataset.get("Modality") or "") or None)


def header(path: Path) -> VolumeHeader:
    """Read shape, geometry and modality from the headers of all slices; a DICOM-SEG is read whole for them."""
    with reading(path, _KIND):
        if is_segmentation(path):
            return read_segmentation(path).header
        return header_of(frames_in(path, slice_files(path)))


def read(path: Path, *, labels: bool = False) -> Volume:
    """Read a series in the order of its positions, in physical units; MONOCHROME1 is turned so that high is bright.

    With ``labels`` the file may be a DICOM-SEG.
    """
    with reading(path, _KIND):
        if labels and is_segmentation(path):
            return read_segmentation(path)
        return read_frames(path, frames_in(path, slice_files(path)))


def is_segmentation(path: Path) -> bool:
    """Tell whether a file is a DICOM-SEG."""
    return not path.is_dir() and str(read_tags(path).get("SOPClassUID", "")) == SEGMENTATION


def read_frames(path: Path, frames: Sequence[Frame]) -> Volume:
    """Read slices that are in order, in physical units."""
    with reading(path, _KIND):
        found = header_of(frames)
        whole = all(f.slope == round(f.slope) and f.intercept == round(f.intercept) for f in frames)
        values = np.empty(found.shape, np.int32 if whole else np.float32)
        decoded: tuple[Path, NDArray[Any]] | None = None
        for i, frame in enumerate(frames):
            if decoded is None or decoded[0] != frame.file:
                decoded = (frame.file, _pixels(frame.file))
                if whole and not np.can_cast(decoded[1].dtype, np.int32):
                    whole, values = False, values.astype(np.float64)
            values[i] = _in_units(decoded[1][frame.index], frame)
        window = frames[0].window
    limits = None if window is None else _window_in_units(window, frames[0])
    if whole and values.min() >= -(2**15) and values.max() < 2**15:
        values = values.astype(np.int16)
    return Volume(values, found.geometry, found.modality, limits)


def _pixels(file: Path) -> NDArray[Any]:
    """Decode all frames of a file: (F, H, W)."""
    with reading(file, _KIND):
        dataset = read_tags(file, pixels=True)
        try:
            with quietly():
                pixels = np.asarray(dataset.pixel_array)
        except (RuntimeError, NotImplementedError, ImportError) as error:
            raise _undecoded(file, dataset) from error
    return pixels.reshape(-1, *pixels.shape[-2:])


def _undecoded(file: Path, dataset: Any) -> BadFileError:
    """Return the problem of a file whose pixels cannot be decoded; it says how they are compressed."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    try:
        lacking = get_decoder(syntax).missing_dependencies
    except NotImplementedError:  # Nothing reads it, whatever is installed.
        lacking = []
    installable = any("gdcm" in library for library in lacking)
    remedy = "Install what decodes it with pip install 'criinet[dicom]', or export" if installable else "Export"
    what = f"is compressed as {syntax.name}, which cannot be decoded here"
    return BadFileError(file, what, f"{remedy} it again, uncompressed")


def _window_in_units(window: tuple[float, float], frame: Frame) -> tuple[float, float]:
    """Return the ends of a window (centre, width), turned over as the values of MONOCHROME1 are."""
    ends = np.array([window[0] - window[1] / 2, window[0] + window[1] / 2])
    highest = _turned_over(frame)
    if highest is not None:
        ends = frame.slope * highest + 2 * frame.intercept - ends[::-1]
    return float(ends[0]), float(ends[1])


def _turned_over(frame: Frame) -> int | None:
    """Return what a stored value v of MONOCHROME1 is subtracted from; None for other files, whose values stay."""
    dataset = frame.dataset
    if str(dataset.get("PhotometricInterpretation", "")) != "MONOCHROME1":
        return None
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    return -1 if signed else 2 ** int(dataset.get("BitsStored") or 16) - 1


def _in_units(stored: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Apply slope and intercept, and turn MONOCHROME1 over within the range of its stored bits."""
    values = stored.astype(np.float64)
    highest = _turned_over(frame)
    if highest is not None:
        values = highest - values
    return values * frame.slope + frame.intercept


def read_segmentation(path: Path) -> Volume:
    """Read a DICOM-SEG as class indices, a segment's number being the class, its slices in the order of a series'.

    Raises:
        BadFileError: if segments overlap, it holds fractions between 0 and 1, or it lies on no regular grid.
    """
    highdicom = library(path, "highdicom", "dicom")
    with quietly():
        found = highdicom.seg.segread(path)
        try:
            volume = found.get_volume(combine_segments=True, dtype=np.uint8)
        except (RuntimeError, ValueError) as error:  # A text alone tells what highdicom means.
            if "overlap" in str(error):
                what = "has segments that overlap, but a voxel has one class"
                raise BadFileError(path, what, "Export it with segments that do not overlap") from error
            if "MaximumFractionalValue" in str(error):
                what = "holds fractions, as of probabilities, but a voxel is in a segment or not"
                raise BadFileError(path, what, "Export it as a binary segmentation") from error
            raise
    affine = np.asarray(volume.affine, np.float64)
    through = np.cross(affine[:3, 2], affine[:3, 1])
    if affine[:3, 0] @ through < 0:
        volume = volume.flip_spatial(0)
        affine = np.asarray(volume.affine, np.float64)
    return Volume(np.asarray(volume.array), Geometry(LPS @ affine), SEG)


FORMAT = Format(header, read)
