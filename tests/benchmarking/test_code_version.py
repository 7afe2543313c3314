"""The version of the code is that of the source a result depends on."""

import os
import sys
from functools import partial
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import EntryPoint

import pytest

from criinet.benchmarking import code_version as code_version_module
from criinet.benchmarking.code_version import (
    Import,
    Source,
    code_version,
    imports_of,
    reached,
    require_unchanged,
    sources_of,
)
from criinet.errors import ConfigError
from criinet.methods import methods
from criinet.registry import PLUGINS


def names(*modules: str) -> set[str]:
    """Return the modules that ``modules`` depend on, and the names that a package itself defines."""
    return {f"{each.module}:{each.name}" if each.name else each.module for each in reached(*modules)}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that writes modules of a package of its own, ``{name: text}``, and returns the package's name."""
    made: list[str] = []

    def write(**texts: str) -> str:
        name = f"written_{tmp_path.name}_{len(made)}".replace("-", "_")
        made.append(name)
        for module, text in {"__init__": "", **texts}.items():
            file = tmp_path / name / f"{module}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        return name

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for loaded in [module for module in sys.modules if module.partition(".")[0] in made]:
        del sys.modules[loaded]


def test_a_method_depends_on_its_own_losses_and_networks_and_on_no_other_method():
    found = names("criinet.methods.crii")
    assert {"criinet.methods.memory_bank", "criinet.losses.ranked", "criinet.networks.coarse_refined"} <= found
    assert not {"criinet.methods.mean_teacher", "criinet.networks.lite0", "criinet.methods", "criinet.losses"} & found


@pytest.mark.parametrize("name", list(methods))
def test_a_method_depends_on_no_peer_but_one_it_derives_from(name):
    """So a change of one method is a change of no other: what several do stands in files of its own."""
    peers = {method.__module__ for _, method in methods.items()}
    derived_from = {each.__module__ for each in methods.get(name).__mro__}
    assert names(methods.get(name).__module__) & peers <= derived_from


def test_training_depends_on_the_data_and_the_loop_and_on_no_method():
    found = names("criinet.engine.training", "criinet.engine.evaluator")
    assert {"criinet.engine.trainer", "criinet.data.augmentation", "criinet.metrics.surface", "criinet.config"} <= found
    assert not {"criinet.methods.crii", "criinet.report.page", "criinet.benchmarking.plan"} & found


def test_what_a_package_itself_defines_counts_with_what_it_mentions():
    """Formats of volumes stand in a table of their package; networks are built there, and none is mentioned."""
    found = names("criinet.engine.training")
    formats = {f"criinet.data.formats.{name}" for name in ("nifti", "itk", "hdf5", "tiff", "dicom")}
    assert {"criinet.data.formats:format_of", "criinet.data.formats:_FORMATS", *formats} <= found
    assert "criinet.networks:build_network" in found
    assert not {"criinet.networks.unet", "criinet.networks.mit"} & found


def test_another_text_is_another_version(package):
    """Of a module, of one that it imports, and of a definition in a package that it mentions; of no other."""
    texts = {
        "__init__": "from .base import one\nfrom .unused import two\nTABLE = {1: one}\nother = two\n",
        "base": "one = 1\n",
        "unused": "two = 2\n",
        "method": "from . import TABLE\n",
    }

    def of(module: str, text: str) -> str:
        return code_version(f"{package(**{**texts, module: text})}.method")

    first = of("base", texts["base"])
    assert len(first) == 12
    assert of("base", texts["base"]) == first
    assert of("method", texts["method"] + "x = 1\n") != first
    assert of("base", "one = 2\n") != first
    assert of("__init__", texts["__init__"].replace("{1:", "{2:")) != first
    assert of("unused", "two = 3\n") == first
    assert of("__init__", texts["__init__"].replace("other", "another")) == first


def test_imports_are_found_with_the_full_name_of_their_module(package):
    name = package(one="import os\nfrom . import two\nfrom .two import x as y\nfrom criinet.losses import entropy\n")
    assert imports_of(f"{name}.one") == (
        Import("os", alias="os"),
        Import(name, "two", "two"),
        Import(f"{name}.two", "x", "y"),
        Import("criinet.losses", "entropy", "entropy"),
    )


def test_code_outside_this_package_is_followed_in_its_own(package):
    name = package(one="from .two import x\nfrom criinet.losses import entropy\n", two="import os\nx = 1\n")
    found = reached(f"{name}.one")
    assert {Source(f"{name}.one"), Source(f"{name}.two"), Source("criinet.losses.segmentation")} <= found
    assert Source("os") not in found


def test_modules_beside_a_method_are_followed_as_one_project(package, tmp_path):
    """As of a plugin without a package, whose method, losses and networks are files in one folder."""
    name = package()
    flat = [f"{name}_{part}" for part in ("method", "losses", "network")]
    for module, text in zip(flat, (f"from {flat[1]} import one\nimport os\n", "one = 1\n", "two = 2\n"), strict=True):
        (tmp_path / f"{module}.py").write_text(text)
    assert names(flat[0]) == {flat[0], flat[1]}


def test_what_a_plugin_registers_depends_on_what_registered_it(package, monkeypatch):
    """A class made by a factory, and a builder with some arguments given: neither says where its losses come from."""
    name = package(
        core="def made(loss):\n    return type('Made', (), {'__module__': __name__, 'loss': loss})\n",
        losses="def one(): return 1\n",
        entry="from .core import made\nfrom .losses import one\nMade = made(one)\n",
    )
    entry = import_module(f"{name}.entry")
    points = [EntryPoint("mine", f"{name}.entry", PLUGINS), EntryPoint("other", "criinet.config", PLUGINS)]
    monkeypatch.setattr(
        code_version_module, "entry_points", lambda group: [point for point in points if point.group == group]
    )
    found = sources_of(partial(entry.Made), methods.get("crii"))
    assert found == (f"{name}.core", "criinet.methods.crii", f"{name}.entry")
    assert f"{name}.losses" in names(*found)


def test_code_that_changed_since_it_was_hashed_begins_no_run(package, tmp_path, monkeypatch):
    monkeypatch.setattr(code_version_module, "_hashed", {})
    name = package(method="one = 1\n")
    code_version(f"{name}.method")
    require_unchanged()
    file = tmp_path / name / "method.py"
    os.utime(file, ns=(0, 0))
    with pytest.raises(ConfigError, match=r"method\.py changed while the benchmark was under way.*--resume goes on"):
        require_unchanged()
    file.unlink()
    with pytest.raises(ConfigError, match="changed while"):
        require_unchanged()


HELPER = {"helper": "one = 1\n", "other": "two = 2\n"}


@pytest.mark.parametrize(
    "texts",
    [
        {"method": "from .helper import *\n"},
        {"method": "from . import *\n", "__init__": "from .helper import *\n"},
        {"method": "from . import one\n", "__init__": "from .helper import *\n"},
        {"method": "from . import TABLE\n", "__init__": "from .helper import *\nTABLE = {1: one}\n"},
        {"method": "from . import x\n", "__init__": "from .helper import one\nx, y = one, 2\n"},
    ],
)
def test_names_that_no_statement_spells_out_depend_on_the_whole_module(package, texts):
    name = package(**HELPER, **texts)
    found = reached(f"{name}.method")
    assert Source(f"{name}.helper") in found
    assert Source(f"{name}.other") not in found


def test_what_is_not_there_is_passed_over(package):
    text = "try:\n    from . import _fast\n    from ._slow.x import y\nexcept ImportError:\n    from . import helper\n"
    name = package(**HELPER, method=text)
    assert Source(f"{name}.helper") in reached(f"{name}.method")
    assert code_version(f"{name}.method")


def test_a_package_may_be_a_folder_of_modules(package, tmp_path):
    """Without an ``__init__.py``."""

    def of(text: str) -> str:
        name = package(method="from . import helper\n", helper=text)
        (tmp_path / name / "__init__.py").unlink()
        return code_version(f"{name}.method")

    assert of("one = 1\n") == of("one = 1\n") != of("one = 2\n")


def test_a_module_of_machine_code_counts_by_its_bytes(package, tmp_path):
    def of(content: bytes) -> str:
        name = package(method="from ._fast import one\n")
        (tmp_path / name / f"_fast{EXTENSION_SUFFIXES[0]}").write_bytes(content)
        return code_version(f"{name}.method")

    assert of(b"\xff\x00one") == of(b"\xff\x00one") != of(b"\xff\x00two")


@pytest.mark.parametrize("broken", ["def one(:\n", "# coding: nothing\n"])
def test_source_that_cannot_be_read_is_named(package, broken):
    name = package(method="try:\n    from .old import one\nexcept SyntaxError:\n    pass\n", old=broken)
    with pytest.raises(ConfigError, match=rf"'{name}\.old', which the code of '{name}' imports, cannot be read"):
        code_version(f"{name}.method")


def test_a_module_without_source_is_refused(package):
    with pytest.raises(ConfigError, match=r"the source of '.*\.method' is not there"):
        code_version(f"{package()}.method")
