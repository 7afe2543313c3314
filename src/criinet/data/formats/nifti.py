"""NIfTI, by nibabel."""

import gzip
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.formats.volume import Format, Volume, VolumeHeader, plain_values, reading, three_axes
from criinet.data.geometry import Geometry, NiftiForms

_IN_MM = {"meter": 1000.0, "micron": 0.001}
_PIECE = 2**20


def _load(path: Path) -> Any:
    """Read a header by nibabel.

    Raises:
        BadFileError: if it has no sform, and the quaternion of its qform is longer than 1.
    """
    import nibabel as nib

    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return nib.load(path)
        except ValueError as error:
            if "w2 should be positive" not in str(error):  # What nibabel says of the quaternion alone.
                raise
            what = "says in its qform an orientation that is none (its quaternion is longer than 1), and has no sform"
            raise BadFileError(path, what, "Write its affine again, for instance from the original scan") from error


def _open(path: Path) -> tuple[Any, VolumeHeader]:
    image = _load(path)
    shape = list(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return image, VolumeHeader(three_axes(path, tuple(reversed(shape))), _geometry(path, image))


def _geometry(path: Path, image: Any) -> Geometry:
    """Return where a file lies, in mm; of one that was written without knowing it, an unknown geometry."""
    affine, unit = np.asarray(image.affine, np.float64), image.header.get_xyzt_units()[0]
    unknown = Geometry.unknown()
    if unit == "unknown" and np.array_equal(affine, unknown.nifti):
        return unknown
    (qform, qform_code), (sform, sform_code) = _qform(image), image.get_sform(coded=True)
    scale = np.diag([_IN_MM.get(unit, 1.0)] * 3 + [1.0])
    forms = NiftiForms(affine, qform, int(qform_code), sform, int(sform_code), unit)
    geometry = Geometry.from_nifti(scale @ affine, forms)
    problem = geometry.problem()
    if problem is not None:
        raise BadFileError(path, problem, "Write its affine again, for instance from the original scan")
    return geometry


def _qform(image: Any) -> tuple[NDArray[np.float64] | None, int]:
    """Return the qform and its code; none where its quaternion is no rotation, so that the sform alone holds."""
    try:
        return image.get_qform(coded=True)
    except ValueError:
        return None, 0


@contextmanager
def _to_its_end(path: Path, image: Any) -> Generator[Any, None, None]:
    """Give the image to read values from; of a compressed file all is read then, up to its checksum."""
    if path.suffix.lower() != ".gz":
        yield image
        return
    with gzip.open(path, "rb") as file:
        yield type(image).from_file_map(type(image).make_file_map({"image": file}))
        while file.read(_PIECE):
            pass


def header(path: Path) -> VolumeHeader:
    """Read shape and geometry."""
    with reading(path, "NIfTI file"):
        return _open(path)[1]


def read(path: Path, *, labels: bool = False) -> Volume:  # noqa: ARG001
    """Read values, with slope and intercept applied, and geometry."""
    with reading(path, "NIfTI file"):
        image, found = _open(path)
        with _to_its_end(path, image) as whole:
            values = np.asanyarray(whole.dataobj)
        values = plain_values(path, values.reshape(tuple(reversed(found.shape)), order="F").transpose(2, 1, 0))
    return Volume(values, found.geometry)


def count_channels(path: Path) -> int:
    """Return the length of the fourth axis, 1 if there is none."""
    with reading(path, "NIfTI file"):
        shape = _load(path).shape
        return int(shape[3]) if len(shape) == 4 else 1


def read_channel(path: Path, channel: int) -> Volume:
    """Read one channel of a NIfTI file whose fourth axis is channels.

    Raises:
        BadFileError: if it has no such channel.
    """
    with reading(path, "NIfTI file"):
        image = _load(path)
        if len(image.shape) != 4 or channel >= image.shape[3]:
            raise BadFileError(path, f"has no channel {channel}", "Choose another with --channel, or import it apart")
        three_axes(path, image.shape[2::-1])
        with _to_its_end(path, image) as whole:
            values = plain_values(path, np.asanyarray(whole.dataobj[..., channel]).transpose(2, 1, 0))
        return Volume(values, _geometry(path, image))


FORMAT = Format(header, read)
