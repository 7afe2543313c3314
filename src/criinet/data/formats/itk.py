"""NRRD and MetaImage, by SimpleITK."""

import os
import re
from collections.abc import Mapping
from math import prod
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from criinet.data.bad_files import SKIPPABLE, BadFileError
from criinet.data.formats.volume import Format, Volume, VolumeHeader, library, plain_values, reading, three_axes
from criinet.data.geometry import Geometry
from criinet.data.kinds import suffix_of

_KIND = "NRRD or MetaImage file"
_META = re.compile(rb"ElementDataFile\s*[=:]\s*(.*)")
_NRRD = re.compile(rb"data ?file:\s*(.*)", re.IGNORECASE)
"""The line of a header that names the file of its values, or says LIST before one name a line; MetaImage's last one."""
_BYTES = {
    b"MET_CHAR": 1,
    b"MET_UCHAR": 1,
    b"MET_SHORT": 2,
    b"MET_USHORT": 2,
    b"MET_INT": 4,
    b"MET_UINT": 4,
    b"MET_FLOAT": 4,
    b"MET_DOUBLE": 8,
    b"MET_LONG_LONG": 8,
    b"MET_ULONG_LONG": 8,
}
"""Of one value; MET_LONG is missing, as machines differ."""


def _require_own_values(path: Path) -> None:
    """Check that a header takes its values from its own folder: it may name any file of this machine.

    Raises:
        BadFileError: otherwise.
    """
    for name in _data_files(path):
        place = PureWindowsPath(os.fsdecode(name))  # Of either kind of slash.
        if place.anchor or ".." in place.parts:
            remedy = "Put the file of its values beside it, and name that without a folder"
            raise BadFileError(path, "takes its values from another folder", remedy)


def _require_whole(path: Path) -> None:
    """Check that the files are there that a header takes its values from, and that of MetaImage its one is not short.

    ITK would print words of its own about them.

    Raises:
        BadFileError: otherwise.
    """
    names = [name for name in _data_files(path) if name and not name.startswith(b"LIST") and b"%" not in name]
    beside = [path.parent / os.fsdecode(name) for name in names if name.upper() != b"LOCAL"]
    missing = next((file for file in beside if not file.exists()), None)
    if missing is not None:
        what = f"takes its values from {missing.name}, which is not there"
        raise BadFileError(path, what, "Put that beside it, or remove it", SKIPPABLE)
    if len(names) != 1 or suffix_of(path) not in (".mha", ".mhd"):
        return
    fields, length = _meta_fields(path)
    values = beside[0].stat().st_size if beside else path.stat().st_size - length
    if values < _bytes_of_values(fields):
        what = f"takes its values from {beside[0].name}, which is cut short" if beside else "is cut short"
        raise BadFileError(path, what, "Copy it again or remove it", SKIPPABLE)


def _meta_fields(path: Path) -> tuple[dict[bytes, bytes], int]:
    """Return the fields of a MetaImage header, and its length in bytes."""
    fields: dict[bytes, bytes] = {}
    length = 0
    with path.open("rb") as file:
        for line in file:
            length += len(line)
            key, _, value = line.replace(b":", b"=", 1).partition(b"=")
            fields[key.strip()] = value.strip()
            if key.strip() == b"ElementDataFile":
                break
    return fields, length


def _bytes_of_values(fields: Mapping[bytes, bytes]) -> int:
    """Return how many bytes a MetaImage header says that its values take; 0 where it does not say."""
    if fields.get(b"CompressedData", b"").lower() == b"true":
        return int(fields.get(b"CompressedDataSize", b"0"))
    if fields.get(b"BinaryData", b"").lower() != b"true":
        return 0
    channels = int(fields.get(b"ElementNumberOfChannels", b"1"))
    return prod(map(int, fields[b"DimSize"].split())) * channels * _BYTES.get(fields[b"ElementType"], 0)


def _data_files(path: Path) -> list[bytes]:
    """Return the files that a header names, LOCAL and LIST among them."""
    names: list[bytes] = []
    with path.open("rb") as file:
        nrrd = file.read(4) == b"NRRD"
        file.seek(0)
        for line in file:
            if nrrd and not line.strip(b"\r\n"):
                break  # What follows is values.
            found = (_NRRD if nrrd else _META).match(line.strip())
            if found is None:
                continue
            names.append(found[1])
            if found[1].startswith(b"LIST"):
                names.extend(map(bytes.strip, file))
            if not nrrd:
                break
    return names


def _open(path: Path) -> tuple[Any, Any, VolumeHeader]:
    sitk = library(path, "SimpleITK", "volumes")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if not path.exists():
        raise FileNotFoundError(path)
    _require_own_values(path)
    _require_whole(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetNumberOfComponents() > 1:
        what = f"has {reader.GetNumberOfComponents()} values for each voxel, colours or channels"
        raise BadFileError(path, what, "Save one gray value for each voxel")
    size = list(reader.GetSize())
    while len(size) > 3 and size[-1] == 1:
        size.pop()
    shape = three_axes(path, tuple(reversed(size)))
    direction = np.asarray(reader.GetDirection()).reshape(reader.GetDimension(), -1)
    spacing, origin = np.asarray(reader.GetSpacing()), np.asarray(reader.GetOrigin())
    if len(spacing) == 2:
        spacing, origin = np.append(spacing, 1.0), np.append(origin, 0.0)
        direction = np.block([[direction, np.zeros((2, 1))], [np.zeros((1, 2)), np.ones((1, 1))]])
    geometry = Geometry.from_lps(spacing[:3], origin[:3], direction[:3, :3])
    problem = geometry.problem()
    if problem is not None:
        raise BadFileError(path, problem, "Write its spacing and direction again, for instance from the original scan")
    return sitk, reader, VolumeHeader(shape, geometry)


def header(path: Path) -> VolumeHeader:
    """Read shape and geometry."""
    with reading(path, _KIND):
        return _open(path)[2]


def read(path: Path, *, labels: bool = False) -> Volume:  # noqa: ARG001
    """Read values and geometry."""
    with reading(path, _KIND):
        sitk, reader, found = _open(path)
        values = plain_values(path, sitk.GetArrayFromImage(reader.Execute()).reshape(found.shape))
    return Volume(values, found.geometry)


FORMAT = Format(header, read)
