"""A tiny dataset, and runs on it that take about a second."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from criinet.config import LossWeights, MethodConfig, Ramp
from criinet.data.synthetic import write_dataset
from criinet.engine.folder import RunFolder
from criinet.engine.trainer import Trainer
from criinet.engine.training import train
from criinet.losses import cross_entropy_dice
from criinet.methods import Method, methods
from criinet.types import LabeledBatch, UnlabeledBatch
from volume_sets import write_volumes


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """24 cases of 48x48: 18 train (6 with masks), 2 val, 4 test. Read only."""
    root = tmp_path_factory.mktemp("drawn") / "data"
    write_dataset(root, count=24, size=(48, 48), masks=6, val=2, test=4)
    return root


@pytest.fixture(scope="session")
def balls(tmp_path_factory) -> Path:
    """Six volumes of two voxel sizes, every other one stored the other way round. Read only."""
    return write_volumes(
        tmp_path_factory.mktemp("balls") / "data", classes=3, spacings=((1.0, 1.0, 2.0), (1.0, 1.25, 2.0)), flip=True
    )


@pytest.fixture
def dataset(drawn, tmp_path) -> Path:
    """The tiny dataset, to be changed at will."""
    return Path(shutil.copytree(drawn, tmp_path / "data"))


@pytest.fixture(scope="session")
def tiny(tiny_settings) -> Callable[..., dict[str, Any]]:
    """Return the settings of a tiny run, with other trainer settings on top."""

    def settings(**trainer: Any) -> dict[str, Any]:
        return tiny_settings({"trainer": trainer})

    return settings


@pytest.fixture(scope="session")
def fit(tiny) -> Callable[..., RunFolder]:
    """Train a tiny run on the CPU; ``trainer`` holds other settings of the trainer."""

    def train_tiny(dataset: Path, out: Path, *, trainer: dict[str, Any] | None = None, **options: Any) -> RunFolder:
        options = {"method": "supervised", "settings": tiny(**trainer or {}), **options}
        return train(dataset, out, device="cpu", **options)

    return train_tiny


@pytest.fixture(scope="session")
def batches_of() -> Callable[[Trainer], tuple[LabeledBatch, UnlabeledBatch]]:
    """Return the augmented batches of the step that a trainer is at."""

    def at_its_step(trainer: Trainer) -> tuple[LabeledBatch, UnlabeledBatch]:
        trainer.batches.seed(trainer.step)
        return trainer.batches.views_of(trainer.batches.draw(trainer.step))

    return at_its_step


@pytest.fixture(scope="session")
def trained(drawn, fit, tmp_path_factory) -> Path:
    """A finished run of CRII-Net, which holds two opinions. Read only."""
    return fit(drawn, tmp_path_factory.mktemp("trained") / "run", method="crii").root


@pytest.fixture
def run(trained, tmp_path) -> RunFolder:
    """The finished run, to be changed at will."""
    return RunFolder(Path(shutil.copytree(trained, tmp_path / "run")))


class Own(Method):
    """Fits the labeled images, and one number of the unlabeled ones."""

    class Config(MethodConfig):
        weights: LossWeights = {"supervised": 1.0, "extra": Ramp(to=0.1)}

    summary = reference = "none"
    views: ClassVar[tuple[str, ...]] = ("weak",)

    def losses(self, labeled, unlabeled, _):
        supervised = cross_entropy_dice(self.student(labeled.image).logits, labeled.target)
        return {"supervised": supervised, "extra": self.extra(self.student(unlabeled.weak).logits)}

    def extra(self, logits):
        return logits.square().mean()


@pytest.fixture
def own(monkeypatch, fit, drawn, tmp_path) -> Callable[..., RunFolder]:
    """Train with a method of one's own, some of whose functions are others; ``trainer`` holds settings."""
    monkeypatch.delenv("CRIINET_DEBUG", raising=False)

    def train_with(
        trainer: dict[str, Any] | None = None, *, resume: bool = False, overwrite: bool = False, **functions: Any
    ) -> RunFolder:
        monkeypatch.setitem(methods._entries, "own", type("Mine", (Own,), functions))
        return fit(drawn, tmp_path / "run", method="own", trainer=trainer, resume=resume, overwrite=overwrite)

    return train_with
