"""FixMatch: what a sure pixel costs, and that an unsure one costs nothing and is never background."""

import math

import pytest
import torch

from criinet.types import CutMix, LabeledBatch, UnlabeledBatch


@pytest.fixture
def labeled(see) -> LabeledBatch:
    return LabeledBatch(see([[0.8]]), torch.ones(1, 1, 1, dtype=torch.long), torch.zeros(1).long())


def unmixed(weak, strong) -> UnlabeledBatch:
    box = torch.zeros(len(weak), 1, *weak.shape[2:], dtype=torch.bool)
    return UnlabeledBatch({"weak": weak, "strong_1": strong}, {"strong_1": CutMix(torch.zeros(len(weak)).long(), box)})


def test_the_loss_by_hand(glass, see, labeled):
    """Weak .99 .97 .6 .02: classes 1, 1, none, 0. Strong .7 .5 .9 .1: -(ln .7 + ln .5 + ln .9) over all 4 pixels."""
    batch = unmixed(see([[0.99, 0.97, 0.6, 0.02]]), see([[0.7, 0.5, 0.9, 0.1]]))
    value = glass("fixmatch").losses(labeled, batch, 0.0)["strong"].item()
    assert value == pytest.approx(-(math.log(0.7) + math.log(0.5) + math.log(0.9)) / 4, abs=1e-5)


@pytest.mark.parametrize("strong", [0.001, 0.5, 0.999])
def test_an_unsure_pixel_is_left_out_whatever_the_strong_view_says(glass, see, labeled, strong):
    """Were it background, .999 would cost 6.9."""
    method = glass("fixmatch")
    value = method.losses(labeled, unmixed(see([[0.6, 0.94]]), see([[strong, strong]])), 0.0)["strong"]
    value.backward()
    assert value.item() == 0
    assert not method.student.head.weight.grad.any()


def test_the_weak_view_has_no_gradient(glass, see, labeled):
    """The gradient of the bias is that of the strong view alone: sum of p - 1[class] of sure pixels / all pixels."""
    method = glass("fixmatch")
    weak = see([[0.99, 0.6]]).requires_grad_()
    method.losses(labeled, unmixed(weak, see([[0.7, 0.5]])), 0.0)["strong"].backward()
    assert weak.grad is None
    assert method.student.head.bias.grad.tolist() == pytest.approx([0.15, -0.15], abs=1e-5)


def test_classes_and_their_sureness_are_mixed_like_the_view(glass, see, labeled):
    """Image 0 takes its second pixel from image 1: sure background there, where image 0 was unsure.

    Labels 1 0 | none 0 against strong .7 .4 | .9 .9: -(ln .7 + ln .6 + ln .1) / 4.
    """
    weak = see([[0.99, 0.6]], [[0.6, 0.01]])
    box = torch.tensor([[[[False, True]]], [[[False, False]]]])
    mix = CutMix(torch.tensor([1, 0]), box)
    batch = UnlabeledBatch({"weak": weak, "strong_1": see([[0.7, 0.4]], [[0.9, 0.9]])}, {"strong_1": mix})
    value = glass("fixmatch").losses(labeled, batch, 0.0)["strong"].item()
    assert value == pytest.approx(-(math.log(0.7) + math.log(0.6) + math.log(0.1)) / 4, abs=1e-5)


@pytest.mark.parametrize(("name", "terms"), [("fixmatch", ["strong"]), ("unimatch", ["strong_1", "features"])])
def test_the_papers_confidence_is_reached_by_a_network_that_has_learned(tasks, train, adam, name, terms):
    """Nothing is taught at first; after 40 steps on two images sure pixels teach."""
    task = tasks()
    method = task.method(name)
    history = train(method, adam(method, 3e-2), task, 40, of=40)
    assert all(history[0][term] == 0 for term in terms)
    assert all(history[-1][term] > 0 for term in terms)
