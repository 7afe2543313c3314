"""The uncertainty-aware mean teacher: which pixels count, what they cost, and where the uncertainty comes from."""

import math

import pytest
import torch
from torch import Tensor, nn

from criinet.losses import entropy
from criinet.types import LabeledBatch, UnlabeledBatch


def labeled_of(classes: int) -> LabeledBatch:
    return LabeledBatch(torch.zeros(1, classes, 1, 2), torch.zeros(1, 1, 2, dtype=torch.long), torch.zeros(1).long())


def twice_as_sure(method: nn.Module) -> None:
    """Let the student square the odds that the teacher gives: .9 becomes .81 / .82."""
    with torch.no_grad():
        method.student.head.weight.mul_(2)


@pytest.mark.parametrize(
    ("progress", "counted"), [(0.0, (0.9, 0.02)), (0.5, (0.9, 0.76, 0.02)), (0.999999, (0.9, 0.76, 0.7, 0.02))]
)
def test_the_consistency_by_hand(glass, see, progress, counted):
    """Entropies of .9, .76, .7, .02 and .5 are .47, .80, .88, .14 and 1 of ln 2.

    The limit is .75 + .25 e^-5 = .752 at first, .75 + .25 e^-1.25 = .822 half-way, whatever the number of steps, and 1
    at last. Each counted pixel costs (p^2 / (p^2 + (1-p)^2) - p)^2.
    """
    method = glass("ua-mt", noise=0.0)
    twice_as_sure(method)
    unlabeled = UnlabeledBatch({"weak": see([[0.9, 0.76, 0.7, 0.02, 0.5]])}, {})
    costs = [(p * p / (p * p + (1 - p) ** 2) - p) ** 2 for p in counted]
    value = method.losses(labeled_of(2), unlabeled, progress)["consistency"].item()
    assert value == pytest.approx(sum(costs) / len(counted), abs=1e-6)


def test_the_limit_is_a_share_of_the_logarithm_of_the_number_of_classes(glass, see):
    """Four classes, half and half: ln 2, half of ln 4, is sure. A limit of .75 ln 2 would leave it out.

    (.6, .2, .1, .1) has .785 of ln 4 and counts in the second half only.
    """
    method = glass("ua-mt", classes=4, noise=0.0)
    twice_as_sure(method)
    probs = torch.tensor([[0.5, 0.6], [0.5, 0.2], [1e-6, 0.1], [1e-6, 0.1]])
    assert -sum(p * math.log(p) for p in (0.6, 0.2, 0.1, 0.1)) / math.log(4) == pytest.approx(0.785, abs=1e-3)
    unlabeled = UnlabeledBatch({"weak": see(probs.view(4, 1, 2).tolist(), classes=4)}, {})
    squares = [0.36, 0.04, 0.01, 0.01]
    moved = sum((s / sum(squares) - math.sqrt(s)) ** 2 for s in squares)
    assert method.losses(labeled_of(4), unlabeled, 0.0)["consistency"].item() == pytest.approx(0, abs=1e-6)
    late = method.losses(labeled_of(4), unlabeled, 0.99)["consistency"].item()
    assert late == pytest.approx(moved / (4 * 2), abs=1e-5)


def test_without_noise_and_dropout_the_uncertainty_is_the_entropy_of_one_prediction(task):
    method = task.method("ua-mt", noise=0.0)
    image, _ = task.draw(2, seed=3)
    torch.testing.assert_close(method.uncertainty(image), entropy(method.targets(image)))


def test_noise_alone_makes_uncertainty_where_there_is_no_dropout(tasks):
    """Eight passes of a sure but sensitive teacher disagree under noise, so their average is less sure."""
    task = tasks()
    method = task.method("ua-mt", noise=0.5)
    with torch.no_grad():
        method.teacher.network.head.weight.mul_(1e4)
    image, _ = task.draw(2, seed=3)
    assert method.uncertainty(image).mean() > 1.5 * entropy(method.targets(image)).mean()


def test_every_noisy_pass_drops_other_units_and_leaves_no_trace(tasks):
    task = tasks(settings={"channels": [4, 8], "dropout": [0.5, 0.5]})
    method = task.method("ua-mt", noise=0.0, passes=5)
    image, _ = task.draw(2, seed=3)
    seen: list[Tensor] = []
    handle = method.teacher.network.register_forward_hook(lambda _, __, output: seen.append(output.logits))
    before = {key: tensor.clone() for key, tensor in method.teacher.state_dict().items()}
    method.uncertainty(image)
    handle.remove()
    assert len(seen) == 5
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    assert all(torch.equal(tensor, before[key]) for key, tensor in method.teacher.state_dict().items())


def test_a_teacher_that_is_never_sure_teaches_nothing(glass, see):
    """And its gradient is zero, not NaN."""
    method = glass("ua-mt", noise=0.0)
    terms = method.losses(labeled_of(2), UnlabeledBatch({"weak": see([[0.5, 0.5]])}, {}), 0.5)
    terms["consistency"].backward()
    assert terms["consistency"].item() == 0
    assert not method.student.head.weight.grad.any()
