"""Signed distances by hand: negative inside, positive outside, and back to the very mask."""

import math

import pytest
import torch

from criinet.errors import ShapeError
from criinet.labels import IGNORE
from criinet.losses import inside_probability, signed_distance, signed_distance_loss


def row(*labels: int) -> torch.Tensor:
    return torch.tensor(labels).view(1, 1, -1)


def test_a_row_by_hand():
    """Outside: 2, 1 and 1 pixels from the object, of at most 2. Inside: 1, 2 and 1 from the outside, of at most 2."""
    found = signed_distance(row(0, 0, 1, 1, 1, 0), 2)
    assert found.shape == (1, 1, 1, 6)
    assert found.dtype == torch.float32
    assert found.flatten().tolist() == [1, 0.5, -0.5, -1, -0.5, 0.5]


def test_distances_are_euclidean():
    """From the corner pixel, the pixel one down and two to the right is sqrt 5 away, the farthest one."""
    target = torch.zeros(1, 2, 3, dtype=torch.long)
    target[0, 0, 0] = 1
    found = signed_distance(target, 2)[0, 0]
    assert found[1, 2].item() == 1
    assert found[1, 1].item() == pytest.approx(math.sqrt(2 / 5))
    assert found[0, 0].item() == -1


def test_each_foreground_class_has_a_map_of_its_own():
    found = signed_distance(row(1, 2, 2, 0), 3)
    assert found[0, 0].flatten().tolist() == pytest.approx([-1, 1 / 3, 2 / 3, 1])
    assert found[0, 1].flatten().tolist() == pytest.approx([1, -1, -1, 1])


def test_an_absent_class_is_far_away_and_one_that_fills_the_image_is_all_inside():
    found = signed_distance(row(1, 1, 1), 3)
    assert found[0, 0].flatten().tolist() == [-1, -1, -1]
    assert found[0, 1].flatten().tolist() == [1, 1, 1]


def test_unknown_pixels_are_no_border():
    """Seen from inside, the nearest pixel known to be outside is the last one, 3 and 2 pixels away."""
    found = signed_distance(row(1, 1, IGNORE, 0), 2).flatten().tolist()
    assert found == pytest.approx([-1, -2 / 3, 0.5, 1])
    assert signed_distance(row(1, 1, IGNORE), 2).flatten().tolist() == [-1, -1, 1]
    assert signed_distance(row(0, 1, IGNORE, IGNORE), 2).flatten().tolist() == [0.5, -1, 0.5, 1]


@pytest.mark.parametrize("sides", [(7, 11), (4, 5, 7)])
def test_it_is_the_distance_to_the_nearest_pixel_of_the_other_side(sides):
    """Against all pairs of pixels; every image is normalised by itself."""
    target = torch.randint(0, 3, (2, *sides), generator=torch.Generator().manual_seed(0))
    target[0, :3] = 1
    places = torch.stack(torch.meshgrid(*map(torch.arange, sides), indexing="ij"), -1).flatten(0, -2).double()
    apart = torch.cdist(places, places)
    found = signed_distance(target, 3)
    for image, maps in zip(target.flatten(1), found.flatten(2), strict=True):
        for c in (1, 2):
            inside = image == c
            nearest = torch.where(inside, apart[:, ~inside].amin(1), apart[:, inside].amin(1))
            expected = torch.where(inside, -nearest / nearest[inside].max(), nearest / nearest[~inside].max())
            torch.testing.assert_close(maps[c - 1].double(), expected, atol=1e-6, rtol=1e-6)


def test_it_turns_with_the_image():
    target = torch.randint(0, 3, (2, 5, 9), generator=torch.Generator().manual_seed(1))
    assert torch.equal(signed_distance(target.mT.contiguous(), 3), signed_distance(target, 3).mT)


def test_the_sign_gives_the_mask_back():
    """Inside is 1: sigmoid(-1500 x negative). No pixel is in doubt, since the border runs between pixels."""
    target = torch.randint(0, 2, (2, 12, 17), generator=torch.Generator().manual_seed(2))
    inside = inside_probability(signed_distance(target, 2), 1500)
    torch.testing.assert_close(inside[:, 0], target.float(), atol=1e-6, rtol=0)


def test_the_step_by_hand():
    """At -1/1500 it is sigmoid(1), at the border one half, at +1/1500 sigmoid(-1)."""
    distance = torch.tensor([-1 / 1500, 0.0, 1 / 1500])
    sure = 1 / (1 + math.exp(-1))
    torch.testing.assert_close(inside_probability(distance, 1500), torch.tensor([sure, 0.5, 1 - sure]))


def test_the_step_is_finite_everywhere_with_its_gradient():
    """Slope -1500/4 at the border and 0 far away; half precision is computed in single."""
    distance = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    inside = inside_probability(distance, 1500)
    inside.sum().backward()
    assert inside.tolist() == [1, 0.5, 0]
    assert distance.grad.tolist() == [0, -375, 0]
    assert inside_probability(distance.detach().bfloat16(), 1500).dtype == torch.float32


def test_the_loss_by_hand():
    """Distances 1, -1 are predicted as .5, 0: (.25 + 1) / 2; a pixel without truth counts nothing."""
    target = row(0, 1, IGNORE)
    predicted = torch.tensor([0.5, 0.0, 0.3]).view(1, 1, 1, 3).requires_grad_()
    assert signed_distance(target, 2).flatten().tolist() == [1, -1, 1]
    value = signed_distance_loss(predicted, target)
    value.backward()
    assert value.item() == pytest.approx(0.625)
    assert predicted.grad.flatten().tolist() == pytest.approx([-0.5, 1, 0])


def test_the_loss_without_any_truth_is_zero_with_a_gradient_of_zero():
    predicted = torch.full((1, 2, 2, 3), 0.5, requires_grad=True)
    value = signed_distance_loss(predicted, torch.full((1, 2, 3), IGNORE))
    value.backward()
    assert value.item() == 0
    assert torch.equal(predicted.grad, torch.zeros_like(predicted))


def test_the_loss_turns_with_the_image_and_its_gradient_is_right():
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(IGNORE, 3, (2, 3, 5), generator=generator)
    predicted = torch.randn(2, 2, 3, 5, generator=generator).tanh()
    value = signed_distance_loss(predicted, target)
    torch.testing.assert_close(signed_distance_loss(predicted.mT, target.mT.contiguous()), value)
    assert torch.autograd.gradcheck(
        lambda z: signed_distance_loss(z, target).double(),
        predicted.double().requires_grad_(),
        eps=1e-2,
        atol=1e-3,
        rtol=1e-2,
    )


def test_other_shapes_are_refused():
    with pytest.raises(ShapeError):
        signed_distance_loss(torch.zeros(1, 1, 4, 5), torch.zeros(1, 5, 4, dtype=torch.long))
