"""What is done with any file: writing it whole or not at all, reading JSON, making CSV, telling its age and content."""

import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.errors import StorageError

TEMPORARY = re.compile(r"\.(?P<meant>.*)\.[0-9a-f]{8}\.tmp", re.DOTALL)
"""How files and folders are called while they are being written; see ``temporary_for``."""
SURELY_LEFT = 3600.0
"""Seconds after which what has such a name, and was not written to, has lost its process."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write ``path`` through ``write(file)``, so that no reader ever sees a part of it.

    The bytes go to a temporary name in the same folder, are flushed to the disk, and are then renamed. Missing folders
    are made. Whatever fails, the temporary file is removed and an older ``path`` stays as it was; a new one has the
    permissions of the older.

    Args:
        write: receives the file, open for binary writing.

    Raises:
        StorageError: if the disk is full or the place cannot be written.
    """
    make_folder(path.parent)
    temporary = temporary_for(path)
    try:
        with temporary.open("xb") as file:
            with suppress(OSError):  # Nothing stands there, or the disk knows no permissions.
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError):
            raise storage_error(path, error) from error
        raise


def temporary_for(path: Path) -> Path:
    """Return how ``path`` is called while it is being written, by this process alone."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")


def is_temporary(path: Path) -> bool:
    """Tell by its name whether ``path`` is still being written, or was left so by a process that was killed."""
    return TEMPORARY.fullmatch(path.name) is not None


def sweep(folder: Path, *, meant: Path | None = None, age: float = SURELY_LEFT) -> None:
    """Remove from a folder, if it is there, what processes left that were killed while they wrote.

    Args:
        meant: the file or folder that was to be written; None for any.
        age: seconds since the last write; 0 only where no other process writes.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        found = TEMPORARY.fullmatch(path.name)
        if found is None or (meant is not None and found["meant"] != meant.name[:100]):
            continue
        with suppress(OSError):  # Another process sweeps, too, or it is not ours to remove.
            if time.time() - path.lstat().st_mtime >= age:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def open_own(path: Path, flags: int) -> int:
    """Open ``path`` with the ``flags`` of ``os.open`` and return its descriptor, unless it is a link to another file.

    A folder of somebody else's may hold such a link, and what it leads to is not ours to change.

    Raises:
        StorageError: if it is a link, the disk is full or the place cannot be written.
    """
    try:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise storage_error(path, error) from error


def open_to_append(path: Path) -> IO[bytes]:
    """Open ``path`` to write at its end, unless it is a link to another file.

    Raises:
        StorageError: if it is a link, the disk is full or the place cannot be written.
    """
    return os.fdopen(open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all.

    Raises:
        StorageError: if the disk is full or the place cannot be written.
    """
    write_bytes_atomically(path, text.encode("utf-8"))


def write_bytes_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write ``content`` to ``path``, whole or not at all.

    Raises:
        StorageError: if the disk is full or the place cannot be written.
    """
    write_atomically(path, lambda file: file.write(content))


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]], *, compressed: bool = True) -> None:
    """Write arrays by name as an .npz file without pickles, whole or not at all.

    Raises:
        StorageError: if the disk is full or the place cannot be written.
    """
    pack = np.savez_compressed if compressed else np.savez
    write_atomically(path, lambda file: pack(file, allow_pickle=False, **arrays))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as JSON, whole or not at all; NaN and infinity become null."""
    write_text_atomically(path, json.dumps(jsonable(value), indent=1) + "\n")


def read_json(path: Path, access: str, example: str) -> Any:
    """Read a JSON file that a person may have written.

    Args:
        access: what to do if it cannot be read. example: what to write instead if it is no JSON.

    Raises:
        BadFileError: if it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadFileError(path, "cannot be read", access) from error
    except (ValueError, RecursionError) as error:
        raise BadFileError(path, f"is not valid JSON ({error})", example) from error


def read_records(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the objects of a file with one in each line of JSON, and how many lines are none.

    A last line that is not whole yet does not count; a file that is missing has none.

    Raises:
        OSError: if the file cannot be read.
    """
    if not path.exists():
        return [], 0
    lines = path.read_bytes().splitlines()
    records: list[dict[str, Any]] = []
    damaged = 0
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        elif number < len(lines):
            damaged += 1
    return records, damaged


def jsonable(value: Any) -> Any:
    """Return ``value`` with NaN and infinity as None, which JSON can say."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return rows as CSV text; empty if there are none.

    Args:
        columns: the header, every key of any row; None for the keys of the first row.
    """
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, columns or list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return text.getvalue()


def make_folder(path: Path) -> Path:
    """Make the folder ``path`` with its parents, unless it is there, and return it.

    Raises:
        StorageError: if it cannot be made, is a file, or does not let us write.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StorageError(f"folder {path} is not writable; change its permissions or choose another folder.")
    return path


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # The error that led here says more than this one would.


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return what to tell a person about a failure to write ``path``."""
    if error.errno in _FULL:
        return StorageError(f"no space left to write {path}; free some space or choose another place.")
    if error.errno == errno.ELOOP:
        return StorageError(f"{path} is a link; remove it.")
    if isinstance(error, (FileExistsError, NotADirectoryError, IsADirectoryError)):
        return StorageError(f"{path} cannot be written, a file or folder is in the way; remove it or choose another.")
    reason = (error.strerror or str(error)).lower()
    return StorageError(f"{path} cannot be written ({reason}); check its permissions or choose another place.")


def newest(path: Path) -> os.stat_result:
    """Return what the system says of a file, or of the file of a folder that was written last.

    Raises:
        OSError: if there is none.
    """
    return max((file.stat() for file in _files(path)), key=lambda about: about.st_mtime_ns)


def last_change(path: Path) -> int:
    """Return when a file, or any of a folder, or a link to it, was written or came to its place, in nanoseconds.

    A file that is moved, unpacked, or copied with its date may be older than the one it replaces; what the system notes
    of the change itself is not.

    Raises:
        OSError: if there is none.
    """
    told = [about for file in _files(path) for about in (file.stat(), file.lstat())]
    return max(max(about.st_mtime_ns, about.st_ctime_ns) for about in told)


def _files(path: Path) -> list[Path]:
    files = [*path.iterdir()] if path.is_dir() else []
    return files or [path]


def digest(path: Path) -> str:
    """Return a digest of a file's content; empty if there is none, which loading it says better."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
