"""Changes of images and features: what they change, how much, and what stays."""

import pytest
import torch

from criinet.methods.perturbations import clipped_noise, drop_active, drop_channels, feature_noise


def test_noise_is_of_the_range_of_images_and_of_the_spread_of_volumes():
    """Volumes were brought to [0, 1] from -3 to 5 sd, images from what their file can hold."""
    torch.manual_seed(0)
    for contrast in (0.1, 0.3):
        image = contrast * torch.randn(2, 3, 60, 60)
        noise = clipped_noise(image, 0.1)
        assert noise.std().item() == pytest.approx(0.096, abs=0.003)  # Clipping at 2 sd leaves .96.
        assert noise.abs().max().item() == pytest.approx(0.2)
        volume = contrast * torch.randn(2, 1, 20, 20, 20)
        assert clipped_noise(volume, 0.1).abs().max().item() == pytest.approx(0.2 * contrast, rel=0.05)


@pytest.mark.parametrize("sides", [(5, 7), (3, 5, 7)])
def test_whole_channels_fall_silent_and_the_others_are_doubled(sides):
    """Of ones, each channel of each image is all 0 or all 2, about half of them each; the mean stays."""
    torch.manual_seed(0)
    dropped = drop_channels(torch.ones(40, 50, *sides), 0.5)
    first = dropped.flatten(2)[..., 0]
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped, first.view(40, 50, *[1] * len(sides)).expand_as(dropped))
    assert (first == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize("sides", [(2, 5), (2, 5, 1)])
def test_the_most_active_pixels_are_dropped_by_rank(sides):
    """Of ten pixels with activities 0 to 9 the share .3 drops 7, 8 and 9, in each image by itself, signs aside."""
    activity = torch.arange(10.0).view(1, 1, *sides)
    feature = torch.cat([torch.cat([activity, -activity], 1), 100 - 10 * torch.cat([activity, activity], 1)])
    found = drop_active(feature, 0.3, 0.3)
    assert (found[0, 0].flatten() == torch.tensor([0, 1, 2, 3, 4, 5, 6, 0, 0, 0])).all()
    assert (found[0, 1] == -found[0, 0]).all()
    assert (found[1, 0].flatten() == torch.tensor([0, 0, 0, 70, 60, 50, 40, 30, 20, 10])).all()
    assert torch.equal(drop_active(feature, 0, 0), feature)
    assert torch.equal(drop_active(feature, 1, 1), torch.zeros_like(feature))


def test_noise_and_dropout_of_nothing_change_nothing():
    feature = torch.randn(2, 3, 4, 5)
    assert torch.equal(feature_noise(feature, 0), feature)
    assert torch.equal(drop_channels(feature, 0), feature)
