"""The mean squared difference of selected pixels."""

import pytest
import torch

from criinet.errors import ShapeError
from criinet.losses import masked_mean_squared, mean_squared


def probs(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).softmax(1)


def test_by_hand():
    """Differences .3, .1 and .4 of the foreground, the last one not valid: (.09 + .01) / 2, for either class alike."""
    p = torch.tensor([[[0.2, 0.5, 0.1], [0.8, 0.5, 0.9]]])
    q = torch.tensor([[[0.5, 0.4, 0.5], [0.5, 0.6, 0.5]]])
    valid = torch.tensor([[True, True, False]])
    assert masked_mean_squared(p, q, valid).item() == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_all_pixels_valid_is_the_plain_mean(classes):
    p, q = probs(2, classes, 3, 5), probs(2, classes, 3, 5, seed=1)
    everywhere = torch.ones(2, 3, 5, dtype=torch.bool)
    torch.testing.assert_close(masked_mean_squared(p, q, everywhere), mean_squared(p, q))


def test_no_valid_pixel_costs_nothing_and_moves_nothing():
    p = probs(1, 2, 3, 4).requires_grad_()
    value = masked_mean_squared(p, probs(1, 2, 3, 4, seed=1), torch.zeros(1, 3, 4, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert torch.equal(p.grad, torch.zeros_like(p))


def test_the_teacher_is_never_taught_and_pixels_left_out_never_move():
    p, q = probs(1, 2, 3, 4).requires_grad_(), probs(1, 2, 3, 4, seed=1).requires_grad_()
    valid = torch.rand(1, 3, 4, generator=torch.Generator().manual_seed(2)) < 0.5
    masked_mean_squared(p, q, valid).backward()
    assert q.grad is None
    assert torch.equal(p.grad.abs().sum(1) > 0, valid)


def test_swapping_height_and_width_changes_nothing():
    p, q = probs(2, 3, 4, 7), probs(2, 3, 4, 7, seed=1)
    valid = torch.rand(2, 4, 7, generator=torch.Generator().manual_seed(2)) < 0.5
    torch.testing.assert_close(masked_mean_squared(p, q, valid), masked_mean_squared(p.mT, q.mT, valid.mT))


def test_gradients_match_finite_differences():
    p = probs(1, 3, 2, 3).double().requires_grad_()
    valid = torch.tensor([[[True, False, True], [True, True, False]]])
    q = probs(1, 3, 2, 3, seed=1)
    assert torch.autograd.gradcheck(
        lambda x: masked_mean_squared(x, q, valid).double(), p, eps=1e-2, atol=1e-3, rtol=1e-2
    )


@pytest.mark.parametrize(("q", "valid"), [((1, 2, 4, 3), (1, 3, 4)), ((1, 2, 3, 4), (1, 4, 3)), ((1, 2, 3, 4), (3, 4))])
def test_other_shapes_are_refused_instead_of_broadcast(q, valid):
    with pytest.raises(ShapeError):
        masked_mean_squared(probs(1, 2, 3, 4), probs(*q), torch.ones(valid, dtype=torch.bool))
