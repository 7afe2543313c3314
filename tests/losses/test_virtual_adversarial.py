"""The worst small change: its direction and size by hand, and nothing left behind."""

import pytest
import torch

from criinet.errors import ShapeError
from criinet.losses import dice_distance, virtual_adversarial_change


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def binary(*foreground: float) -> torch.Tensor:
    p = torch.tensor(foreground)
    return torch.stack([1 - p, p])[None, :, None, :]


def test_dice_distance_by_hand():
    """Foreground .8 against .5: 1 - .8 / .89; background .2 against .5: 1 - .2 / .29."""
    value = dice_distance(binary(0.8), binary(0.5))
    assert value.item() == pytest.approx(((1 - 0.8 / 0.89) + (1 - 0.2 / 0.29)) / 2, abs=1e-5)


def test_equal_maps_are_at_no_distance_however_unsure():
    assert dice_distance(binary(0.5, 0.6), binary(0.5, 0.6)).item() == pytest.approx(0, abs=1e-6)
    assert dice_distance(binary(1.0, 0.0), binary(0.0, 1.0)).item() == pytest.approx(1, abs=1e-5)


def test_the_dice_distance_never_teaches_its_target_and_runs_over_classes():
    probs, target = draw(0, 2, 3, 5, 9).softmax(1), draw(1, 2, 3, 5, 9).softmax(1).requires_grad_()
    value = dice_distance(probs.requires_grad_(), target)
    torch.testing.assert_close(dice_distance(probs.mT, target.mT), value)
    value.backward()
    assert target.grad is None


def test_gradients_of_the_dice_distance_match_finite_differences():
    target = draw(1, 2, 3, 2, 3).softmax(1)
    assert torch.autograd.gradcheck(
        lambda z: dice_distance(z.softmax(1), target).double(),
        draw(0, 2, 3, 2, 3).double().requires_grad_(),
        eps=1e-2,
        atol=1e-3,
        rtol=1e-2,
    )


def test_other_shapes_are_refused():
    with pytest.raises(ShapeError):
        dice_distance(torch.zeros(2, 2, 4, 4), torch.zeros(1, 2, 4, 4))


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 1, 3, 4, 5)])
def test_against_a_linear_score_the_change_is_its_gradient(shape):
    """Of score w x the worst change is along w, whatever the random start: radius sd(x) w / rms(w), image by image."""
    weight, image = draw(0, *shape), 0.2 * draw(1, *shape)
    change = virtual_adversarial_change(lambda x: (weight * x).sum(), image, radius=0.5)
    for r, w, x in zip(change, weight, image, strict=True):
        expected = 0.5 * x.flatten().std() * w / w.square().mean().sqrt()
        torch.testing.assert_close(r, expected)


def test_its_size_does_not_depend_on_the_number_of_pixels_or_the_gradients_length():
    for sides, length in [((4, 4), 1e-12), ((64, 64), 1e12)]:
        image = draw(0, 1, 1, *sides)
        change = virtual_adversarial_change(lambda x, k=length: k * x.pow(3).sum(), image, radius=0.1)
        rms = change.square().mean().sqrt()
        torch.testing.assert_close(rms, 0.1 * image.std())


def test_further_steps_find_the_worst_direction():
    """Of distance |A r|^2 the worst direction is the first axis; power iteration finds it."""
    scale = torch.tensor([3.0, 1.0, 0.5, 0.2]).view(1, 1, 2, 2)
    image = draw(0, 1, 1, 2, 2)
    torch.manual_seed(0)
    change = virtual_adversarial_change(lambda x: (scale * (x - image)).square().sum(), image, radius=1, steps=12)
    assert change.abs().flatten()[0] / change.flatten().norm() > 0.999


def test_images_without_contrast_or_gradient_are_left_alone():
    flat = torch.full((1, 1, 4, 4), 0.5)
    assert torch.equal(virtual_adversarial_change(lambda x: x.sum(), flat, radius=1), torch.zeros_like(flat))
    image = draw(0, 1, 1, 4, 4)
    assert torch.equal(virtual_adversarial_change(lambda x: (0 * x).sum(), image, radius=1), torch.zeros_like(image))


def test_no_gradient_is_left_and_none_is_needed_around():
    layer = torch.nn.Conv2d(1, 2, 3)
    image = draw(0, 2, 1, 6, 7).requires_grad_()
    with torch.no_grad():
        change = virtual_adversarial_change(lambda x: layer(x).square().mean(), image, radius=0.1)
    assert not change.requires_grad
    assert change.abs().sum() > 0
    assert image.grad is None
    assert all(p.grad is None for p in layer.parameters())
