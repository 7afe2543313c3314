"""Cross-consistency by hand: what auxiliary decoders see, whom they follow, and who learns."""

import torch

from criinet.config import Ramp
from criinet.methods import CrossConsistency

CLEAN = {"noise": 0.0, "dropout": 0.0, "active": [0.0, 0.0]}


def probs_of(logits):
    return logits.exp() / logits.exp().sum(1, keepdim=True)


def test_the_weight_ramps_over_a_fraction_of_any_run():
    assert CrossConsistency.Config().weights == {"supervised": 1.0, "consistency": Ramp(to=1.0, over=0.4)}


def test_without_perturbation_the_consistency_is_the_formula(tasks):
    """Mean over three decoders of the mean squared difference of softmaxes over four classes, on 20x28 images."""
    task = tasks(classes=4)
    method = task.method("cct", **CLEAN)
    batch = task.unlabeled_batch(method.views)
    network = method.student
    scales = network.encode(batch.weak)
    main = probs_of(network(batch.weak).logits)
    apart = [((probs_of(branch(scales, batch.weak)) - main) ** 2).mean() for branch in method.auxiliary]
    assert len(apart) == 3
    found = method.losses(task.labeled_batch(), batch, 0.5)["consistency"]
    torch.testing.assert_close(found, sum(apart) / 3)
    assert found > 0


def test_each_decoder_sees_its_own_perturbation_at_every_scale(tasks):
    task = tasks()
    method = task.method("cct")
    scales = method.student.encode(task.unlabeled_batch(method.views).weak)
    noisy, dropped, inactive = method.perturbed(scales)
    for clean, noise, channels, active in zip(scales, noisy, dropped, inactive, strict=True):
        assert ((noise - clean).abs() <= 0.3 * clean.abs() + 1e-6).all()
        assert not torch.equal(noise, clean)
        silent = (channels == 0).flatten(2).all(2)
        kept = torch.where(silent[..., None, None], 0, 2 * clean)
        assert torch.equal(channels, kept)
        assert 0.55 < (active == clean).float().mean() <= 1
        assert ((active == clean) | (active == 0)).all()


def test_the_main_decoder_is_never_taught_by_the_auxiliary_ones(tasks):
    """The consistency reaches the encoder and the auxiliary decoders; labels never reach the latter."""
    task = tasks()
    method = task.method("cct")
    terms = method.losses(task.labeled_batch(), task.unlabeled_batch(method.views), 0.5)
    terms["consistency"].backward(retain_graph=True)
    network = method.student
    assert all(p.grad is not None for p in [*network.backbone.encoder.parameters(), *method.auxiliary.parameters()])
    assert all(p.grad is None for p in [*network.backbone.decoder.parameters(), *network.head.parameters()])
    method.zero_grad()
    terms["supervised"].backward()
    assert all(p.grad is None for p in method.auxiliary.parameters())
