"""Files that a user names: never written over what is another thing."""

from collections.abc import Callable
from pathlib import Path

from criinet.errors import StorageError


def require_replaceable(path: Path, kind: str, replaceable: Callable[[Path], bool], remedy: str) -> None:
    """Refuse a file that is there, unless it may be replaced.

    Args:
        kind: what it has to be, as "a contact sheet of criinet".
        replaceable: whether a file is that; asked of one that is there.
        remedy: what to do instead, without a full stop.

    Raises:
        StorageError: if it may not be replaced, or cannot be read.
    """
    try:
        taken = path.is_file() and not replaceable(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}. {remedy}.") from error
    if taken:
        raise StorageError(f"{path} is there already and is not {kind}. {remedy}.")
