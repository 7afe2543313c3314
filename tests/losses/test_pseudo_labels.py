"""Pseudo-labels worked out by hand: what is sure, what is left out, what is sharpened."""

import math

import pytest
import torch

from criinet.errors import ShapeError
from criinet.labels import IGNORE
from criinet.losses import confident_labels, cross_entropy_over_all, sharpen


def test_unsure_pixels_are_left_out_and_never_background():
    """Of .97, .90 and .40 for classes 1, 2 and 2 only the first two reach .9; the third is ignored, not class 0."""
    probs = torch.tensor([[[0.02, 0.05, 0.35], [0.97, 0.05, 0.25], [0.01, 0.90, 0.40]]])
    assert confident_labels(probs, 0.9).tolist() == [[1, 2, IGNORE]]
    assert confident_labels(probs, 0.0).tolist() == [[1, 2, 2]]


def test_no_gradient_flows_through_a_pseudo_label():
    probs = torch.rand(1, 2, 4, requires_grad=True)
    assert not confident_labels(probs, 0.5).requires_grad


def test_cross_entropy_is_divided_by_all_pixels():
    """Two of four pixels have a label; even logits cost ln 2 each: 2 ln 2 / 4."""
    label = torch.tensor([[0, 1, IGNORE, IGNORE]])
    loss = cross_entropy_over_all(torch.zeros(1, 2, 4), label)
    assert loss.item() == pytest.approx(math.log(2) / 2)


def test_no_sure_pixel_costs_nothing_and_moves_nothing():
    logits = torch.randn(1, 2, 4, requires_grad=True)
    loss = cross_entropy_over_all(logits, torch.full((1, 4), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_shapes_must_fit():
    with pytest.raises(ShapeError):
        cross_entropy_over_all(torch.zeros(1, 2, 4), torch.zeros(1, 5, dtype=torch.long))


def test_sharpening_by_hand():
    """.75 and .25 at T = .5 are squared and normalised: .9 and .1; T = 1 changes nothing, a certain pixel stays so."""
    probs = torch.tensor([[[0.75, 1.0], [0.25, 0.0]]])
    torch.testing.assert_close(sharpen(probs, 0.5), torch.tensor([[[0.9, 1.0], [0.1, 0.0]]]))
    torch.testing.assert_close(sharpen(probs, 1.0), probs, atol=1e-6, rtol=1e-6)


def test_sharpening_has_a_right_gradient():
    probs = torch.tensor([[[0.6, 0.3], [0.4, 0.7]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: sharpen(p, 0.1), (probs,))
