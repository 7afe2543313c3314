"""Makes small DICOM series, with a person's name in every header."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

PERSON = "Mustermann^Erika"
SECRETS = (PERSON, "Mustermann", "19520304", "PAT-4711", "Charite-Nord", "ACC-0815")


def common(rows: int, columns: int, series: str, **more: Any) -> Dataset:
    """Return a header with everything a viewer needs, and much that is nobody's business."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = PERSON, "PAT-4711", "19520304", "F"
    ds.InstitutionName, ds.AccessionNumber = "Charite-Nord", "ACC-0815"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.ReferringPhysicianName = "20200101", "120000", "1", ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(entropy_srcs=["study"]), series
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame"])
    ds.PositionReferenceIndicator, ds.Laterality, ds.SeriesNumber = "", "", 1
    ds.Modality, ds.Manufacturer = "CT", "M"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = rows, columns, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    for name, value in more.items():
        setattr(ds, name, value)
    return ds


def finish(ds: Dataset, sop_class: str) -> Dataset:
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = sop_class, ds.SOPInstanceUID
    return ds


def write_series(
    folder: Path,
    values: np.ndarray,
    *,
    spacing: tuple[float, float, float] = (2.5, 0.7, 0.8),
    origin: tuple[float, float, float] = (-10.0, 20.0, 30.0),
    direction: np.ndarray | None = None,
    series: str | None = None,
    names: list[str] | None = None,
    **more: Any,
) -> None:
    """Write (D, H, W) stored int16 or uint16 values as one file a slice, in an order that names do not tell."""
    folder.mkdir(parents=True, exist_ok=True)
    direction = np.eye(3) if direction is None else direction
    series = series or generate_uid()
    order = np.random.default_rng(0).permutation(len(values))
    for number, d in enumerate(order):
        ds = common(values.shape[1], values.shape[2], series, **more)
        ds.PixelRepresentation = int(values.dtype.kind == "i")
        ds.ImagePositionPatient = [float(x) for x in np.array(origin) + direction[:, 2] * spacing[0] * d]
        ds.ImageOrientationPatient = [float(x) for x in (*direction[:, 0], *direction[:, 1])]
        ds.PixelSpacing, ds.InstanceNumber, ds.SliceThickness = [spacing[1], spacing[2]], number + 1, spacing[0]
        ds.PixelData = np.ascontiguousarray(values[d]).tobytes()
        name = names[d] if names else f"im{number:03d}.dcm"
        finish(ds, CTImageStorage).save_as(folder / name, enforce_file_format=True)


def write_sparse_segmentation(path: Path, labels: np.ndarray, folder: Path) -> None:
    """Write labels as a DICOM-SEG without empty slices, as highdicom does unless told otherwise.

    labels: (D, H, W) classes, or (D, H, W, S) of segments, whose floating-point numbers are fractions.
    """
    import highdicom

    fractions, separate = labels.dtype.kind == "f", labels.ndim == 4
    kinds = highdicom.seg.SegmentationTypeValues
    sources = sorted((dcmread(file) for file in folder.iterdir()), key=lambda ds: float(ds.ImagePositionPatient[2]))
    code = highdicom.sr.CodedConcept("123037004", "SCT", "Anatomical structure")
    about = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"organ {number}",
            segmented_property_category=code,
            segmented_property_type=code,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number in range(1, (labels.shape[3] if separate else int(labels.max())) + 1)
    ]
    highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=labels if fractions else labels.astype(np.uint8),
        segmentation_type=kinds.FRACTIONAL if fractions else kinds.BINARY,
        segment_descriptions=about,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="M",
        manufacturer_model_name="M",
        software_versions="1",
        device_serial_number="0",
    ).save_as(path)


def remove_tags(folder: Path, *tags: str) -> None:
    """Take tags out of every file of a series."""
    for file in folder.iterdir():
        ds = dcmread(file)
        for tag in tags:
            delattr(ds, tag)
        ds.save_as(file)


def write_multiframe(path: Path, values: np.ndarray, spacing: tuple[float, float, float], slope: float = 1.0) -> None:
    """Write (D, H, W) int16 as one enhanced CT file, its frames from the last slice to the first."""
    ds = common(values.shape[1], values.shape[2], generate_uid(), NumberOfFrames=len(values))
    measures, orientation, transformation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[2]], spacing[0]
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = slope, -5, "HU"
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([transformation])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for d in reversed(range(len(values))):
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [0.0, 0.0, spacing[0] * d]
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    ds.PixelData = np.ascontiguousarray(values[::-1]).tobytes()
    finish(ds, EnhancedCTImageStorage).save_as(path, enforce_file_format=True)


def item(**tags: Any) -> Dataset:
    """Return an item of a sequence; lists of items become sequences."""
    made = Dataset()
    for name, value in tags.items():
        listed = isinstance(value, list) and value and isinstance(value[0], Dataset)
        setattr(made, name, Sequence(value) if listed else value)
    return made


def write_contours(
    path: Path, series: str, structures: dict[str, list[np.ndarray]], kind: str = "CLOSED_PLANAR"
) -> None:
    """Write an RTSTRUCT of structures, each of contours (N, 3) in left-posterior-superior mm, drawn on a series."""
    ds = common(1, 1, generate_uid(), Modality="RTSTRUCT", OperatorsName=PERSON)
    del ds.Rows, ds.Columns
    study = item(RTReferencedSeriesSequence=[item(SeriesInstanceUID=series)])
    ds.ReferencedFrameOfReferenceSequence = Sequence([item(RTReferencedStudySequence=[study])])
    numbered = list(enumerate(structures.items(), start=1))
    ds.StructureSetROISequence = Sequence([item(ROINumber=number, ROIName=name) for number, (name, _) in numbered])
    ds.ROIContourSequence = Sequence(
        [
            item(
                ReferencedROINumber=number,
                ContourSequence=[
                    item(
                        ContourGeometricType=kind,
                        NumberOfContourPoints=len(points),
                        ContourData=[round(float(x), 6) for x in points.ravel()],
                    )
                    for points in contours
                ],
            )
            for number, (_, contours) in numbered
        ]
    )
    finish(ds, RTStructureSetStorage).save_as(path, enforce_file_format=True)
