"""A tiny run of CRII-Net, which holds two opinions, and what is exported from it."""

from pathlib import Path

import pytest

from criinet.data.synthetic import write_dataset
from criinet.deploy.export import Export, export
from criinet.engine.checkpoint import load_checkpoint, save_checkpoint
from criinet.engine.training import train


@pytest.fixture(scope="session")
def trained(tiny_settings, tmp_path_factory) -> Path:
    """A finished run on 24 images of 48x48: 18 train (6 with masks), 2 val, 4 test. Its shift is .5. Read only."""
    root = tmp_path_factory.mktemp("deploy")
    write_dataset(root / "data", count=24, size=(48, 48), masks=6, val=2, test=4)
    settings = tiny_settings({"data": {"size": [32, 48]}, "trainer": {"iterations": 100}})
    run = train(root / "data", root / "run", method="crii", settings=settings, device="cpu")
    last = run.checkpoint("last")
    save_checkpoint(last, {**load_checkpoint(last), "shift": 0.5})
    return run.root


@pytest.fixture(scope="session")
def exported(trained) -> Export:
    """The run as an ONNX file. Read only."""
    return export(trained, trained.parent / "model.onnx")
