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


def test_a_length_of_training_is_drawn_with_the_draws_that_all_rows_have(monkeypatch):
    """What one method has more than the others would move its mean alone; with all masks there is one draw always."""
    figure = script("doc_figure", monkeypatch)
    alike = [(row, 1000, draw) for row in ("crii", "unimatch") for draw in (0, 1)]
    longer = [("crii", 6000, 0), ("unimatch", 6000, 0), ("unimatch", 6000, 1)]
    found = [*alike, *longer, ("supervised-full", 1000, 0), ("supervised-full", 6000, 0)]
    rows = [{"row": row, "iterations": length, "draw": draw} for row, length, draw in found]
    left = [row for row in rows if row not in figure.in_common(rows)]
    assert left == [{"row": "unimatch", "iterations": 6000, "draw": 1}]


def test_a_table_of_the_documentation_keeps_the_sign_of_an_interval(monkeypatch):
    tables = script("doc_tables", monkeypatch)
    effect = {"verdict": "hurt", "paired": {"mean": -0.0226, "low": -0.0441, "high": -0.0001}}
    assert tables.against(effect) == "hurt -0.023 [-0.044, -0.0001]"
    assert tables.with_interval({"dice": 0.9996, "dice_low": 0.91, "dice_high": 1.0}) == "0.999 [0.910, 1.000]"


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
