"""A tree of DICOM files: every series becomes one volume without a header, under a name that tells nothing."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from criinet.data.bad_files import BadFileError
from criinet.data.formats.dicom import frames_in, header_of, is_cut_off, is_image, read_frames, read_tags
from criinet.data.formats.structures import Drawing, draw, drawing_in
from criinet.data.formats.volume import VolumeHeader
from criinet.data.importing.plan import Content, ImportPlan, Item, Wanted, Written, counted, require_drawn
from criinet.data.kinds import is_dicom


@dataclass
class Tree:
    """What lies below a folder.

    series: the files of each, by the name that it will have. patients: whose each is, compared and never written.
    drawings: what was drawn on each. left_out: one sentence for each drawing that cannot be read.
    """

    series: dict[str, list[Path]] = field(default_factory=dict[str, list[Path]])
    patients: dict[str, str] = field(default_factory=dict[str, str])
    modalities: set[str] = field(default_factory=set[str])
    drawings: dict[str, list[Drawing]] = field(default_factory=dict[str, list[Drawing]])
    left_out: list[str] = field(default_factory=list[str])

    @classmethod
    def read(cls, source: Path) -> "Tree":
        """Read the headers of all DICOM files, in whatever folders they lie."""
        tree = cls()
        for path in sorted(file for file in source.rglob("*") if file.is_file() and not file.name.startswith(".")):
            if not is_dicom(path):
                if path.suffix.lower() == ".dcm":
                    tree.left_out.append(f"left out: {path} is damaged or no DICOM file. Copy it again.")
                continue
            header = read_tags(path, more=("PatientID",))
            if is_image(header) or (is_cut_off(header) and header.get("SeriesInstanceUID")):
                name = _name(str(header.get("SeriesInstanceUID", path)))
                tree.series.setdefault(name, []).append(path)
                tree.patients[name] = str(header.get("PatientID") or name)
                tree.modalities.add(str(header.get("Modality") or ""))
                continue
            try:
                if drawing := drawing_in(path):
                    tree.drawings.setdefault(_name(drawing.series), []).append(drawing)
            except BadFileError as problem:
                tree.left_out.append(f"left out: {problem}")
        return tree

    def structures(self) -> Counter[str]:
        """Count how many drawings have each structure."""
        return Counter(name for found in self.drawings.values() for drawing in found for name in drawing.numbers)

    def group(self, name: str) -> str:
        """Return the first series of the patient of a series."""
        return min(other for other, patient in self.patients.items() if patient == self.patients[name])


def plan_dicom(source: Path, wanted: Wanted) -> ImportPlan:
    """Find every series below ``source``, in whatever folders its files lie, and what was drawn on it.

    A series is called after a digest of its UID, and a patient after the first of their series: the patient's number is
    compared in memory and goes nowhere. Series that make no volume are left out, with the reason; those whose wanted
    structures make no mask come without one, with the reason.

    Raises:
        DataError: if a structure is wanted that nothing in the source has.
    """
    tree = Tree.read(source)
    structures, left_out = tree.structures(), tree.left_out
    require_drawn(source, wanted.structures, structures, nothing="no RTSTRUCT or DICOM-SEG")
    items: list[Item] = []
    for name, files in sorted(tree.series.items()):
        try:
            onto = header_of(frames_in(files[0].parent, files))
        except BadFileError as problem:
            left_out.append(f"left out {name} of {len(files)} files: {problem}")
            continue
        mask = None
        if wanted.structures and name in tree.drawings:
            try:
                mask = _mask(tree.drawings[name], wanted.structures, onto)
                mask.make()  # A dry run must know whether it can be drawn.
            except BadFileError as problem:
                mask = None
                left_out.append(f"{name} comes without a mask: {problem}")
        items.append(Item(name, Written(".nii.gz", _volume(files)), mask, tree.group(name)))
    card: dict[str, Any] = {"name": "dicom"}
    if len(tree.modalities) == 1 and (modality := tree.modalities.pop()):
        card["modality"] = modality
    if wanted.structures:
        card["classes"] = ["background", *wanted.structures]
    elif structures:
        left_out.append(f"no mask is taken of {counted(structures)}; choose with --structure NAME")
    return ImportPlan(tuple(items), card, left_out=tuple(left_out))


def _name(uid: str) -> str:
    return f"series_{hashlib.sha256(uid.encode()).hexdigest()[:10]}"


def _mask(drawings: Sequence[Drawing], structures: Sequence[str], onto: VolumeHeader) -> Written:
    """Return the mask that the one drawing with a wanted structure makes on a series.

    Raises:
        BadFileError: if several have one, so that the person who knows must choose.
    """
    having = [drawing for drawing in drawings if any(name in drawing.numbers for name in structures)] or drawings[:1]
    if len(having) > 1:
        what = f"and {having[1].file} draw the same structures on one series"
        raise BadFileError(having[0].file, what, "Keep the one that holds")
    return Written(".nii.gz", lambda: (draw(having[0], structures, onto), onto.geometry))


def _volume(files: list[Path]) -> Callable[[], Content]:
    def make() -> Content:
        volume = read_frames(files[0].parent, frames_in(files[0].parent, files))
        return volume.values, volume.geometry

    return make
