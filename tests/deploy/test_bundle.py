"""A MONAI bundle runs with MONAI alone and writes the masks that the run writes."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from criinet.deploy.bundle import metadata, write_bundle
from criinet.deploy.export import export
from criinet.deploy.network import to_torchscript
from criinet.deploy.runtime import ExportedPredictor, enlarge, load_exported, prepare
from criinet.errors import ConfigError, StorageError


def run_bundle(bundle: Path, images: Path, out: Path) -> None:
    """Do what `python -m monai.bundle run` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.bundle import ConfigParser

        parser = ConfigParser()
        parser.read_config(bundle / "configs" / "inference.json")
        parser.read_meta(bundle / "configs" / "metadata.json")
        parser.update({"bundle_root": str(bundle), "dataset_dir": str(images), "output_dir": str(out)})
        try:
            parser.get_parsed_content("run")
        finally:
            torch.set_grad_enabled(True)


def refusal(bundle: Path, images: Path, out: Path) -> str:
    """Return the error beneath those that MONAI wraps around another."""
    with pytest.raises(RuntimeError, match="Failed to evaluate") as refused:
        run_bundle(bundle, images, out)
    error: BaseException = refused.value
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


@pytest.fixture(scope="module")
def bundle(exported, tmp_path_factory) -> Path:
    """A bundle whose network takes what is brighter than half for the foreground. Read only."""
    bright = nn.Module()
    bright.forward = lambda image: (torch.cat([1 - image, image], 1),)
    card = exported.card.model_copy(update={"channels": 1})
    out = tmp_path_factory.mktemp("bundles") / "bright"
    write_bundle(out, to_torchscript(bright, card), card)
    return out


@pytest.mark.parametrize("name", ["$print(1)", "@run", "%inference.json", "a @## b"])
@pytest.mark.parametrize("of", ["dataset", "classes"])
def test_a_name_that_monai_would_evaluate_is_refused(of, name, exported, tmp_path):
    card = exported.card.model_copy(update={of: name if of == "dataset" else ("background", name)})
    with pytest.raises(ConfigError, match="MONAI would evaluate the name"):
        write_bundle(tmp_path / "new" / "bundle", b"", card)
    assert list(tmp_path.iterdir()) == []


def half_bright(low: int, high: int, dtype: type = np.uint8) -> Image.Image:
    """A gray 32x48 image whose right half is bright."""
    pixels = np.full((32, 48), low, dtype)
    pixels[:, 24:] = high
    return Image.fromarray(pixels)


def test_a_bundle_reads_the_images_of_a_folder_and_nothing_else(bundle, tmp_path):
    """Whatever the case of the suffix; no text, and none of the hidden files that a Mac leaves."""
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.png", "b.c.PNG", "d.tif"):
        half_bright(20, 200).save(images / name)
    for name in (".DS_Store", "._a.png", "notes.txt", "Thumbs.db"):
        (images / name).write_bytes(b"none")
    run_bundle(bundle, images, tmp_path / "masks")
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a.png", "b.c.png", "d.png"]
    for path in (tmp_path / "masks").iterdir():
        np.testing.assert_array_equal(np.asarray(Image.open(path)).mean(0), [0] * 24 + [1] * 24)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 1), (1, 2)])
def test_a_bundle_segments_images_of_one_row_or_column(size, exported, bundle, tmp_path):
    """As the network itself does it, to a pixel."""
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(pixels).save(images / "a.png")
    run_bundle(bundle, images, tmp_path / "masks")
    card = exported.card.model_copy(update={"channels": 1})
    bright = enlarge(prepare(pixels, card), size)[0] > 0.5
    with Image.open(tmp_path / "masks" / "a.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), bright)


def test_a_bundle_says_that_there_are_no_images(bundle, tmp_path):
    (tmp_path / "a.gif").write_bytes(b"none")
    said = refusal(bundle, tmp_path, tmp_path / "masks")
    assert said == f"{tmp_path} holds no images. Supported are png, jpg, jpeg, tif, tiff, bmp, webp."


def test_a_bundle_writes_no_mask_over_another(bundle, tmp_path):
    """Before it writes anything."""
    for name in ("single.png", "twin.jpg", "twin.png"):
        half_bright(20, 200).save(tmp_path / name)
    said = refusal(bundle, tmp_path, tmp_path / "masks")
    assert said.startswith(f"twin.jpg in {tmp_path} would share a mask with another image of the same name. Rename one")
    assert not (tmp_path / "masks").exists()


def test_a_bundle_refuses_stacks(bundle, tmp_path):
    """Of which Pillow would show the first page alone. No image before it gets a mask."""
    half_bright(20, 200).save(tmp_path / "a.png")
    half_bright(20, 200).save(tmp_path / "b.tif", save_all=True, append_images=[half_bright(200, 20)])
    said = refusal(bundle, tmp_path, tmp_path / "masks")
    assert said.startswith(f"b.tif in {tmp_path} holds several pages, of which a bundle would read the first alone.")
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize(("suffix", "dtype"), [("png", np.uint16), ("tif", np.int32), ("tif", np.float32)])
def test_a_bundle_refuses_deep_images(bundle, tmp_path, suffix, dtype):
    """Of 16 bits, of 32, and of floats: Pillow would make white of all above 255. No image before it gets a mask."""
    half_bright(20, 200).save(tmp_path / "a.png")
    half_bright(300, 900, dtype).save(tmp_path / f"b.{suffix}")
    said = refusal(bundle, tmp_path, tmp_path / "masks")
    assert said.startswith(f"b.{suffix} in {tmp_path} is a gray image of more than 8 bits, of which a bundle would")
    assert not (tmp_path / "masks").exists()


def test_a_bundle_says_what_to_install(bundle, exported):
    """All that its metadata requires beside MONAI; `python -m monai.bundle` fails without fire."""
    assert set(metadata(exported.card)["required_packages_version"]) == {"fire", "pillow"}
    assert "pip install monai fire pillow\n" in (bundle / "docs" / "README.md").read_text()


@pytest.mark.slow
def test_a_bundle_writes_the_masks_of_the_run(trained, exported, tmp_path):
    """On the run's own images and a wide one: resized images give the same masks, crops nearly so."""
    images = tmp_path / "images"
    images.mkdir()
    for i, path in enumerate(sorted((trained.parent / "data" / "images").iterdir())[:4]):
        with Image.open(path) as image:
            (image.resize((90, 40)) if i == 3 else image).convert("RGB").save(images / f"{i}.png")
    left = tmp_path / ".bundle.0a1b2c3d.tmp"
    left.mkdir()
    os.utime(left, (0, 0))
    written = export(trained, tmp_path / "bundle", format="monai-bundle")
    assert not left.exists()
    metadata = json.loads((written.path / "configs" / "metadata.json").read_text())
    assert metadata["criinet"] == json.loads(exported.card.to_json())
    patch = exported.card.model_copy(update={"window": "patch"})
    write_bundle(tmp_path / "crops", (written.path / "models" / "model.ts").read_bytes(), patch)
    file = load_exported(exported.path)
    for bundle, card, allowed in ((written.path, exported.card, 0.001), (tmp_path / "crops", patch, 0.05)):
        run_bundle(bundle, images, tmp_path / "masks")
        predictor, foreground = ExportedPredictor(file.session, card), 0
        for path in images.iterdir():
            mask = np.asarray(Image.open(tmp_path / "masks" / path.name))
            expected = predictor.predict(np.asarray(Image.open(path))).mask
            assert mask.shape == expected.shape
            assert (mask != expected).mean() <= allowed
            foreground += expected.sum()
        assert foreground


def test_a_bundle_never_replaces_a_folder(trained, tmp_path):
    (tmp_path / "bundle").mkdir()
    with pytest.raises(StorageError, match="is there already"):
        export(trained, tmp_path / "bundle", format="monai-bundle")
    assert list((tmp_path / "bundle").iterdir()) == []
