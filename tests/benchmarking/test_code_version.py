"""The version of the code is that of the source a result depends on."""

import sys

import pytest

from criinet.benchmarking.code_version import Import, Source, code_version, imports_of, reached
from criinet.methods import methods


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
