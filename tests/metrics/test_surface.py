"""Surface distances and boundary scores: hand-counted values, edges, laws, and three independent implementations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.distance import directed_hausdorff
from skimage.metrics import hausdorff_distance
from skimage.segmentation import find_boundaries

from criinet.errors import ShapeError
from criinet.metrics import (
    assd,
    band_dice,
    band_error,
    boundary_iou,
    dice,
    hd95,
    iou,
    summarise,
    surface_dice,
    surface_distances,
)
from criinet.metrics.surface import contour_distance, surface

DISTANCES = [hd95, assd]
SCORES = [surface_dice, boundary_iou, band_dice, band_error]


@st.composite
def pairs(draw):
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=6))
    return draw(hnp.arrays(bool, shape)), draw(hnp.arrays(bool, shape))


def blobs(seed, shape=(40, 56)):
    """Two random, similar masks with several objects, some of which touch the border."""
    rng = np.random.default_rng(seed)
    noise, change = (ndimage.gaussian_filter(rng.normal(size=shape), 3, mode="wrap") for _ in range(2))
    mixed = noise + 0.5 * change
    return mixed > np.quantile(mixed, 0.6), noise > np.quantile(noise, 0.6)


def square(top, left, size=3, shape=(16, 20)):
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


def surface_points(mask, spacing):
    """The outermost pixels by neighbour counting, not by erosion: another road to the same set."""
    padded = np.pad(mask, 1)
    neighbours = sum(np.roll(padded, step, axis) for axis in range(mask.ndim) for step in (-1, 1))
    outer = padded & (neighbours.astype(int) < 2 * mask.ndim)
    return np.argwhere(outer) * np.asarray(spacing)


def tree_distances(prediction, target, spacing):
    p, t = surface_points(prediction, spacing), surface_points(target, spacing)
    return cKDTree(t).query(p)[0], cKDTree(p).query(t)[0]


# Values to check by hand


def test_two_single_pixels():
    """One pixel each, 3 down and 4 right: every distance is 5, or 5 mm with pixels of 1 mm, or 10 mm with 2 mm."""
    prediction, target = square(2, 3, 1), square(5, 7, 1)
    assert hd95(prediction, target) == assd(prediction, target) == 5
    assert hd95(prediction, target, (2, 2)) == assd(prediction, target, (2, 2)) == 10
    assert hd95(prediction, target, (4, 0.25)) == pytest.approx(math.hypot(12, 1))
    assert surface_dice(prediction, target, 5) == 1
    assert surface_dice(prediction, target, 4.99) == 0


def test_a_square_shifted_by_two():
    """3x3 squares two columns apart, 8 surface pixels each. Columns lie at 0 1 2 and 2 3 4.

    From the left square, 3 pixels of column 0 are 2 away, the two of column 1 are 1 away, column 2 is 0 away: mean 8/8.
    """
    prediction, target = square(4, 4), square(4, 6)
    to_target, to_prediction = surface_distances(prediction, target)
    assert sorted(to_target) == sorted(to_prediction) == [0, 0, 0, 1, 1, 2, 2, 2]
    assert assd(prediction, target) == 1
    assert hd95(prediction, target) == 2
    assert surface_dice(prediction, target, 1) == 5 / 8


def test_hd95_is_the_larger_directed_percentile_not_the_pooled_one():
    """A 6x6 square has 20 surface pixels. Two stray ones 9 px off are over a twentieth of the prediction's 22, but not
    of the 42 pooled: 8.55 px (between 0 and 9, index 19.95) by the directed definition and 0 px by the pooled one.
    """
    target = square(1, 1, 6)
    prediction = target.copy()
    prediction[[1, 3], 15] = True
    to_target, to_prediction = surface_distances(prediction, target)
    assert sorted(to_target) == [0] * 20 + [9, 9]
    assert sorted(to_prediction) == [0] * 20
    assert hd95(prediction, target) == pytest.approx(8.55)
    assert np.percentile(np.concatenate([to_target, to_prediction]), 95) == 0


def test_a_surface_is_the_outermost_layer_and_the_border_counts():
    """A 3x3 square has 8 surface pixels, in the middle as well as in a corner of the array."""
    assert surface(square(4, 4)).sum() == surface(square(0, 0)).sum() == surface(square(13, 17)).sum() == 8
    assert surface(np.ones((5, 7), bool)).sum() == 2 * 7 + 2 * 5 - 4
    assert surface(np.ones((3, 3, 3), bool)).sum() == 26


def test_boundary_iou_of_two_squares():
    """5x5 squares one column apart. Rings of 16 pixels share the 4 + 4 of the top and bottom rows; 16 + 16 - 8 = 24."""
    prediction, target = square(5, 5, 5), square(5, 6, 5)
    assert boundary_iou(prediction, target, 1) == 8 / 24
    assert boundary_iou(prediction, target, 3) == iou(prediction, target)
    assert boundary_iou(prediction, target, 1, (2, 2)) == 8 / 24, "never thinner than a pixel"
    assert boundary_iou(prediction, target, 2, (2, 2)) == boundary_iou(prediction, target, 1)


def test_boundary_iou_takes_two_percent_of_the_diagonal():
    """An array of 300x400 px has a diagonal of 500 px: a region of 10 px, or 5 mm with pixels of 0.5 mm."""
    prediction, target = square(50, 60, 100, (300, 400)), square(54, 62, 100, (300, 400))
    expected = boundary_iou(prediction, target, 10)
    assert boundary_iou(prediction, target) == expected
    assert boundary_iou(prediction, target, spacing=(0.5, 0.5)) == expected


def test_band_of_one_pixel():
    """A target of 3x3: the band of 1 px is its ring of 8 and the 12 pixels that touch it by a side.

    The prediction loses one corner of the ring and gains one pixel of the 12: 2 of 20 are wrong, Dice is 2*7/(8+8).
    The hole in the middle lies outside the band and does not count.
    """
    target = square(5, 5)
    prediction = target.copy()
    prediction[5, 5] = prediction[6, 6] = False
    prediction[4, 6] = True
    assert band_error(prediction, target, 1) == 2 / 20
    assert band_dice(prediction, target, 1) == 14 / 16
    assert band_error(prediction, target, 2) == 3 / 37, "13 + 24 pixels, less the 4 corners that are sqrt(8) away"


def test_a_wide_band_is_the_whole_image():
    prediction, target = blobs(1)
    assert band_dice(prediction, target, 1000) == dice(prediction, target)
    assert band_error(prediction, target, 1000) == (prediction != target).mean()


def test_contour_distance_is_alike_on_both_sides():
    """A half plane: 1 px on either side of the contour, then 2, 3; the border of the array is an edge of the mask."""
    mask = np.zeros((9, 8), bool)
    mask[:, :5] = True
    assert contour_distance(mask)[4].tolist() == [1, 2, 3, 2, 1, 1, 2, 3]


def test_a_distance_of_exactly_the_tolerance_is_within():
    """3 pixels of 0.1 mm are 0.30000000000000004 mm by floating point, and 0.3 mm by anyone's ruler."""
    prediction, target = square(4, 4, 1), square(4, 7, 1)
    assert surface_dice(prediction, target, 0.3, (0.1, 0.1)) == 1


@pytest.mark.parametrize("step", [1.0000000239, 1.0000001])
def test_the_rounding_of_a_voxel_in_32_bits_changes_no_measure(step):
    """A square that is 2 px off is within 2 mm at 1.0000000239 mm too; its band of 2 mm and rim of 2 mm are the same.

    0.4 mm is 0.4000000059604645 mm in 32 bits: 5 of them are within 2 mm.
    """
    prediction, target = square(4, 4, 7), square(4, 6, 7)
    for measure, within in ((surface_dice, 2), (boundary_iou, 2), (band_dice, 2), (band_error, 2)):
        exactly, rounded = (measure(prediction, target, within, (size, size)) for size in (1.0, step))
        assert rounded == exactly, measure.__name__
    assert surface_dice(prediction, target, 2, (step, step)) == 1
    fine = float(np.float32(0.4))
    assert surface_dice(square(4, 4, 1), square(4, 9, 1), 2, (fine, fine)) == 1


# Edges


@pytest.mark.parametrize("shape", [(7, 9), (3, 5, 4)])
def test_a_miss_and_a_false_alarm_are_infinitely_far(shape):
    """HD95 of an empty prediction is never 0."""
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    for prediction, target in ((empty, full), (full, empty)):
        assert hd95(prediction, target) == assd(prediction, target) == math.inf
        assert surface_dice(prediction, target, 2) == boundary_iou(prediction, target) == 0
    assert band_dice(empty, full) == 0
    assert band_error(empty, full) == 1
    assert math.isnan(band_dice(full, empty))
    assert math.isnan(band_error(full, empty))


@pytest.mark.parametrize("metric", [*DISTANCES, *SCORES])
def test_two_empty_masks_have_no_score(metric):
    assert math.isnan(metric(np.zeros((4, 5), bool), np.zeros((4, 5), bool)))


@pytest.mark.parametrize("mask", [np.ones((5, 7), bool), square(3, 4, 1), square(0, 0), np.ones((1, 1), bool)])
def test_a_perfect_prediction(mask):
    """Full, one pixel, touching the border, an image of one pixel."""
    assert hd95(mask, mask) == assd(mask, mask) == band_error(mask, mask) == 0
    assert surface_dice(mask, mask, 0) == boundary_iou(mask, mask) == band_dice(mask, mask) == 1


def test_misses_are_counted_not_averaged_away():
    """Two hits at 3 mm and one miss: HD95 is 3 mm over 2 cases, with 1 miss beside it, never 2 mm over 3."""
    target, hit, miss = square(4, 4, 1), square(4, 7, 1), np.zeros((16, 20), bool)
    values = [hd95(prediction, target, (1.0, 1.0)) for prediction in (hit, hit, miss)]
    summary = summarise(values)
    assert (summary.mean, summary.n, summary.infinite, summary.missing) == (3, 2, 1, 0)


@pytest.mark.parametrize("metric", [*DISTANCES, *SCORES])
def test_input_is_checked(metric):
    mask = np.ones((4, 5), bool)
    with pytest.raises(ShapeError, match="Bring the prediction to the target's size"):
        metric(mask, mask.T)
    with pytest.raises(TypeError, match="not bool"):
        metric(mask, mask.astype(int))
    with pytest.raises(ShapeError, match="3 numbers for 2 axes"):
        metric(mask, mask, spacing=(1, 1, 1))
    with pytest.raises(ValueError, match="spacing is 0"):
        metric(mask, mask, spacing=(1, 0))


@pytest.mark.parametrize(("metric", "bad"), [(surface_dice, -1), (boundary_iou, 0), (band_dice, math.nan)])
def test_widths_are_checked(metric, bad):
    mask = np.ones((4, 5), bool)
    with pytest.raises(ValueError, match="must be finite"):
        metric(mask, mask, bad)


# Laws


@given(pairs())
@settings(deadline=None)
def test_laws(pair):
    prediction, target = pair
    for metric in (hd95, assd, surface_dice, boundary_iou):
        np.testing.assert_allclose(metric(prediction, target), metric(target, prediction), rtol=1e-12)
    for metric in (*DISTANCES, *SCORES):
        value = metric(prediction, target)
        swapped = metric(prediction.swapaxes(0, 1), target.swapaxes(0, 1))
        np.testing.assert_allclose(value, swapped, rtol=1e-12)
        assert math.isnan(value) or value >= 0
        assert metric in DISTANCES or math.isnan(value) or value <= 1
    for metric in DISTANCES:
        np.testing.assert_allclose(metric(*pair, (2.5,) * target.ndim), 2.5 * metric(*pair))


@pytest.mark.parametrize("metric", [*DISTANCES, *SCORES])
def test_unequal_height_width_and_spacing_swap_together(metric):
    prediction, target = blobs(3)
    value = metric(prediction, target, spacing=(0.7, 1.9))
    assert metric(prediction.T, target.T, spacing=(1.9, 0.7)) == pytest.approx(value, rel=1e-12)
    assert metric(prediction.T, target.T, spacing=(0.7, 1.9)) != pytest.approx(value)


@pytest.mark.parametrize("metric", [*DISTANCES, surface_dice, band_dice])
def test_empty_surroundings_change_nothing(metric):
    """Cropping to the joint box is exact: more background around both masks gives the same number."""
    prediction, target = square(2, 3, 5), square(4, 6, 4)
    assert metric(np.pad(prediction, 9), np.pad(target, 9)) == metric(prediction, target)


# Independent implementations


@pytest.mark.parametrize(
    ("shape", "spacing"), [((40, 56), (1, 1)), ((33, 50), (0.7, 1.9)), ((12, 20, 16), (3.0, 0.8, 1.0))]
)
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_a_nearest_neighbour_search(shape, spacing, seed):
    prediction, target = blobs(seed, shape)
    expected = tree_distances(prediction, target, spacing)
    actual = surface_distances(prediction, target, spacing)
    for mine, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)
    assert hd95(prediction, target, spacing) == pytest.approx(max(np.percentile(d, 95) for d in expected))
    assert assd(prediction, target, spacing) == pytest.approx(np.concatenate(expected).mean())
    near = np.concatenate(expected) <= 2 + 1e-9
    assert surface_dice(prediction, target, 2.0, spacing) == pytest.approx(near.mean())


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_distance_agrees_with_scikit_image_and_scipy(seed):
    prediction, target = blobs(seed)
    edges = [find_boundaries(np.pad(mask, 1), connectivity=1, mode="inner") for mask in (prediction, target)]
    largest = max(d.max() for d in surface_distances(prediction, target))
    assert largest == pytest.approx(hausdorff_distance(*edges))
    points = [np.argwhere(edge) for edge in edges]
    assert largest == pytest.approx(max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0]))


@pytest.mark.parametrize("width", [1, 2, 4])
def test_boundary_iou_agrees_with_the_authors_erosion(width):
    """Cheng et al. erode by a 3x3 square, width times; in a rectangle the euclidean depth is the same."""

    def region(mask):
        padded = np.pad(mask, 1)
        return mask & ~ndimage.binary_erosion(padded, np.ones((3, 3)), iterations=width)[1:-1, 1:-1]

    prediction, target = square(0, 2, 11), square(2, 5, 12)
    assert boundary_iou(prediction, target, width) == iou(region(prediction), region(target))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("shape", "spacing"), [((40, 56), (1, 1)), ((33, 50), (0.7, 1.9)), ((12, 20, 16), (3.0, 0.8, 1.0))]
)
def test_agrees_with_monai(shape, spacing):
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    for seed in range(4):
        masks = blobs(seed, shape)
        p, t = (torch.from_numpy(mask)[None, None].float() for mask in masks)
        options = {"include_background": True, "spacing": spacing}
        assert hd95(*masks, spacing) == pytest.approx(
            compute_hausdorff_distance(p, t, percentile=95, **options).item(), rel=1e-5
        )
        assert assd(*masks, spacing) == pytest.approx(
            compute_average_surface_distance(p, t, symmetric=True, **options).item(), rel=1e-5
        )
        expected = compute_surface_dice(p, t, [1.5], **options).item()
        assert surface_dice(*masks, 1.5, spacing) == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_where_monai_differs():
    """Of a miss or a false alarm MONAI says NaN, which a mean over cases drops without a word; here it is infinite."""
    import torch
    from monai.metrics import compute_hausdorff_distance

    target, empty = square(4, 4), np.zeros((16, 20), bool)
    for masks in ((empty, target), (target, empty)):
        p, t = (torch.from_numpy(mask)[None, None].float() for mask in masks)
        theirs = compute_hausdorff_distance(p, t, percentile=95, include_background=True).item()
        assert math.isnan(theirs)
        assert hd95(*masks) == math.inf
