"""Which images are stored under several names, told from their files without decoding them all."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from criinet.data.bad_files import BadFileError
from criinet.data.files import digest
from criinet.data.images import read_image
from criinet.data.kinds import is_volume

_SAMPLE = 65536
"""Bytes from the middle of a file that tell nearly all files of one size apart, however large they are."""


def identical_images(images: Mapping[str, Path]) -> tuple[tuple[str, ...], ...]:
    """Return the names of each image that is stored byte for byte under two or more, in order.

    Files are read only where others have their size, and read whole only where these have their middle, too. An image
    of one value, as a blank slice, may come from any patient and is no twin; nor is a file that cannot be read.
    """
    sets = [sorted(images)]
    for tell in (_size, _middle, _content):
        sets = [part for names in sets for part in _alike(names, images, tell)]
    return tuple(tuple(names) for names in sorted(sets) if _shows_something(images[names[0]]))


def _alike(names: list[str], images: Mapping[str, Path], tell: Callable[[Path], object]) -> list[list[str]]:
    """Return the names of which ``tell`` says the same as of another."""
    found: dict[object, list[str]] = {}
    for name in names:
        try:
            found.setdefault(tell(images[name]), []).append(name)
        except OSError:
            continue  # Whoever needs the image says so.
    return [part for part in found.values() if len(part) > 1]


def _files(image: Path) -> list[Path]:
    """Return the files of an image: itself, or the slices of a DICOM series."""
    return sorted(path for path in image.iterdir() if path.is_file()) if image.is_dir() else [image]


def _size(image: Path) -> tuple[int, ...]:
    return tuple(path.stat().st_size for path in _files(image))


def _middle(image: Path) -> bytes:
    path = (files := _files(image))[len(files) // 2]
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _SAMPLE) // 2)
        return hashlib.sha256(file.read(_SAMPLE)).digest()


def _content(image: Path) -> tuple[str, ...]:
    return tuple(map(digest, _files(image)))


def _shows_something(image: Path) -> bool:
    """Tell whether an image can be read and has more than one value; of a volume that is not asked."""
    if is_volume(image):
        return True
    try:
        pixels = read_image(image)
    except BadFileError:
        return False
    return bool((pixels != pixels[0, 0]).any())
