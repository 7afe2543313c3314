"""A tree of DICOM files: every series becomes one volume without a header, under a name that tells nothing."""

import hashlib
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from criinet.data.formats.dicom import frames_in, is_image, read_frames, read_tags
from criinet.data.geometry import Geometry
from criinet.data.images import BadFileError
from criinet.data.importing.plan import ImportPlan, Item, Written
from criinet.data.kinds import is_dicom


def plan_dicom(source: Path, _: int | None) -> ImportPlan:
    """Find every series below ``source``, in whatever folders its files lie.

    A series is called after a digest of its UID, and a patient after the first of their series: the patient's number is
    compared in memory and goes nowhere. Series that make no volume are left out, with the reason.
    """
    series: dict[str, list[Path]] = {}
    patients: dict[str, str] = {}
    modalities: set[str] = set()
    for path in sorted(file for file in source.rglob("*") if file.is_file() and is_dicom(file)):
        header = read_tags(path, more=("PatientID",))
        if not is_image(header):
            continue
        name = f"series_{hashlib.sha256(str(header.get('SeriesInstanceUID', path)).encode()).hexdigest()[:10]}"
        series.setdefault(name, []).append(path)
        patients[name] = str(header.get("PatientID") or name)
        modalities.add(str(header.get("Modality") or ""))
    items: list[Item] = []
    left_out: list[str] = []
    for name, files in sorted(series.items()):
        try:
            frames_in(files[0].parent, files)
        except BadFileError as problem:
            left_out.append(f"left out {name} of {len(files)} files: {problem}")
            continue
        group = min(other for other, patient in patients.items() if patient == patients[name])
        items.append(Item(name, Written(".nii.gz", _volume(files)), None, group))
    card: dict[str, Any] = {"name": "dicom"}
    if len(modalities) == 1 and (modality := modalities.pop()):
        card["modality"] = modality
    return ImportPlan(tuple(items), card, left_out=tuple(left_out))


def _volume(files: list[Path]) -> Any:
    def make() -> tuple[NDArray[Any], Geometry | None]:
        volume = read_frames(files[0].parent, frames_in(files[0].parent, files))
        return volume.values, volume.geometry

    return make
