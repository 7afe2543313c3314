"""The command line in this process, a tiny dataset, and a run on it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from criinet.cli import main
from criinet.data.synthetic import write_dataset
from criinet.engine.training import train


@dataclass(frozen=True)
class Outcome:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one sentence of an error, and nothing that only a programmer can read."""
        said = [line for line in self.err.splitlines() if line.startswith("criinet: ")]
        assert len(said) == 1, self.err
        assert self.err.splitlines()[-1] == said[0]
        assert said[0].endswith((".", "?"))
        assert "Traceback" not in self.err + self.out
        assert "internal error" not in self.err
        return said[0]


@pytest.fixture
def criinet(monkeypatch, capsys) -> Callable[..., Outcome]:
    """Run a command line and catch its exit."""
    monkeypatch.delenv("CRIINET_DEBUG", raising=False)

    def call(*words: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["criinet", *(str(word) for word in words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main.run()
        said = capsys.readouterr()
        return Outcome(int(exit_.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def tiny(tiny_settings) -> list[str]:
    """The options of a run that takes a second."""
    given = [(f"{section}.{key}", value) for section, table in tiny_settings().items() for key, value in table.items()]
    return [word for key, value in given for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="session")
def template(tiny_settings, tmp_path_factory) -> Path:
    """A folder with 24 images of 48x48 in data/ (18 train, 6 of them with masks) and a run on them in run/."""
    root = tmp_path_factory.mktemp("template")
    write_dataset(root / "data", count=24, size=(48, 48), masks=6, val=2, test=4)
    train(root / "data", root / "run", method="supervised", settings=tiny_settings(), device="cpu")
    return root


@pytest.fixture
def place(copy_of, template, monkeypatch) -> Path:
    """A copy of the template, which is the working directory: data/ and run/."""
    copied = copy_of(template)
    monkeypatch.chdir(copied)
    return copied
