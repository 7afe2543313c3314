"""How sure a model is of its own mask, by hand."""

import numpy as np
import pytest
import torch

from criinet.data.geometry import Geometry
from criinet.data.predictions import VolumePrediction
from criinet.engine.predictor import ImagePrediction
from criinet.engine.uncertainty import Uncertainty, expected_dice, outline_length


def two_classes(foreground: np.ndarray) -> torch.Tensor:
    p = torch.from_numpy(foreground.astype(np.float32))
    return torch.stack([1 - p, p])


def test_expected_dice_is_one_for_a_sure_model_and_follows_the_formula_otherwise():
    sure = np.zeros((10, 10))
    sure[2:5, 2:5] = 1
    assert expected_dice(two_classes(sure)) == pytest.approx(1)
    unsure = np.full((10, 10), 0.2)
    unsure[2:5, 2:5] = 0.8
    s = 100 / 1000
    expected = (2 * 9 * 0.8 + s) / (9 * 0.8 + 91 * 0.2 + 9 + s)
    assert expected_dice(two_classes(unsure)) == pytest.approx(expected, abs=1e-5)


def test_an_empty_mask_is_expected_right_where_nothing_is_probable():
    assert expected_dice(two_classes(np.zeros((20, 20)))) == pytest.approx(1)
    assert expected_dice(two_classes(np.full((20, 20), 0.4))) < 0.01


def test_classes_that_do_not_occur_are_left_out():
    probs = torch.zeros(3, 8, 8)
    probs[0] = 1
    probs[:, 2:4, 2:4] = torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1)
    assert expected_dice(probs) == pytest.approx(1)


def test_the_outline_counts_neighbours_of_different_classes():
    mask = np.zeros((6, 6), np.uint8)
    mask[2:4, 2:4] = 1
    assert outline_length(mask) == 8
    mask[2, 2] = 2
    assert outline_length(mask) == 10


def test_uncertainty_without_a_second_opinion_has_no_disagreement():
    probs = two_classes(np.full((4, 4), 0.9))
    assert np.isnan(Uncertainty.of(ImagePrediction(probs, None)).disagreement)
    assert Uncertainty.of(ImagePrediction(probs, probs.flip(0))).disagreement == pytest.approx(0.8)


def test_uncertainty_about_a_volume_is_the_mean_over_its_slices_however_it_is_stored():
    foreground = np.random.default_rng(0).random((4, 6, 5)).astype(np.float16)
    probs = np.stack([1 - foreground, foreground])
    mask, entropy = (foreground > 0.5).astype(np.uint8), np.full((4, 6, 5), 51, np.uint8)
    from_head = Geometry(np.diag([-2.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]])
    across = from_head.affine[:, [1, 2, 0, 3]]
    found = Uncertainty.of(VolumePrediction(mask, None, from_head, {"entropy": entropy}, probs))
    each = [Uncertainty.of(ImagePrediction(torch.from_numpy(probs[:, d]).float(), None)) for d in range(4)]
    assert found.expected_dice == pytest.approx(np.mean([one.expected_dice for one in each]), abs=1e-5)
    assert found.boundary == pytest.approx(np.mean([one.boundary for one in each]))
    assert (found.entropy, np.isnan(found.disagreement)) == (pytest.approx(0.2), True)
    turned = [array.transpose(*range(array.ndim - 3), -2, -1, -3) for array in (mask, entropy, probs)]
    maps = {"entropy": turned[1], "disagreement": turned[1]}
    same = Uncertainty.of(VolumePrediction(turned[0], None, Geometry(across), maps, turned[2]))
    assert same.expected_dice == pytest.approx(found.expected_dice)
    assert same.boundary == found.boundary
    assert same.disagreement == pytest.approx(0.2)
