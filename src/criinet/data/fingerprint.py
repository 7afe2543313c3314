"""What a dataset folder holds, as one short text that changes with any byte of it and with nothing else."""

import hashlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from criinet.data.bad_files import in_a_sentence
from criinet.data.files import digest


def fingerprint(root: Path) -> str:
    """Return a digest of the images, the masks, ``dataset.json`` and ``groups.csv`` of a dataset: 16 hex digits.

    It is of names and contents, so a copy elsewhere has the same one, and a mask that was corrected another. Every file
    is read; in one process a second time only if its size or its time of change is another.

    Raises:
        BadFileError: if a file may not be read.
    """
    whole = hashlib.sha256()
    for path in sorted(files_of(root)):
        with in_a_sentence(path, "cannot be read"):
            about = path.stat()
            content = _digest(path, about.st_size, about.st_mtime_ns)
        whole.update(os.fsencode(path.relative_to(root).as_posix()) + b"\0" + content.encode())
    return whole.hexdigest()[:16]


def files_of(root: Path) -> Iterator[Path]:
    """Yield every file that a dataset may read, those inside of DICOM folders too; hidden ones are none."""
    for part in ("images", "masks"):
        for folder, below, names in os.walk(root / part, followlinks=True):
            below[:] = [name for name in below if not name.startswith(".")]
            yield from (Path(folder, name) for name in names if not name.startswith("."))
    yield from (path for name in ("dataset.json", "groups.csv") if (path := root / name).is_file())


@cache
def _digest(path: Path, size: int, changed: int) -> str:  # noqa: ARG001
    """Return the digest of a file's content; its size and time of change are a part of the cache's key."""
    return digest(path)
