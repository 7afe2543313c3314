"""NRRD and MetaImage, by SimpleITK."""

import os
import re
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from criinet.data.bad_files import BadFileError
from criinet.data.formats.volume import Format, Volume, VolumeHeader, library, plain_values, reading, three_axes
from criinet.data.geometry import Geometry

_KIND = "NRRD or MetaImage file"
_META = re.compile(rb"ElementDataFile\s*[=:]\s*(.*)")
_NRRD = re.compile(rb"data ?file:\s*(.*)", re.IGNORECASE)
"""The line of a header that names the file of its values, or says LIST before one name a line; MetaImage's last one."""


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
