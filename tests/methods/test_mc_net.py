"""MC-Net by hand: three decoders, sharpened targets without gradient, all ordered pairs."""

import torch

from criinet.config import Ramp
from criinet.losses import cross_entropy_dice
from criinet.methods.mc_net import MutualConsistency


def test_the_weights_ramp_over_a_fraction_of_any_run():
    """Public code: .1 times the sum of six pairs, .5 times the sum of three decoders: .4 of means, half on each."""
    half = Ramp(to=0.2, over=0.4)
    assert MutualConsistency.Config().weights == {
        "supervised": 1.0,
        "consistency_labeled": half,
        "consistency": half,
    }


def test_the_decoders_differ_in_how_they_enlarge(tasks):
    method = tasks().method("mc-net")
    decoders = [method.student.backbone.decoder, *(branch.decoder for branch in method.others)]
    assert [d.enlarge[0].upsampling for d in decoders] == ["linear", "nearest", "transposed"]


def opinions(method, image):
    scales = method.student.encode(image)
    logits = [method.student(image).logits, *(branch(scales, image) for branch in method.others)]
    return logits, [z.exp() / z.exp().sum(1, keepdim=True) for z in logits]


def expected_consistency(probs):
    """Return the mean over six ordered pairs of (p_i - p_j^10 / (p_j^10 + (1 - p_j)^10))^2, both classes alike."""
    total = 0.0
    for i in range(3):
        for j in range(3):
            if i != j:
                q = probs[j].detach().double()
                sure = q**10 / (q**10 + (1 - q) ** 10)
                total += ((probs[i].double() - sure) ** 2).mean() / 6
    return total


def test_every_term_is_the_formula(tasks):
    task = tasks()
    method = task.method("mc-net")
    labeled, batch = task.labeled_batch(), task.unlabeled_batch(method.views)
    found = method.losses(labeled, batch, 0.5)
    logits, probs = opinions(method, labeled.image)
    torch.testing.assert_close(found["supervised"], sum(cross_entropy_dice(z, labeled.target) for z in logits) / 3)
    torch.testing.assert_close(found["consistency_labeled"].double(), expected_consistency(probs))
    _, probs = opinions(method, batch.weak)
    torch.testing.assert_close(found["consistency"].double(), expected_consistency(probs))


def test_no_gradient_flows_through_a_target(tasks):
    """The gradient is that of the formula with constant targets."""
    task = tasks()
    method = task.method("mc-net")
    batch = task.unlabeled_batch(method.views)
    learning = list(method.parameters())
    found = torch.autograd.grad(method.losses(task.labeled_batch(), batch, 0.5)["consistency"], learning)
    expected = torch.autograd.grad(expected_consistency(opinions(method, batch.weak)[1]).float(), learning)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


def test_four_classes_are_sharpened_over_the_classes(tasks):
    """p^10 over its sum over classes; a softmax over the image's width would differ."""
    task = tasks(classes=4)
    method = task.method("mc-net")
    probs = [torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(i)).softmax(1) for i in range(3)]
    expected = 0.0
    for i, p in enumerate(probs):
        for q in probs[:i] + probs[i + 1 :]:
            expected += ((p - q**10 / (q**10).sum(1, keepdim=True)) ** 2).mean() / 6
    torch.testing.assert_close(method.disagreement([p.log() for p in probs]), expected)


def test_the_main_decoder_predicts(tasks):
    task = tasks()
    method = task.method("mc-net").eval()
    image = task.labeled_batch().image
    assert torch.equal(method.predict(image).probs, method.student(image).logits.softmax(1))
