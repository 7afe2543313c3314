"""A tree of DICOM files: every series becomes one volume without a header, under a name that tells nothing."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from criinet.data.bad_files import BadFileError
from criinet.data.formats.dicom import (
    DOSE,
    damaged_slice,
    frames_in,
    header_of,
    is_cut_off,
    is_image,
    is_no_scan,
    name_of_class,
    read_frames,
    read_tags,
    told_apart,
)
from criinet.data.formats.structures import Drawing, draw, drawing_in
from criinet.data.formats.volume import VolumeHeader
from criinet.data.importing.plan import Content, ImportPlan, Item, Wanted, Written, counted, require_drawn
from criinet.data.importing.sources import files_below
from criinet.errors import DataError


@dataclass
class Series:
    """The files of one series.

    patient: whose it is, compared and never written. kind: SOP class of its first file. damaged: a file that may be a
    slice of it, and cannot be read.
    """

    patient: str
    modality: str
    kind: str
    files: list[Path] = field(default_factory=list[Path])
    damaged: Path | None = None


@dataclass
class Tree:
    """What lies below a folder.

    series: by the name that each will have. drawings: what was drawn on each. left_out: one sentence for each thing
    that is not taken.
    """

    series: dict[str, Series] = field(default_factory=dict[str, Series])
    drawings: dict[str, list[Drawing]] = field(default_factory=dict[str, list[Drawing]])
    left_out: list[str] = field(default_factory=list[str])

    @classmethod
    def read(cls, source: Path) -> "Tree":
        """Read the headers of all DICOM files, in whatever folders they lie."""
        tree = cls()
        folders: defaultdict[Path, list[Path]] = defaultdict(list)
        for path in files_below(source):
            folders[path.parent].append(path)
        for files in folders.values():
            whole, damaged = told_apart(files)
            names = {name for path in whole if (name := tree._add(path))}
            if damaged and len(names) == 1:
                tree.series[names.pop()].damaged = damaged[0]
            else:  # Of several series, nobody can tell which one lacks it.
                tree.left_out += [f"left out: {path} is damaged or no DICOM file. Copy it again." for path in damaged]
        tree._leave_out_what_is_no_scan()
        return tree

    def _add(self, path: Path) -> str | None:
        """Take a DICOM file, and return the name of its series if it is an image."""
        header = read_tags(path, more=("PatientID",))
        if is_image(header) or (is_cut_off(header) and header.get("SeriesInstanceUID")):
            name = _name(str(header.get("SeriesInstanceUID", path)))
            patient, modality = str(header.get("PatientID") or name), str(header.get("Modality") or "")
            found = self.series.setdefault(name, Series(patient, modality, str(header.get("SOPClassUID", ""))))
            found.files.append(path)
            return name
        try:
            if drawing := drawing_in(path):
                self.drawings.setdefault(_name(drawing.series), []).append(drawing)
        except BadFileError as problem:
            self.left_out.append(f"left out: {problem.without_hint}")
        return None

    def _leave_out_what_is_no_scan(self) -> None:
        """Leave out doses, and pictures of a screen beside scans; alone, they may be the scans, as films are."""
        kinds = {series.kind for series in self.series.values()}
        only_captures = all(is_no_scan(kind) for kind in kinds)
        for name, series in list(self.series.items()):
            if series.kind == DOSE or (is_no_scan(series.kind) and not only_captures):
                del self.series[name]
                what = f"{series.files[0]} is {name_of_class(series.kind)}, no scan"
                self.left_out.append(f"left out {name} of {len(series.files)} files: {what}")

    def structures(self) -> Counter[str]:
        """Count how many drawings have each structure."""
        return Counter(name for found in self.drawings.values() for drawing in found for name in drawing.numbers)

    def group(self, name: str) -> str:
        """Return the first series of the patient of a series."""
        patient = self.series[name].patient
        return min(other for other, series in self.series.items() if series.patient == patient)


def plan_dicom(source: Path, wanted: Wanted) -> ImportPlan:
    """Find every series below ``source``, in whatever folders its files lie, and what was drawn on it.

    A series is called after a digest of its UID, and a patient after the first of their series: the patient's number is
    compared in memory and goes nowhere. Series that make no volume are left out, with the reason; those whose wanted
    structures make no mask come without one, with the reason.

    Raises:
        DataError: if a structure is wanted that nothing in the source has, or no series makes a volume.
    """
    tree = Tree.read(source)
    structures, left_out = tree.structures(), tree.left_out
    require_drawn(source, wanted.structures, structures, nothing="no RTSTRUCT or DICOM-SEG")
    items: list[Item] = []
    for name, series in sorted(tree.series.items()):
        files = series.files
        try:
            if series.damaged is not None:
                raise damaged_slice(series.damaged)
            onto = header_of(frames_in(files[0].parent, files))
        except BadFileError as problem:
            left_out.append(f"left out {name} of {len(files)} files: {problem.without_hint}")
            continue
        mask = None
        if wanted.structures and name in tree.drawings:
            try:
                mask = _mask(tree.drawings[name], wanted.structures, onto)
                mask.make()  # A dry run must know whether it can be drawn.
            except BadFileError as problem:
                mask = None
                left_out.append(f"{name} comes without a mask: {problem.without_hint}")
        items.append(Item(name, Written(".nii.gz", _volume(files)), mask, tree.group(name)))
    if left_out and not items:
        more = f" ({len(left_out) - 1} more like it)" if len(left_out) > 1 else ""
        raise DataError(f"{source} has no series that makes a volume: {left_out[0].rstrip('.')}{more}.")
    card: dict[str, Any] = {"name": "dicom"}
    modalities = {tree.series[item.name].modality for item in items}
    if len(modalities) == 1 and (modality := modalities.pop()):
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
        first, second = ([name for name in structures if name in drawing.numbers] for drawing in having[:2])
        if twice := [name for name in first if name in second]:
            what = f"and {having[1].file} both draw '{twice[0]}' on one series"
            raise BadFileError(having[0].file, what, "Keep the one that holds")
        what = f"draws '{first[0]}' and {having[1].file} '{second[0]}', but a mask is made of one file"
        raise BadFileError(having[0].file, what, "Save both structures in one file, or choose one of them")
    return Written(".nii.gz", lambda: (draw(having[0], structures, onto), onto.geometry))


def _volume(files: list[Path]) -> Callable[[], Content]:
    def make() -> Content:
        volume = read_frames(files[0].parent, frames_in(files[0].parent, files))
        return volume.values, volume.geometry

    return make
