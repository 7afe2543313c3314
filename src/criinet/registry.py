"""Names to things. A duplicate raises; an unknown name lists the valid ones and the nearest match."""

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from criinet.errors import ConfigError

T = TypeVar("T")
NEAR = 0.65
"""Similarity from which a word is taken for another, misspelt: "tset" for "test" is 0.75, "note" for "ignore" 0.6."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the choice nearest to ``word``, or an empty string if none is near."""
    matches = get_close_matches(word, list(choices), n=1, cutoff=NEAR)
    return f" Did you mean '{matches[0]}'?" if matches else ""


PLUGINS = "criinet.plugins"
"""The group of entry points by which an installed package names its modules that register something here."""

_begun = False
"""Whether their import has begun."""

_failed: ConfigError | None = None
"""The error that one of them met."""


def load_plugins() -> None:
    """Import every installed plugin, once in a process.

    Raises:
        ConfigError: if one cannot be imported, or could not earlier.
    """
    global _begun, _failed
    if not _begun:
        _begun = True  # Before the import: a plugin may look up names, and comes here again.
        _failed = import_plugins()
    if _failed is not None:
        raise _failed


def import_plugins() -> ConfigError | None:
    """Import every installed plugin up to the first that cannot be imported, and return the error of that one."""
    for point in sorted(entry_points(group=PLUGINS)):
        try:
            point.load()
        except Exception as error:  # It is not our code.
            failed = ConfigError(
                f"plugin '{point.name}' ({point.value}) cannot be imported "
                f"({type(error).__name__}: {str(error).removesuffix('.')}); "
                "mend it or uninstall its package."
            )
            failed.__cause__ = error
            return failed
    return None


class Registry(Generic[T]):
    """A named collection of one kind of thing, filled at import and by plugins, and only read afterwards.

    Args:
        kind: what the entries are, in one word, for messages ("method").
        listing: the command that lists them, for messages ("criinet methods").
        require: called with each name and entry before it is registered; raises if the entry is not what it should be.
    """

    def __init__(self, kind: str, listing: str, require: Callable[[str, T], None] | None = None) -> None:
        self.kind = kind
        self.listing = listing
        self.require = require
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Register ``entry`` under ``name`` and return it.

        Raises:
            ValueError: if the name is taken.
            UserError: if the entry is not what it should be.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} '{name}' is registered twice")
        if self.require is not None:
            self.require(name, entry)
        self._entries[name] = entry
        return entry

    def get(self, name: str) -> T:
        """Return the entry called ``name``.

        Raises:
            ConfigError: if there is none; the message names the nearest one and the command that lists all.
        """
        load_plugins()
        if name not in self._entries:
            raise ConfigError(
                f"unknown {self.kind} '{name}'.{nearest(name, self._entries)} "
                f"`{self.listing}` lists all {len(self._entries)}: {', '.join(self._entries)}."
            )
        return self._entries[name]

    def items(self) -> Iterator[tuple[str, T]]:
        """Iterate over (name, entry) in order of registration."""
        load_plugins()
        return iter(self._entries.items())

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(self._entries)

    def __len__(self) -> int:
        load_plugins()
        return len(self._entries)
