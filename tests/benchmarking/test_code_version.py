"""The version of the code is that of the files a result depends on."""

from criinet.benchmarking import code_version as module
from criinet.benchmarking.code_version import code_version, imported, names_from, source


def reached(*modules: str) -> set[str]:
    """Return the names of all files that modules depend on."""
    found, waiting = set(), list(modules)
    while waiting:
        file = source(waiting.pop())
        if file not in found:
            found.add(file)
            waiting += imported(file)
    return {f"{file.parent.name}/{file.name}" for file in found}


def test_a_method_depends_on_its_own_losses_and_networks_and_on_no_other_method():
    found = reached("criinet.methods.crii")
    assert {"methods/crii.py", "methods/memory_bank.py", "losses/ranked.py", "networks/coarse_refined.py"} <= found
    assert "methods/mean_teacher.py" not in found
    assert "networks/lite0.py" not in found
    assert not any(name.endswith("__init__.py") for name in found)


def test_training_depends_on_the_data_and_the_loop_and_on_no_method():
    found = reached("criinet.engine.training", "criinet.engine.evaluator")
    assert {"engine/trainer.py", "data/augmentation.py", "metrics/surface.py", "criinet/config.py"} <= found
    assert not {"methods/crii.py", "report/page.py", "benchmarking/plan.py"} & found


def test_another_text_is_another_version(tmp_path, monkeypatch):
    (tmp_path / "one.py").write_text("x = 1\n")
    (tmp_path / "two.py").write_text("x = 2\n")
    monkeypatch.setattr(module, "source", lambda name: tmp_path / f"{name}.py")
    assert code_version("one") != code_version("two")
    assert len(code_version("one")) == 12


def test_names_are_read_with_their_modules(tmp_path):
    file = tmp_path / "file.py"
    file.write_text("import os\nfrom criinet.losses import entropy, sharpen\nfrom pathlib import Path\n")
    assert names_from(file) == [("criinet.losses", "entropy"), ("criinet.losses", "sharpen")]
    homes = {name.rsplit(".", 1)[-1] for name in imported(file)}
    assert homes == {"segmentation", "pseudo_labels"}
