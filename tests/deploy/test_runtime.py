"""An exported file predicts as its run does, on any image, with no torch on the machine."""

import json
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from criinet.data.predictions import Outputs
from criinet.deploy.card import KEY
from criinet.deploy.export import Export
from criinet.deploy.parity import TOLERANCE
from criinet.deploy.runtime import ExportedPredictor, load_exported
from criinet.deploy.runtime import predict_folder as predict_exported
from criinet.engine.build import load
from criinet.engine.prediction import predict_folder
from criinet.engine.predictor import Predictor
from criinet.errors import CheckpointError, ConfigError, DataError
from volume_sets import write_volumes

SIZES = [(48, 48, 3), (32, 48, 3), (31, 45), (5, 91, 3), (120, 64), (33, 33, 3), (1, 1), (200, 31, 3), (64, 64, 3)]
WITHOUT_TORCH = """
import sys

ABSENT = {"torch", "lightning_fabric", "onnx", "onnxscript", "scipy", "matplotlib", "safetensors", "nibabel", "pydicom"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
from criinet.cli.main import run
run()
"""


def pictures() -> list[np.ndarray]:
    """Nine images, smooth enough for masks with contours, colour and gray: more than one batch."""
    rng = np.random.default_rng(0)
    found: list[np.ndarray] = []
    for shape in SIZES:
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, *shape[2:]), dtype=np.uint8))
        found.append(np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)))
    return found


def test_the_file_mirrors_as_the_run_does_unless_it_is_asked_otherwise(exported):
    file = load_exported(exported.path, threads=1)
    cards = {averages: file.card.model_copy(update={"tta": averages}) for averages in (False, True)}
    for averages, asked, passes in ((False, None, 1), (True, None, 3), (True, False, 1), (False, True, 3)):
        assert len(ExportedPredictor(file.session, cards[averages], tta=asked).mirrors) == passes


@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize(("window", "size"), [("whole", (32, 48)), ("patch", (32, 48)), ("whole", (30, 45))])
def test_the_file_predicts_as_the_run_does(trained, exported, window, size, tta):
    """At the training size or another, with sides that are no multiples: the same probabilities, maps and masks."""
    seen = {"window": window, "size": size}
    run = load(trained, device="cpu")
    assert run.shift != 0
    run = Predictor(run.method, run.data.model_copy(update=seen), run.classes, shift=run.shift, tta=tta)
    file = load_exported(exported.path, threads=1)
    file = ExportedPredictor(file.session, file.card.model_copy(update=seen), tta=tta)
    mixed = 0
    for image, theirs, mine in zip(
        pictures(), run.predict_many(pictures()), file.predict_many(pictures()), strict=True
    ):
        assert (mine.mask.dtype, mine.mask.shape) == (np.uint8, image.shape[:2])
        for one, other in ((mine.probs, theirs.probs), (mine.coarse, theirs.coarse)):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, other.numpy(), atol=TOLERANCE, rtol=0)
        np.testing.assert_allclose(mine.entropy, theirs.entropy, atol=1e-3, rtol=0)
        np.testing.assert_allclose(mine.disagreement, theirs.disagreement, atol=2 * TOLERANCE, rtol=0)
        clear = np.abs(np.diff(theirs.probs.numpy(), axis=0))[0] > 2 * TOLERANCE
        np.testing.assert_array_equal(mine.mask[clear], theirs.mask[clear])
        np.testing.assert_array_equal(file.predict(image).mask, mine.mask)
        mixed += 0 < mine.mask.mean() < 1
    assert mixed


@pytest.mark.parametrize("window", ["whole", "patch"])
def test_neither_keeps_an_image_while_the_next_one_is_read(trained, exported, window):
    """A few go through the network at once, but none of them as large as it is."""
    run, file = load(trained, device="cpu"), load_exported(exported.path, threads=1)
    run = Predictor(run.method, run.data.model_copy(update={"window": window}), run.classes)
    for predictor in (run, ExportedPredictor(file.session, file.card.model_copy(update={"window": window}))):
        read, kept = [], []

        def images(read=read, kept=kept):
            for _ in range(9):
                kept.append([image() for image in read if image() is not None])
                image = np.zeros((40, 50, 3), np.uint8)
                read.append(weakref.ref(image))
                yield image
                del image

        assert len(list(predictor.predict_many(images()))) == 9
        assert kept == [[]] * 9


@pytest.mark.parametrize("shift", [0.0, -3.0, 3.0])
def test_the_file_shifts_as_the_run_does_when_it_is_asked(trained, exported, shift):
    run, file = load(trained, device="cpu", shift=shift), load_exported(exported.path, shift=shift, threads=1)
    assert file.shift != file.card.shift
    theirs, mine = run.predict(pictures()[0]), file.predict(pictures()[0])
    np.testing.assert_allclose(mine.probs, theirs.probs.numpy(), atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(mine.coarse, theirs.coarse.numpy(), atol=TOLERANCE, rtol=0)


@pytest.mark.slow
def test_folders_are_segmented_without_torch(trained, exported, tmp_path):
    """The command line with torch, scipy and onnx out of reach writes the files that it writes with a run."""
    images = tmp_path / "images"
    images.mkdir()
    for i, picture in enumerate(pictures()):
        Image.fromarray(picture).save(images / f"{i}.png")
    words = ["predict", str(exported.path), str(images), "--out", "out", "--probabilities", "--uncertainty", "--tta"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    chosen = load_exported(exported.path).shift
    tuned = f"object logits are shifted by {chosen:+g}, as tuned on validation cases; --shift sets another shift"
    said = f"{tuned}\nmasks: out\n"
    assert (done.returncode, done.stderr) == (0, said)
    outputs = Outputs(probabilities=True, uncertainty=True)
    predict_folder(trained, images, tmp_path / "run", outputs=outputs, tta=True, device="cpu")
    names, others = (
        sorted(path.relative_to(tmp_path / made) for path in (tmp_path / made).rglob("[!.]*.*"))
        for made in ("run", "out")
    )
    assert names == others
    assert len(names) == 4 * len(SIZES)
    for name in names:
        one, other = read(tmp_path / "run" / name), read(tmp_path / "out" / name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.abs(one.astype(float) - other.astype(float)).max() <= (1e-3 if name.suffix == ".npz" else 1)


def read(path: Path) -> np.ndarray:
    return np.load(path)["probabilities"] if path.suffix == ".npz" else np.asarray(Image.open(path))


def test_volumes_are_refused(exported, tmp_path):
    """Before anything is written; --skip-bad leaves them out, as it does with a run on images, and goes on."""
    volumes = write_volumes(tmp_path / "volumes", 2, masks=0)
    Image.fromarray(pictures()[0]).save(volumes / "images" / "w.png")
    with pytest.raises(DataError, match=r"v0\.nii\.gz is a volume, but images are expected here\. Keep") as refused:
        predict_exported(exported.path, volumes, tmp_path / "out")
    assert refused.value.exit_code == 2
    assert len(predict_exported(exported.path, volumes, tmp_path / "out", skip_bad=True)) == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".prediction.json", "w.png"]


def test_a_file_of_something_else_is_refused(exported, tmp_path):
    """Missing, cut short, foreign, newer, or with metadata that nobody can read: one sentence each."""
    with pytest.raises(CheckpointError, match="does not exist"):
        load_exported(tmp_path / "none.onnx")
    with pytest.raises(
        CheckpointError, match=r" is a folder\. Give the file that `criinet export RUN --out model\.onnx`"
    ):
        load_exported(tmp_path)
    content = exported.path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"cut\.onnx is truncated"):
        load_exported(tmp_path / "cut.onnx")
    for text, sentence in (
        (None, "was not exported by criinet"),
        ('{"format": 3}', "has format 3, this criinet reads up to 2"),
        ('{"format": 1}', "metadata of .* cannot be read"),
        ("[]", "metadata of .* cannot be read"),
    ):
        model = onnx.load_from_string(content)
        del model.metadata_props[:]
        if text is not None:
            onnx.helper.set_model_props(model, {KEY: text})
        with pytest.raises(CheckpointError, match=sentence):
            load_exported(model.SerializeToString())


def unsealed(exported: Export) -> onnx.ModelProto:
    """Return an exported network whose card has no digest, as those of older files, to be changed at will."""
    model = onnx.load_from_string(exported.path.read_bytes())
    onnx.helper.set_model_props(model, {KEY: exported.card.to_json()})
    return model


def test_a_file_that_was_damaged_on_the_way_is_refused(exported, tmp_path):
    """One byte of its weights is another; without a digest nobody can tell."""
    content = bytearray(exported.path.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m\.onnx is damaged\. Copy it again, or export the run again"):
        load_exported(tmp_path / "m.onnx")
    assert load_exported(unsealed(exported).SerializeToString()).card == exported.card


@pytest.mark.parametrize("shift", [21.0, -100.0, float("nan"), float("inf")])
def test_a_shift_that_leaves_one_class_is_refused(shift, exported):
    with pytest.raises(ConfigError, match=r"^shift is .*; give a number from -20 to 20"):
        load_exported(exported.path, shift=shift)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"classes": ["none", "cup", "disc"]},
            r"gives probabilities C=3 channels, its network the shape \['batch', 2, ",
        ),
        ({"channels": 1}, r"gives image C=1 channels, its network the shape \['batch', 3, "),
        ({"mirrors": [[-1], [1]]}, r"mirrors along axes \[1\], where -1 and -2 are those of an image"),
        ({"mirrors": [[-1, -1]]}, r"mirrors along axes \[-1, -1\]"),
        ({"mirrors": [[-4]], "tta": True}, r"mirrors along axes \[-4\]"),
    ],
)
def test_metadata_that_contradict_the_network_are_refused(exported, changes, what):
    """They would segment wrongly, or fail somewhere within NumPy or onnxruntime."""
    model = onnx.load_from_string(exported.path.read_bytes())
    onnx.helper.set_model_props(model, {KEY: json.dumps(json.loads(exported.card.to_json()) | changes)})
    with pytest.raises(
        CheckpointError, match=rf"the metadata of the exported network {what}.*\. Export the run again\.$"
    ):
        load_exported(model.SerializeToString())


def test_a_card_without_a_shift_is_one_of_the_time_before_shifts(exported):
    model = onnx.load_from_string(exported.path.read_bytes())
    card = json.loads(exported.card.to_json()) | {"format": 1}
    del card["shift"]
    onnx.helper.set_model_props(model, {KEY: json.dumps(card)})
    assert load_exported(model.SerializeToString()).card.shift == 0


def test_a_network_without_an_output_of_its_metadata_is_refused(exported):
    model = unsealed(exported)
    del model.graph.output[1]
    with pytest.raises(
        CheckpointError, match="tells of coarse, image, probabilities, its network has image, probabilities"
    ):
        load_exported(model.SerializeToString())


def test_classes_that_the_graph_leaves_open_are_not_compared(exported):
    model = unsealed(exported)
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = "classes"
    assert load_exported(model.SerializeToString()).card == exported.card
