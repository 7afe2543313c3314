"""Tiny data sets of volumes: a bright ball in noise, one size of voxel or several."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform


def ball(shape: tuple[int, int, int], centre: np.ndarray, radius: float, spacing: tuple[float, ...]) -> np.ndarray:
    """Return a ball of ``radius`` mm around ``centre`` in mm, (W, H, D) bool."""
    places = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij"), -1)
    return np.linalg.norm(places - centre, axis=-1) < radius


def write_volumes(
    root: Path,
    count: int = 6,
    *,
    masks: int = 6,
    classes: int = 2,
    spacings: tuple[tuple[float, float, float], ...] = ((1.0, 1.0, 2.0),),
    flip: bool = False,
) -> Path:
    """Write volumes of about 24 x 20 x 24 mm, (w, h, d); with ``flip`` every other one is stored left to right."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        spacing = spacings[i % len(spacings)]
        shape = tuple(round(side / step) for side, step in zip((24, 20, 24), spacing, strict=True))
        target = np.zeros(shape, np.uint8)
        for c in range(1, classes):
            target[ball(shape, np.array([6 + 10 * (c - 1), 10, 12]) + rng.uniform(-1, 1, 3), 5, spacing)] = c
        image = rng.normal(300, 30, shape) + 250 * (target > 0)
        affine = np.diag([*spacing, 1.0])
        if flip and i % 2:
            affine[0, 0], affine[0, 3] = -spacing[0], spacing[0] * (shape[0] - 1)
            image, target = image[::-1], target[::-1]
        nib.save(nib.Nifti1Image(image.astype(np.int16), affine), root / "images" / f"v{i}.nii.gz")
        if i < masks:
            nib.save(nib.Nifti1Image(target, affine), root / "masks" / f"v{i}.nii.gz")
    names = ["background", *(f"organ {c}" for c in range(1, classes))]
    (root / "dataset.json").write_text(json.dumps({"name": "balls", "classes": names}))
    parts = {"train": [f"v{i}" for i in range(count - 2)], "val": [f"v{count - 2}"], "test": [f"v{count - 1}"]}
    if masks == count:
        (root / "splits").mkdir()
        (root / "splits" / "default.json").write_text(json.dumps(parts))
    return root


def store_as(path: Path, axes: str) -> None:
    """Store a volume anew with its axes (w, h, d) running to ``axes``, "RAS" or "PIR" for instance; no voxel moves."""
    stored = nib.load(path)
    content = np.asanyarray(stored.dataobj)
    image = nib.Nifti1Image(content, stored.affine).as_reoriented(
        ornt_transform(io_orientation(stored.affine), axcodes2ornt(tuple(axes)))
    )
    nib.save(image, path)


def in_ras(path: Path) -> np.ndarray:
    """Return a volume with its first axis running to the right, the second to the front, the third to the head."""
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)
