"""The Python of README.md runs as it stands, and no table of the documentation is typed."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from criinet.data.synthetic import write_dataset

README = Path(__file__).parents[1] / "README.md"


TABLES = [
    "deep_supervision",
    "deep_supervision_from_scratch",
    "deep_supervision_heart",
    "more_labels",
]
PAGES = [README, *sorted((README.parent / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_tables_are_those_of_the_results(page):
    """Filling them anew changes nothing."""
    spec = spec_from_file_location("doc_tables", README.parent / "benchmarks" / "doc_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- methods ") == len(module.PLACE.findall(text))
    assert module.filled(text) == text


@pytest.mark.parametrize("name", TABLES)
def test_the_readme_has_its_tables(name):
    assert re.search(rf"<!-- methods \w+: {name}(; [^>]+)? -->", README.read_text(encoding="utf-8"))


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
