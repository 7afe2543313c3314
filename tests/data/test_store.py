"""The store gives the network what the settings say, and never opens a mask that it was not asked for."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from criinet.config import parse
from criinet.data.dataset import Dataset, open_dataset
from criinet.data.fitting import fit, fit_mask, gaussian_window, with_channels
from criinet.data.settings import DataConfig
from criinet.data.store import Store, centres, load_store
from criinet.errors import ConfigError, DataError
from criinet.labels import IGNORE

SIZES = {"a": (40, 60), "b": (30, 30), "c": (64, 48)}
"""Height and width of each image."""


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Three colour images whose red is 10 a row and green 3 a column; class 1 where the row is even, 2 in a corner."""
    for name, (height, width) in SIZES.items():
        rows, columns = np.mgrid[:height, :width]
        save(tmp_path / "images" / f"{name}.png", np.stack([rows * 3, columns * 3, rows * 0 + 50], axis=2))
        mask = rows % 2
        mask[:5, :5] = 2
        save(tmp_path / "masks" / f"{name}.png", mask)
    return open_dataset(tmp_path)


def config(**settings) -> DataConfig:
    return parse(DataConfig, {"size": [32, 48], **settings}, "data")


def test_whole_images_are_resized_to_one_size(dataset):
    store = load_store(dataset, dataset.cases, config(), with_masks=True)
    assert len(store) == 3
    assert [tuple(image.shape) for image in store.images] == [(3, 32, 48)] * 3
    assert [tuple(mask.shape) for mask in store.masks] == [(32, 48)] * 3
    assert all(tensor.dtype == torch.uint8 for tensor in (*store.images, *store.masks))
    image, mask = store.draw([2, 0, 2, 1], np.random.default_rng(0))
    assert image.shape == (4, 3, 32, 48)
    assert image.dtype == torch.float32
    assert 0 <= image.min() < image.max() <= 1
    assert mask is not None
    assert mask.shape == (4, 32, 48)
    assert mask.dtype == torch.int64
    assert torch.equal(image[0], image[2])


def test_an_image_of_the_right_size_is_left_as_it_is(dataset):
    store = load_store(dataset, dataset.select(["a"]), config(size=[40, 60]), with_masks=True)
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(60), indexing="ij")
    assert torch.equal(store.images[0], torch.stack([rows * 3, columns * 3, rows * 0 + 50]).to(torch.uint8))
    image, mask = store.draw([0], np.random.default_rng(0))
    torch.testing.assert_close(image[0, 0], rows * 3 / 255)
    assert mask is not None
    assert torch.equal(mask[0, 5:], rows[5:] % 2)


def test_resized_images_keep_their_axes():
    """Brighter to the right stays brighter to the right, in an image that becomes wider than high."""
    columns = np.broadcast_to(np.arange(0, 200, 4, dtype=np.uint8), (80, 50))
    resized = fit(columns[..., None], config(), labels=False)
    assert resized.shape == (32, 48, 1)
    assert (np.diff(resized[..., 0].astype(int), axis=1) >= 0).all()
    assert (np.ptp(resized[..., 0], axis=0) == 0).all()


def test_masks_take_the_nearest_pixel():
    """Classes 0 and 2 never make a 1; images do mix, with anti-aliasing: stripes of 0 and 200 become 100."""
    stripes = (np.arange(96) % 2 * 2)[None].repeat(64, 0).astype(np.uint8)
    assert set(np.unique(fit(stripes, config(), labels=True))) <= {0, 2}
    gray = fit(stripes * 100, config(), labels=False)
    assert abs(gray[:, 2:-2].astype(int) - 100).max() <= 15
    upscaled = fit(np.array([[0, 2], [2, 0]], np.uint8), config(), labels=True)
    np.testing.assert_array_equal(upscaled, np.kron([[0, 2], [2, 0]], np.ones((16, 24), int)))


def test_patches_keep_the_images_own_resolution(dataset):
    """Crops of 32x48: the image's gradients of 3 a row and 3 a column are as they were."""
    store = load_store(dataset, dataset.select(["a", "c"]), config(window="patch"), with_masks=True)
    assert [tuple(image.shape) for image in store.images] == [(3, 40, 60), (3, 64, 48)]
    image, mask = store.draw([0, 1] * 100, np.random.default_rng(0))
    assert image.shape == (200, 3, 32, 48)
    step = torch.tensor(3 / 255)
    torch.testing.assert_close(image[:, 0].diff(dim=1), step.expand(200, 31, 48))
    torch.testing.assert_close(image[:, 1].diff(dim=2), step.expand(200, 32, 47))
    assert mask is not None
    corners = (image[:, :2, 0, 0] * 255 / 3).round().long()
    assert corners[::2, 0].unique().tolist() == list(range(9))
    assert corners[::2, 1].max() <= 12
    assert corners[1::2, 1].unique().tolist() == [0]
    assert corners[1::2, 0].max() > 20


def test_image_and_mask_are_cropped_alike(dataset):
    store = load_store(dataset, dataset.select(["a"]), config(window="patch"), with_masks=True)
    image, mask = store.draw([0] * 30, np.random.default_rng(1))
    rows, columns = ((image[:, channel] * 255 / 3).round().long() for channel in (0, 1))
    expected = torch.where((rows < 5) & (columns < 5), 2, rows % 2)
    assert mask is not None
    assert torch.equal(mask, expected)


def test_images_smaller_than_a_patch_are_mirrored_up(dataset):
    """30x30 becomes 32x48 by reflection: rows 30 and 31 repeat 29 and 28, in image and mask."""
    store = load_store(dataset, dataset.select(["b"]), config(window="patch"), with_masks=True)
    image, mask = store.draw([0], np.random.default_rng(0))
    assert image.shape == (1, 3, 32, 48)
    rows = (image[0, 0, :, 0] * 255 / 3).round().long().tolist()
    assert rows == [*range(30), 29, 28]
    assert mask is not None
    assert mask[0, 28:, 10].tolist() == [0, 1, 1, 0]
    columns = (image[0, 1, 0] * 255 / 3).round().long().tolist()
    assert columns == [*range(30), *range(29, 11, -1)]


def test_the_same_draw_repeats(dataset):
    store = load_store(dataset, dataset.cases, config(window="patch"), with_masks=False)
    first, again, other = (store.draw([0, 2] * 4, np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_masks_are_not_opened_unless_asked_for(dataset):
    """Without masks/ on the disk, the same cases load as unlabeled images; asked for masks, the file is missed."""
    shutil.rmtree(dataset.root / "masks")
    store = load_store(dataset, dataset.cases, config(), with_masks=False)
    assert store.masks == ()
    image, mask = store.draw([0, 1, 2], np.random.default_rng(0))
    assert image.shape == (3, 3, 32, 48)
    assert mask is None
    with pytest.raises(DataError, match=r"a\.png"):
        load_store(dataset, dataset.cases, config(), with_masks=True)


def test_a_damaged_image_is_named(dataset):
    (dataset.root / "images" / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b\.png"):
        load_store(dataset, dataset.cases, config(), with_masks=False)


def test_gray_and_colour_become_what_the_network_takes():
    """Gray is copied into three channels; colour becomes luma .299 R + .587 G + .114 B."""
    gray = np.array([[0, 100], [200, 255]], np.uint8)
    assert np.array_equal(with_channels(gray, 1), gray[..., None])
    assert np.array_equal(with_channels(gray, 3), np.stack([gray] * 3, axis=2))
    colour = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [80, 80, 80]]], np.uint8)
    assert with_channels(colour, 3) is colour
    assert with_channels(colour, 1)[0, :, 0].tolist() == [76, 150, 29, 80]


def test_blended_windows_weigh_by_a_gaussian_of_an_eighth_of_their_side():
    """32 wide: sd 4 about 15.5, so half a pixel off weighs exp((7.5^2 - .5^2) / 32) = 5.75 times what 7.5 off do."""
    weight = gaussian_window((32,))
    assert weight[16] / weight[8] == pytest.approx(5.7546, rel=1e-4)
    assert weight[15] == weight[16]
    assert weight[0] == np.float32(1e-3)
    both = gaussian_window((32, 16))
    assert both[16, 8] / both[8, 8] == pytest.approx(5.7546, rel=1e-4)
    assert both[16, 8] / both[16, 4] == pytest.approx(np.exp((3.5**2 - 0.5**2) / 8), rel=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("window", ["whole", "patch"])
def test_a_folder_of_gray_and_colour_images_has_one_number_of_channels(dataset, channels, window):
    save(dataset.root / "images" / "d.png", np.full((50, 50), 90))
    mixed = open_dataset(dataset.root)
    store = load_store(mixed, mixed.select(["a", "d"]), config(channels=channels, window=window), with_masks=False)
    image, _ = store.draw([0, 1], np.random.default_rng(0))
    assert image.shape == (2, channels, 32, 48)
    torch.testing.assert_close(image[1], torch.full((channels, 32, 48), 90 / 255))


def test_half_of_the_windows_hold_an_object_and_every_class_as_often():
    """Three voxels in far corners of 40^3, a class each: a window of 16^3 that lies anywhere hardly meets one.

    Of 400 windows 200 hold one, 67 each class; the limits are three standard deviations.
    """
    mask = torch.zeros(40, 40, 40, dtype=torch.uint8)
    mask[0, 0, 0], mask[0, -1, -1], mask[-1, 0, -1] = 1, 2, 3
    settings = config(kind="volumes", size=[16, 16, 16], window="patch", channels=1, foreground=0.5)
    store = Store((mask.unsqueeze(0),), (mask,), settings, (centres(mask.numpy(), 4),))
    rng = np.random.default_rng(0)
    drawn = [store.draw([0], rng)[1] for _ in range(400)]
    held = [sum(bool((window == c).any()) for window in drawn if window is not None) for c in (1, 2, 3)]
    assert 170 < sum(held) < 230
    assert all(44 < count < 90 for count in held)


def test_an_empty_store_is_empty():
    assert len(Store((), (), DataConfig())) == 0


@pytest.mark.parametrize(
    "settings", [{"size": [8, 32]}, {"size": [32]}, {"channels": 2}, {"window": "half"}, {"size": [5000, 32]}]
)
def test_settings_that_make_no_image_are_refused(settings):
    (key,) = settings
    with pytest.raises(ConfigError, match=rf"^setting 'data\.{key}' is "):
        parse(DataConfig, settings, "data")


def test_pixels_without_ground_truth_stay_so_at_the_training_size():
    mask = np.array([[IGNORE, 0], [1, 2]], np.int16)
    np.testing.assert_array_equal(fit_mask(mask, config()), np.kron(mask, np.ones((16, 24), int)))
