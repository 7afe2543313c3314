"""Dice and IoU: values a reader can count, edges, and laws that hold for any masks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from criinet.errors import ShapeError
from criinet.metrics import dice, iou

SHAPES = hnp.array_shapes(min_dims=2, max_dims=3, max_side=7)


@st.composite
def pairs(draw):
    shape = draw(SHAPES)
    return draw(hnp.arrays(bool, shape)), draw(hnp.arrays(bool, shape))


def test_overlap_of_two_rows():
    """Four pixels and two pixels share two: Dice 2*2/6 and IoU 2/4."""
    target = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], bool)
    prediction = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], bool)
    assert dice(prediction, target) == pytest.approx(2 / 3)
    assert iou(prediction, target) == pytest.approx(1 / 2)


@pytest.mark.parametrize("metric", [dice, iou])
def test_empty_masks(metric):
    """A miss and a false alarm score 0; with nothing to find and nothing found there is no score."""
    empty, full = np.zeros((3, 4), bool), np.ones((3, 4), bool)
    assert metric(empty, full) == 0
    assert metric(full, empty) == 0
    assert math.isnan(metric(empty, empty))
    assert metric(full, full) == 1


@pytest.mark.parametrize("metric", [dice, iou])
def test_shapes_and_types_are_checked(metric):
    with pytest.raises(ShapeError, match=r"\(2, 3\) but target is \(3, 2\)"):
        metric(np.ones((2, 3), bool), np.ones((3, 2), bool))
    with pytest.raises(TypeError, match="prediction is float64, not bool"):
        metric(np.ones((2, 3)), np.ones((2, 3), bool))


@given(pairs())
def test_laws(pair):
    prediction, target = pair
    for metric in (dice, iou):
        value = metric(prediction, target)
        assert math.isnan(value) == (not (prediction | target).any())
        assert math.isnan(value) or 0 <= value <= 1
        np.testing.assert_equal(value, metric(target, prediction))
        np.testing.assert_equal(value, metric(prediction.swapaxes(0, 1), target.swapaxes(0, 1)))
    np.testing.assert_allclose(iou(*pair), dice(*pair) / (2 - dice(*pair)))


@given(hnp.arrays(bool, SHAPES).filter(np.any))
def test_dice_of_a_mask_with_itself_is_one(mask):
    assert dice(mask, mask) == iou(mask, mask) == 1


def test_dice_is_the_f1_score_of_pixels():
    """Precision and recall counted pixel by pixel, then combined."""
    prediction, target = np.random.default_rng(0).random((2, 13, 9)) > 0.6
    hits = sum(p and t for p, t in zip(prediction.flat, target.flat, strict=True))
    precision, recall = hits / prediction.sum(), hits / target.sum()
    assert dice(prediction, target) == pytest.approx(2 * precision * recall / (precision + recall))
