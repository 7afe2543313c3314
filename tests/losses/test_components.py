"""Connected components, as an independent implementation finds them, and the largest of every class."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from criinet.losses import connected_components, largest_component, largest_components


def picture(*rows: str) -> Tensor:
    """Read digits as classes, a dot as background."""
    return torch.tensor([[int(c) if c.isdigit() else 0 for c in row] for row in rows]).unsqueeze(0)


def snake(side: int) -> Tensor:
    """Return one line that winds through the whole image: the longest path there is."""
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    mask[:, ::2] = True
    mask[:, 1::4, -1] = True
    mask[:, 3::4, 0] = True
    return mask


@pytest.mark.parametrize("sides", [(31, 47), (9, 14, 11), (1, 40)])
@pytest.mark.parametrize("share", [0.15, 0.4, 0.6])
def test_components_are_those_of_scipy(sides, share):
    """The same partition on noise at densities where pieces are small, winding, and about to merge."""
    mask = torch.rand(3, *sides, generator=torch.Generator().manual_seed(0)) < share
    names = connected_components(mask)
    for own, image in zip(names.numpy(), mask.numpy(), strict=True):
        theirs, count = ndimage.label(image, np.ones([3] * image.ndim))
        pairs = {(int(a), int(b)) for a, b in zip(own.ravel(), theirs.ravel(), strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == count + 1
        assert (own[~image] == 0).all()


def test_a_path_through_the_whole_image_is_one_component():
    mask = snake(41)
    names = connected_components(mask)
    assert len(names[mask].unique()) == 1
    assert torch.equal(largest_component(mask), mask)


def test_pixels_that_touch_at_a_corner_are_connected():
    kept = largest_component(picture("1..1", ".1..", "....") > 0)
    assert torch.equal(kept, picture("1...", ".1..", "....") > 0)


@pytest.mark.parametrize("value", [False, True])
def test_nothing_and_everything_stay_as_they_are(value):
    mask = torch.full((2, 5, 7), value)
    assert torch.equal(largest_component(mask), mask)


def test_the_largest_of_every_class_is_kept_and_the_rest_is_background():
    """Class 1 keeps its three, class 2 its two; another class between two pieces does not connect them."""
    label = picture("11.2.3", "1..2..", "..1...", "2..1.2")
    expected = picture("11.2.3", "1..2..", "......", "......")
    assert torch.equal(largest_components(label, 5), expected)
    label = picture("111.1", "222.2")
    assert torch.equal(largest_components(label, 3), picture("111..", "222.."))


def test_every_image_has_a_largest_component_of_its_own():
    label = torch.cat([picture("11.1"), picture("1.11")])
    assert torch.equal(largest_components(label, 2), torch.cat([picture("11.."), picture("..11")]))


def test_swapped_axes_give_swapped_components():
    label = torch.randint(0, 3, (2, 13, 21), generator=torch.Generator().manual_seed(0))
    label[label == 1] = 0
    label[:, :6, :4], label[:, 8:, 15:] = 1, 1
    turned = largest_components(label.mT.contiguous(), 2)
    assert torch.equal(turned.mT, largest_components(label, 2))
