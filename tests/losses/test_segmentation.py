"""Losses between predictions and targets: hand-made values, ignored pixels, and the right axis."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from criinet.errors import ShapeError
from criinet.labels import IGNORE
from criinet.losses import cross_entropy_dice, entropy, mean_squared, soft_dice_loss, squared_dice_loss


def binary(*foreground: float) -> Tensor:
    """Return probabilities (1, 2, 1, N) from those of the foreground."""
    p = torch.tensor(foreground)
    return torch.stack([1 - p, p])[None, :, None, :]


def random_logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_target(classes: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(IGNORE, classes, shape, generator=torch.Generator().manual_seed(seed))


def test_soft_dice_by_hand():
    """p = .8 .6 .1, y = 1 1 0: 1 - (2 x 1.4 + 1) / (1.5 + 2 + 1) = 1 - 3.8 / 4.5."""
    value = soft_dice_loss(binary(0.8, 0.6, 0.1), torch.tensor([[[1, 1, 0]]]))
    assert value.item() == pytest.approx(1 - 3.8 / 4.5, abs=1e-6)


def test_soft_dice_without_smoothing_is_the_formula():
    value = soft_dice_loss(binary(0.8, 0.6, 0.1), torch.tensor([[[1, 1, 0]]]), smooth=0.0)
    assert value.item() == pytest.approx(1 - 2.8 / 3.5, abs=1e-6)


def test_soft_dice_sums_over_the_batch():
    """One image right, one image missed, 1 pixel each: 1 - (2 x 1 + 1) / (1 + 2 + 1) = .25, not the mean of two."""
    probs = torch.cat([binary(1.0, 0.0), binary(0.0, 0.0)])
    target = torch.tensor([[[1, 0]], [[1, 0]]])
    assert soft_dice_loss(probs, target).item() == pytest.approx(0.25, abs=1e-6)


def test_soft_dice_is_the_mean_over_foreground_classes():
    """Class 1 perfect (0), class 2 absent and not predicted (0), class 3 missed: 1 - 1 / (0 + 1 + 1) = .5; mean 1/6."""
    probs = torch.zeros(1, 4, 1, 3)
    probs[0, 1, 0, 0] = probs[0, 0, 0, 1] = probs[0, 0, 0, 2] = 1
    assert soft_dice_loss(probs, torch.tensor([[[1, 3, 0]]])).item() == pytest.approx(0.5 / 3, abs=1e-6)


def test_a_class_that_is_absent_everywhere_costs_nothing_and_one_that_is_invented_does():
    target = torch.zeros(1, 1, 4, dtype=torch.long)
    assert soft_dice_loss(binary(0, 0, 0, 0), target).item() == 0
    assert soft_dice_loss(binary(1, 1, 1, 0), target).item() == pytest.approx(1 - 1 / 4, abs=1e-6)


def test_soft_dice_leaves_ignored_pixels_out():
    """The value is that of the valid pixels alone, whatever stands in the ignored one."""
    for ignored in (0.0, 0.5, 1.0):
        value = soft_dice_loss(binary(0.8, 0.6, 0.1, ignored), torch.tensor([[[1, 1, 0, IGNORE]]]))
        assert value.item() == pytest.approx(1 - 3.8 / 4.5, abs=1e-6)


def test_squared_dice_by_hand():
    """p = .8 .6 .1, y = 1 1 0: object 2 x 1.4 / (1.01 + 2), background 2 x .9 / (1.01 + 1); an ignored pixel is out."""
    target = torch.tensor([[[1, 1, 0, IGNORE]]])
    value = squared_dice_loss(binary(0.8, 0.6, 0.1, 0.7), target, smooth=0.0)
    assert value.item() == pytest.approx(1 - (2.8 / 3.01 + 1.8 / 2.01) / 2, abs=1e-6)


def test_squared_dice_does_not_teach_an_absent_class_away():
    """The whole batch is surely background: what is left of the object stays, where the sums press it down."""
    gradients = []
    for loss in (squared_dice_loss, soft_dice_loss):
        logits = torch.tensor([4.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 64, 64).clone().requires_grad_()
        loss(logits.softmax(1), torch.zeros(1, 64, 64, dtype=torch.long)).backward()
        assert logits.grad is not None
        gradients.append(logits.grad[:, 1].sum().item())
    assert 0 <= gradients[0] < 0.01
    assert gradients[1] > 10 * gradients[0]


def test_cross_entropy_dice_by_hand():
    """Logits 0 and ln 3: foreground .75. CE = -ln .75 for y = 1; Dice = 1 - (1.5 + 1) / (.75 + 1 + 1)."""
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1)
    expected = (-math.log(0.75) + 1 - 2.5 / 2.75) / 2
    assert cross_entropy_dice(logits, torch.tensor([[[1]]])).item() == pytest.approx(expected, abs=1e-6)


def test_cross_entropy_is_the_mean_over_valid_pixels():
    """Uniform logits of 4 classes: CE is ln 4 whether or not half of the pixels are ignored."""
    logits = torch.zeros(1, 4, 2, 2)
    target = torch.tensor([[[0, IGNORE], [0, IGNORE]]])
    dice = 1 - 1 / (2 * 0.25 + 1)
    assert cross_entropy_dice(logits, target).item() == pytest.approx((math.log(4) + dice) / 2, abs=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        cross_entropy_dice,
        lambda z, y: soft_dice_loss(z.softmax(1), y),
        lambda z, y: squared_dice_loss(z.softmax(1), y),
    ],
)
def test_nothing_but_ignored_pixels_gives_zero_and_a_gradient_of_zero(loss):
    logits = random_logits(2, 3, 4, 5).requires_grad_()
    value = loss(logits, torch.full((2, 4, 5), IGNORE))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_no_gradient_at_ignored_pixels():
    logits = random_logits(1, 3, 2, 4).requires_grad_()
    target = torch.tensor([[[0, 1, 2, IGNORE], [1, IGNORE, 0, 2]]])
    cross_entropy_dice(logits, target).backward()
    assert logits.grad is not None
    moved = logits.grad.abs().sum(1) > 0
    assert torch.equal(moved, target != IGNORE)


def test_half_precision_logits_give_a_float32_loss():
    logits, target = random_logits(1, 3, 4, 4).bfloat16(), random_target(3, 1, 4, 4)
    assert cross_entropy_dice(logits, target).dtype == torch.float32


@pytest.mark.parametrize(("dims", "sides"), [(2, (5, 9)), (3, (3, 5, 9))])
def test_losses_do_not_change_when_height_and_width_are_swapped(dims, sides):
    """A softmax over the width instead of the classes would: K = 3, H = 5 and W = 9 are all different."""
    logits, other = random_logits(2, 3, *sides), random_logits(2, 3, *sides, seed=1)
    target = random_target(3, 2, *sides)
    turned, other_turned = logits.transpose(-1, -2), other.transpose(-1, -2)
    target_turned = target.transpose(-1, -2)
    assert logits.ndim == dims + 2
    pairs = [
        (cross_entropy_dice(logits, target), cross_entropy_dice(turned, target_turned)),
        (soft_dice_loss(logits.softmax(1), target), soft_dice_loss(turned.softmax(1), target_turned)),
        (mean_squared(logits.softmax(1), other.softmax(1)), mean_squared(turned.softmax(1), other_turned.softmax(1))),
        (entropy(logits.softmax(1)), entropy(turned.softmax(1)).transpose(-1, -2)),
    ]
    for straight, swapped in pairs:
        torch.testing.assert_close(straight, swapped)


def test_the_softmax_runs_over_classes():
    """Adding a number to all classes of one pixel changes nothing; adding it to one class of all pixels does."""
    logits, target = random_logits(1, 3, 4, 6), random_target(3, 1, 4, 6)
    before = cross_entropy_dice(logits, target)
    by_pixel = logits + random_logits(1, 1, 4, 6, seed=2)
    by_class = logits + torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(cross_entropy_dice(by_pixel, target), before)
    assert abs(cross_entropy_dice(by_class, target).item() - before.item()) > 0.01


@pytest.mark.parametrize("loss", [cross_entropy_dice, soft_dice_loss, squared_dice_loss])
@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 5, 4), (1, 1, 4, 4)])
def test_targets_of_another_shape_are_refused(loss, shape):
    with pytest.raises(ShapeError, match="do not fit targets of shape"):
        loss(torch.zeros(1, 2, 4, 4), torch.zeros(shape, dtype=torch.long))


def test_mean_squared_by_hand():
    """Foreground .8 against .5: both classes differ by .3, so the mean of squares is .09."""
    assert mean_squared(binary(0.8), binary(0.5)).item() == pytest.approx(0.09, abs=1e-6)
    assert mean_squared(binary(1.0), binary(0.0)).item() == 1
    assert mean_squared(binary(0.3), binary(0.3)).item() == 0


def test_mean_squared_never_teaches_the_teacher():
    student, teacher = binary(0.8).requires_grad_(), binary(0.5).requires_grad_()
    mean_squared(student, teacher).backward()
    assert teacher.grad is None
    torch.testing.assert_close(student.grad, torch.tensor([-0.3, 0.3]).view(1, 2, 1, 1))


def test_mean_squared_refuses_other_shapes_instead_of_broadcasting():
    with pytest.raises(ShapeError):
        mean_squared(torch.zeros(2, 2, 4, 4), torch.zeros(1, 2, 4, 4))


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_entropy_is_one_at_most_whatever_the_number_of_classes(classes):
    """Uniform: 1, so a threshold never needs ln 2 for four classes. One-hot: 0. Half and half: ln 2 / ln K."""
    uniform = torch.full((1, classes, 2, 3), 1 / classes)
    sure, split = torch.zeros(1, classes, 2, 3), torch.zeros(1, classes, 2, 3)
    sure[:, 0] = 1
    split[:, :2] = 0.5
    torch.testing.assert_close(entropy(uniform), torch.ones(1, 2, 3))
    assert torch.equal(entropy(sure), torch.zeros(1, 2, 3))
    torch.testing.assert_close(entropy(split), torch.full((1, 2, 3), math.log(2) / math.log(classes)))


@pytest.mark.parametrize(
    "loss",
    [
        cross_entropy_dice,
        lambda z, y: soft_dice_loss(z.softmax(1), y),
        lambda z, y: squared_dice_loss(z.softmax(1), y),
    ],
)
def test_gradients_match_finite_differences(loss):
    logits = random_logits(2, 3, 2, 3).double().requires_grad_()
    target = random_target(3, 2, 2, 3)
    assert torch.autograd.gradcheck(lambda z: loss(z, target).double(), logits, eps=1e-2, atol=1e-3, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(12, 17), (6, 8, 5)])
@pytest.mark.parametrize("classes", [2, 4])
def test_soft_dice_is_that_of_monai(classes, sides):
    """MONAI's batch-wise Dice loss without background and with the same smoothing above and below."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.losses.dice import DiceLoss

        theirs = DiceLoss(
            include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1.0, smooth_dr=1.0
        )
    logits = random_logits(3, classes, *sides)
    target = random_target(classes, 3, *sides).clamp(min=0)
    torch.testing.assert_close(soft_dice_loss(logits.softmax(1), target), theirs(logits, target.unsqueeze(1)))
