"""Contrast, sharpness and size of a case, from image and ground truth alone."""

import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.color import rgb2lab

from criinet.errors import ShapeError
from criinet.metrics import boundary_gradient, contrast_to_noise, object_share, quartiles
from criinet.metrics.difficulty import lightness


def disc(radius=12.0, shape=(50, 70), centre=(25, 35)):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def test_lightness_agrees_with_scikit_image():
    image = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    np.testing.assert_allclose(lightness(image, 2), rgb2lab(image)[..., 0], atol=0.01)
    np.testing.assert_allclose(lightness(image / 255, 2), lightness(image, 2), atol=1e-9)


def test_lightness_of_known_colours():
    """Black is 0, white 100; middle gray 119 of 255 is 50; pure green is 87.7 (CIE)."""
    image = np.array([[[0, 0, 0], [255, 255, 255], [119, 119, 119], [0, 255, 0]]], np.uint8)
    np.testing.assert_allclose(lightness(image, 2), [[0, 100, 50.03, 87.74]], atol=0.02)


def test_gray_is_scaled_to_a_hundred():
    """uint8 by 255, [0, 1] by 1, and anything else, like HU, from its own range."""
    assert lightness(np.array([[0, 51, 255]], np.uint8), 2).tolist() == [[0, 20, 100]]
    assert lightness(np.array([[0.25, 0.5]]), 2).tolist() == [[25, 50]]
    assert lightness(np.array([[-1000, 0, 1000]]), 2).tolist() == [[0, 50, 100]]
    assert lightness(np.full((2, 2), 300), 2).tolist() == [[0, 0], [0, 0]]


def test_other_gray_is_scaled_from_all_but_its_outermost_values():
    """Of 0 to 999 the lowest and the highest .5 % are five values each: 4 is black and 994 is white."""
    found = lightness(np.arange(1000).reshape(20, 50), 2).flatten()
    assert found[[4, 994]].tolist() == [0, 100]
    assert found[499] == pytest.approx(50)


def test_contrast_to_noise_by_hand():
    """A single pixel of 60 among neighbours of 20 and 30 (ring of 1 px): |60 - 25| / sqrt((0 + 25) / 2)."""
    image = np.zeros((5, 5), float)
    image[2, 2], image[1, 2], image[3, 2], image[2, 1], image[2, 3] = 0.6, 0.2, 0.3, 0.2, 0.3
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    assert contrast_to_noise(image, mask) == pytest.approx(35 / math.sqrt(12.5))


def test_the_ring_is_a_tenth_of_the_diameter():
    """A disc of radius 20 (about 1257 px, diameter 40) has a ring of 4 px: what lies 5 px out changes nothing."""
    mask = disc(20, (80, 90), (40, 45))
    image = np.random.default_rng(0).random((80, 90))
    distance = ndimage.distance_transform_edt(~mask)
    expected = contrast_to_noise(image, mask)
    assert contrast_to_noise(np.where(distance > 4.1, 0.9, image), mask) == pytest.approx(expected)
    assert contrast_to_noise(np.where(distance > 3.5, 0.9, image), mask) != pytest.approx(expected)


def test_contrast_ignores_brightness_and_gain_of_gray_images():
    mask, image = disc(), np.random.default_rng(1).random((50, 70))
    assert contrast_to_noise(40 * image - 1000, mask) == pytest.approx(contrast_to_noise(image, mask))


def test_contrast_at_the_edges():
    """Nothing to see is the hardest (0), contrast without noise the easiest (inf), no object or no ring is NaN."""
    mask = disc()
    assert contrast_to_noise(np.full(mask.shape, 77, np.uint8), mask) == 0
    assert contrast_to_noise(np.where(mask, 0.2, 0.7), mask) == math.inf
    assert math.isnan(contrast_to_noise(np.zeros(mask.shape), np.zeros_like(mask)))
    assert math.isnan(contrast_to_noise(np.zeros(mask.shape), np.ones_like(mask)))


def test_a_blurred_boundary_has_a_lower_gradient():
    mask = disc()
    sharp = np.where(mask, 0.2, 0.8)
    gradients = [boundary_gradient(ndimage.gaussian_filter(sharp, sigma), mask) for sigma in (0.01, 1, 2, 4)]
    assert gradients == sorted(gradients, reverse=True)


def test_boundary_gradient_of_a_ramp_is_its_slope():
    """Gray rises by 1 per column: the gradient is 1 everywhere, but for the cut tail of the gaussian."""
    image = np.tile(np.arange(70) / 100, (50, 1))
    assert boundary_gradient(image, disc()) == pytest.approx(1, abs=1e-3)


def test_boundary_gradient_is_that_of_the_whole_image():
    """Cropping around the object is exact."""
    image, mask = np.random.default_rng(2).random((50, 70)), disc(9, centre=(6, 60))
    gradient = ndimage.gaussian_gradient_magnitude(100 * image, 1.0, mode="nearest")
    contour = mask & ~ndimage.binary_erosion(mask, border_value=1)
    assert boundary_gradient(image, mask) == pytest.approx(gradient[contour].mean())


def test_the_border_of_the_array_is_no_boundary():
    """A half plane has one contour, along column 4; a full mask has none."""
    image = np.tile(np.where(np.arange(20) < 5, 0.1, 0.9), (12, 1))
    mask = image < 0.5
    assert boundary_gradient(image, mask) == pytest.approx(boundary_gradient(image[4:6], mask[4:6]))
    assert boundary_gradient(image, mask) > 20
    assert math.isnan(boundary_gradient(image, np.ones_like(mask)))
    assert math.isnan(boundary_gradient(image, np.zeros_like(mask)))


@pytest.mark.parametrize("metric", [contrast_to_noise, boundary_gradient])
@pytest.mark.parametrize("shape", [(50, 70), (50, 70, 3)])
def test_unequal_height_and_width_may_be_swapped(metric, shape):
    image, mask = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8), disc(8, centre=(20, 50))
    assert metric(image.swapaxes(0, 1), mask.T) == pytest.approx(metric(image, mask))


@pytest.mark.parametrize("metric", [contrast_to_noise, boundary_gradient])
def test_volumes_and_input_checks(metric):
    """A gray volume with three slices is no colour image."""
    image, mask = np.random.default_rng(4).random((9, 12, 3)), np.zeros((9, 12, 3), bool)
    mask[3:6, 4:8, 1] = True
    assert math.isfinite(metric(image, mask))
    with pytest.raises(ShapeError, match="must share their spatial axes"):
        metric(image, mask[:, :5])
    with pytest.raises(ShapeError, match="neither gray nor RGB"):
        metric(np.zeros((9, 12, 4)), mask[..., 1])
    with pytest.raises(TypeError, match="not bool"):
        metric(image, mask.astype(int))
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        metric(image * 300, mask[..., 1])


def test_object_share():
    assert object_share(np.array([[True, False, False, False]])) == 0.25


def test_quartiles():
    """1 is the lowest; NaN is 0; inf is the highest; sizes differ by one at most."""
    values = [5.0, math.nan, 1.0, math.inf, 3.0, 2.0, 8.0, 7.0, 6.0]
    assert quartiles(values).tolist() == [2, 0, 1, 4, 2, 1, 4, 3, 3]
    assert np.bincount(quartiles(np.arange(10.0)), minlength=5).tolist() == [0, 3, 2, 3, 2]


def test_quartiles_of_equal_values_keep_their_order():
    assert quartiles([1.0] * 8).tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert quartiles([2.0] + 7 * [1.0]).tolist() == [4, 1, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("values", [[], [math.nan], [math.nan, math.nan], [*range(7), math.nan]])
def test_quartiles_of_nothing_and_of_few(values):
    assert quartiles(values).tolist() == [0] * len(values)


@pytest.mark.parametrize("value", [30000.0, np.nan, np.inf, -np.inf])
def test_one_odd_voxel_far_away_changes_no_difficulty(value):
    """A hot one would make every boundary look blurred by its share of the range."""
    mask = np.zeros((9, 40, 40), bool)
    mask[3:6, 12:28, 12:28] = True
    volume = np.random.default_rng(0).normal(100, 10, mask.shape) + 60 * mask
    odd = volume.copy()
    odd[0, 0, 0] = value
    for measure in (contrast_to_noise, boundary_gradient):
        assert measure(odd, mask) == pytest.approx(measure(volume, mask), rel=0.01)
