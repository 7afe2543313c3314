"""Names to things. A duplicate raises; an unknown name lists the valid ones and the nearest match."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar

from criinet.errors import ConfigError

T = TypeVar("T")


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the choice nearest to ``word``, or an empty string if none is near."""
    matches = get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean '{matches[0]}'?" if matches else ""


class Registry(Generic[T]):
    """A named collection of one kind of thing, filled once at import and only read afterwards.

    Args:
        kind: what the entries are, in one word, for messages ("method").
        listing: the command that lists them, for messages ("criinet methods").
    """

    def __init__(self, kind: str, listing: str) -> None:
        self.kind = kind
        self.listing = listing
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Register ``entry`` under ``name`` and return it.

        Raises:
            ValueError: if the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} '{name}' is registered twice")
        self._entries[name] = entry
        return entry

    def get(self, name: str) -> T:
        """Return the entry called ``name``.

        Raises:
            ConfigError: if there is none; the message names the nearest one and the command that lists all.
        """
        if name not in self._entries:
            raise ConfigError(
                f"unknown {self.kind} '{name}'.{nearest(name, self._entries)} "
                f"`{self.listing}` lists all {len(self._entries)}: {', '.join(self._entries)}."
            )
        return self._entries[name]

    def items(self) -> Iterator[tuple[str, T]]:
        """Iterate over (name, entry) in order of registration."""
        return iter(self._entries.items())

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
