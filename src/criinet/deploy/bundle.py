"""A MONAI bundle: the network as TorchScript beside the configuration that feeds it, for programs that speak MONAI."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from criinet.data.files import make_folder, temporary_for, write_bytes_atomically, write_json, write_text_atomically
from criinet.data.kinds import PICTURE_SUFFIXES
from criinet.deploy.card import ModelCard
from criinet.errors import ConfigError

MONAI_VERSION = "1.4.0"
"""The oldest MONAI that the configuration is meant for."""

EVALUATED = re.compile(r"[$%@]|.*[%@]#", re.DOTALL)
"""How a text begins that MONAI runs as Python, or replaces by something else of the configuration."""

WHOLE = {
    "resized": (
        "$lambda inputs: torch.stack([torch.stack([torch.from_numpy(np.array(Image.fromarray((channel * 255).round()"
        ".byte().cpu().numpy()).resize(@size[::-1], Image.Resampling.BILINEAR))) for channel in image]) "
        "for image in inputs]).to(inputs.device) / 255"
    ),
    "linear": "$lambda probs, size: F.interpolate(probs, size, mode='bilinear', align_corners=False, antialias=True)",
    "enlarged": "$lambda probs, size: @linear(probs.mT, size[::-1]).mT if size[1] == 1 else @linear(probs, size)",
    "inferer": "$lambda inputs, network: @enlarged(@mirrored(@resized(inputs), network), inputs.shape[2:])",
}
"""As criinet does: Pillow resizes each channel of 8 bits, and the probabilities go back to the image's size, on their
side where it is one pixel wide: see ``antialiased``."""

PATCH = {
    "windows": {
        "_target_": "SlidingWindowInferer",
        "roi_size": "@size",
        "sw_batch_size": 8,
        "overlap": 0.5,
        "mode": "gaussian",
        "sigma_scale": 0.125,
        "padding_mode": "replicate",
    },
    "inferer": "$lambda inputs, network: @windows(inputs, lambda crops: @mirrored(crops, network))",
}
"""MONAI's own sliding window: the same Gaussian as criinet's, but at other places."""

README = """# {method} on {dataset}

Segments {classes}. Exported by criinet {version}; the network gives {outputs}.

    pip install monai fire pillow
    python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES --output_dir MASKS

in this folder reads every image of 8 bits in IMAGES and writes a mask of class indices for each.
"""

LISTING = {
    "names": (
        "$sorted(name for name in os.listdir(@dataset_dir) "
        f"if name[0] != '.' and name.lower().endswith({PICTURE_SUFFIXES}))"
    ),
    "overwritten": "$sorted(set(@names) - set({os.path.splitext(name)[0]: name for name in @names}.values()))",
    "deep": "$[name for name in @names if Image.open(os.path.join(@dataset_dir, name)).mode[0] in 'IF']",
    "stacks": (
        "$[name for name in @names if name.lower().endswith(('.tif', '.tiff')) "
        "and getattr(Image.open(os.path.join(@dataset_dir, name)), 'n_frames', 1) > 1]"
    ),
}
"""The images of the folder, and which of them a bundle would read wrongly."""

CHECKS = (
    "$torch._check_value(len(@names) > 0, lambda: @dataset_dir + ' holds no images. Supported are "
    f"{', '.join(suffix[1:] for suffix in PICTURE_SUFFIXES)}.')",
    "$torch._check_value(not @overwritten, lambda: @overwritten[0] + ' in ' + @dataset_dir + ' would share a mask with "
    "another image of the same name. Rename one.')",
    "$torch._check_value(not @deep, lambda: @deep[0] + ' in ' + @dataset_dir + ' is a gray image of more than 8 bits, "
    "of which a bundle would read the lowest values alone. Save it with 8 bits.')",
    "$torch._check_value(not @stacks, lambda: @stacks[0] + ' in ' + @dataset_dir + ' holds several pages, of which a "
    "bundle would read the first alone. Save each page as an image of its own.')",
)
"""Of all images before the first one is segmented: a reader's own sentence would drown in those of MONAI's others."""


TURNED = {"_target_": "Transposed", "indices": [0, 2, 1]}
"""MONAI reads an image on its side, and writes it so."""

FLAT_WRITER = "$type('FlatWriter', (PILWriter,), {'convert_to_channel_last': staticmethod(lambda data, **_: data[0])})"
"""MONAI's own drops every axis of length 1 at the end, and so that of an image one pixel high."""

POSTPROCESSING = {
    "_target_": "Compose",
    "transforms": [
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {**TURNED, "keys": "pred"},
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "writer": FLAT_WRITER,
            "output_dir": "@output_dir",
            "output_ext": ".png",
            "output_postfix": "",
            "output_dtype": "$np.uint8",
            "separate_folder": False,
            "resample": False,
            "print_log": False,
        },
    ],
}
"""From probabilities to a file of class indices."""


def write_bundle(out: Path, network: bytes, card: ModelCard) -> None:
    """Write the bundle's folder whole or not at all.

    Args:
        network: as TorchScript.

    Raises:
        ConfigError: if MONAI would evaluate the name of the dataset or of a class.
        StorageError: if it cannot be written.
    """
    for name in (card.dataset, *card.classes):
        if EVALUATED.match(name):
            what = f"MONAI would evaluate the name '{name}' as Python or as a reference"
            raise ConfigError(f"{what}; rename it in dataset.json and train anew, or give another --format.")
    make_folder(out.parent)
    temporary = temporary_for(out)
    try:
        write_bytes_atomically(temporary / "models" / "model.ts", network)
        write_json(temporary / "configs" / "metadata.json", metadata(card))
        write_json(temporary / "configs" / "inference.json", inference(card))
        about = {**card.model_dump(), "classes": ", ".join(card.classes), "outputs": " and ".join(card.outputs)}
        write_text_atomically(temporary / "docs" / "README.md", README.format(**about))
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def metadata(card: ModelCard) -> dict[str, Any]:
    """Return metadata.json, as MONAI's schema of bundles wants it; ``criinet`` holds the card."""
    space = {"spatial_shape": [f"{card.multiple}*n"] * 2, "dtype": "float32", "value_range": [0, 1]}
    image = {"type": "image", "format": "magnitude", "num_channels": card.channels, **space}
    image |= {"is_patch_data": card.window == "patch"}
    probabilities = {"type": "probabilities", "format": "segmentation", "num_channels": len(card.classes), **space}
    probabilities |= {"is_patch_data": card.window == "patch", "channel_def": dict(enumerate(card.classes))}
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by criinet {card.version}"},
        "monai_version": MONAI_VERSION,
        "pytorch_version": "2.8.0",
        "numpy_version": "2.0.0",
        "required_packages_version": {"fire": "0.7.1", "pillow": "11.0.0"},
        "task": "segmentation of images",
        "description": f"{card.method} with {card.network}, trained on {card.dataset}",
        "network_data_format": {
            "inputs": {"image": {**image, "channel_def": {"0": "gray"} if card.channels == 1 else {"0": "RGB"}}},
            "outputs": {"pred": probabilities},
        },
        "criinet": json.loads(card.to_json()),
    }


def inference(card: ModelCard) -> dict[str, Any]:
    """Return inference.json: from the images of a folder to one mask each."""
    return {
        "imports": [
            "$import os",
            "$import numpy as np",
            "$import torch",
            "$from torch.nn import functional as F",
            "$import PIL.Image as Image",
            "$import PIL.ImageOps as ImageOps",
            "$from monai.data import MetaTensor",
            "$from monai.data import PILWriter",
        ],
        "bundle_root": ".",
        "dataset_dir": "images",
        "output_dir": "masks",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "size": list(card.size),
        "network": {
            "_target_": "torch.jit.load",
            "f": "$@bundle_root + '/models/model.ts'",
            "map_location": "@device",
        },
        "mirrors": [[], *(list(axes) for axes in card.mirrors if card.tta)],
        "mirrored": (
            "$lambda images, network: torch.stack("
            "[network(images.flip(axes))[0].flip(axes) for axes in @mirrors]).mean(0)"
        ),
        **(WHOLE if card.window == "whole" else PATCH),
        **LISTING,
        "preprocessing": preprocessing(card),
        "postprocessing": POSTPROCESSING,
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': os.path.join(@dataset_dir, name)} for name in @names]",
            "transform": "@preprocessing",
        },
        "segment": (
            "$lambda image: MetaTensor(@inferer(image.as_tensor()[None].to(@device), @network)[0].cpu(), "
            "meta=image.meta)"
        ),
        "run": [
            "$torch.set_grad_enabled(False)",
            *CHECKS,
            "$[@postprocessing({'pred': @segment(case['image'])}) for case in @dataset]",
        ],
    }


def preprocessing(card: ModelCard) -> dict[str, Any]:
    """Return how a file becomes an image in [0, 1] with the channels that the network wants."""
    mode = "RGB" if card.channels == 3 else "L"
    return {
        "_target_": "Compose",
        "transforms": [
            {
                "_target_": "LoadImaged",
                "keys": "image",
                "reader": "PILReader",
                "converter": f"$lambda image: ImageOps.exif_transpose(image).convert('{mode}')",
            },
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {**TURNED, "keys": "image"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1},
        ],
    }
