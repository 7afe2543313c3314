"""The largest connected component of every class, in each image by itself, in images and volumes."""

import pytest
import torch
from torch import Tensor

from criinet.methods.components import largest_components


def picture(*rows: str) -> Tensor:
    """Read digits as classes, a dot as background."""
    return torch.tensor([[int(c) if c.isdigit() else 0 for c in row] for row in rows]).unsqueeze(0)


def test_pixels_that_touch_at_a_corner_are_connected():
    kept = largest_components(picture("1..1", ".1..", "...."), 2)
    assert torch.equal(kept, picture("1...", ".1..", "...."))
    volume = torch.zeros(1, 3, 3, 3, dtype=torch.long)
    volume[0, 0, 0, 0] = volume[0, 1, 1, 1] = volume[0, 0, 2, 2] = volume[0, 2, 2, 0] = 1
    assert torch.equal(largest_components(volume, 2), volume)
    volume[0, 1, 1, 1] = 0
    assert largest_components(volume, 2).nonzero().tolist() == [[0, 0, 0, 0]]


def test_of_equal_components_the_one_that_ends_first_is_kept():
    label = picture("1.111", "1....", "1....")
    assert torch.equal(largest_components(label, 2), picture("..111", ".....", "....."))


@pytest.mark.parametrize("value", [0, 1])
def test_nothing_and_everything_stay_as_they_are(value):
    label = torch.full((2, 5, 7), value)
    assert torch.equal(largest_components(label, 2), label)


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
