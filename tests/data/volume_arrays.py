"""Small volumes of numbers, and where they lie."""

import numpy as np
from scipy.spatial.transform import Rotation


def affine_of(spacing=(0.7, 1.3, 5.0), angles=(0, 0, 0), flips=(1, 1, 1), origin=(3.0, -40.0, 5.5)) -> np.ndarray:
    """Return a NIfTI affine, rounded to what the file can hold."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(np.array(spacing) * flips)
    affine[:3, 3] = origin
    return affine.astype(np.float32).astype(np.float64)


def numbers(shape=(5, 6, 7), dtype=np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
