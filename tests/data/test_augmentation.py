"""Views: image and mask move alike, colours stay in range, and all of it repeats with the generator."""

import math

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from criinet.data.augmentation import (
    AugmentationConfig,
    blur,
    draw_affine,
    draw_cutmix,
    jitter_colour,
    labeled_views,
    transform,
    transform_mask,
    unlabeled_views,
    vary_appearance,
)
from criinet.labels import IGNORE
from criinet.types import CutMix, LabeledBatch

STILL = {
    "flip_horizontal": False,
    "flip_vertical": False,
    "rotate": 0,
    "tilt": 0,
    "zoom": 0,
    "shift": 0,
    "colour_probability": 0,
    "blur_probability": 0,
    "cutmix_probability": 0,
    "labeled_colour_probability": 0,
}
GEOMETRY = {key: 0 for key in STILL if key.endswith("probability")}


def rng(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def still(**changes) -> AugmentationConfig:
    """Return settings that change nothing but what is named."""
    return AugmentationConfig(**{**STILL, **changes})


def smooth(count: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return images of low frequency in [0, 1]."""
    coarse = torch.rand(count, channels, 4, 5, generator=rng(seed))
    return F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)


def ellipse(height: int, width: int, radii: tuple[float, float], centre: tuple[float, float] = (0.5, 0.5)) -> Tensor:
    rows = torch.arange(height).view(-1, 1) + 0.5 - centre[0] * height
    columns = torch.arange(width).view(1, -1) + 0.5 - centre[1] * width
    return (rows / radii[0]) ** 2 + (columns / radii[1]) ** 2 <= 1


def ball(sides: tuple[int, int, int], radius: float) -> Tensor:
    """Return a ball in the middle of a box."""
    away = [torch.arange(side) + 0.5 - side / 2 for side in sides]
    return sum(along**2 for along in torch.meshgrid(*away, indexing="ij")) <= radius**2


def batch_of(target: Tensor, image: Tensor | None = None) -> LabeledBatch:
    given = target.unsqueeze(1).float() / max(1, int(target.max())) if image is None else image
    return LabeledBatch(given, target, torch.arange(len(target)) + 10)


def test_without_any_change_image_and_mask_stay_as_they_are():
    """The mask exactly; the image to the rounding of the sampling grid, far below one gray level of 255."""
    image = torch.rand(3, 3, 33, 47, generator=rng())
    target = torch.randint(IGNORE, 4, (3, 33, 47), generator=rng())
    views = labeled_views(LabeledBatch(image, target, torch.arange(3)), still(), rng())
    assert torch.equal(views.target, target)
    torch.testing.assert_close(views.image, image, atol=2e-5, rtol=0)
    unlabeled = unlabeled_views(image, ("weak", "strong_1"), still(noise=0), rng())
    torch.testing.assert_close(unlabeled.weak, image, atol=2e-5, rtol=0)
    assert torch.equal(unlabeled.views["strong_1"], unlabeled.weak)
    assert torch.equal(views.case, torch.arange(3))


@pytest.mark.parametrize("change", ["flip_horizontal", "flip_vertical"])
def test_a_flip_is_the_exact_mirror_image_half_of_the_time(change):
    target = torch.randint(0, 3, (400, 6, 9), generator=rng())
    axis = -1 if change == "flip_horizontal" else -2
    moved = labeled_views(batch_of(target), still(**{change: True}), rng()).target
    flipped = [torch.equal(after, before.flip(axis)) for after, before in zip(moved, target, strict=True)]
    kept = [torch.equal(after, before) for after, before in zip(moved, target, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 150 < sum(flipped) < 250


@pytest.mark.parametrize(
    "change",
    [
        {"rotate": 45},
        {"rotate": 180},
        {"zoom": 0.5},
        {"shift": 0.3},
        {"flip_horizontal": True},
        {"flip_vertical": True},
        {"rotate": 30, "zoom": 0.25, "shift": 0.1, "flip_horizontal": True, "flip_vertical": True},
    ],
)
def test_image_and_mask_move_alike(change):
    """The mask, drawn as an image and cut at one half, is the moved mask, save within a pixel of its edge."""
    target = (smooth(8, 1, 48, 72) > 0.5).squeeze(1).long()
    views = labeled_views(batch_of(target), still(**change), rng(3))
    inside = views.image.squeeze(1)
    sure = (inside - 0.5).abs() > 0.49
    assert sure.float().mean() > 0.85
    assert torch.equal((inside > 0.5)[sure], views.target.bool()[sure])
    assert not torch.equal(views.target, target)


def moments(mask: Tensor) -> Tensor:
    """Return the covariance along the axes of the pixels of a mask, in pixels squared."""
    at = mask.nonzero().float()
    return torch.cov(at.T)


def test_rotation_keeps_shapes_in_images_that_are_not_square():
    """A circle of radius 14 in 48x96 stays one: both variances r^2 / 4 = 49, covariance 0, area pi r^2.

    Seen in the 48 middle columns, since its mirror images may come in at the sides.
    """
    circle = ellipse(48, 96, (14, 14)).long().expand(20, -1, -1)
    moved = labeled_views(batch_of(circle), still(rotate=180), rng()).target
    for mask in moved[:, :, 24:72]:
        torch.testing.assert_close(moments(mask), 49 * torch.eye(2), atol=2.0, rtol=0)
        assert abs(int(mask.sum()) - math.pi * 14**2) < 15


def test_a_right_angle_turns_an_ellipse_upright():
    """Radii 8 by 16 become 16 by 8 under 90 degrees, whatever the image's sides."""
    lying = ellipse(64, 96, (8, 16)).long().unsqueeze(0)
    quarter = torch.tensor([[[0.0, -64 / 96, 0.0], [96 / 64, 0.0, 0.0]]])
    turned = transform_mask(lying, quarter)[0]
    torch.testing.assert_close(moments(turned), torch.diag(torch.tensor([64.0, 16.0])), atol=1.0, rtol=0)
    config = still(rotate=90)
    drawn = draw_affine(200, (64, 96), config, rng())
    angles = torch.atan2(drawn[:, 1, 0] * (64 / 96), drawn[:, 0, 0])
    torch.testing.assert_close(drawn[:, 0, 1], -torch.sin(angles) * 64 / 96, atol=1e-5, rtol=0)
    assert angles.abs().max() <= math.pi / 2
    assert angles.min() < -1.2
    assert angles.max() > 1.2


def test_a_ball_in_a_box_of_unequal_sides_stays_one_however_it_is_turned_and_tilted():
    """Of radius 9 in 24x32x48: variances r^2 / 5 = 16.2 along all three axes, no covariance.

    Seen within 13 of the middle, since its nearest mirror image begins at 2 x 12 - 9 = 15.
    """
    balls = ball((24, 32, 48), 9).long().expand(10, -1, -1, -1)
    moved = labeled_views(batch_of(balls), still(rotate=180, tilt=60), rng()).target
    for mask in moved * ball((24, 32, 48), 13):
        torch.testing.assert_close(moments(mask), 9**2 / 5 * torch.eye(3), atol=1.0, rtol=0)


@pytest.mark.parametrize("change", [{"rotate": 180}, {"flip_horizontal": True}, {"flip_vertical": True}])
def test_slices_of_a_box_keep_their_depth_unless_it_is_tilted(change):
    """Turned or mirrored within the slices, every voxel of slice d is still one of slice d."""
    depth = torch.arange(4).view(1, 4, 1, 1).expand(20, 4, 12, 20)
    assert torch.equal(labeled_views(batch_of(depth), still(**change), rng()).target, depth)


@pytest.mark.parametrize(("change", "axis"), [("flip_horizontal", -1), ("flip_vertical", -2)])
def test_a_box_is_mirrored_along_the_axis_that_its_slices_are(change, axis):
    target = torch.randint(0, 3, (20, 4, 6, 9), generator=rng())
    moved = labeled_views(batch_of(target), still(**{change: True}), rng()).target
    flipped = [torch.equal(after, before.flip(axis)) for after, before in zip(moved, target, strict=True)]
    kept = [torch.equal(after, before) for after, before in zip(moved, target, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert any(flipped)


def test_zoom_changes_the_area_by_at_most_its_square():
    """zoom .25: sides from 1/1.25 to 1.25, areas from .64 to 1.5625, both ways as often."""
    disc = ellipse(64, 80, (12, 12)).long().expand(60, -1, -1)
    areas = labeled_views(batch_of(disc), still(zoom=0.25), rng()).target.sum((1, 2)) / disc[0].sum()
    assert areas.min() > 0.60
    assert areas.max() < 1.62
    assert areas.min() < 0.72
    assert areas.max() > 1.40
    assert 18 < (areas > 1).sum() < 42


def test_shift_is_a_share_of_each_side():
    """shift .1 of 60x120: the centre moves by at most 6 rows and 12 columns, and nearly as far."""
    disc = ellipse(60, 120, (8, 8)).long().expand(80, -1, -1)
    moved = labeled_views(batch_of(disc), still(shift=0.1), rng()).target
    centres = torch.stack([mask.nonzero().float().mean(0) for mask in moved]) - torch.tensor([29.5, 59.5])
    largest = centres.abs().max(0).values
    assert 5 < largest[0] <= 6.6
    assert 10 < largest[1] <= 12.6


def test_masks_never_gain_a_class():
    """Classes 1 and 3 beside each other never make a 2, and outside the image the mirror image shows."""
    target = torch.randint(0, 2, (8, 24, 36), generator=rng()) * 2 + 1
    target[:, :4] = IGNORE
    config = AugmentationConfig(rotate=180, zoom=0.5, shift=0.5)
    views = labeled_views(batch_of(target), config, rng())
    assert set(views.target.unique().tolist()) == {IGNORE, 1, 3}
    assert views.target.dtype == torch.int64


def test_what_lies_outside_is_mirrored_in_for_image_and_mask_alike():
    """Shifted by half: the left half is the mirror image of the right one."""
    target = torch.arange(8).view(1, 1, 8).expand(1, 4, 8)
    half = torch.tensor([[[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]])
    assert transform_mask(target, half)[0, 0].tolist() == [3, 2, 1, 0, 0, 1, 2, 3]
    moved = transform(target.unsqueeze(1).float(), half)
    torch.testing.assert_close(moved[0, 0, 0], torch.tensor([3.0, 2, 1, 0, 0, 1, 2, 3]), atol=1e-5, rtol=0)


def test_the_same_generator_gives_the_same_views():
    image, target = torch.rand(4, 3, 32, 40, generator=rng()), torch.randint(0, 3, (4, 32, 40), generator=rng())
    config = AugmentationConfig()
    batch = LabeledBatch(image, target, torch.arange(4))
    first, again, other = (labeled_views(batch, config, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.target, again.target)
    assert not torch.equal(first.image, other.image)
    names = ("weak", "strong_1", "strong_2")
    first, again, other = (unlabeled_views(image, names, config, rng(seed)) for seed in (1, 1, 2))
    for name in names:
        assert torch.equal(first.views[name], again.views[name])
        assert not torch.equal(first.views[name], other.views[name])


def test_views_need_no_global_randomness():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    image = torch.rand(2, 3, 24, 24, generator=rng())
    unlabeled_views(image, ("weak", "strong_1"), AugmentationConfig(), rng())
    labeled_views(batch_of(torch.ones(2, 24, 24, dtype=torch.long), image), AugmentationConfig(), rng())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_stay_in_range_and_change(channels):
    image = torch.rand(16, channels, 20, 24, generator=rng())
    config = AugmentationConfig(brightness=1, contrast=1, saturation=1, hue=0.5)
    changed = jitter_colour(image, config, rng())
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert ((changed - image).abs().mean((1, 2, 3)) > 0.01).all()


def test_no_change_of_colour_changes_nothing():
    image = torch.rand(4, 3, 8, 8, generator=rng())
    nothing = AugmentationConfig(brightness=0, contrast=0, saturation=0, hue=0)
    torch.testing.assert_close(jitter_colour(image, nothing, rng()), image, atol=1e-5, rtol=0)


def test_brightness_multiplies_and_contrast_scales_about_the_mean():
    image = 0.4 + 0.1 * torch.rand(6, 1, 8, 8, generator=rng())
    brighter = jitter_colour(image, AugmentationConfig(brightness=0.5, contrast=0), rng())
    ratio = (brighter / image).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-4, rtol=0)
    assert ((ratio >= 0.5) & (ratio <= 1.5)).all()
    stretched = jitter_colour(image, AugmentationConfig(brightness=0, contrast=0.5), rng())
    torch.testing.assert_close(stretched.mean((1, 2, 3)), image.mean((1, 2, 3)), atol=1e-4, rtol=0)
    gain = (stretched.flatten(1).std(1) / image.flatten(1).std(1)).tolist()
    assert all(0.5 <= g <= 1.5 for g in gain)
    assert max(gain) - min(gain) > 0.2


def test_hue_and_saturation_keep_the_luma_and_leave_gray_alone():
    """They turn and scale the colour plane: .299 R + .587 G + .114 B stays, and gray has no colour to turn."""
    config = AugmentationConfig(brightness=0, contrast=0, saturation=0.3, hue=0.1)
    image = 0.4 + 0.2 * torch.rand(8, 3, 6, 6, generator=rng())
    changed = jitter_colour(image, config, rng())
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    torch.testing.assert_close((changed * luma).sum(1), (image * luma).sum(1), atol=1e-4, rtol=0)
    assert (changed - image).abs().max() > 0.02
    gray = image[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(jitter_colour(gray, config, rng()), gray, atol=2e-3, rtol=0)


def test_hue_turns_by_up_to_the_share_of_a_turn_that_is_configured():
    """Up to half a turn: among a hundred draws some make red green or blue."""
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(100, 3, 2, 2)
    turned = jitter_colour(red, AugmentationConfig(brightness=0, contrast=0, saturation=0, hue=0.5), rng())
    assert (turned[:, 1:] > turned[:, :1] + 0.2).any()
    slightly = jitter_colour(red, AugmentationConfig(brightness=0, contrast=0, saturation=0, hue=0.02), rng())
    assert (slightly[:, 1:] < 0.2).all()


def test_blur_keeps_the_mean_and_a_flat_image():
    config = AugmentationConfig(blur=8.0)
    dot = torch.zeros(4, 3, 65, 97)
    dot[:, :, 32, 48] = 1
    blurred = blur(dot, config, rng())
    torch.testing.assert_close(blurred.sum((2, 3)), torch.ones(4, 3), atol=1e-4, rtol=0)
    assert (blurred.amax((2, 3)) < 1).all()
    assert blurred.amax((1, 2, 3)).min() < 0.2
    assert blurred.min() >= 0
    flat = torch.full((2, 1, 40, 40), 0.3)
    torch.testing.assert_close(blur(flat, config, rng()), flat)


def test_blur_is_round_and_as_wide_as_configured():
    """Of sd up to 4 at 256 pixels: up to 2 at 128, in both directions alike, each image by its own width."""
    dot = torch.zeros(30, 1, 128, 160)
    dot[:, :, 64, 80] = 1
    blurred = blur(dot, AugmentationConfig(blur=4.0), rng())[:, 0]
    rows, columns = torch.arange(128.0) - 64, torch.arange(160.0) - 80
    down = (blurred.sum(2) * rows**2).sum(1).sqrt()
    across = (blurred.sum(1) * columns**2).sum(1).sqrt()
    torch.testing.assert_close(down, across, atol=1e-3, rtol=0)
    assert 1.5 < down.max() <= 2.0
    assert down.min() < 0.6


def test_cutmix_pastes_a_box_of_the_next_image():
    """Image i has the colour i; each view shows its own and, in the box, its source's."""
    image = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 40, 60)
    mix = draw_cutmix(image, 1.0, rng())
    mixed = mix.apply(image)
    assert sorted(mix.source.tolist()) == [0, 1, 2, 3, 4]
    for i in range(5):
        source = int(mix.source[i])
        assert source != i
        assert (mixed[i][mix.box[i]] == source).all()
        assert (mixed[i][~mix.box[i]] == i).all()
        rows, columns = mix.box[i, 0].nonzero().T
        height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
        assert int(mix.box[i].sum()) == height * width


def test_cutmix_boxes_have_2_to_40_percent_of_the_image():
    """To one pixel of each side, at 200x300, for 400 boxes; heights and widths both vary, inside the image."""
    image = torch.zeros(400, 1, 200, 300)
    box = draw_cutmix(image, 1.0, rng()).box[:, 0]
    heights, widths = box.any(2).sum(1), box.any(1).sum(1)
    area = heights * widths / (200 * 300)
    assert (((heights + 1) * (widths + 1)) / (200 * 300) >= 0.02).all()
    assert (((heights - 1) * (widths - 1)) / (200 * 300) <= 0.40).all()
    assert area.min() < 0.05
    assert area.max() > 0.30
    assert ((heights / 200) / (widths / 300)).max() > 2
    assert ((heights / 200) / (widths / 300)).min() < 0.5


def test_cutmix_takes_of_a_volumes_depth_the_cube_root_of_its_share():
    """In 20 slices of 40x40, to the rounding of a slice: an eighth has half of the slices."""
    box = draw_cutmix(torch.zeros(200, 1, 20, 40, 40), 1.0, rng()).box[:, 0]
    within = ~(box.any(1).any(1).all(1) | box.any(1).any(2).all(1))  # A box as high or wide as a slice was cut there.
    depth, share = box.flatten(2).any(2).float().mean(1)[within], box.flatten(1).float().mean(1)[within]
    torch.testing.assert_close(depth, share ** (1 / 3), atol=0.08, rtol=0)
    assert depth.max() - depth.min() > 0.3


def test_cutmix_is_as_frequent_as_configured():
    image = torch.zeros(600, 1, 32, 32)
    for probability, low, high in ((0.0, 0, 0), (0.5, 250, 350), (1.0, 600, 600)):
        used = int(draw_cutmix(image, probability, rng()).box.flatten(1).any(1).sum())
        assert low <= used <= high


def test_pseudo_labels_are_mixed_like_the_view():
    """Where the view shows another image, the mixed target is that image's."""
    image = smooth(4, 1, 40, 56)
    config = still(cutmix_probability=1, noise=0)
    views = unlabeled_views(image, ("weak", "strong_1"), config, rng())
    mix = views.mixes["strong_1"]
    assert torch.equal(views.views["strong_1"], mix.apply(views.weak))
    labels = (views.weak > 0.5).long()
    assert torch.equal(mix.apply(labels), (views.views["strong_1"] > 0.5).long())
    assert not torch.equal(mix.apply(labels), labels)


def test_mixing_works_on_volumes():
    box = torch.zeros(2, 1, 3, 4, 5, dtype=torch.bool)
    box[0, :, 1:, 2:, 3:] = True
    probs = torch.rand(2, 3, 3, 4, 5, generator=rng())
    mixed = CutMix(torch.tensor([1, 0]), box).apply(probs)
    assert torch.equal(mixed[0, :, 1:, 2:, 3:], probs[1, :, 1:, 2:, 3:])
    assert torch.equal(mixed[0, :, 0], probs[0, :, 0])
    assert torch.equal(mixed[1], probs[1])


@pytest.mark.parametrize(
    "names", [("weak",), ("weak", "strong_1"), ("weak", "strong_1", "strong_2"), ("strong_1",), ()]
)
def test_the_views_are_those_asked_for(names):
    views = unlabeled_views(torch.rand(3, 3, 24, 32, generator=rng()), names, AugmentationConfig(), rng())
    assert tuple(views.views) == names
    assert set(views.mixes) == {name for name in names if name != "weak"}
    assert len(views) == (3 if names else 0)
    for view in views.views.values():
        assert view.shape == (3, 3, 24, 32)
        assert view.min() >= 0
        assert view.max() <= 1


def test_the_weak_view_never_changes_colour():
    """However strong the colours may vary, weak is geometry: with that still, it is the image."""
    image = torch.rand(6, 3, 24, 32, generator=rng())
    config = still(colour_probability=1, blur_probability=1, brightness=1, contrast=1, noise=1, cutmix_probability=1)
    views = unlabeled_views(image, ("weak", "strong_1", "strong_2"), config, rng())
    torch.testing.assert_close(views.weak, image, atol=2e-5, rtol=0)
    for name in ("strong_1", "strong_2"):
        assert ((views.views[name] - image).abs().mean((1, 2, 3)) > 0.02).all()
    assert not torch.equal(views.views["strong_1"], views.views["strong_2"])
    assert not torch.equal(views.mixes["strong_1"].box, views.mixes["strong_2"].box)


def test_strong_views_share_the_geometry_of_the_weak_one():
    """With colours still, outside its box a strong view is the weak one, pixel by pixel."""
    image = smooth(4, 3, 48, 64)
    config = AugmentationConfig(**{**GEOMETRY, "cutmix_probability": 1, "noise": 0})
    views = unlabeled_views(image, ("weak", "strong_1", "strong_2"), config, rng())
    assert (views.weak - image).abs().mean() > 0.01
    for name in ("strong_1", "strong_2"):
        outside = ~views.mixes[name].box.expand_as(image)
        assert torch.equal(views.views[name][outside], views.weak[outside])


@pytest.mark.parametrize(("only", "expected"), [({"brightness": 1}, 0.8), ({"blur": 256}, 0.4), ({"noise": 1}, 0.8)])
def test_by_default_half_as_many_views_are_blurred_as_change_colour_or_get_noise(only, expected):
    """.8 of strong views, .8 * .5 are blurred; of labeled ones .5 instead of .8."""
    nothing = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "blur": 0, "noise": 0}
    config = AugmentationConfig(**{**nothing, **only})
    image = torch.rand(1000, 3, 8, 16, generator=rng())
    for probability, share in (
        (config.colour_probability, expected),
        (config.labeled_colour_probability, expected / 1.6),
    ):
        found = vary_appearance(image, probability, config, rng())
        assert ((found - image).abs().amax((1, 2, 3)) > 1e-4).float().mean() == pytest.approx(share, abs=0.05)


def test_labeled_images_vary_in_colour_as_often_as_configured_and_masks_never():
    image, target = torch.rand(200, 3, 16, 16, generator=rng()), torch.randint(0, 2, (200, 16, 16), generator=rng())
    views = labeled_views(batch_of(target, image), still(labeled_colour_probability=0.5, noise=0), rng())
    changed = ((views.image - image).abs().amax((1, 2, 3)) > 1e-3).sum()
    assert 70 < changed < 130
    assert torch.equal(views.target, target)
    assert views.case.tolist() == list(range(10, 210))


def test_images_vary_before_boxes_are_pasted():
    """Of gray images each gets a brightness of its own, and a box has that of the image it comes from."""
    config = still(colour_probability=1, noise=0, cutmix_probability=1)
    views = unlabeled_views(torch.full((6, 1, 32, 32), 0.5), ("strong_1",), config, rng())
    view, mix = views.views["strong_1"], views.mixes["strong_1"]
    own = torch.stack([image[~box].unique().squeeze() for image, box in zip(view, mix.box, strict=True)])
    assert len(own.unique()) == 6
    for image, box, source in zip(view, mix.box, mix.source, strict=True):
        torch.testing.assert_close(image[box], own[source].expand(int(box.sum())))


def test_cutmix_boxes_lie_anywhere():
    """Of 400 boxes more than four hold what is a tenth of the sides away from each corner."""
    box = draw_cutmix(torch.zeros(400, 1, 40, 60), 1.0, rng()).box[:, 0]
    for row, column in ((4, 6), (4, -7), (-5, 6), (-5, -7)):
        assert box[:, row, column].sum() > 4
