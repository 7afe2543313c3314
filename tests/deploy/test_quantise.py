"""Eight bits are calibrated on the run's images, and the file says what they cost."""

import json
import logging
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from criinet.data.dataset import open_dataset
from criinet.data.fitting import fit
from criinet.data.masks import IGNORED_VALUE
from criinet.deploy.export import export
from criinet.deploy.quantise import behind_convolutions, crop, mean_dice, quantise, quiet
from criinet.deploy.runtime import ExportedPrediction, load_exported
from criinet.engine.folder import RunFolder
from criinet.errors import ConfigError, RunError


@pytest.mark.slow
def test_eight_bits_are_smaller_and_priced(trained, exported):
    """The tiny network has two validation cases and eighteen images to calibrate on, twelve of them unlabeled.

    In its hundred steps it becomes sure of something: before, likeness to prototypes enlarges what rounding does.
    """
    content, card = quantise(exported.path.read_bytes(), exported.card, RunFolder(trained))
    predictor = load_exported(content)
    assert predictor.card.model_copy(update={"digest": None}) == card
    price = card.quantisation
    assert price is not None
    assert (price.calibration, price.cases) == (12, 2)
    assert 0 <= price.dice_int8 <= 1
    assert 0 <= price.dice_float <= 1
    assert card.model_copy(update={"quantisation": None}) == exported.card
    batch = exported.probes.batches(card)[0]
    whole = load_exported(exported.path)
    assert {node.op_type for node in nodes(content)} >= {"QuantizeLinear", "DequantizeLinear"}
    assert not {node.op_type for node in nodes(exported.path.read_bytes())} & {"QuantizeLinear"}
    for mine, theirs in zip(predictor.run(batch), whole.run(batch), strict=True):
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).mean() < 0.03
    assert np.abs(predictor.run(batch)[0] - whole.run(batch)[0]).max() > 0


def test_what_no_convolution_takes_anything_from_stays_in_float(tmp_path):
    """A pooled image is added to the first convolution's output; the second one's is clipped and resized."""
    from onnx import helper, save

    def node(kind: str, inputs: list[str], output: str):
        return helper.make_node(kind, inputs, [output], name=output)

    chain = [
        node("Conv", ["image", "weight"], "first"),
        node("MaxPool", ["image"], "pooled"),
        node("Add", ["first", "pooled"], "sum"),
        node("Relu", ["sum"], "unused"),
        node("Conv", ["sum", "weight"], "second"),
        node("Clip", ["second"], "clipped"),
        node("Resize", ["clipped"], "resized"),
    ]
    save(helper.make_model(helper.make_graph(chain, "graph", [], [])), tmp_path / "graph.onnx")
    assert sorted(behind_convolutions(tmp_path / "graph.onnx")) == ["clipped", "resized", "unused"]


def nodes(content: bytes):
    import onnx

    return onnx.load_from_string(content).graph.node


@pytest.mark.parametrize("window", ["whole", "patch"])
def test_calibration_sees_what_the_network_sees(exported, window):
    """Whole images resized; of crops the middle one; padded to the network's multiple."""
    card = exported.card.model_copy(update={"window": window, "size": (30, 45)})
    image = np.random.default_rng(0).integers(0, 256, (61, 75, 3), dtype=np.uint8)
    expected = fit(image, card, labels=False) if window == "whole" else image[15:45, 15:60]
    found = crop(image, card)
    assert (found.dtype, found.shape) == (np.float32, (1, 3, 32, 48))
    np.testing.assert_allclose(found[0, :, :30, :45].transpose(1, 2, 0) * 255, expected, atol=1e-4)
    np.testing.assert_array_equal(found[0, :, 30:, :45], found[0, :, [29, 29], :45].transpose(1, 0, 2))


def test_pixels_without_ground_truth_cost_nothing(tmp_path):
    """One class everywhere, right on the half that is known: Dice 1, not 2/3."""
    mask = np.ones((16, 16), np.uint8)
    mask[:, 8:] = IGNORED_VALUE
    for folder, pixels in (("images", np.zeros((16, 16), np.uint8)), ("masks", mask)):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels).save(tmp_path / folder / "a.png")
    (tmp_path / "dataset.json").write_text(json.dumps({"classes": ["background", "lesion"], "ignore": True}))
    dataset = open_dataset(tmp_path)
    everywhere = ExportedPrediction(np.stack([np.zeros((16, 16)), np.ones((16, 16))]).astype(np.float32), None)
    predictor = SimpleNamespace(predict_many=lambda images: (everywhere for _ in images))
    assert mean_dice(predictor, dataset, dataset.cases) == 1


def test_every_case_counts_alike_whatever_it_holds():
    """A case with one class right and one missed, and a case with one class, right: (1/2 + 1) / 2, not 2/3."""
    both = np.repeat(np.array([[1, 2]], np.uint8), 2, axis=0)
    one = np.ones((2, 2), np.uint8)
    targets = {"both": both, "one": one}
    dataset = SimpleNamespace(classes=("background", "a", "b"), read_mask=lambda case: targets[case.name])
    found = (SimpleNamespace(mask=np.where(target == 1, 1, 0)) for target in targets.values())
    predictor = SimpleNamespace(predict_many=lambda _: found)
    assert mean_dice(predictor, dataset, [SimpleNamespace(name=name, image=None) for name in targets]) == 0.75


def test_only_onnxruntime_is_silenced(caplog):
    """Its own loggers, and what it says through the root logger; another thread's words are heard."""
    caplog.set_level(logging.INFO)
    said = logging.LogRecord("root", logging.WARNING, "/x/onnxruntime/quantize.py", 1, "ours", None, None)
    with quiet():
        logging.getLogger("onnxruntime.quantization").warning("its own")
        logging.root.handle(said)
        logging.getLogger("other").info("another")
        logging.root.info("and another")
    assert [record.getMessage() for record in caplog.records] == ["another", "and another"]
    logging.root.handle(said)
    assert caplog.records[-1] is said


def test_eight_bits_need_the_images_and_onnx(trained, exported, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    recorded = json.loads(config.read_text())
    recorded["dataset"]["path"] = str(tmp_path / "gone")
    config.write_text(json.dumps(recorded))
    with pytest.raises(RunError, match="gone is gone"):
        quantise(exported.path.read_bytes(), exported.card, RunFolder(tmp_path / "run"))
    with pytest.raises(ConfigError, match="--int8 makes ONNX files, not torchscript"):
        export(trained, tmp_path / "model.ts", format="torchscript", int8=True)
