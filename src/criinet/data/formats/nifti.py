"""NIfTI, by nibabel."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from criinet.data.formats.volume import Format, Volume, VolumeHeader, plain_values, reading, three_axes
from criinet.data.geometry import Geometry
from criinet.data.images import BadFileError


def _open(path: Path) -> tuple[Any, VolumeHeader]:
    import nibabel as nib

    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image: Any = nib.load(path)
    shape = list(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    geometry = Geometry.from_nifti(image.affine)
    problem = geometry.problem()
    if problem is not None:
        raise BadFileError(path, problem, "Write its affine again, for instance from the original scan")
    return image, VolumeHeader(three_axes(path, tuple(reversed(shape))), geometry)


def header(path: Path) -> VolumeHeader:
    """Read shape and geometry."""
    with reading(path, "NIfTI file"):
        return _open(path)[1]


def read(path: Path, *, labels: bool = False) -> Volume:  # noqa: ARG001
    """Read values, with slope and intercept applied, and geometry."""
    with reading(path, "NIfTI file"):
        image, found = _open(path)
        values = np.asanyarray(image.dataobj)
        values = plain_values(path, values.reshape(tuple(reversed(found.shape)), order="F").transpose(2, 1, 0))
    return Volume(values, found.geometry)


def read_channel(path: Path, channel: int) -> Volume:
    """Read one channel of a NIfTI file whose fourth axis is channels.

    Raises:
        BadFileError: if it has no such channel.
    """
    import nibabel as nib

    with reading(path, "NIfTI file"):
        image: Any = nib.load(path)
        if len(image.shape) != 4 or channel >= image.shape[3]:
            count = image.shape[3] if len(image.shape) == 4 else 1
            raise BadFileError(path, f"has {count} channels", f"Choose --channel 0 to {count - 1}")
        values = plain_values(path, np.asanyarray(image.dataobj[..., channel]).transpose(2, 1, 0))
    return Volume(values, Geometry.from_nifti(image.affine))


FORMAT = Format(header, read)
