"""Which version of the code a result comes from: a hash of the source that it depends on, and of no other."""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, find_spec, resolve_name
from pathlib import Path

from criinet.errors import ConfigError

PACKAGE = "criinet"
ALL = "*"
SUFFIX = ".py"


@dataclass(frozen=True, order=True)
class Source:
    """A module's file, or one name that a package's ``__init__.py`` itself defines."""

    module: str
    name: str = ""


@dataclass(frozen=True)
class Import:
    """``from module import name as alias``, or ``import module`` without a name; the name may be ``*``."""

    module: str
    name: str = ""
    alias: str = ""


@cache
def code_version(*modules: str) -> str:
    """Return a hash of the source of ``modules`` and of everything that they import from this package or from theirs.

    A package's ``__init__.py`` is looked through, not counted: `from criinet.losses import entropy` depends on the
    module that defines ``entropy``; where the ``__init__.py`` itself defines the name, on that definition and what it
    mentions. So a new method, loss or network changes no version but that of its own runs. What an ``__init__.py``
    makes in another way, as by ``import *``, depends on all of it. An import of what is not there is passed over, since
    the modules have been imported without it.

    Raises:
        ConfigError: if the source of one of the modules, or of one that it needs, is not there or cannot be read.
    """
    for module in modules:
        if path_of(module) is None:
            raise ConfigError(
                f"the source of '{module}' is not there; put it into an installed module (CONTRIBUTING.md)."
            )
    digest = hashlib.sha256()
    for each in sorted(reached(*modules)):
        digest.update(content_of(each))
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
        if found.alias in mentioned or found.name == ALL:
            yield from homes(found)
    yield from (Source(each.module, name) for name in sorted(mentioned) if definitions(each.module, name))


@cache
def homes(found: Import) -> tuple[Source, ...]:
    """Return where an imported name is defined, packages looked through."""
    module, name = found.module, found.name
    spec = spec_of(module)
    if name in ("", ALL) or spec is None or spec.submodule_search_locations is None:
        return (Source(module),)
    through = [other for other in imports_of(module) if other.alias == name and other != found]
    if through:
        return tuple(home for other in through for home in homes(other))
    if definitions(module, name):
        return (Source(module, name),)
    return (Source(module if spec_of(f"{module}.{name}") is None else f"{module}.{name}"),)


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """Return every import in a module, with its module's full name."""
    found: list[Import] = []
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            home = home_of(node, module)
            found += [Import(home, alias.name, alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [Import(alias.name, alias=alias.asname or alias.name) for alias in node.names]
    return tuple(found)


def home_of(node: ast.ImportFrom, module: str) -> str:
    """Return the full name of the module that an import statement in ``module`` takes names from."""
    spec = spec_of(module)
    try:
        return resolve_name("." * node.level + (node.module or ""), spec.parent if spec is not None else None)
    except ImportError as error:
        raise unreadable(module, error) from error


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


def content_of(each: Source) -> bytes:
    """Return what is hashed of a source: the text of Python, the bytes of anything else."""
    if each.name:
        return "\n".join(ast.unparse(statement) for statement in definitions(each.module, each.name)).encode()
    path = path_of(each.module)
    if path is None:
        return b""
    return text_of(each.module).encode() if path.suffix == SUFFIX else read(each.module, path)


def text_of(module: str) -> str:
    """Return the text of a module; none of a folder, of what is not there, and of what is no Python."""
    path = path_of(module)
    if path is None or path.suffix != SUFFIX:
        return ""
    try:
        return decode_source(read(module, path))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise unreadable(module, error) from error


def read(module: str, path: Path) -> bytes:
    """Return the bytes of a module's file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(module, error) from error


@cache
def tree_of(module: str) -> ast.Module:
    """Return a module, parsed."""
    try:
        return ast.parse(text_of(module))
    except (SyntaxError, ValueError) as error:
        raise unreadable(module, error) from error


def path_of(module: str) -> Path | None:
    """Return the file of a module; None for a folder without ``__init__.py``, and for what is not there."""
    spec = spec_of(module)
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


@cache
def spec_of(module: str) -> ModuleSpec | None:
    """Return where a module is; None if it is not there, or its package cannot be imported for want of another.

    Raises:
        ConfigError: if its package breaks while it is imported.
    """
    try:
        return find_spec(module)
    except ImportError:
        return None
    except Exception as error:
        raise unreadable(module, error) from error


def unreadable(module: str, error: Exception) -> ConfigError:
    """Return the error for a module whose source cannot be followed."""
    return ConfigError(
        f"'{module}', which the code of '{module.partition('.')[0]}' imports, cannot be read "
        f"({type(error).__name__}: {error}); mend it, or remove the import."
    )
