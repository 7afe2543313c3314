"""Cross pseudo supervision: both directions by hand, targets without gradient, two variants, two networks."""

import math

import pytest
import torch
from torch.nn import functional as F

from criinet.config import Ramp
from criinet.methods import parse_method
from criinet.methods.boxes import random_aspects, random_boxes
from criinet.types import LabeledBatch, UnlabeledBatch


@pytest.fixture
def labeled(see) -> LabeledBatch:
    return LabeledBatch(see([[0.8]]), torch.ones(1, 1, 1, dtype=torch.long), torch.zeros(1).long())


@pytest.fixture
def opposed(glass):
    """A first network that sees p, and a second one that sees 1 - p."""
    method = glass("cps")
    with torch.no_grad():
        method.second.head.weight.mul_(-1)
    return method


def test_both_directions_by_hand(opposed, see, labeled):
    """p = .8 .6 .1: each network's winner is the other's loser, so each pays -ln of its smaller probability."""
    unlabeled = UnlabeledBatch({"weak": see([[0.8, 0.6, 0.1]])}, {})
    terms = opposed.losses(labeled, unlabeled, 0.0)
    one_way = -(math.log(0.2) + math.log(0.4) + math.log(0.1)) / 3
    assert terms["cross"].item() == pytest.approx(2 * one_way, abs=1e-5)
    assert terms["supervised"].item() == pytest.approx((-math.log(0.8) + 1 - 2.6 / 2.8) / 2, abs=1e-5)
    assert terms["supervised_second"].item() == pytest.approx((-math.log(0.2) + 1 - 1.4 / 2.2) / 2, abs=1e-5)


def test_each_network_learns_from_the_others_class_alone(opposed, see, labeled):
    """The gradient of the bias is the mean of p - 1[class of the other], for either network: targets are detached."""
    unlabeled = UnlabeledBatch({"weak": see([[0.8, 0.6, 0.1]])}, {})
    opposed.losses(labeled, unlabeled, 0.0)["cross"].backward()
    foreground = (0.8 + 0.6 + 0.1 - 1) / 3
    assert opposed.student.head.bias.grad.tolist() == pytest.approx([-foreground, foreground], abs=1e-5)
    foreground = (0.2 + 0.4 + 0.9 - 2) / 3
    assert opposed.second.head.bias.grad.tolist() == pytest.approx([-foreground, foreground], abs=1e-5)


def test_with_cutmix_the_unmixed_predictions_are_pasted_and_learned_on_mixed_images(task):
    """The term again from its parts, with the same box: classes of whole images first, their mixture afterwards."""
    method = task.method("cps", cutmix=True)
    labeled, unlabeled = task.labeled_batch(), task.unlabeled_batch(method.views)
    torch.manual_seed(1)
    term = method.losses(labeled, unlabeled, 0.5)["cross"]
    torch.manual_seed(1)
    image = unlabeled.weak
    box = random_boxes(random_aspects(image, 0.5), image.shape[2:])
    assert 0 < box.float().mean() < 1
    networks = (method.student, method.second)
    mixed = torch.where(box, image.roll(1, 0), image)
    expected = torch.zeros(())
    for learner, teacher in (networks, networks[::-1]):
        label = teacher(image).logits.argmax(1)
        label = torch.where(box.squeeze(1), label.roll(1, 0), label)
        expected = expected + F.cross_entropy(learner(mixed).logits, label)
    torch.testing.assert_close(term, expected)


def test_both_published_variants_can_be_asked_for():
    """A ramp to .1 without mixing; a constant 1 with CutMix, from the first step."""
    medical = parse_method("cps", {})
    assert medical.weights["cross"] == Ramp(to=0.1, over=0.4)
    assert not medical.cutmix
    paper = parse_method("cps", {"cutmix": True, "weights": {"cross": 1.0}})
    assert paper.cutmix
    assert paper.weights_at(0.0) == {"supervised": 1.0, "supervised_second": 1.0, "cross": 1.0}


def test_the_second_network_differs_from_the_first_and_between_seeds(tasks):
    task = tasks()
    first, again, other = (task.method("cps", seed=seed) for seed in (0, 0, 1))
    weights = [method.second.head.weight for method in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], first.student.head.weight)


def test_the_first_network_alone_predicts(tasks):
    task = tasks()
    method = task.method("cps").eval()
    image, _ = task.draw(2, seed=1)
    before = method.predict(image).probs
    with torch.no_grad():
        method.second.head.weight.zero_()
    assert torch.equal(method.predict(image).probs, before)
