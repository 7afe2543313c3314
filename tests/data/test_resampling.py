"""A volume goes to the training grid and back without a shift, and its mask goes where it does."""

from dataclasses import replace

import numpy as np
import torch

from criinet.data import resampling
from criinet.data.formats import Volume
from criinet.data.geometry import Geometry
from criinet.data.grid import training_grid
from criinet.data.resampling import fit_volume, from_grid, labels_to_grid, to_grid
from criinet.data.settings import DataConfig


def test_nothing_shifts_from_slice_to_slice():
    """Of nine slices of 1 mm every third is an object, from the second on: the middles of three of 3 mm."""
    grid = training_grid((9, 1, 1), Geometry.unknown((1.0, 1.0, 1.0)), (3.0, 1.0, 1.0))
    stored = np.array([0, 1, 0] * 3, np.uint8).reshape(9, 1, 1)
    assert labels_to_grid(stored, grid).ravel().tolist() == [1, 1, 1]
    assert 64 < to_grid(stored * 255, grid).ravel()[1] < 128, "what is thin is not lost"
    slabs = from_grid([torch.arange(3.0).view(1, 3, 1, 1)], grid)
    back = torch.cat([slab for _, slab in slabs], dim=1).ravel()
    torch.testing.assert_close(back, torch.tensor([0, 0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2, 2]))


def test_nothing_shifts_within_slices():
    grid = training_grid((1, 1, 8), Geometry.unknown((1.0, 1.0, 1.0)), (1.0, 1.0, 2.0))
    ramp = np.arange(0, 240, 30, dtype=np.uint8).reshape(1, 1, 8)
    assert to_grid(ramp, grid)[0, 0, 1:3].tolist() == [75, 135]
    ((_, back),) = from_grid([torch.arange(4.0).view(1, 1, 1, 4)], grid)
    torch.testing.assert_close(back.ravel(), torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]))


def test_a_volume_that_grows_is_resampled_in_pieces_as_one_that_shrinks(monkeypatch):
    """Of 12 slices of 4 x 4 voxels that become 40 x 40, a piece of 1600 numbers is one slice, not all of them."""
    grid = training_grid((12, 4, 4), Geometry.unknown((10.0, 10.0, 10.0)), (1.0, 1.0, 1.0))
    gray = np.random.default_rng(0).integers(0, 256, (12, 4, 4)).astype(np.uint8)
    whole, largest = to_grid(gray, grid), 0

    def noted(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        nonlocal largest
        largest = max(largest, len(planes) * size[0] * size[1])
        return resized(planes, size)

    resized = resampling._resized
    monkeypatch.setattr(resampling, "_resized", noted)
    monkeypatch.setattr(resampling, "CHUNK", 1600)
    np.testing.assert_array_equal(to_grid(gray, grid), whole)
    assert largest <= 120 * 40, "a row of all slices is the least piece"


def test_a_volume_whose_voxels_nobody_knows_keeps_them():
    volume = Volume(np.zeros((6, 40, 50), np.uint8), Geometry.unknown())
    config = DataConfig(kind="slices", size=(32, 48), channels=1, window="patch", spacing=(3, 2, 2))
    assert fit_volume(volume, config)[0].shape == (6, 40, 50)
    known = replace(volume, geometry=Geometry.unknown((3.0, 4.0, 4.0)))
    assert fit_volume(known, config)[0].shape == (6, 80, 100)
