"""Masks as DICOM-SEG, by highdicom, beside the series that they belong to."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.files import write_atomically
from criinet.data.formats.dicom import Frame, frames_in, quietly, slice_files
from criinet.data.formats.volume import library
from criinet.data.kinds import is_dicom
from criinet.data.masks import PALETTE

_REMEDY = "Leave out --dicom-seg"
_HINT = "--skip-bad writes its mask as NIfTI alone"


def require_dicom(path: Path) -> None:
    """Check that a volume comes from DICOM, and that highdicom is there to write some.

    Raises:
        BadFileError: otherwise.
    """
    if not path.is_dir() and not is_dicom(path):
        raise BadFileError(path, "is not DICOM, so its mask cannot be a DICOM-SEG", _REMEDY)
    library(path, "highdicom", "dicom")


def placed_frames(series: Path) -> list[Frame]:
    """Return the slices of a series in their order, all of which say where they lie.

    Raises:
        BadFileError: if one does not, or the series cannot be read.
    """
    frames = frames_in(series, slice_files(series))
    if any(frame.position is None or frame.orientation is None or frame.step is None for frame in frames):
        what = "says not where its slices lie, so its mask cannot be a DICOM-SEG"
        raise BadFileError(series, what, _REMEDY, _HINT)
    return frames


def write_segmentation(path: Path, labels: NDArray[Any], series: Path, classes: Sequence[str]) -> None:
    """Write class indices as a DICOM-SEG of one segment for each class but the background.

    As the standard wants, the file belongs to the patient and the study of its series, whose names it repeats.

    Args:
        labels: (D, H, W) class indices on the grid of ``series``.
        series: folder or file of the scan.
        classes: K names, background first; the class is the segment's number.

    Raises:
        BadFileError: if highdicom is not installed, or the series lacks what a DICOM-SEG must repeat.
        StorageError: if the file cannot be written.
    """
    frames = placed_frames(series)
    try:
        with quietly():
            made = _segmentation(series, frames, labels, classes)
    except (BadFileError, MemoryError):
        raise
    except Exception as error:  # highdicom raises nearly anything on an incomplete header, and may quote it.
        raise BadFileError(series, "lacks what a DICOM-SEG must repeat of its series", _REMEDY, _HINT) from error
    write_atomically(path, lambda file: made.save_as(file, enforce_file_format=True))


def _segmentation(series: Path, frames: Sequence[Frame], labels: NDArray[Any], classes: Sequence[str]) -> Any:
    """Return the data set of a DICOM-SEG of (D, H, W) class indices on slices that are in order."""
    highdicom = library(series, "highdicom", "dicom")
    codes = library(series, "pydicom.sr.codedict", "dicom").codes
    import pydicom

    many = int(frames[0].dataset.get("NumberOfFrames") or 1) > 1
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="criinet", version=version("criinet"), family=codes.DCM.ArtificialIntelligence
    )
    files = list(dict.fromkeys(frame.file for frame in frames))
    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    stored = np.empty_like(labels, np.uint8)
    for i, frame in enumerate(frames):
        stored[frame.index if many else i] = labels[i]
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.AnatomicalStructure,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            display_color=highdicom.color.CIELabColor.from_rgb(*PALETTE[number]),
        )
        for number, name in enumerate(classes)
        if number > 0
    ]
    return highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=stored,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=highdicom.UID(),
        series_number=int(sources[0].get("SeriesNumber") or 0) + 1000,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="criinet",
        manufacturer_model_name="criinet",
        software_versions=version("criinet"),
        device_serial_number="0",
        omit_empty_frames=False,
    )
