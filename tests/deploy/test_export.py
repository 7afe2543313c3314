"""An exported file gives what the run gives, for every method and any size, or it is not kept."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from criinet.deploy import export as exporting
from criinet.deploy.card import KEY, ModelCard
from criinet.deploy.export import export
from criinet.deploy.network import as_network, run_onnx, run_torchscript, to_onnx, to_torchscript
from criinet.deploy.parity import TOLERANCE
from criinet.deploy.runtime import load_exported
from criinet.engine.checkpoint import load_checkpoint, save_checkpoint
from criinet.engine.folder import RunFolder
from criinet.errors import ConfigError, ParityError, StorageError
from criinet.methods import Prediction, methods, parse_method
from criinet.networks import build_network, parse_network

SHAPES = [(1, 3, 8, 8), (3, 3, 20, 8), (2, 3, 12, 36)]


def card_of(outputs: int = 2) -> ModelCard:
    return ModelCard(
        format=1,
        classes=("background", "cup", "disc"),
        size=(32, 48),
        window="whole",
        channels=3,
        multiple=4,
        mirrors=((-1,),),
        outputs=("probabilities", "coarse")[:outputs],
        method="crii",
        network="unet",
        dataset="drawn",
        checkpoint="last",
        step=20,
        version="0",
    )


def trained_method(name: str, network: str = "unet"):
    """A method whose every weight is its own, so that a teacher cannot pass for its student."""
    settings = {"channels": [8, 16, 16], "dropout": []} if network == "unet" else {"channels": [8, 16], "head": 8}
    built = build_network(network, parse_network(network, settings), in_channels=3, classes=3, dims=2, seed=0)
    method = methods.get(name)(built, parse_method(name, {})).eval()
    torch.manual_seed(1)
    for parameter in method.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return method


@pytest.mark.parametrize("name", list(methods))
def test_every_method_is_exported_as_it_predicts(name):
    """Batches and sizes other than the one that was followed; weights that only training needs stay behind."""
    method = trained_method(name)
    images = [torch.rand(shape) for shape in SHAPES]
    with torch.no_grad():
        expected = [method.predict(image) for image in images]
    everything = sum(tensor.numel() for tensor in method.state_dict().values())
    network = as_network(method, card_of())
    kept = sum(tensor.numel() for tensor in network.state_dict().values())
    assert kept <= 0.6 * everything or not hasattr(methods.get(name).Config, "ema_decay")
    run = run_torchscript(to_torchscript(network, card_of()))
    for image, found in zip(images, expected, strict=True):
        opinions = [opinion.numpy() for opinion in found if opinion is not None]
        for mine, theirs in zip(run(image.numpy()), opinions, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=TOLERANCE, rtol=0)


def test_a_teacher_that_predicts_is_what_is_exported(monkeypatch):
    """A method may predict with its averaged weights, in ONNX too: the student is left out."""
    method, image = trained_method("mean-teacher"), torch.rand(3, 3, 20, 8)
    monkeypatch.setattr(type(method), "predict", lambda self, image: Prediction(self.targets(image)))
    with torch.no_grad():
        expected = method.predict(image)
    network = as_network(method, card_of(1))
    assert hasattr(network.method, "teacher")
    assert not hasattr(network.method, "student")
    (found,) = run_onnx(to_onnx(network, card_of(1)))(image.numpy())
    np.testing.assert_allclose(found, expected.probs.numpy(), atol=TOLERANCE, rtol=0)


def test_attention_keeps_the_batch_free():
    method = trained_method("supervised", "mit-unet")
    card = card_of(1).model_copy(update={"multiple": 8})
    run = run_torchscript(to_torchscript(as_network(method, card), card))
    image = torch.rand(3, 3, 8, 24)
    with torch.no_grad():
        np.testing.assert_allclose(run(image.numpy())[0], method.predict(image).probs.numpy(), atol=TOLERANCE)


def test_the_file_says_all_that_a_prediction_needs(exported):
    predictor = load_exported(exported.path)
    card = predictor.card
    assert card.model_copy(update={"digest": None}) == exported.card
    assert (card.classes, card.size, card.window, card.channels) == (("background", "lesion"), (32, 48), "whole", 3)
    assert (card.multiple, card.mirrors, card.outputs) == (4, ((-1,), (-2,)), ("probabilities", "coarse"))
    assert (card.method, card.network, card.checkpoint, card.step) == ("crii", "unet", "last", 100)
    assert card.shift == 0.5
    (image,) = predictor.session.get_inputs()
    assert image.shape == ["batch", 3, "4*rows", "4*columns"]
    assert exported.probes.real
    assert 0 <= exported.difference <= TOLERANCE


def test_torchscript_carries_the_same_card(trained, exported, tmp_path):
    out = tmp_path / "new" / "model.ts"
    export(trained, out, format="torchscript")
    extra = {f"{KEY}.json": ""}
    with pytest.warns(DeprecationWarning):
        torch.jit.load(io.BytesIO(out.read_bytes()), _extra_files=extra)
    assert ModelCard.model_validate(json.loads(extra[f"{KEY}.json"])) == exported.card


def test_without_its_dataset_a_run_is_checked_on_random_images(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    recorded = json.loads((run / "config.json").read_text())
    recorded["dataset"]["path"] = str(tmp_path / "gone")
    (run / "config.json").write_text(json.dumps(recorded))
    assert not export(run, tmp_path / "model.ts", format="torchscript").probes.real


@pytest.mark.parametrize("spoil", [1.001, float("nan")])
def test_a_file_that_differs_is_not_kept(trained, tmp_path, monkeypatch, spoil):
    """Even a small difference, or no number at all: what stood there before stays, and nothing else is left."""

    def altered(content: bytes):
        run = run_torchscript(content)
        return lambda batch: [probs * np.float32(spoil) for probs in run(batch)]

    monkeypatch.setitem(exporting.FORMATS, "torchscript", replace(exporting.FORMATS["torchscript"], run=altered))
    (tmp_path / "model.ts").write_bytes(b"older")
    with pytest.raises(ParityError, match="differs from the run"):
        export(trained, tmp_path / "model.ts", format="torchscript")
    assert [path.name for path in tmp_path.iterdir()] == ["model.ts"]
    assert (tmp_path / "model.ts").read_bytes() == b"older"


def test_a_wrong_place_or_format_is_refused_at_once(trained, tmp_path):
    with pytest.raises(ConfigError, match=r"model\.bin does not end in \.onnx"):
        export(trained, tmp_path / "model.bin")
    with pytest.raises(ConfigError, match=r"unknown format 'tflite'\. There are onnx, torchscript"):
        export(trained, tmp_path / "model.onnx", format="tflite")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(StorageError, match="is a folder"):
        export(trained, tmp_path / "folder.onnx")
    assert [path.name for path in Path(tmp_path).iterdir()] == ["folder.onnx"]


def test_the_checkpoint_that_is_asked_for_is_exported(trained, tmp_path):
    run = RunFolder(Path(shutil.copytree(trained, tmp_path / "run")))
    best = run.checkpoint("best")
    save_checkpoint(best, {**load_checkpoint(best), "step": 7, "shift": -1.5})
    card = export(run.root, tmp_path / "model.ts", format="torchscript", checkpoint="best").card
    assert (card.checkpoint, card.step, card.shift) == ("best", 7, -1.5)


def test_the_file_mirrors_unless_it_is_asked_not_to_where_the_run_does(trained, tmp_path):
    run = RunFolder(Path(shutil.copytree(trained, tmp_path / "run")))
    recorded = json.loads(run.config.read_text())
    for averages in (False, True):
        recorded["data"]["tta"] = averages
        run.config.write_text(json.dumps(recorded))
        assert export(run.root, tmp_path / "model.ts", format="torchscript").card.tta == averages
