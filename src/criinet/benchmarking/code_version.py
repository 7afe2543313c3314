"""Which version of the code a result comes from: a hash of the source files that it depends on, and of no others."""

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "criinet"


@cache
def code_version(*modules: str) -> str:
    """Return a hash of the source of ``modules`` and of everything in this package that they import, directly or not.

    A package's ``__init__.py`` is looked through, not counted: `from criinet.losses import entropy` depends on the
    module that defines ``entropy``. So a new method, loss or network changes no version but that of its own runs.
    """
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        file = source(waiting.pop())
        if file not in found:
            found.add(file)
            waiting += imported(file)
    digest = hashlib.sha256()
    for file in sorted(found):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def source(module: str) -> Path:
    """Return the file of a module."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


@cache
def imported(file: Path) -> list[str]:
    """Return the modules of this package that a file imports from, packages resolved to what they take names from."""
    modules: list[str] = []
    for module, name in names_from(file):
        home = source(module)
        if home.name == "__init__.py" and name is not None:
            homes = [inner for inner, defined in names_from(home) if defined == name]
            modules += homes or ([f"{module}.{name}"] if find_spec(f"{module}.{name}") else [])
        else:
            modules.append(module)
    return modules


@cache
def names_from(file: Path) -> list[tuple[str, str | None]]:
    """Return (module, name) of every import from this package in a file."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    imports = (node for node in nodes if isinstance(node, ast.ImportFrom) and node.module)
    return [
        (str(node.module), alias.name)
        for node in imports
        for alias in node.names
        if str(node.module).split(".")[0] == PACKAGE
    ]
