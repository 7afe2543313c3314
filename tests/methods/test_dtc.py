"""DTC by hand: distances of labeled images alone, and two heads that agree."""

import torch

from criinet.config import Ramp
from criinet.labels import IGNORE
from criinet.losses import signed_distance
from criinet.methods.dtc import DualTaskConsistency
from criinet.types import LabeledBatch


def test_the_weights_ramp_over_a_fraction_of_any_run():
    half = Ramp(to=0.5, over=0.4)
    assert DualTaskConsistency.Config().weights == {
        "supervised": 1.0,
        "distance": 0.3,
        "consistency_labeled": half,
        "consistency": half,
    }


def heads(method, image):
    """Return foreground probabilities and regressed distances, from the layers themselves; no padding, stride 1."""
    output = method.student(image)
    probs = output.logits.exp() / output.logits.exp().sum(1, keepdim=True)
    return probs[:, 1:], torch.tanh(method.distance.head(output.features.decoder))


def test_every_term_is_the_formula(tasks):
    """Four classes: three distance maps, each against the probability of its own class."""
    task = tasks(classes=4)
    method = task.method("dtc", steepness=20)
    labeled, batch = task.labeled_batch(), task.unlabeled_batch(method.views)
    found = method.losses(labeled, batch, 0.5)
    p, z = heads(method, labeled.image)
    assert z.shape == (2, 3, 20, 28)
    torch.testing.assert_close(found["distance"], ((z - signed_distance(labeled.target, 4)) ** 2).mean())
    torch.testing.assert_close(found["consistency_labeled"], ((1 / (1 + (20 * z).exp()) - p) ** 2).mean())
    p, z = heads(method, batch.weak)
    torch.testing.assert_close(found["consistency"], ((1 / (1 + (20 * z).exp()) - p) ** 2).mean())


def test_a_mask_and_its_own_distances_agree(tasks):
    """A sure right mask and its distances cost nothing with the sign that the targets have, all with the other sign."""
    task = tasks()
    method = task.method("dtc")
    target = task.labeled_batch().target
    sure = torch.stack([target == 0, target == 1], 1).float() * 100
    output = method.student(task.labeled_batch().image)._replace(logits=sure)
    distance = signed_distance(target, 2)
    assert method.disagreement(output, distance).item() < 1e-6
    assert method.disagreement(output, -distance).item() > 1 - 1e-6


def test_both_heads_learn_from_unlabeled_images(tasks):
    task = tasks()
    method = task.method("dtc", steepness=5)
    method.losses(task.labeled_batch(), task.unlabeled_batch(method.views), 0.5)["consistency"].backward()
    for head in (method.student.head, method.distance.head):
        assert head.weight.grad.abs().sum() > 0


def test_pixels_without_truth_are_left_out_of_the_regression(tasks):
    """Their distance may be anything: with all but one column unknown, that column alone decides."""
    task = tasks()
    method = task.method("dtc")
    labeled = task.labeled_batch()
    target = torch.full_like(labeled.target, IGNORE)
    target[..., 3] = labeled.target[..., 3]
    terms = method.losses(LabeledBatch(labeled.image, target, labeled.case), task.unlabeled_batch(method.views), 0.5)
    _, z = heads(method, labeled.image)
    expected = ((z - signed_distance(target, 2))[..., 3] ** 2).mean()
    torch.testing.assert_close(terms["distance"], expected)


def test_the_segmentation_head_predicts(tasks):
    task = tasks()
    method = task.method("dtc").eval()
    image = task.labeled_batch().image
    assert torch.equal(method.predict(image).probs, method.student(image).logits.softmax(1))
