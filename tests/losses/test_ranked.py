"""The ranked list loss on unit vectors in the plane, where a distance is 2 sin(angle / 2)."""

import math

import pytest
import torch
from torch import Tensor

from criinet.errors import ShapeError
from criinet.losses import ranked_list_loss

ALPHA, MARGIN = 1.2, 0.4
"""The defaults: the same class within .8, other classes beyond 1.2."""


def at(*degrees: float) -> Tensor:
    """Return unit vectors (N, 2) at these angles."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1).float()


def chord(degrees: float) -> float:
    return 2 * math.sin(math.radians(degrees) / 2)


def loss(queries: Tensor, query_class: list[int], keys: Tensor, key_class: list[int], **options) -> float:
    return ranked_list_loss(queries, torch.tensor(query_class), keys, torch.tensor(key_class), **options).item()


def test_a_positive_counts_from_the_inner_radius():
    """60 degrees are a chord of 1: .2 beyond the radius of .8, halved. 30 degrees (.52) and 40 (.68) lie inside."""
    assert loss(at(0), [1], at(60, 30, 40), [1, 1, 1]) == pytest.approx(0.1, abs=1e-6)


def test_positives_are_a_plain_mean():
    """Chords 1 and sqrt(2): (.2 + .6142) / 2, halved."""
    expected = (0.2 + math.sqrt(2) - 0.8) / 2 / 2
    assert loss(at(0), [0], at(60, 90), [0, 0]) == pytest.approx(expected, abs=1e-6)


def test_a_negative_counts_up_to_the_outer_radius():
    """60 degrees are a chord of 1: .2 inside the radius of 1.2, halved. 90 degrees (1.41) lie beyond it."""
    assert loss(at(0), [1], at(60, 90, 180), [0, 2, 0]) == pytest.approx(0.1, abs=1e-6)


def test_negatives_are_weighted_by_closeness():
    """Chords .3473 and 1 with T = 10: closeness .8527 and .2, weights exp(8.527) and exp(2)."""
    near, far = ALPHA - chord(20), ALPHA - chord(60)
    weights = math.exp(10 * near), math.exp(10 * far)
    expected = (weights[0] * near + weights[1] * far) / sum(weights) / 2
    assert loss(at(0), [0], at(20, 60), [1, 1]) == pytest.approx(expected, abs=1e-5)
    assert 0.99 * near / 2 < expected < near / 2


def test_temperature_zero_weighs_negatives_alike():
    expected = ((ALPHA - chord(20)) + (ALPHA - chord(60))) / 2 / 2
    assert loss(at(0), [0], at(20, 60), [1, 1], temperature=0.0) == pytest.approx(expected, abs=1e-6)


def test_other_margins_move_both_radii():
    """alpha 1.5, margin .6: the same class within .9, others beyond 1.5. Chord 1 gives .1 and .5."""
    value = loss(at(0), [0], at(60, -60), [0, 1], alpha=1.5, margin=0.6)
    assert value == pytest.approx((0.1 + 0.5) / 2, abs=1e-6)


def test_a_query_adds_both_sides_and_queries_are_averaged():
    """Query 0 has l+ = .2 and l- = .2; query 1, alone at 180 degrees, has only other-class keys, all far: 0."""
    assert loss(at(0, 180), [0, 2], at(60, -60), [0, 1]) == pytest.approx((0.2 + 0.2) / 2 / 2, abs=1e-6)


def test_classes_are_told_apart_by_their_number_alone():
    """Three classes: for a query of class 2, classes 0 and 1 are negatives alike."""
    expected = 0.1
    assert loss(at(0), [2], at(60), [0]) == pytest.approx(expected, abs=1e-6)
    assert loss(at(0), [2], at(60), [1]) == pytest.approx(expected, abs=1e-6)
    assert loss(at(0), [2], at(30), [2]) == 0


def test_empty_sets_contribute_nothing():
    """Same class near and other class far: both sets are empty, and so is the loss."""
    assert loss(at(0), [0], at(10, 90), [0, 1]) == 0
    assert loss(at(0, 5), [0, 0], torch.empty(0, 2), []) == 0


def test_no_temperature_overflows():
    """The nearest wrong key alone counts then: chords of 60 and 10 degrees, of which the smaller one is further in."""
    assert loss(at(0), [0], at(60, 10), [1, 1], temperature=1e4) == pytest.approx(0.5 * (1.2 - 0.1743), abs=1e-4)
    assert loss(at(0), [0], at(0, 60), [1, 1], temperature=80.0) == pytest.approx(0.6, abs=1e-4)


def test_a_thing_is_not_its_own_positive():
    """Two keys of the query's class at chord 1 and sqrt(2); the second is the query's own image."""
    same = torch.tensor([[False, True]])
    assert loss(at(0), [0], at(60, 90), [0, 0], excluded=same) == pytest.approx(0.1, abs=1e-6)


def test_the_same_image_still_supplies_negatives():
    same = torch.tensor([[True]])
    assert loss(at(0), [0], at(60), [1], excluded=same) == pytest.approx(0.1, abs=1e-6)


def test_ignored_keys_are_neither_positive_nor_negative():
    assert loss(at(0), [0], at(60, 90, 10), [0, -1, -1]) == pytest.approx(0.1, abs=1e-6)


def test_ignored_queries_do_not_dilute_the_mean():
    """One valid query of .1 and three ignored: the mean is .1, not .025. Ignored ones never match ignored keys."""
    assert loss(at(0, 0, 0, 0), [0, -1, -1, -1], at(60, 60), [0, -1]) == pytest.approx(0.1, abs=1e-6)


def test_no_valid_query_gives_zero_and_a_gradient_of_zero():
    queries = at(0, 60).requires_grad_()
    value = ranked_list_loss(queries, torch.tensor([-1, -1]), at(90), torch.tensor([0]))
    value.backward()
    assert value.item() == 0
    assert queries.grad is not None
    assert torch.equal(queries.grad, torch.zeros_like(queries))


def test_leading_axes_are_patches_that_do_not_see_each_other():
    """Two patches: losses .1 and 0 give a mean of .05, although keys of one would trouble the other."""
    queries, keys = torch.stack([at(0), at(0)]), torch.stack([at(60), at(10)])
    value = ranked_list_loss(queries, torch.tensor([[0], [0]]), keys, torch.tensor([[0], [0]]))
    assert value.item() == pytest.approx(0.05, abs=1e-6)


def test_the_mean_is_over_all_queries_not_over_patches():
    """Patch one has 2 valid queries of .1 each, patch two 1 valid query of 0: (.1 + .1 + 0) / 3."""
    queries, keys = torch.stack([at(0, 0), at(10, 0)]), torch.stack([at(60), at(10)])
    value = ranked_list_loss(queries, torch.tensor([[0, 0], [0, -1]]), keys, torch.tensor([[0], [0]]))
    assert value.item() == pytest.approx(0.2 / 3, abs=1e-6)


def test_query_weights_weigh_the_mean():
    """Losses .1 and 0 with weights 3 and 1: .075. A weight never revives an ignored query."""
    keys, classes = at(60), [0]
    weight = torch.tensor([3.0, 1.0])
    assert loss(at(0, 60), [0, 0], keys, classes, query_weight=weight) == pytest.approx(0.075, abs=1e-6)
    assert loss(at(0, 120), [0, -1], keys, classes, query_weight=weight) == pytest.approx(0.1, abs=1e-6)


def test_embeddings_of_another_length_are_refused():
    with pytest.raises(ShapeError, match="queries have 2 channels, keys have 3"):
        ranked_list_loss(at(0), torch.tensor([0]), torch.ones(1, 3), torch.tensor([0]))


def test_the_gradient_is_finite_where_query_and_key_coincide():
    """The distance of two equal vectors is clamped: its square root never divides by zero."""
    queries, keys = at(0, 45).requires_grad_(), at(0, 45).requires_grad_()
    value = ranked_list_loss(queries, torch.tensor([0, 1]), keys, torch.tensor([1, 0]))
    value.backward()
    assert value.item() > 0
    for tensor in (queries, keys):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


def test_the_gradient_of_a_positive_pulls_and_of_a_negative_pushes():
    """For unit chords the gradient at the query is (q - k) / d / 2, with opposite signs."""
    for key_class, sign in ((0, 1.0), (1, -1.0)):
        query, key = at(0).requires_grad_(), at(60)
        ranked_list_loss(query, torch.tensor([0]), key, torch.tensor([key_class])).backward()
        assert query.grad is not None
        torch.testing.assert_close(query.grad, sign * (query.detach() - key) / 2, atol=1e-5, rtol=0)


def test_the_weights_of_negatives_carry_no_gradient():
    """The gradient of l- is that of fixed weights: -sum w_j (q - k_j) / d_j / sum w_j, halved."""
    query, keys = at(0).requires_grad_(), at(30, 60)
    ranked_list_loss(query, torch.tensor([0]), keys, torch.tensor([1, 1]), temperature=3.0).backward()
    distances = [chord(30), chord(60)]
    weights = [math.exp(3 * (ALPHA - d)) for d in distances]
    directions = (query.detach() - keys) / torch.tensor(distances).unsqueeze(1)
    expected = -(torch.tensor(weights).unsqueeze(1) * directions).sum(0, keepdim=True) / sum(weights) / 2
    assert query.grad is not None
    torch.testing.assert_close(query.grad, expected, atol=1e-5, rtol=0)


def test_the_gradient_matches_finite_differences():
    """With T = 0 nothing is detached, so numbers decide. No chord here is near .8, 1.2 or 0."""
    queries = at(0, 100).double().requires_grad_()
    keys = at(25, 61, 150, 200).double().requires_grad_()
    query_class, key_class = torch.tensor([0, 1]), torch.tensor([0, 1, 0, 1])

    def compute(q: Tensor, k: Tensor) -> Tensor:
        return ranked_list_loss(q, query_class, k, key_class, temperature=0.0).double()

    assert compute(queries, keys).item() > 0.1
    assert torch.autograd.gradcheck(compute, (queries, keys), eps=1e-2, atol=2e-3, rtol=1e-2)


def test_half_precision_embeddings_are_ranked_in_float32():
    """In bfloat16 the chord of 1 would be off by .004; the vectors are rounded, the arithmetic is not."""
    queries, keys = at(0).bfloat16(), at(60).bfloat16()
    value = ranked_list_loss(queries, torch.tensor([0]), keys, torch.tensor([0]))
    assert value.dtype == torch.float32
    distance = (queries.float() - keys.float()).norm().item()
    assert value.item() == pytest.approx((distance - 0.8) / 2, abs=1e-6)
