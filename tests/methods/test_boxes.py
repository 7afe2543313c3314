"""Random boxes: of the size asked for, in one piece, everywhere, in images and volumes."""

import pytest
import torch

from criinet.methods.boxes import random_aspects, random_boxes


@pytest.mark.parametrize(("sides", "lengths"), [((6, 9), (4, 6)), ((3, 6, 12), (2, 4, 8))])
def test_a_box_of_two_thirds_has_two_thirds_of_every_side(sides, lengths):
    """One box for each image, in one piece: along each axis it covers neighbours only."""
    boxes = random_boxes(torch.full((20, len(sides)), 2 / 3), torch.Size(sides))
    assert boxes.shape == (20, 1, *sides)
    assert boxes.dtype == torch.bool
    for box in boxes[:, 0]:
        corners = box.nonzero()
        assert (corners.amax(0) - corners.amin(0) + 1).tolist() == list(lengths)
        assert len(corners) == torch.tensor(lengths).prod()
    assert len({tuple(box.flatten().tolist()) for box in boxes}) > 1


def test_a_box_can_stand_anywhere_inside_and_nowhere_else():
    """Length 2 of 5: four places, each as likely; the whole side: one place; a tiny share: still one pixel."""
    torch.manual_seed(0)
    starts = random_boxes(torch.full((4000, 1), 0.4), torch.Size([5])).squeeze(1).int().argmax(1)
    assert starts.bincount().tolist() == pytest.approx([1000] * 4, abs=120)
    assert random_boxes(torch.ones(3, 2), torch.Size([4, 5])).all()
    assert random_boxes(torch.full((3, 2), 1e-3), torch.Size([4, 5])).sum().item() == 3


@pytest.mark.parametrize("dims", [2, 3])
def test_boxes_of_any_aspect_have_the_share_asked_for(dims):
    fractions = random_aspects(torch.zeros(500, 1, *[4] * dims), 0.5)
    assert fractions.shape == (500, dims)
    torch.testing.assert_close(fractions.prod(1), torch.full((500,), 0.5))
    assert fractions.min() >= 0.5
    assert fractions.max() <= 1
    torch.testing.assert_close(fractions.log().mean(0), torch.full((dims,), 0.5).log() / dims, atol=0.03, rtol=0)


def test_boxes_come_from_the_global_generator():
    def draw() -> torch.Tensor:
        torch.manual_seed(3)
        return random_boxes(random_aspects(torch.zeros(4, 1, 8, 9), 0.3), torch.Size([8, 9]))

    assert torch.equal(draw(), draw())
