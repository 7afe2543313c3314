"""What lies on the disk while the page runs, where other programs work too."""

import hashlib
from pathlib import Path

from criinet.data.bad_files import BadFileError
from criinet.data.files import newest
from criinet.data.kinds import comparable, is_readable, key_of

GONE = "gone"
"""The stamp of an image that is not there."""


def stamp(image: Path) -> str:
    """Return what changes whenever an image is written or another one takes its place; of a series its newest file."""
    try:
        about = newest(image)
    except OSError:
        return GONE
    return f"{about.st_mtime_ns:x}.{about.st_size:x}"


def mask_in(folder: Path, name: str) -> Path | None:
    """Return the mask of a case, whatever its format; None if the folder holds none.

    Raises:
        BadFileError: if the folder cannot be listed.
    """
    key = comparable(name)
    try:
        alike = [path for path in folder.iterdir() if comparable(path.name).startswith(key)]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadFileError(folder, "cannot be listed", "Change its permissions") from error
    return next((path for path in sorted(alike) if key_of(path) == key and is_readable(path)), None)


def read_if_there(path: Path) -> bytes | None:
    """Return what a file holds, None if it is not there.

    Raises:
        BadFileError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return b""  # A DICOM series: it is shown and never replaced.
    except OSError as error:
        raise BadFileError(path, "cannot be read", "Change its permissions") from error


def sha256(content: bytes | None) -> str | None:
    """Return the SHA-256 of what a file holds."""
    return None if content is None else hashlib.sha256(content).hexdigest()
