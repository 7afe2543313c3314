"""What others drew on a DICOM series: contours (RTSTRUCT) by pydicom and scikit-image, DICOM-SEG by highdicom."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.formats.dicom import SEGMENTATION, read_segmentation, read_tags
from criinet.data.formats.volume import VolumeHeader, library, padded, reading

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
"""SOP class of RTSTRUCT."""

_TAGS = (
    "ReferencedFrameOfReferenceSequence",
    "StructureSetROISequence",
    "ROIContourSequence",
    "ReferencedSeriesSequence",
    "SegmentSequence",
)
_OFF = 0.25
"""Share of the slice distance by which a contour may lie beside its slice."""

_DIGITS = 4
"""Of a contour's point in voxels: a point drawn on a voxel's centre must not miss it by the rounding of millimetres."""

_INSIDE = 1
"""What scikit-image calls a point inside a polygon; those on its corners and edges have larger numbers."""

_REMEDY = "Export it again with the series that it was drawn on"


@dataclass(frozen=True)
class Drawing:
    """One RTSTRUCT or DICOM-SEG.

    series: UID of the series that it was drawn on. numbers: of each structure, by its name.
    """

    file: Path
    series: str
    numbers: dict[str, int]
    is_contours: bool


def drawing_in(path: Path) -> Drawing | None:
    """Read what a file draws on which series; None if it is another kind of file.

    Structures without a closed contour (points, open lines) are none that a mask can hold, and are not named.

    Raises:
        BadFileError: if it names no series, or two of its structures share a name.
    """
    header = read_tags(path, more=_TAGS)
    kind = str(header.get("SOPClassUID", ""))
    if kind not in (STRUCTURE_SET, SEGMENTATION):
        return None
    with reading(path, "RTSTRUCT" if kind == STRUCTURE_SET else "DICOM-SEG"):
        if kind == STRUCTURE_SET:
            frame = header.ReferencedFrameOfReferenceSequence[0]
            series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID
            closed = {number for number, contours in _contours(header).items() if contours}
            found = [(str(roi.ROIName), int(roi.ROINumber)) for roi in header.StructureSetROISequence]
            found = [(name, number) for name, number in found if number in closed]
        else:
            series = header.ReferencedSeriesSequence[0].SeriesInstanceUID
            found = [(str(segment.SegmentLabel), int(segment.SegmentNumber)) for segment in header.SegmentSequence]
    names = [name for name, _ in found]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise BadFileError(path, f"has two structures called '{twice[0]}'", "Rename or remove one of them")
    return Drawing(path, str(series), dict(found), kind == STRUCTURE_SET)


def _contours(header: Any) -> dict[int, list[NDArray[np.float64]]]:
    """Return the closed contours of each structure by its number: (N, 3) in left-posterior-superior mm."""
    found: dict[int, list[NDArray[np.float64]]] = {}
    for structure in header.get("ROIContourSequence") or []:
        closed = found.setdefault(int(structure.ReferencedROINumber), [])
        for contour in structure.get("ContourSequence") or []:
            if "CLOSED" in str(contour.ContourGeometricType):
                closed.append(np.asarray(contour.ContourData, np.float64).reshape(-1, 3))
    return found


def draw(drawing: Drawing, names: Sequence[str], onto: VolumeHeader) -> NDArray[np.uint8]:
    """Return class indices (D, H, W) on the voxels of a series: 1 for the first of ``names``, 2 for the second, ...

    A voxel belongs to a structure if its centre lies on one of its contours or inside an odd number of them, so that a
    contour within another is a hole.

    Raises:
        BadFileError: if a structure is missing, two of them overlap, or they do not lie on the slices of the series.
    """
    if missing := [name for name in names if name not in drawing.numbers]:
        raise BadFileError(drawing.file, f"lacks '{missing[0]}'", "Draw it there, or choose other structures")
    wanted = [drawing.numbers[name] for name in names]
    masks = (_filled if drawing.is_contours else _placed)(drawing, wanted, onto)
    labels = np.zeros(onto.shape, np.uint8)
    for number, (name, mask) in enumerate(zip(names, masks, strict=True), start=1):
        if (both := mask & (labels > 0)).any():
            other = names[int(labels[both][0]) - 1]
            what = f"has '{other}' and '{name}' overlap in {int(both.sum())} voxels"
            raise BadFileError(drawing.file, what, "Choose one of them; a voxel has one class")
        labels[mask] = number
    return labels


def _filled(drawing: Drawing, numbers: Sequence[int], onto: VolumeHeader) -> list[NDArray[np.bool_]]:
    """Fill the contours of structures: a boolean (D, H, W) each."""
    measure = library(drawing.file, "skimage.measure", "dicom")

    with reading(drawing.file, "RTSTRUCT"):
        contours = _contours(read_tags(drawing.file, more=_TAGS))
    to_voxels = np.linalg.inv(onto.geometry.lps)
    depth, height, width = onto.shape
    masks: list[NDArray[np.bool_]] = []
    for number in numbers:
        inside, edge = np.zeros(onto.shape, np.bool_), np.zeros(onto.shape, np.bool_)
        for points in contours[number]:
            column, row, slices = (points @ to_voxels[:3, :3].T + to_voxels[:3, 3]).T
            at = round(float(slices.mean()))
            if not 0 <= at < depth or np.abs(slices - at).max() > _OFF:
                raise BadFileError(drawing.file, "has a contour that lies on no slice of its series", _REMEDY)
            outline = np.stack([row, column], axis=1).round(_DIGITS)
            where = measure.grid_points_in_poly((height, width), outline, binarize=False)
            inside[at] ^= where == _INSIDE
            edge[at] |= where > _INSIDE
        masks.append(inside | edge)
    return masks


def _placed(drawing: Drawing, numbers: Sequence[int], onto: VolumeHeader) -> list[NDArray[np.bool_]]:
    """Place the segments of a DICOM-SEG, which may hold some of the slices alone: a boolean (D, H, W) each."""
    with reading(drawing.file, "DICOM-SEG"):
        found = read_segmentation(drawing.file)
    whole = padded(found, onto)
    if whole is None:
        beyond = found.geometry.corner_in(onto.geometry) is not None
        what = "reaches beyond its series" if beyond else "does not lie on the voxels of its series"
        raise BadFileError(drawing.file, what, _REMEDY)
    return [whole.values == number for number in numbers]
