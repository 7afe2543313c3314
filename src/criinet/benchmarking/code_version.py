"""Which version of the code a result comes from: a hash of the source that it depends on, and of no other."""

import ast
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points, packages_distributions
from importlib.util import decode_source, find_spec, resolve_name
from pathlib import Path
from typing import Any

from criinet.errors import ConfigError
from criinet.registry import PLUGINS

PACKAGE = "criinet"
INSTALLED = ("site-packages", "dist-packages")
"""Folders that hold the packages of many projects."""

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


_hashed: dict[Path, int] = {}
"""When each file was written, in ns, whose content some hash knows."""


@dataclass(frozen=True)
class Projects:
    """The packages and modules of this project and of those that some modules belong to.

    A project is what is installed together, or what lies in one folder that is not that of installed packages.
    """

    packages: frozenset[str]
    folders: frozenset[Path]

    @classmethod
    @cache
    def of(cls, *modules: str) -> "Projects":
        """Find the projects of ``modules``."""
        own = {module.partition(".")[0] for module in modules}
        foreign = own - {PACKAGE}
        if foreign:
            installed = packages_distributions()
            names = {name for package in foreign for name in installed.get(package, ())}
            own.update(package for package, of in installed.items() if names.intersection(of))
        folders = {folder for package in foreign if (folder := folder_of(package)) and folder.name not in INSTALLED}
        return cls(frozenset({PACKAGE, *own}), frozenset(folders))

    def have(self, module: str) -> bool:
        """Say whether a module is theirs."""
        package = module.partition(".")[0]
        return package in self.packages or (bool(self.folders) and folder_of(package) in self.folders)


@cache
def sources_of(*built: Callable[..., Any]) -> tuple[str, ...]:
    """Return the modules that define classes or functions, and those by which their plugins registered them.

    A class may be made by a factory of another module, with losses that only the registering one mentions.
    """
    modules = [unwrapped(thing).__module__ for thing in built]
    if all(module.partition(".")[0] == PACKAGE for module in modules):
        return tuple(modules)
    projects = Projects.of(*(module for module in modules if module.partition(".")[0] != PACKAGE))
    plugins = {point.module for point in entry_points(group=PLUGINS)}
    theirs = (plugin for plugin in sorted(plugins) if plugin.partition(".")[0] != PACKAGE and projects.have(plugin))
    return (*modules, *theirs)


def unwrapped(thing: Callable[..., Any]) -> Callable[..., Any]:
    """Return what a ``functools.partial`` calls in the end."""
    while isinstance(thing, partial):
        thing = thing.func
    return thing


def require_unchanged() -> None:
    """Check that no file has changed since it was hashed: a run that begins now would have the older one's name.

    Raises:
        ConfigError: if one has, or is gone.
    """
    for path, written in _hashed.items():
        if not path.exists() or path.stat().st_mtime_ns != written:
            raise ConfigError(
                f"{path} changed while the benchmark was under way, so that runs would differ in their code. What is "
                "done stays; --resume goes on with the code as it is now."
            )


@cache
def code_version(*modules: str) -> str:
    """Return a hash of the source of ``modules`` and of everything that they import from this project or from theirs.

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
    projects = Projects.of(*modules)
    found: set[Source] = set()
    waiting = [Source(module) for module in modules]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += needed_by(each, projects)
    return found


def needed_by(each: Source, projects: Projects) -> Iterator[Source]:
    """Yield what a source needs of ``projects``: all that a file imports, or all that a definition mentions."""
    imports = [found for found in imports_of(each.module) if projects.have(found.module)]
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
        _hashed.setdefault(path, path.stat().st_mtime_ns)
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
def folder_of(package: str) -> Path | None:
    """Return the folder that holds a package or a module; None for what is not there or has no file."""
    spec = spec_of(package)
    if spec is None:
        return None
    inside = next(iter(spec.submodule_search_locations or ()), None)
    own = inside or (spec.origin if spec.has_location else None)
    return Path(own).parent if own else None


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
