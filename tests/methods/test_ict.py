"""Interpolation consistency: the mixture by hand, the coefficient's distribution, the pairs."""

import pytest
import torch

from criinet.methods.ict import draw_share, mix
from criinet.types import LabeledBatch, UnlabeledBatch


@pytest.fixture
def labeled(see) -> LabeledBatch:
    return LabeledBatch(see([[0.8]]), torch.ones(1, 1, 1, dtype=torch.long), torch.zeros(1).long())


def test_the_consistency_by_hand(glass, see, labeled):
    """Images seen as .9 and .5, mixed half and half: odds sqrt(9) = 3, so the student says .75, the target is .7.

    Beta(a, a) with a huge a is one half for sure.
    """
    unlabeled = UnlabeledBatch({"weak": see([[0.9, 0.9]], [[0.5, 0.9]])}, {})
    value = glass("ict", alpha=1e8).losses(labeled, unlabeled, 0.0)["consistency"].item()
    assert value == pytest.approx((0.05**2 + 0) / 2, abs=1e-6)


def test_predictions_are_mixed_with_the_very_share_of_their_images(glass, see, labeled):
    """Two flat images p = .9 and .5, share m: logits mix to odds 9^m, the target is .9 m + .5 (1 - m)."""
    method = glass("ict", alpha=1.0)
    image = see([[0.9]], [[0.5]])
    torch.manual_seed(5)
    m = draw_share(image, 1.0).flatten().tolist()
    expected = []
    for share, own, other in ((m[0], 0.9, 0.5), (m[1], 0.5, 0.9)):
        odds = (own / (1 - own)) ** share * (other / (1 - other)) ** (1 - share)
        expected.append((odds / (1 + odds) - (share * own + (1 - share) * other)) ** 2)
    torch.manual_seed(5)
    value = method.losses(labeled, UnlabeledBatch({"weak": image}, {}), 0.0)["consistency"].item()
    assert value == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_each_image_meets_the_one_before_it():
    values = torch.tensor([10.0, 20.0, 40.0]).view(3, 1, 1)
    share = torch.tensor([1.0, 0.5, 0.25]).view(3, 1, 1)
    assert mix(values, share).flatten().tolist() == [10, 15, 25]


def test_the_share_is_near_none_or_all_and_comes_from_the_global_generator():
    """Beta(.2, .2): mean .5, sd sqrt(.25 / 1.4) = .4226; one number for each image."""
    image = torch.zeros(20000, 1, 1, 1)
    torch.manual_seed(0)
    first = draw_share(image, 0.2)
    torch.manual_seed(0)
    assert torch.equal(first, draw_share(image, 0.2))
    assert first.shape == (20000, 1, 1, 1)
    assert first.mean().item() == pytest.approx(0.5, abs=0.02)
    assert first.std().item() == pytest.approx(0.4226, abs=0.01)
    assert draw_share(torch.zeros(2, 1, 4, 5, 6), 0.2).shape == (2, 1, 1, 1, 1)


def test_the_target_is_the_teachers_and_has_no_gradient(glass, see, labeled):
    """A teacher that sees everything as .5 pulls the student's .9 there, whatever the share."""
    method = glass("ict", alpha=1e8)
    with torch.no_grad():
        method.teacher.network.head.weight.zero_()
    unlabeled = UnlabeledBatch({"weak": see([[0.9]], [[0.9]])}, {})
    value = method.losses(labeled, unlabeled, 0.0)["consistency"]
    assert value.item() == pytest.approx(0.16, abs=1e-6)
    value.backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
