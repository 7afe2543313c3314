"""The Python of README.md runs as it stands, and no table or figure of the documentation is typed."""

import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from criinet.data.synthetic import write_dataset

README = Path(__file__).parents[1] / "README.md"
PAGES = [README, *sorted((README.parent / "docs").glob("*.md"))]


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a script of benchmarks/ as a module."""
    monkeypatch.syspath_prepend(str(README.parent / "benchmarks"))
    return import_module(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_tables_are_those_of_the_results(page, monkeypatch):
    """Filling them anew changes nothing."""
    tables = script("doc_tables", monkeypatch)
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- methods ") == len(tables.PLACE.findall(text))
    assert tables.filled(text) == text


def test_the_figure_of_the_readme_is_that_of_the_results(monkeypatch):
    """The picture and its alternative text both say what the published results do."""
    figure = script("doc_figure", monkeypatch)
    text = README.read_text(encoding="utf-8")
    assert figure.PLACE.search(text)
    assert figure.filled(text) == text
    with Image.open(figure.PICTURE) as picture:
        assert picture.info["Description"] == figure.alternative_text()


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Train, load, predict and evaluate by plain strings, as the reader copies them; two steps instead of hundreds."""
    import criinet

    code = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    write_dataset(Path("mydata"), count=24, size=(64, 64), test=6, val=2)
    short = {"trainer": {"iterations": 2, "threads": 1}, "data": {"size": [32, 32]}}
    train = criinet.train
    monkeypatch.setattr(criinet, "train", lambda *words: train(*words, settings=short), raising=False)
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    found: dict[str, object] = {"image": image}
    exec(compile(code.group(1), "README.md", "exec"), found)
    mask, results = found["mask"], found["results"]
    assert isinstance(mask, np.ndarray)
    assert mask.shape == (50, 70)
    assert isinstance(results, dict)
    assert results["run"]["method"] == "crii-plus"
