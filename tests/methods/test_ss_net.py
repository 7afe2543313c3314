"""SS-Net by hand: the worst small change, what is remembered of which pixels, and nothing disturbed on the way."""

import copy

import torch

from criinet.config import Ramp
from criinet.labels import IGNORE
from criinet.losses import dice_distance
from criinet.methods.ss_net import SmoothnessSeparation
from criinet.methods.stateless import apply_untracked
from criinet.types import LabeledBatch


def test_the_weights_ramp_over_a_fraction_of_any_run_and_separation_weighs_a_tenth():
    assert SmoothnessSeparation.Config().weights == {
        "supervised": 1.0,
        "smoothness": Ramp(to=0.1, over=0.4),
        "separation_labeled": Ramp(to=0.01, over=0.4),
        "separation": Ramp(to=0.01, over=0.4),
    }


def probs_of(network, image):
    logits = network(image).logits
    return logits.exp() / logits.exp().sum(1, keepdim=True)


def dice(p, q):
    overlap, total = 2 * (p * q).sum((0, 2, 3)), (p * p).sum((0, 2, 3)) + (q * q).sum((0, 2, 3))
    return (1 - overlap / total).mean()


def by_image(x):
    return x.flatten(1).square().mean(1).sqrt().view(-1, 1, 1, 1)


def test_the_smoothness_is_the_formula(tasks):
    """Random change, gradient, change of rms .1 sd along it, Dice of both predictions; on a copy of the network."""
    task = tasks(classes=3)
    method = task.method("ss-net")
    image = task.unlabeled_batch(method.views).weak
    network = copy.deepcopy(method.student)
    torch.manual_seed(5)
    found = method.smoothness_loss(method.student(image), image)

    torch.manual_seed(5)
    target = probs_of(network, image).detach()
    size = 0.1 * image.flatten(1).std(1).view(-1, 1, 1, 1)
    start = torch.randn_like(image)
    start = (size * start / by_image(start)).requires_grad_()
    (gradient,) = torch.autograd.grad(dice(probs_of(network, image + start), target), start)
    change = size * gradient / by_image(gradient)
    torch.testing.assert_close(found, dice(probs_of(network, image + change), target), atol=1e-6, rtol=1e-3)


def test_the_adversarial_change_is_worse_than_a_random_one(tasks, train, adam):
    task = tasks()
    method = task.method("ss-net")
    train(method, adam(method), task, 20)
    image = task.unlabeled_batch(method.views).weak
    output = method.student(image)
    target = output.logits.softmax(1).detach()
    noise = torch.randn_like(image)
    noise = 0.1 * image.flatten(1).std(1).view(-1, 1, 1, 1) * noise / by_image(noise)
    random = dice_distance(apply_untracked(method.student, image + noise).logits.softmax(1), target)
    assert method.smoothness_loss(output, image) > 2 * random


def test_a_step_moves_running_statistics_by_two_passes_and_leaves_no_gradient(tasks):
    """One pass on labeled and one on unlabeled images, as without any inner gradient."""
    task = tasks()
    method = task.method("ss-net")
    labeled, batch = task.labeled_batch(), task.unlabeled_batch(method.views)
    network = copy.deepcopy(method.student)
    method.losses(labeled, batch, 0.5)
    assert all(p.grad is None for p in method.parameters())
    network(labeled.image)
    network(batch.weak)
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, method.student.get_buffer(name)), name


def test_the_target_of_smoothness_is_not_taught(tasks):
    """The gradient is that of the changed pass alone: on the first prediction there is none."""
    task = tasks()
    method = task.method("ss-net")
    image = task.unlabeled_batch(method.views).weak
    output = method.student(image)
    output.logits.retain_grad()
    method.smoothness_loss(output, image).backward()
    assert output.logits.grad is None


def test_right_pixels_of_labeled_images_alone_are_remembered(tasks):
    """One image is right save a column without truth, the other wrong: the first one's known pixels stay."""
    task = tasks(labeled=2)
    method = task.method("ss-net", memory=1000, pixels=1000)
    labeled = task.labeled_batch()
    predicted = labeled.target.clone()
    predicted[1] = 1 - predicted[1]
    logits = torch.stack([predicted == 0, predicted == 1], 1).float()
    target = labeled.target.clone()
    target[0, :, 7] = IGNORE
    output = method.student(labeled.image)._replace(logits=logits)
    method.remember(output, LabeledBatch(labeled.image, target, torch.tensor([4, 9])))
    known = method.memory.stored()
    assert set(known.case.tolist()) == {4, IGNORE}
    counts = [int((known.label == c).sum()) for c in (0, 1)]
    assert counts == [int((target[0] == c).sum()) for c in (0, 1)]
    inside = known.vector[known.label >= 0]
    torch.testing.assert_close(inside.norm(dim=1), torch.ones(len(inside)))


def test_the_memory_grows_in_training_mode_alone(tasks):
    task = tasks()
    method = task.method("ss-net").eval()
    method.losses(task.labeled_batch(), task.unlabeled_batch(method.views), 0.5)
    assert (method.memory.stored().label == IGNORE).all()


def test_the_separation_is_the_formula(tasks):
    """All pixels of one class, a memory of two vectors of it: one minus the mean cosine of the predictor's output."""
    task = tasks()
    method = task.method("ss-net", memory=2, pixels=10**4, embedding=3)
    image = task.unlabeled_batch(method.views).weak
    output = method.student(image)
    label = torch.ones(len(image), *task.sides, dtype=torch.long)
    remembered = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
    method.memory.vectors[1, :2] = remembered
    method.memory.cases[1, :2] = 3
    features = output.features.decoder.permute(0, 2, 3, 1).reshape(-1, 4)
    queries = method.predictor(method.project(features))
    cosine = queries @ remembered.T / queries.norm(dim=1, keepdim=True)
    torch.testing.assert_close(method.separation_loss(output, label), (1 - cosine.mean(1)).mean())
    nobody = torch.zeros_like(label)
    assert method.separation_loss(output, nobody).item() == 0


def test_labeled_pixels_gather_by_their_label_and_unlabeled_ones_by_their_most_probable_class(tasks, monkeypatch):
    task = tasks(classes=3)
    method = task.method("ss-net")
    labeled, batch = task.labeled_batch(), task.unlabeled_batch(method.views)
    gathered: list[torch.Tensor] = []
    monkeypatch.setattr(method, "separation_loss", lambda _, label: gathered.append(label) or torch.zeros(()))
    method.losses(labeled, batch, 0.5)
    assert torch.equal(gathered[0], labeled.target)
    assert torch.equal(gathered[1], method.student(batch.weak).logits.argmax(1))


def test_drawn_pixels_keep_their_place(tasks):
    """Feature, class and image of a drawn pixel are those of one and the same pixel, with height unlike width."""
    task = tasks(classes=3)
    method = task.method("ss-net", pixels=50)
    label = torch.randint(0, 3, (3, 20, 28), generator=torch.Generator().manual_seed(0))
    number = torch.arange(3 * 20 * 28).view(3, 1, 20, 28).float()
    vectors, drawn, image = method.draw(number, label)
    at = vectors[:, 0].long()
    assert len(at.unique()) == 50
    assert torch.equal(label.flatten()[at], drawn)
    assert torch.equal(at // (20 * 28), image)
