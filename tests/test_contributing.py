"""The methods in CONTRIBUTING.md are real: their text is taken as it stands, registered and trained."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from criinet.data.card import DatasetCard
from criinet.methods import Method, methods, parse_method
from criinet.networks import build_network, parse_network
from criinet.types import LabeledBatch, UnlabeledBatch

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def examples() -> list[str]:
    """Return the texts of the methods in CONTRIBUTING.md."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def worked_example(monkeypatch: pytest.MonkeyPatch) -> type[Method]:
    """The class that CONTRIBUTING.md tells the reader to write, registered as it says."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    line = re.search(r'methods\.add\("([\w-]+)", (\w+)\)', text)
    assert line is not None
    assert f"from criinet.methods.{line.group(1).replace('-', '_')} import {line.group(2)}\n" in text
    module = ModuleType("worked_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(examples()[0], "CONTRIBUTING.md", "exec"), module.__dict__)
    monkeypatch.setattr(methods, "_entries", dict(methods.items()))
    return methods.add(line.group(1), getattr(module, line.group(2)))


def test_worked_example_smooths_the_prediction_on_unlabeled_images(worked_example: type[Method]):
    """Trained on its variation alone, the method of the guide predicts neighbouring pixels of noise more alike."""
    assert "total-variation" in list(methods)
    assert worked_example.Config.terms.keys() == worked_example.Config().weights.keys()
    settings = {"channels": [4, 8], "dropout": []}
    network = build_network("unet", parse_network("unet", settings), in_channels=1, classes=2, dims=2, seed=0)
    method = worked_example(network, parse_method("total-variation", {}))
    torch.manual_seed(0)
    labeled = LabeledBatch(torch.rand(1, 1, 16, 16), torch.zeros(1, 16, 16, dtype=torch.int64), torch.tensor([0]))
    unlabeled = UnlabeledBatch({"weak": torch.rand(2, 1, 16, 16)}, {})
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    variations: list[float] = []
    for _ in range(10):
        losses = method.losses(labeled, unlabeled, 0.5)
        assert set(losses) == set(method.config.weights)
        optimizer.zero_grad()
        losses["variation"].backward()
        optimizer.step()
        variations.append(losses["variation"].item())
    assert variations[-1] < variations[0]


@pytest.mark.parametrize("number", [0, 1])
def test_worked_examples_pass_the_linter(number: int):
    name = "src/criinet/methods/total_variation.py"
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", name, "-"]
    done = subprocess.run(command, input=examples()[number], text=True, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_contract_suite_runs_over_a_module_that_pytest_is_told(tmp_path: Path):
    """As CONTRIBUTING.md says of a package outside of this one; the module is the example with a teacher and a bank."""
    register = '\n\nfrom criinet.methods import methods\n\nmethods.add("class-memory", ClassMemory)\n'
    (tmp_path / "outside.py").write_text(examples()[1] + register, encoding="utf-8")
    options = ["-p", "outside", "-p", "no:cacheprovider", "-m", "not slow", "-k", "class-memory"]
    command = [sys.executable, "-m", "pytest", *options, "tests/methods/test_contract.py"]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 20


def test_readme_names_only_commands_that_exist():
    """Every `criinet WORD` of README and docs is a command."""
    from criinet.cli.main import app

    known = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    for page in PAGES:
        named = set(re.findall(r"(?:`|bin/)criinet ([a-z]+)", page.read_text(encoding="utf-8")))
        assert named <= known, f"{page.name} names {named - known}"


def test_every_key_of_a_datasets_card_is_explained():
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "design.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {key for row in rows for key in re.findall(r'"(\w+)"', row)} == set(DatasetCard.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path):
    """Every relative link and picture of README and docs is a file of the repository, and has the heading."""
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            name, _, heading = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), f"{page.name} links to {target}"
            assert not heading or heading in headings(file), f"{page.name} links to {target}"


def headings(page: Path) -> set[str]:
    """Return the headings of a page as links name them: in small letters, with hyphens, without other signs."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_a_page_names_are_there(page: Path):
    """By their path in the repository, in the package, or among the benchmarks; the worked example is the reader's."""
    named = set(re.findall(r"`([\w./]+\.py)`", page.read_text(encoding="utf-8"))) - {
        "src/criinet/methods/total_variation.py"
    }
    for name in named:
        assert any((ROOT / place / name).exists() for place in (".", "src/criinet", "benchmarks")), name
