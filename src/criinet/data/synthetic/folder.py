"""Writes synthetic cases as a dataset folder."""

import csv
import json
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from PIL import Image

from criinet.data.synthetic.painting import Size, render
from criinet.data.synthetic.parameters import Parameters, draw_parameters
from criinet.errors import DataError


def write_dataset(
    root: Path,
    *,
    count: int = 400,
    seed: int = 0,
    size: Size = (128, 128),
    masks: int | None = None,
    test: int = 100,
    val: int = 16,
) -> None:
    """Write a dataset folder of ``count`` cases: train first, then ``val``, then ``test``.

    ``dataset.json`` is written last and ``parameters.csv`` first: a folder without the former was interrupted, and the
    same call starts it anew.

    Args:
        root: the folder, new, empty, or left by an earlier call.
        masks: how many train cases get a mask, the first ones; None for all. Cases of val and test always have theirs.
    Raises:
        DataError: if the numbers do not add up, or ``root`` holds images that are not ours.
    """
    train = count - val - test
    if min(train, val, test) < 0 or train == 0 or (masks is not None and not 0 <= masks <= train):
        raise DataError(
            f"a dataset of {count} cases cannot have {val} for validation, {test} for test and masks for "
            f"{'all' if masks is None else masks} of the {train} left. Ask for more cases, or for fewer of these."
        )
    _clear(root)
    names = [f"case_{number:04d}" for number in range(1, count + 1)]
    _write_parameters(root / "parameters.csv", names, seed)
    for index, name in enumerate(names):
        case = render(seed, index, size)
        Image.fromarray(case.image).save(root / "images" / f"{name}.png")
        if masks is None or index < masks or index >= train:
            Image.fromarray(case.mask * np.uint8(255)).save(root / "masks" / f"{name}.png")
    split = {"train": names[:train], "val": names[train : train + val], "test": names[train + val :]}
    (root / "splits" / "default.json").write_text(json.dumps(split, indent=1) + "\n", encoding="utf-8")
    about = {
        "name": "synthetic-lesions",
        "classes": ["background", "lesion"],
        "source": f"criinet.data.synthetic.write_dataset, seed {seed}, {size[0]}x{size[1]} pixels",
        "licence": "Apache-2.0 (generated)",
    }
    partial = root / "dataset.json.partial"
    partial.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    partial.replace(root / "dataset.json")


def _clear(root: Path) -> None:
    """Make the folders; remove what an earlier call left, and nothing else."""
    ours = (root / "parameters.csv").exists()
    old = [file for folder in ("images", "masks") for file in (root / folder).glob("*")]
    if not ours and (old or (root / "dataset.json").exists()):
        raise DataError(f"{root} holds other data. Name a new or empty folder for the synthetic dataset.")
    (root / "dataset.json").unlink(missing_ok=True)
    for file in old:
        if file.match("case_*.png"):
            file.unlink()
    for folder in ("images", "masks", "splits"):
        (root / folder).mkdir(parents=True, exist_ok=True)


def _write_parameters(file: Path, names: list[str], seed: int) -> None:
    """Write one row of parameters for each case."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, ["case", *(field.name for field in fields(Parameters))])
        table.writeheader()
        for index, name in enumerate(names):
            table.writerow({"case": name, **asdict(draw_parameters(seed, index))})
