"""Writes synthetic cases as a dataset folder."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from criinet.data.files import csv_text, storage_error, write_json, write_text_atomically
from criinet.data.synthetic.painting import Size, render
from criinet.data.synthetic.parameters import draw_parameters
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
        count: how many cases there are.
        seed: of the drawing, an integer >= 0; case i is ``render(seed, i, size)``.
        size: (H, W) in pixels, both >= 32.
        masks: how many train cases get a mask, the first ones; None for all. Cases of val and test always have theirs.
        test, val: how many cases are set aside for them.

    Raises:
        DataError: if the numbers do not add up, or ``root`` holds images that are not ours.
        StorageError: if the disk is full or ``root`` cannot be written.
    """
    train = count - val - test
    if min(train, val, test) < 0 or train == 0 or (masks is not None and not 0 <= masks <= train):
        raise DataError(
            f"a dataset of {count} cases cannot have {val} for validation, {test} for test and masks for "
            f"{'all' if masks is None else masks} of the {train} left. Ask for more cases, or for fewer of these."
        )
    names = [f"case_{number:04d}" for number in range(1, count + 1)]
    masked = names if masks is None else [*names[:masks], *names[train:]]
    try:
        _clear(root)
        write_text_atomically(root / "parameters.csv", csv_text(_rows(names, seed)))
        _write_cases(root, names, set(masked), seed, size)
    except OSError as error:
        raise storage_error(root, error) from error
    split = {"train": names[:train], "val": names[train : train + val], "test": names[train + val :]}
    write_json(root / "splits" / "default.json", split)
    about = {
        "name": "synthetic-lesions",
        "classes": ["background", "lesion"],
        "source": f"criinet.data.synthetic.write_dataset, seed {seed}, {size[0]}x{size[1]} pixels",
        "licence": "Apache-2.0 (generated)",
    }
    write_json(root / "dataset.json", about)


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


def _rows(names: Sequence[str], seed: int) -> Iterator[dict[str, Any]]:
    """Yield what was drawn for each case."""
    for index, name in enumerate(names):
        yield {"case": name, **asdict(draw_parameters(seed, index))}


def _write_cases(root: Path, names: Sequence[str], masked: Set[str], seed: int, size: Size) -> None:
    """Write every image, and the masks that the dataset has."""
    for index, name in enumerate(names):
        case = render(seed, index, size)
        Image.fromarray(case.image).save(root / "images" / f"{name}.png")
        if name in masked:
            Image.fromarray(case.mask * np.uint8(255)).save(root / "masks" / f"{name}.png")
