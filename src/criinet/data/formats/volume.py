"""What every format gives: the values of a volume and where they lie."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError, in_a_sentence
from criinet.data.geometry import Geometry, size_text

Array = NDArray[Any]
MAX_VOXELS = 2**31
"""The most voxels of one volume, 8 GiB in 32 bits, or 8192 slices of 512x512: a header of a few bytes may name more."""
SEG = "SEG"
"""Modality of a DICOM-SEG."""


@dataclass(frozen=True)
class VolumeHeader:
    """What is known of a volume without its values: shape (D, H, W), geometry, and modality ("CT", "MR") if it says."""

    shape: tuple[int, int, int]
    geometry: Geometry
    modality: str | None = None


@dataclass(frozen=True)
class Volume:
    """A volume as stored.

    values: (D, H, W) of any integer or floating dtype, in physical units where the file has them (HU in CT).
    window: (low, high) that the file wants to be shown with, if it says.
    """

    values: Array
    geometry: Geometry
    modality: str | None = None
    window: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        return self.values.shape[0], self.values.shape[1], self.values.shape[2]

    @property
    def header(self) -> VolumeHeader:
        """What is known of it without its values."""
        return VolumeHeader(self.shape, self.geometry, self.modality)


def corner_within(part: Volume | VolumeHeader, whole: VolumeHeader) -> tuple[int, int, int] | None:
    """Return the voxel of ``whole`` at which a part of it begins; None if it has another grid or reaches beyond."""
    corner = part.geometry.corner_in(whole.geometry)
    if corner is None or min(corner) < 0:
        return None
    inside = all(start + n <= side for start, n, side in zip(corner, part.shape, whole.shape, strict=True))
    return corner if inside else None


def padded(mask: Volume, whole: VolumeHeader) -> Volume | None:
    """Return a mask of a part of a volume as one of all its voxels, background elsewhere; None if it is of no part."""
    corner = corner_within(mask, whole)
    if corner is None:
        return None
    values = np.zeros(whole.shape, mask.values.dtype)
    values[tuple(slice(start, start + n) for start, n in zip(corner, mask.shape, strict=True))] = mask.values
    return replace(mask, values=values, geometry=mask.geometry.begun_at([-start for start in corner]))


class HeaderReader(Protocol):
    """Reads shape and geometry."""

    def __call__(self, path: Path) -> VolumeHeader: ...


class VolumeReader(Protocol):
    """Reads everything; ``labels`` says that a mask is wanted."""

    def __call__(self, path: Path, *, labels: bool = False) -> Volume: ...


class Format(NamedTuple):
    """The two functions of a format."""

    header: HeaderReader
    read: VolumeReader


@contextmanager
def reading(path: Path, kind: str) -> Generator[None, None, None]:
    """Turn whatever a library raises in the body into one sentence about the file, without the library's own words.

    A library's message may quote a header, and a header may name a person.
    """
    with in_a_sentence(path, f"is damaged, cut short, or no {kind}"):
        yield


def library(path: Path, module: str, extra: str) -> Any:
    """Import the library of a format.

    Raises:
        BadFileError: if it is not installed; it says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise BadFileError(path, f"needs {module}", f"Install it with pip install 'criinet[{extra}]'") from error


def three_axes(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Check that a shape, slowest axis first, has three axes, and return it.

    Raises:
        BadFileError: if it has more, a length of 0, or more than MAX_VOXELS voxels.
    """
    if len(shape) > 3:
        what = f"has {len(shape)} dimensions ({size_text(shape)}), a time series or several channels"
        raise BadFileError(path, what, "Save each volume of three dimensions as a file of its own")
    if len(shape) < 2 or 0 in shape:
        raise BadFileError(path, f"has the shape {shape}, which is no volume", "Save three dimensions, none of them 0")
    padded = (1,) * (3 - len(shape)) + tuple(int(side) for side in shape)
    if prod(padded) > MAX_VOXELS:
        raise BadFileError(path, f"has over {MAX_VOXELS:,} voxels", "Crop it or resample it to fewer")
    return padded[0], padded[1], padded[2]


def plain_values(path: Path, values: Array) -> Array:
    """Return integer or floating values in the machine's byte order.

    Raises:
        BadFileError: if they are colours, complex numbers or anything else.
    """
    if values.dtype.names is not None:
        raise BadFileError(path, "is in colour", "Save one gray value for each voxel")
    if values.dtype.kind not in "iubf":
        raise BadFileError(path, f"holds values of {values.dtype}", "Save integers or floating-point numbers")
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    return values.astype(values.dtype.newbyteorder("="), copy=False)
