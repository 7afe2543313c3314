"""The scripts of benchmarks/, which are run by hand, still start."""

import runpy
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_whatever_a_script_imports_is_there(script, monkeypatch):
    monkeypatch.syspath_prepend(str(script.parent))
    assert runpy.run_path(str(script), run_name=script.stem)["__doc__"]


def test_there_are_scripts():
    assert len(SCRIPTS) > 20
