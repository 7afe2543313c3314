"""Where the ranked losses look: bands, windows, patches and pixels, against brute force and against SciPy."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from criinet.errors import ShapeError
from criinet.labels import IGNORE
from criinet.losses import at_stride, boundary_band, boundary_patches, draw_pixels, pure_patches
from criinet.losses.patches import class_shares, window_share

PLANE, VOLUME = (24, 40), (10, 14, 18)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def blobs(*sides: int, classes: int = 3, images: int = 2) -> Tensor:
    """Return labels (images, *sides) with smooth random regions of every class."""
    rng = np.random.default_rng(0)
    scores = [
        ndimage.gaussian_filter(rng.normal(size=(images, *sides)), (0, *[3] * len(sides))) for _ in range(classes)
    ]
    return torch.from_numpy(np.argmax(scores, axis=0))


def half(height: int, width: int) -> Tensor:
    """Return one image (1, H, W) whose right half is class 1."""
    labels = torch.zeros(1, height, width, dtype=torch.long)
    labels[:, :, width // 2 :] = 1
    return labels


@pytest.mark.parametrize("sides", [PLANE, VOLUME])
@pytest.mark.parametrize("width", [1, 2])
def test_the_band_is_dilation_minus_erosion_of_every_class(sides, width):
    labels = blobs(*sides)
    cube = np.ones((2 * width + 1,) * len(sides), bool)
    for image, band in zip(labels.numpy(), boundary_band(labels, width).numpy(), strict=True):
        expected = np.zeros(sides, bool)
        for c in range(3):
            grown = ndimage.binary_dilation(image == c, cube)
            shrunk = ndimage.binary_erosion(image == c, cube, border_value=1)
            expected |= grown & ~shrunk
        np.testing.assert_array_equal(band, expected)
        assert 0 < expected.sum() < expected.size


def test_the_band_of_an_edge_by_hand():
    """An edge between columns 3 and 4, k = 2: columns 2 to 5 are within two pixels of the other class."""
    band = boundary_band(half(3, 8), 2)
    assert band[0].all(0).tolist() == [False, False, True, True, True, True, False, False]
    assert torch.equal(band[0].all(0), band[0].any(0))


def test_ignored_pixels_are_neither_a_class_nor_on_the_band():
    """Class 0 next to ignored pixels is no boundary; class 0 and 1 on both sides of one ignored column are."""
    labels = half(3, 8)
    labels[labels == 1] = IGNORE
    assert not boundary_band(labels, 1).any()
    labels = half(3, 8)
    labels[:, :, 4] = IGNORE
    assert not boundary_band(labels, 1).any()
    assert boundary_band(labels, 2)[0].all(0).tolist() == [False, False, False, True, False, True, False, False]
    assert not boundary_band(torch.tensor([[[2, IGNORE, 2]]]), 1).any(), "nor is it a class below all others"


@pytest.mark.parametrize("sides", [PLANE, VOLUME])
def test_nothing_depends_on_which_side_is_called_the_height(sides):
    labels = blobs(*sides)
    turned = labels.transpose(-1, -2)
    torch.testing.assert_close(boundary_band(turned, 2), boundary_band(labels, 2).transpose(-1, -2))
    size = tuple(range(3, 3 + len(sides)))
    swapped = (*size[:-2], size[-1], size[-2])
    shares = class_shares(labels, 3, size)
    torch.testing.assert_close(class_shares(turned, 3, swapped), shares.transpose(-1, -2))
    taken = at_stride(labels, 4, torch.Size(-(-side // 4) for side in sides))
    turned_sides = turned.shape[1:]
    again = at_stride(turned, 4, torch.Size(-(-side // 4) for side in turned_sides))
    assert torch.equal(again, taken.transpose(-1, -2))


@pytest.mark.parametrize(("sides", "size"), [((6, 9), (2, 3)), ((6, 9), (6, 9)), ((5, 4, 6), (2, 3, 1))])
def test_window_shares_by_brute_force(sides, size):
    selected = torch.rand(2, 3, *sides) < 0.4
    shares = window_share(selected, size)
    assert shares.shape[2:] == tuple(side - length + 1 for side, length in zip(sides, size, strict=True))
    for corner in product(*(range(n) for n in shares.shape[2:])):
        window = selected[(..., *(slice(c, c + s) for c, s in zip(corner, size, strict=True)))]
        torch.testing.assert_close(shares[(..., *corner)], window.flatten(2).float().mean(2))


def test_at_stride_takes_every_label_and_fills_with_ignored_ones():
    """A 3x5 image at stride 2 has labels at rows 0, 2 and columns 0, 2, 4; a 3x4 feature gets a border of IGNORE."""
    labels = torch.arange(15).view(1, 3, 5)
    expected = [[0, 2, 4, IGNORE], [10, 12, 14, IGNORE], [IGNORE] * 4]
    assert at_stride(labels, 2, torch.Size((3, 4)))[0].tolist() == expected


def test_a_feature_that_has_no_room_for_the_labels_is_refused():
    """They would be cropped: at the stride that a backbone has by default, half of the image would be taught."""
    with pytest.raises(
        ShapeError, match=r"^labels of \(4, 6\) pixels at stride 1 do not fit .* \(2, 3\); the stride is"
    ):
        at_stride(torch.zeros(1, 4, 6, dtype=torch.long), 1, torch.Size((2, 3)))


def test_at_stride_one_is_the_labels_themselves():
    labels = blobs(*VOLUME)
    assert torch.equal(at_stride(labels, 1, labels.shape[1:]), labels)


@pytest.mark.parametrize(("sides", "size"), [(PLANE, (6, 8)), (PLANE, (5, 7)), (VOLUME, (4, 5, 6))])
def test_boundary_patches_are_centred_on_the_band_and_hold_two_classes(sides, size):
    labels = blobs(*sides)
    patches = boundary_patches(labels, 3, size=size, count=50, band=1)
    assert patches.pixels.shape == patches.labels.shape == patches.band.shape == (2, 50, int(np.prod(size)))
    edge = boundary_band(labels, 1)
    for b in range(2):
        where = torch.stack(torch.unravel_index(patches.pixels[b], sides), dim=-1)
        centre = where[:, 0] + torch.tensor([side // 2 for side in size])
        assert edge[b][tuple(centre.T)].all()
        shares = torch.stack([(patches.labels[b] == c).float().mean(1) for c in range(3)], dim=1)
        assert ((shares >= 0.05).sum(1) >= 2).all()


@pytest.mark.parametrize(("sides", "size"), [(PLANE, (6, 8)), (VOLUME, (4, 5, 6))])
def test_pixels_point_to_a_whole_cube_of_the_labels(sides, size):
    labels = blobs(*sides)
    patches = boundary_patches(labels, 3, size=size, count=5, band=1)
    edge = boundary_band(labels, 1)
    for b, n in product(range(2), range(5)):
        where = torch.stack(torch.unravel_index(patches.pixels[b, n], sides), dim=-1)
        cube = tuple(slice(int(low), int(low) + side) for low, side in zip(where[0], size, strict=True))
        assert torch.equal(labels[b][cube].flatten(), patches.labels[b, n])
        assert torch.equal(edge[b][cube].flatten(), patches.band[b, n])


def test_every_eligible_patch_is_drawn_alike():
    """An edge in the middle of 8 columns, patches 3x4: the two columns of the band that give two classes, any row."""
    labels = half(6, 8)
    patches = boundary_patches(labels, 2, size=(3, 4), count=4000, band=1)
    corners, counts = patches.pixels[0, :, 0].unique(return_counts=True)
    rows, columns = torch.unravel_index(corners, (6, 8))
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == set(product(range(4), (1, 2)))
    assert ((counts / 4000 - 1 / 8).abs() < 0.03).all()


def test_an_image_without_a_boundary_gives_ignored_patches_and_others_are_not_troubled():
    labels = torch.cat([half(12, 12), torch.zeros(1, 12, 12, dtype=torch.long)])
    patches = boundary_patches(labels, 2, size=(4, 4), count=6, band=1)
    assert (patches.labels[0] != IGNORE).all()
    assert (patches.labels[1] == IGNORE).all()
    assert patches.pixels.min() >= 0
    assert patches.pixels.max() < 144


def test_a_class_of_too_small_a_share_makes_no_boundary_patch():
    """A single pixel is 1/64 of an 8x8 patch, under 5 %; in a 4x4 patch it is 1/16, over 5 %."""
    labels = torch.zeros(1, 20, 20, dtype=torch.long)
    labels[0, 10, 10] = 1
    assert (boundary_patches(labels, 2, size=(8, 8), count=3, band=1).labels == IGNORE).all()
    assert (boundary_patches(labels, 2, size=(4, 4), count=3, band=1).labels != IGNORE).all()


@pytest.mark.parametrize(("sides", "size"), [(PLANE, (4, 5)), (VOLUME, (3, 4, 2))])
def test_pure_patches_hold_one_class(sides, size):
    labels = blobs(*sides)
    outside = pure_patches(labels, 3, size=size, count=30, foreground=False)
    assert (outside.labels == 0).all()
    inside = pure_patches(labels, 3, size=size, count=30, foreground=True)
    assert (inside.labels > 0).all()
    assert (inside.labels == inside.labels[..., :1]).all()
    assert inside.labels.unique().tolist() == [1, 2]
    for patches in (inside, outside):
        assert torch.equal(labels.flatten(1).gather(1, patches.pixels.flatten(1)), patches.labels.flatten(1))
        assert not patches.band.any()


def test_pure_patches_never_hold_ignored_pixels():
    labels = torch.zeros(1, 12, 12, dtype=torch.long)
    labels[:, 6:] = IGNORE
    patches = pure_patches(labels, 2, size=(4, 4), count=50, foreground=False)
    assert (patches.labels == 0).all()
    assert (pure_patches(labels, 2, size=(4, 4), count=5, foreground=True).labels == IGNORE).all()
    assert (pure_patches(labels, 2, size=(7, 4), count=5, foreground=False).labels == IGNORE).all()


def test_drawn_pixels_are_distinct_and_eligible():
    labels = torch.randint(IGNORE, 3, (4, 5, 60))
    eligible = torch.rand(4, 5, 60) < 0.5
    at, drawn = draw_pixels(labels, eligible, 3, 10)
    assert at.shape == drawn.shape == (4, 5, 10)
    assert torch.equal(labels.gather(-1, at), drawn)
    assert (drawn != IGNORE).all()
    assert eligible.gather(-1, at).all()
    ordered = at.sort(-1).values
    assert (ordered[..., 1:] > ordered[..., :-1]).all()


def test_where_too_few_pixels_are_eligible_the_rest_is_ignored():
    """3 eligible pixels, 5 asked of 8: all three are drawn, once each, and two places say IGNORE."""
    labels = torch.tensor([0, 1, 1, 2, IGNORE, 0, 0, 2])
    eligible = torch.tensor([True, False, True, False, True, False, False, True])
    at, drawn = draw_pixels(labels, eligible, 3, 5)
    assert sorted(at[drawn != IGNORE].tolist()) == [0, 2, 7]
    assert sorted(drawn.tolist()) == [IGNORE, IGNORE, 0, 1, 2]
    assert (draw_pixels(labels, torch.zeros_like(eligible), 3, 5)[1] == IGNORE).all()


def test_at_most_all_pixels_are_drawn():
    labels = torch.tensor([[0, 1, 0]])
    at, drawn = draw_pixels(labels, torch.ones(1, 3, dtype=torch.bool), 2, 100)
    assert sorted(at[0].tolist()) == [0, 1, 2]
    assert sorted(drawn[0].tolist()) == [0, 0, 1]


def test_rare_classes_are_drawn_as_often_as_common_ones():
    """Of 90, 9 and 1 pixels of three classes, one draw takes each class a third of the time (+-.02 at 20,000)."""
    labels = torch.tensor([0] * 90 + [1] * 9 + [2]).expand(20_000, 100)
    _, drawn = draw_pixels(labels, torch.ones_like(labels, dtype=torch.bool), 3, 1)
    shares = torch.bincount(drawn.flatten(), minlength=3) / 20_000
    assert ((shares - 1 / 3).abs() < 0.02).all()


def test_within_a_class_every_pixel_is_drawn_as_often():
    labels = torch.tensor([0] * 4 + [1] * 2).expand(20_000, 6)
    at, _ = draw_pixels(labels, torch.ones_like(labels, dtype=torch.bool), 2, 1)
    shares = torch.bincount(at.flatten(), minlength=6) / 20_000
    assert ((shares - torch.tensor([1 / 8] * 4 + [1 / 4] * 2)).abs() < 0.015).all()


def test_classes_are_balanced_among_the_eligible_pixels():
    """Of 90 and 10 pixels of two classes, 10 and 10 may be drawn: each class half of the time (+-.06 at 2,000)."""
    labels = torch.tensor([0] * 90 + [1] * 10).expand(2000, -1)
    eligible = (torch.arange(100) >= 80).expand(2000, -1)
    _, drawn = draw_pixels(labels, eligible, 2, 1)
    assert drawn.float().mean().item() == pytest.approx(0.5, abs=0.06)
