"""ST++ worked out by hand: what a reliable image is, which images a round keeps, what is learned from them."""

import pytest
import torch

from criinet.losses import cross_entropy_dice, squared_dice_loss
from criinet.methods.st_plus_plus import mean_iou
from criinet.types import UnlabeledBatch


def test_mean_iou_by_hand():
    """Foreground 1 of 3 pixels shared, background 3 of 5: (1/3 + 3/5) / 2; the class that neither holds is left out."""
    one = torch.tensor([[[1, 1, 0], [0, 0, 0]]])
    other = torch.tensor([[[1, 0, 1], [0, 0, 0]]])
    assert mean_iou(one, other, 3).item() == pytest.approx((1 / 3 + 3 / 5) / 2)
    assert mean_iou(one, one, 3).item() == 1
    assert mean_iou(one.mT, other.mT, 3).item() == pytest.approx((1 / 3 + 3 / 5) / 2)


def test_two_empty_masks_agree():
    """Background is a class that both hold."""
    assert mean_iou(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), 2).item() == 1


def test_the_first_round_is_supervised(tasks):
    task = tasks()
    method = task.method("st++")
    first = UnlabeledBatch(task.unlabeled_batch(method.views).views, {})
    terms = method.losses(task.labeled_batch(), first, 0.0)
    assert terms["pseudo"].item() == 0
    assert terms["supervised"].item() > 0


def test_the_pseudo_label_is_mixed_as_the_strong_view_was(tasks):
    """Inside the box every image has the labels of the image before it."""
    task = tasks()
    method = task.method("st++")
    batch = task.unlabeled_batch(method.views)
    assert batch.pseudo_label is not None
    mixed = batch.pseudo_label.clone()
    mixed[:, 5:10, 7:14] = batch.pseudo_label.roll(1, 0)[:, 5:10, 7:14]
    expected = cross_entropy_dice(method.student(batch.views["strong_1"]).logits, mixed, squared_dice_loss)
    assert method.losses(task.labeled_batch(), batch, 0.0)["pseudo"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_round_one_keeps_the_reliable_half_and_round_two_all(tasks):
    method = tasks().method("st++")
    reliability = torch.tensor([0.2, 0.9, 0.5, 0.8, 0.1])
    assert method.begin_round(1, reliability).tolist() == [False, True, False, True, False]
    assert method.begin_round(2, reliability).tolist() == [True] * 5
    assert method.begin_round(1, torch.tensor([0.3])).tolist() == [True]


def test_every_round_starts_from_the_first_weights(tasks, train, adam):
    task = tasks()
    method = task.method("st++")
    first = {name: tensor.clone() for name, tensor in method.student.state_dict().items()}
    train(method, adam(method), task, 2)
    assert any(not torch.equal(tensor, first[name]) for name, tensor in method.student.state_dict().items())
    method.begin_round(1, torch.ones(3))
    assert all(torch.equal(tensor, first[name]) for name, tensor in method.student.state_dict().items())


def test_reliability_is_the_agreement_of_a_third_and_two_thirds_with_the_end(tasks, train, adam):
    """Before any training all checkpoints are alike: 1. Each is taken once, at its third."""
    task = tasks()
    method = task.method("st++")
    image, _ = task.draw(2, seed=1)
    method.eval()
    with torch.no_grad():
        assert method.reliability(image, method.predict(image).probs).tolist() == [1, 1]
    method.train()
    optimizer = adam(method)
    taken = []
    for step in range(6):
        train(method, optimizer, task, 1, start=step, of=6)
        taken.append(int(method.taken))
    assert taken == [0, 0, 1, 1, 2, 2]
    early, late = (dict(net.named_parameters()) for net in method.earlier)
    assert any(not torch.equal(early[name], late[name]) for name in early)


def test_both_earlier_checkpoints_count_alike(glass, see):
    """The first says the opposite everywhere, IoU 0, the second the same, IoU 1: one half."""
    method = glass("st++")
    image = see([[0.9, 0.9, 0.2, 0.2]])
    with torch.no_grad():
        method.earlier[0].head.weight.neg_()
    assert method.reliability(image, method.predict(image).probs).tolist() == [0.5]


def test_after_another_run_every_round_starts_from_that_runs_weights(tasks, train, adam):
    """Its rounds are over: the first third of the new ones is remembered again."""
    task = tasks()
    other = task.method("st++")
    train(other, adam(other), task, 3)
    other.remember(0.9)
    method = task.method("st++")
    method.begin_with(other.state_dict())
    assert int(method.taken) == 0
    method.begin_round(1, torch.ones(3))
    for name, tensor in method.student.state_dict().items():
        assert torch.equal(tensor, other.student.state_dict()[name])


def test_every_round_remembers_its_own_thirds(tasks):
    method = tasks().method("st++")
    method.remember(0.9)
    method.begin_round(1, torch.ones(3))
    with torch.no_grad():
        method.student.head.bias.fill_(7.0)
    method.remember(0.4)
    assert (method.earlier[0].head.bias == 7).all()
