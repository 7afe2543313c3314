"""An image of any size becomes a mask of that size, without seams, and with honest maps of uncertainty."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from criinet.config import MethodConfig
from criinet.data.augmentation import AugmentationConfig
from criinet.data.fitting import gaussian_window, starts
from criinet.data.resampling import resize_probs
from criinet.data.settings import DataConfig
from criinet.engine.build import load
from criinet.engine.predictor import Predictor
from criinet.engine.shift import shifted
from criinet.errors import DataError
from criinet.methods import Method, Prediction

CLASSES = ("background", "cup", "disc")
SIZES = [(47, 33), (32, 32), (5, 91), (120, 64), (33, 33), (1, 1), (200, 31), (64, 64), (17, 40)]


class ByPixel(Method):
    """Segments every pixel by its own colour alone; the second opinion takes the channels the other way round."""

    classes = len(CLASSES)

    def __init__(self, opinions: int = 2) -> None:
        torch.nn.Module.__init__(self)
        self.opinions = opinions

    def predict(self, image):
        return Prediction((image * 4).softmax(1), (image.flip(1) * 4).softmax(1) if self.opinions == 2 else None)


class LeftIsCup(Method):
    """Says class 1 on the left and class 0 on the right, whatever it sees: not equivariant to mirroring."""

    classes = len(CLASSES)

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.config = MethodConfig(weights={})

    def predict(self, image):
        left = torch.arange(image.shape[3]) < image.shape[3] // 2
        return Prediction(F.one_hot(left.long(), 3).T[None, :, None].float().expand(len(image), -1, image.shape[2], -1))


class ByColumn(Method):
    """Says class 1 with a probability that grows with the column of the window, from 0 to 1."""

    classes = 2

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def predict(self, image):
        p = torch.linspace(0, 1, image.shape[3]).expand(len(image), 1, *image.shape[2:])
        return Prediction(torch.cat([1 - p, p], dim=1))


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def by_hand(image: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(image).permute(2, 0, 1).float() / 255 * 4).softmax(0)


def predictor(method: Method, window: str = "whole", size=(32, 32), **options) -> Predictor:
    return Predictor(method, DataConfig(size=size, window=window), CLASSES, **options)


def test_both_opinions_are_shifted():
    """So that where they disagree is not where one of them was shifted."""
    batch = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain, found = (predictor(ByPixel(), tta=False, shift=shift).apply(batch) for shift in (0.0, 1.5))
    torch.testing.assert_close(found.probs, shifted(plain.probs, 1.5))
    torch.testing.assert_close(found.coarse, shifted(plain.coarse, 1.5))


@pytest.mark.parametrize("window", ["whole", "patch"])
def test_every_image_keeps_its_own_size_and_place(window):
    """Nine images of nine sizes, more than one batch, come back in order."""
    images = [picture(size, seed) for seed, size in enumerate(SIZES)]
    found = list(predictor(ByPixel(), window).predict_many(iter(images)))
    assert [case.mask.shape for case in found] == SIZES
    for case, size in zip(found, SIZES, strict=True):
        assert case.probs.shape == (3, *size)
        torch.testing.assert_close(case.probs.sum(0), torch.ones(size))
        assert (case.mask.dtype, case.coarse_mask.shape) == (np.uint8, size)


def test_an_image_of_the_training_size_is_not_resampled():
    image = picture((32, 32))
    torch.testing.assert_close(predictor(ByPixel()).predict(image).probs, by_hand(image))


@pytest.mark.parametrize("size", [(32, 32), (33, 95), (100, 71), (20, 100), (9, 9), (64, 48)])
@pytest.mark.parametrize("shape", [(32, 32), (32, 48)])
def test_crops_leave_no_seams(size, shape):
    """A method that looks at one pixel at a time must give the same from blended crops as from the whole image."""
    image = picture(size)
    found = predictor(ByPixel(), "patch", shape).predict(image)
    torch.testing.assert_close(found.probs, by_hand(image), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.coarse, by_hand(image[..., ::-1].copy()), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("length", "window"), [(32, 32), (33, 32), (100, 32), (64, 32), (1000, 48)])
def test_crops_cover_everything_and_overlap_by_half(length, window):
    found = starts(length, window)
    assert (found[0], found[-1]) == (0, length - window)
    assert all(0 < after - before <= window / 2 + 1 for before, after in pairwise(found))


def test_the_middle_of_a_window_counts_most():
    """A Gaussian of an eighth of the side, in either direction; an eighth of 16 pixels is 2."""
    weight = gaussian_window((16, 48))
    assert weight[7, 10] / weight[7, 16] == pytest.approx(np.exp((7.5**2 - 13.5**2) / (2 * 6**2)))
    assert weight[3, 23] / weight[7, 23] == pytest.approx(np.exp((0.5**2 - 4.5**2) / (2 * 2**2)))
    np.testing.assert_array_equal(weight, weight[::-1, ::-1])
    assert weight.min() == np.float32(1e-3)


def test_where_windows_overlap_the_middle_of_a_window_counts_most():
    """Windows start at columns 0 and 16: column 20 is the 20th of one and the 4th of the other."""
    data = DataConfig(size=(32, 32), window="patch")
    found = Predictor(ByColumn(), data, ("a", "b")).predict(picture((32, 48))).probs[1, 16, 20]
    near, far = gaussian_window((32, 32))[16, [20, 4]]
    assert found.item() == pytest.approx((near * 20 + far * 4) / (near + far) / 31, abs=1e-5)


@pytest.mark.parametrize("window", ["whole", "patch"])
def test_mirroring_changes_nothing_for_a_method_that_mirrors_along(window):
    image = picture((40, 56))
    plain = predictor(ByPixel(), window).predict(image)
    mirrored = predictor(ByPixel(), window, tta=True).predict(image)
    torch.testing.assert_close(mirrored.probs, plain.probs, atol=1e-5, rtol=0)
    torch.testing.assert_close(mirrored.coarse, plain.coarse, atol=1e-5, rtol=0)


def test_mirroring_averages_what_the_method_says_of_each_mirror_image():
    """As it is and upside down the left half is cup; left-right mirrored it is the right half: 2/3 and 1/3."""
    probs = predictor(LeftIsCup(), tta=True).predict(picture((32, 32))).probs
    torch.testing.assert_close(probs[1, :, :16], torch.full((32, 16), 2 / 3))
    torch.testing.assert_close(probs[1, :, 16:], torch.full((32, 16), 1 / 3))


def test_the_settings_say_whether_to_mirror_unless_it_is_asked_for():
    """2/3 of the mean over mirrors, 1 without."""
    for asked, expected in ((None, 2 / 3), (True, 2 / 3), (False, 1.0)):
        found = Predictor(LeftIsCup(), DataConfig(size=(32, 32), tta=True), CLASSES, tta=asked)
        assert found.predict(picture((32, 32))).probs[1, 0, 0].item() == pytest.approx(expected)
    assert len(Predictor(LeftIsCup(), DataConfig(size=(32, 32)), CLASSES).mirrors) == 1


@pytest.mark.parametrize(("sideways", "upside_down", "expected"), [(0, 0, 1), (0, 1, 1), (1, 0, 1 / 2), (1, 1, 2 / 3)])
def test_mirrors_are_those_that_training_used(sideways, upside_down, expected):
    """Scans that are never mirrored in training are not mirrored in prediction; upside down, left stays left."""
    augmentation = AugmentationConfig(flip_horizontal=bool(sideways), flip_vertical=bool(upside_down))
    data = DataConfig(size=(32, 32), augmentation=augmentation)
    probs = Predictor(LeftIsCup(), data, CLASSES, tta=True).predict(picture((32, 32))).probs
    torch.testing.assert_close(probs[1, :, :16], torch.full((32, 16), float(expected)))


def test_maps_of_uncertainty_lie_between_0_and_1():
    """Sure pixels 0, even ones 1; opinions that are equal 0, that exclude each other 1."""
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:, 0] = 255
    found = predictor(ByPixel()).predict(image)
    assert found.entropy.dtype == np.float32
    np.testing.assert_allclose(found.entropy[:, :16], 1, atol=1e-5)
    assert 0 < found.entropy[:, 16:].min() <= found.entropy[:, 16:].max() < 0.5
    np.testing.assert_allclose(found.disagreement[:, :16], 0, atol=1e-6)
    sure, unsure = np.exp(4) / (np.exp(4) + 2), 1 / (np.exp(4) + 2)
    np.testing.assert_allclose(found.disagreement[:, 16:], sure - unsure, atol=1e-5)


def test_a_method_of_one_opinion_disagrees_with_nobody():
    found = predictor(ByPixel(opinions=1)).predict(picture((20, 50)))
    assert (found.coarse, found.coarse_mask, found.disagreement) == (None, None, None)


@pytest.mark.parametrize("size", [(3, 5), (64, 100), (16, 16), (8, 31)])
def test_resized_probabilities_still_sum_to_1(size):
    probs = torch.randn(4, 16, 16).softmax(0)
    found = resize_probs(probs.unsqueeze(0), size)[0]
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(0), torch.ones(size))


@pytest.mark.parametrize("size", [(50, 1), (9, 1), (1, 50), (1, 1), (1, 2), (2, 1), (16, 1), (2, 2)])
@pytest.mark.parametrize("classes", [1, 3])
def test_probabilities_shrink_to_one_or_two_pixels_as_pillow_does_it(classes, size):
    """PyTorch alone is wrong by some hundredths where the width becomes 1."""
    probs = torch.rand(2, classes, 16, 16, generator=torch.Generator().manual_seed(0))
    bilinear = {"size": size[::-1], "resample": Image.Resampling.BILINEAR}
    expected = [np.asarray(Image.fromarray(plane.numpy()).resize(**bilinear)) for plane in probs.flatten(0, 1)]
    np.testing.assert_allclose(resize_probs(probs, size).flatten(0, 1).numpy(), expected, atol=2e-6)


def test_gray_and_colour_images_fit_any_network(trained):
    predict = load(trained, device="cpu").predict
    gray = picture((30, 50))[..., 0]
    np.testing.assert_array_equal(predict(gray).mask, predict(np.repeat(gray[..., None], 3, axis=2)).mask)


def test_what_a_run_predicts_does_not_depend_on_the_other_images(trained):
    """Batch statistics are those of training: alone or among others, the same mask."""
    images = [picture((40, 40 + i), seed=i) for i in range(5)]
    loaded = load(trained, device="cpu")
    for alone, case in zip(images, loaded.predict_many(images), strict=True):
        torch.testing.assert_close(loaded.predict(alone).probs, case.probs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (np.zeros((32, 32, 3), np.float32), r"an array of float32: \(255 \* image\)\.round\(\)\.astype\(np\.uint8\)"),
        (np.zeros((32, 32, 3), np.uint16), r"an array of uint16: .* image\.astype\(np\.uint8\)"),
        (np.zeros((3, 32, 32), np.uint8), r"an array of shape \(3, 32, 32\): the last axis is red, green and blue"),
        (np.zeros((32, 32, 4), np.uint8), r"transparent pixels: image\[\.\.\., :3\] drops"),
        (np.zeros((0, 32), np.uint8), "without a pixel"),
        ([[0, 1]], "a list"),
    ],
)
@pytest.mark.parametrize("window", ["whole", "patch"])
def test_what_is_no_image_is_refused_in_a_sentence(image, what, window):
    """Values in another range would be segmented as if they were 0 to 255."""
    with pytest.raises(DataError, match=f"an image is a file, a Pillow image or a NumPy array of uint8; .*{what}"):
        predictor(ByPixel(), window).predict(image)


@pytest.mark.parametrize("volume", [np.zeros((8, 8)), np.zeros((2, 0, 8)), np.zeros((2, 8, 8), complex), "no path"])
def test_what_is_no_volume_is_refused_in_a_sentence(volume):
    data = DataConfig(kind="slices", size=(32, 32), window="patch", channels=1)
    with pytest.raises(DataError, match=r"a volume is a NumPy array|no path"):
        Predictor(ByPixel(), data, CLASSES).predict(volume)


def test_probabilities_that_shrink_are_averaged():
    probs = torch.zeros(1, 2, 16, 16)
    probs[0, 1, :, ::4] = 1
    probs[0, 0] = 1 - probs[0, 1]
    torch.testing.assert_close(resize_probs(probs, (4, 4))[0, 1], torch.full((4, 4), 0.25), atol=0.1, rtol=0)
