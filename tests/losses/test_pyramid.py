"""Losses at several scales by hand: the divergence of each, what it weighs, and the right axis."""

import math

import pytest
import torch

from criinet.errors import ShapeError
from criinet.losses import deep_supervision, uncertainty_rectified_consistency


def logits_of(*foreground: float) -> torch.Tensor:
    """Return logits (1, 2, 1, N) with these foreground probabilities."""
    p = torch.tensor(foreground)
    return torch.stack([1 - p, p]).log()[None, :, None, :]


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


KL_SURE = 0.7 * math.log(0.7 / 0.9) + 0.3 * math.log(0.3 / 0.1)
KL_UNSURE = 0.7 * math.log(0.7 / 0.5) + 0.3 * math.log(0.3 / 0.5)


def test_one_pixel_by_hand():
    """Foreground .9 and .5, mean .7: both squares are .04, the one weight cancels; plus the mean divergence."""
    value = uncertainty_rectified_consistency([logits_of(0.9), logits_of(0.5)])
    assert value.item() == pytest.approx(0.04 + (KL_SURE + KL_UNSURE) / 2, abs=1e-6)


def test_pixels_that_disagree_weigh_less():
    """A second pixel on which both say .7 has weight 1 and square 0; the first weighs exp(-KL)."""
    value = uncertainty_rectified_consistency([logits_of(0.9, 0.7), logits_of(0.5, 0.7)])
    expected = 0.0
    for kl in (KL_SURE, KL_UNSURE):
        expected += (math.exp(-kl) * 0.04 / (math.exp(-kl) + 1) + kl / 2) / 2
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_scales_that_agree_cost_nothing():
    same = draw(0, 2, 3, 4, 5)
    assert uncertainty_rectified_consistency([same, same, same]).item() == pytest.approx(0, abs=1e-6)
    assert uncertainty_rectified_consistency([same]).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sides", [(5, 9), (2, 5, 9)])
def test_the_divergence_is_over_classes_and_not_over_the_width(sides):
    """Unchanged with height and width swapped, and when all classes of one pixel gain the same number."""
    one, other = draw(0, 2, 3, *sides), draw(1, 2, 3, *sides)
    value = uncertainty_rectified_consistency([one, other])
    torch.testing.assert_close(uncertainty_rectified_consistency([one.mT, other.mT]), value)
    by_pixel = one + draw(2, 2, 1, *sides)
    torch.testing.assert_close(uncertainty_rectified_consistency([by_pixel, other]), value)


def test_it_is_the_formula_on_many_pixels_and_classes():
    scales = [draw(seed, 2, 4, 3, 5) for seed in range(3)]
    probs = [scale.exp() / scale.exp().sum(1, keepdim=True) for scale in scales]
    mean = sum(probs) / 3
    expected = 0.0
    for p in probs:
        kl = (mean * (mean / p).log()).sum(1, keepdim=True)
        squares = (mean - p) ** 2
        expected += ((kl.neg().exp() * squares).mean() / kl.neg().exp().mean() + kl.mean()) / 3
    torch.testing.assert_close(uncertainty_rectified_consistency(scales), expected)


def test_the_weights_of_unsure_pixels_have_a_gradient_too():
    scales = [(3 * draw(seed, 2, 3, 4, 5)).requires_grad_() for seed in range(3)]
    probs = [scale.softmax(1) for scale in scales]
    mean = sum(probs) / 3
    expected = torch.zeros(())
    for p in probs:
        kl = (mean * (mean / p).log()).sum(1, keepdim=True)
        trust = kl.neg().exp()
        expected = expected + ((trust * (mean - p) ** 2).mean() / trust.mean() + kl.mean()) / 3
    found = torch.autograd.grad(uncertainty_rectified_consistency(scales), scales)
    torch.testing.assert_close(found, torch.autograd.grad(expected, scales), rtol=1e-3, atol=1e-6)


def test_sure_and_opposite_scales_stay_finite():
    logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_()
    value = uncertainty_rectified_consistency([logits, -logits])
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_gradients_match_finite_differences():
    other = draw(1, 1, 3, 2, 3)
    logits = draw(0, 1, 3, 2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: uncertainty_rectified_consistency([z, other]).double(), logits, eps=1e-2, atol=1e-3, rtol=1e-2
    )


def test_scales_of_other_shapes_are_refused():
    with pytest.raises(ShapeError, match="not of one shape"):
        uncertainty_rectified_consistency([draw(0, 1, 2, 4, 4), draw(0, 1, 2, 2, 2)])
    with pytest.raises(ShapeError):
        uncertainty_rectified_consistency([])


def test_a_scale_weighs_half_as_much_as_the_next_finer_one():
    """(4 x .1 + 2 x .3 + 1 x .8) / 7 = 1.8 / 7, and the gradients are the weights."""
    losses = torch.tensor([0.1, 0.3, 0.8], requires_grad=True)
    value = deep_supervision(losses)
    assert value.item() == pytest.approx(1.8 / 7, abs=1e-6)
    value.backward()
    torch.testing.assert_close(losses.grad, torch.tensor([4.0, 2.0, 1.0]) / 7)


def test_one_scale_is_its_own_loss_and_none_is_refused():
    assert deep_supervision([torch.tensor(0.3)]).item() == pytest.approx(0.3)
    with pytest.raises(ShapeError, match="no loss of any scale"):
        deep_supervision([])
