"""Entropy minimisation: its value by hand, for two and for four classes."""

import math

import pytest
import torch

from criinet.losses import entropy
from criinet.types import LabeledBatch, UnlabeledBatch


@pytest.fixture
def labeled(see) -> LabeledBatch:
    return LabeledBatch(see([[0.8]]), torch.ones(1, 1, 1, dtype=torch.long), torch.zeros(1).long())


def test_the_entropy_by_hand(glass, see, labeled):
    """Foreground .5 costs 1, .9 costs -(.9 ln .9 + .1 ln .1) / ln 2; the loss is their mean over 1 x 3 pixels."""
    terms = glass("entropy-min").losses(labeled, UnlabeledBatch({"weak": see([[0.5, 0.9, 0.9]])}, {}), 0.0)
    sure = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    assert terms["entropy"].item() == pytest.approx((1 + 2 * sure) / 3, abs=1e-5)
    assert terms["supervised"].item() == pytest.approx((-math.log(0.8) + 1 - 2.6 / 2.8) / 2, abs=1e-5)


def test_four_classes_cost_at_most_one_too(glass, see):
    """Uniform: 1. Half and half: ln 2 / ln 4 = .5. The softmax runs over four classes, not over two or three pixels."""
    probs = torch.tensor([[0.25, 0.5, 0.25], [0.25, 0.5, 0.25], [0.25, 0, 0.25], [0.25, 0, 0.25]])
    labeled = LabeledBatch(torch.zeros(1, 4, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long), torch.zeros(1).long())
    image = see(probs.view(4, 1, 3).tolist(), classes=4)
    terms = glass("entropy-min", classes=4).losses(labeled, UnlabeledBatch({"weak": image}, {}), 0.0)
    assert terms["entropy"].item() == pytest.approx(2.5 / 3, abs=1e-4)


def test_it_makes_surer_and_never_unsure(glass, see, labeled):
    """A gradient step on the entropy alone moves .7 up and .3 down."""
    method = glass("entropy-min")
    image = see([[0.7, 0.3]]).requires_grad_()
    method.losses(labeled, UnlabeledBatch({"weak": image}, {}), 0.0)["entropy"].backward()
    moved = (image - image.grad).softmax(1)[0, 1, 0]
    assert moved[0] > 0.7
    assert moved[1] < 0.3


def test_a_class_without_any_probability_has_a_finite_gradient():
    """A gap of 200 between logits leaves a probability of 0 in float32."""
    logits = torch.tensor([[[[200.0, 1.0]], [[0.0, 0.5]]]], requires_grad=True)
    loss = entropy(logits.softmax(1)).mean()
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, :, 0, 1].abs().min() > 0
