"""Attraction to remembered features by hand."""

import pytest
import torch

from criinet.errors import ShapeError
from criinet.losses import class_attraction

QUERIES = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [1.0, 1.0]])
KEYS = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, -1.0], [9.0, 9.0]])


def attract(query_class, key_class, queries=QUERIES, keys=KEYS):
    return class_attraction(queries, torch.tensor(query_class), keys, torch.tensor(key_class))


def test_by_hand():
    """Class 0: (1,0) has cosines 1 and 0; class 1: (0,2) has -1; (3,4)/5 has cosines .6 and .8 to class 0.

    One minus means: .5, 2, .3; the query of class 2 has no key.
    """
    value = attract([0, 1, 0, 2], [0, 0, 1, -1])
    assert value.item() == pytest.approx((0.5 + 2 + 0.3) / 3, abs=1e-6)


def test_unknown_queries_and_keys_count_nothing():
    """-1 is no class: an unknown query does not meet the unknown key."""
    assert attract([0, -1, -1, -1], [0, -1, -1, -1]).item() == pytest.approx(0, abs=1e-6)


def test_without_pairs_it_is_zero_with_a_gradient_of_zero():
    queries = QUERIES.clone().requires_grad_()
    value = attract([0, 0, 0, 0], [-1, -1, -1, -1], queries)
    value.backward()
    assert value.item() == 0
    assert torch.equal(queries.grad, torch.zeros_like(queries))


def test_it_never_moves_the_memory():
    queries, keys = QUERIES.clone().requires_grad_(), KEYS.clone().requires_grad_()
    attract([0, 1, 0, 1], [0, 1, 1, 1], queries, keys).backward()
    assert keys.grad is None
    assert queries.grad.abs().sum() > 0


def test_lengths_do_not_matter_and_gradients_are_right():
    torch.testing.assert_close(
        attract([0, 1, 0, 1], [0, 1, 1, 1], 7 * QUERIES, 0.1 * KEYS), attract([0, 1, 0, 1], [0, 1, 1, 1])
    )
    assert torch.autograd.gradcheck(
        lambda q: attract([0, 1, 0, 1], [0, 1, 1, 1], q).double(),
        QUERIES.double().requires_grad_(),
        eps=1e-2,
        atol=1e-3,
        rtol=1e-2,
    )


def test_zero_features_stay_finite():
    queries = torch.zeros(1, 2, requires_grad=True)
    class_attraction(queries, torch.tensor([0]), KEYS, torch.zeros(4, dtype=torch.long)).backward()
    assert torch.isfinite(queries.grad).all()


def test_other_lengths_are_refused():
    with pytest.raises(ShapeError, match="2 channels, keys have 3"):
        class_attraction(QUERIES, torch.zeros(4), torch.zeros(1, 3), torch.zeros(1))


def test_half_precision_features_are_compared_in_float32():
    generator = torch.Generator().manual_seed(0)
    queries, keys = (torch.randn(n, 32, generator=generator).bfloat16() for n in (6, 9))
    same = torch.zeros(6).long(), torch.zeros(9).long()
    found = class_attraction(queries, same[0], keys, same[1])
    assert found.dtype == torch.float32
    assert found.item() == class_attraction(queries.float(), same[0], keys.float(), same[1]).item()
