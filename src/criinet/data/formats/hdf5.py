"""HDF5 as semi-supervised benchmarks write it, by h5py: ``image`` and ``label`` in one file.

It has no geometry: dataset.json gives the spacing.
"""

from pathlib import Path
from typing import Any

import numpy as np

from criinet.data.bad_files import BadFileError
from criinet.data.formats.volume import Format, Volume, VolumeHeader, library, plain_values, reading, three_axes
from criinet.data.geometry import Geometry

IMAGE_KEYS = ("image", "images", "raw", "volume", "data")
LABEL_KEYS = ("label", "labels", "mask", "masks", "seg", "segmentation")
_KIND = "HDF5 file"


def _dataset(path: Path, file: Any, keys: tuple[str, ...]) -> Any:
    """Return the first array of some names.

    Raises:
        BadFileError: if there is none, or its values stand in another file, which a header may name at will.
    """
    h5py = library(path, "h5py", "volumes")
    for key in keys:
        link = file.get(key, getlink=True)
        if link is None:
            continue
        if isinstance(link, h5py.ExternalLink) or _is_elsewhere(file, file[key]):
            raise BadFileError(path, f"takes '{key}' from another file", "Save the values in the file itself")
        if hasattr(file[key], "shape"):
            return file[key]
    raise BadFileError(path, f"has no dataset called {keys[0]}", f"Rename the array to '{keys[0]}'")


def _is_elsewhere(file: Any, found: Any) -> bool:
    """Tell whether an object, or the values of an array, stand in another file."""
    by_link = found.file.filename != file.filename
    return by_link or (hasattr(found, "shape") and bool(found.external or found.is_virtual))


def header(path: Path) -> VolumeHeader:
    """Read the shape of the image; of a file that holds labels alone, theirs."""
    h5py = library(path, "h5py", "volumes")
    with reading(path, _KIND), h5py.File(path, "r") as file:
        return VolumeHeader(three_axes(path, _dataset(path, file, IMAGE_KEYS + LABEL_KEYS).shape), Geometry.unknown())


def read(path: Path, *, labels: bool = False) -> Volume:
    """Read the image, or the labels."""
    h5py = library(path, "h5py", "volumes")
    with reading(path, _KIND), h5py.File(path, "r") as file:
        found = _dataset(path, file, LABEL_KEYS if labels else IMAGE_KEYS)
        shape = three_axes(path, found.shape)
        values = plain_values(path, np.asarray(found).reshape(shape))
    return Volume(values, Geometry.unknown())


FORMAT = Format(header, read)
