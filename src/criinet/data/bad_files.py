"""A file that cannot be used, and the sentence that says so."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from criinet.errors import DataError

LISTED = "`criinet data check DATASET` lists all such files"
"""The hint of a file that is one of perhaps many."""

SKIPPABLE = f"{LISTED} and --skip-bad goes on without them"
"""The same, of a file that can be done without."""


class BadFileError(DataError):
    """One file that cannot be used: which, what is wrong with it, and what to do.

    Args:
        path: the file.
        what: continues the sentence that the path begins, without a full stop ("is truncated").
        remedy: what to do, without a full stop ("Copy it again").
        hint: what helps besides, if anything, without a full stop; `criinet data check` leaves it out.
    """

    def __init__(self, path: Path, what: str, remedy: str, hint: str = "") -> None:
        super().__init__(path, what, remedy, hint)
        self.path = path
        self.what = what
        self.remedy = remedy
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.path} {self.what}. {'; '.join(filter(None, (self.remedy, self.hint)))}."

    @property
    def without_hint(self) -> str:
        """The sentence on a file that was left out already."""
        return f"{self.path} {self.what}. {self.remedy}."


def reason_of(message: str) -> str:
    """Return what pydantic says of a value, to go on with after a colon."""
    reason = message.removeprefix("Value error, ")
    return f"{reason[0].lower()}{reason[1:]}"


@contextmanager
def in_a_sentence(path: Path, damaged: str) -> Generator[None, None, None]:
    """Turn whatever the body raises while it reads a file into one sentence about the file.

    Args:
        damaged: what is said of anything but a missing or forbidden file.

    Raises:
        BadFileError: in place of every error but our own.
    """
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        what = "needs more memory than there is"
        raise BadFileError(path, what, "Crop it, scale it down, or read it where there is more", SKIPPABLE) from error
    except FileNotFoundError as error:
        raise BadFileError(path, "does not exist", "Check the path") from error
    except PermissionError as error:
        raise BadFileError(path, "may not be read", "Change its permissions") from error
    except Exception as error:  # Decoders raise nearly anything on a damaged file.
        raise BadFileError(path, damaged, "Copy it again or remove it", SKIPPABLE) from error


@contextmanager
def without_hints() -> Generator[None, None, None]:
    """Take the hint from what is said of a bad file, where nothing goes on without it.

    Raises:
        BadFileError: if the body does.
    """
    try:
        yield
    except BadFileError as error:
        raise BadFileError(error.path, error.what, error.remedy) from error
