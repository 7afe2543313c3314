"""Which version of the code a result comes from: a hash of the source that it depends on, and of no other."""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

PACKAGE = "criinet"


@dataclass(frozen=True, order=True)
class Source:
    """A module's file, or one name that a package's ``__init__.py`` itself defines."""

    module: str
    name: str = ""


@dataclass(frozen=True)
class Import:
    """``from module import name as alias``, or ``import module`` without a name."""

    module: str
    name: str = ""
    alias: str = ""


@cache
def code_version(*modules: str) -> str:
    """Return a hash of the source of ``modules`` and of everything that they import from this package or from theirs.

    A package's ``__init__.py`` is looked through, not counted: `from criinet.losses import entropy` depends on the
    module that defines ``entropy``; where the ``__init__.py`` itself defines the name, on that definition and what it
    mentions. So a new method, loss or network changes no version but that of its own runs.
    """
    digest = hashlib.sha256()
    for each in sorted(reached(*modules)):
        digest.update(text_of(each).encode())
    return digest.hexdigest()[:12]


def reached(*modules: str) -> set[Source]:
    """Return the sources that ``modules`` depend on, directly or not, and themselves."""
    packages = frozenset({PACKAGE, *(module.partition(".")[0] for module in modules)})
    found: set[Source] = set()
    waiting = [Source(module) for module in modules]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += needed_by(each, packages)
    return found


def needed_by(each: Source, packages: frozenset[str]) -> Iterator[Source]:
    """Yield what a source needs of ``packages``: all that a file imports, or all that a definition mentions."""
    imports = [found for found in imports_of(each.module) if found.module.partition(".")[0] in packages]
    if not each.name:
        for found in imports:
            yield from homes(found)
        return
    mentioned = {
        node.id
        for statement in definitions(each.module, each.name)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name)
    }
    for found in imports:
        if found.alias in mentioned:
            yield from homes(found)
    yield from (Source(each.module, name) for name in sorted(mentioned) if definitions(each.module, name))


@cache
def homes(found: Import) -> tuple[Source, ...]:
    """Return where an imported name is defined, packages looked through."""
    module, name = found.module, found.name
    if not name or path_of(module).name != "__init__.py":
        return (Source(module),)
    through = [other for other in imports_of(module) if other.alias == name and other != found]
    if through:
        return tuple(home for other in through for home in homes(other))
    return (Source(module, name),) if definitions(module, name) else (Source(f"{module}.{name}"),)


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """Return every import in a module, with its module's full name."""
    path = path_of(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: list[Import] = []
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            home = resolve_name("." * node.level + (node.module or ""), package)
            found += [Import(home, alias.name, alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [Import(alias.name, alias=alias.asname or alias.name) for alias in node.names]
    return tuple(found)


@cache
def definitions(module: str, name: str) -> tuple[ast.stmt, ...]:
    """Return the statements of a module that define a name."""
    return tuple(statement for statement in tree_of(module).body if name in defined_by(statement))


def defined_by(statement: ast.stmt) -> list[str]:
    """Return the names that a statement defines; an import defines none here."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def text_of(each: Source) -> str:
    """Return the text of a source."""
    if not each.name:
        return path_of(each.module).read_text(encoding="utf-8")
    return "\n".join(ast.unparse(statement) for statement in definitions(each.module, each.name))


@cache
def tree_of(module: str) -> ast.Module:
    """Return a module, parsed."""
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


def path_of(module: str) -> Path:
    """Return the file of a module."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)
