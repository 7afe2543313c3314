"""A MONAI bundle runs with MONAI alone and writes the masks that the run writes."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from criinet.deploy.bundle import write_bundle
from criinet.deploy.export import export
from criinet.deploy.runtime import ExportedPredictor, load_exported
from criinet.errors import StorageError


def run_bundle(bundle: Path, images: Path, out: Path) -> None:
    """Do what `python -m monai.bundle run` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.bundle import ConfigParser

        parser = ConfigParser()
        parser.read_config(bundle / "configs" / "inference.json")
        parser.read_meta(bundle / "configs" / "metadata.json")
        parser.update({"bundle_root": str(bundle), "dataset_dir": str(images), "output_dir": str(out)})
        parser.get_parsed_content("run")


@pytest.mark.slow
def test_a_bundle_writes_the_masks_of_the_run(trained, exported, tmp_path):
    """On the run's own images and a wide one: resized images give the same masks, crops nearly so."""
    import torch

    images = tmp_path / "images"
    images.mkdir()
    for i, path in enumerate(sorted((trained.parent / "data" / "images").iterdir())[:4]):
        with Image.open(path) as image:
            (image.resize((90, 40)) if i == 3 else image).convert("RGB").save(images / f"{i}.png")
    written = export(trained, tmp_path / "bundle", format="monai-bundle")
    assert json.loads((written.path / "configs" / "metadata.json").read_text())["criinet"]["format"] == 1
    patch = exported.card.model_copy(update={"window": "patch"})
    write_bundle(tmp_path / "crops", (written.path / "models" / "model.ts").read_bytes(), patch)
    file = load_exported(exported.path)
    for bundle, card, allowed in ((written.path, exported.card, 0.001), (tmp_path / "crops", patch, 0.05)):
        try:
            run_bundle(bundle, images, tmp_path / "masks")
        finally:
            torch.set_grad_enabled(True)
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
