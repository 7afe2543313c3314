"""Pixels compared with the prototypes of their own image."""

import pytest
import torch
from torch.nn import functional as F

from criinet.labels import IGNORE
from criinet.networks import ImagePrototypes


def prototypes(classes: int = 2, channels: int = 3, **settings) -> ImagePrototypes:
    return ImagePrototypes(
        classes, channels, **{"temperature": 0.1, "sure": 0.8, "prior": 0.01, "passes": 1, **settings}
    )


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(1)), dim=1)


def random_logits(*shape: int) -> torch.Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("sides", [(4, 5), (2, 3, 4)])
def test_one_pass_is_the_formula_by_hand(sides):
    embedding, first, corrected = unit(2, 3, *sides), random_logits(2, 2, *sides), random_logits(2, 2, *sides) / 2
    module = prototypes()
    module.remembered.copy_(unit(2, 3))
    refined = module(embedding, first, corrected)
    for b in range(2):
        q = first[b].softmax(0).flatten(1)
        e = embedding[b].flatten(1)
        for k in range(2):
            own = sum((q[k, x] * e[:, x] for x in range(q.shape[1]) if q[k, x] >= 0.8), torch.zeros(3))
            mu = own / q.shape[1] + 0.01 * module.remembered[k]
            s = (mu / mu.norm()) @ e
            torch.testing.assert_close(refined[b, k].flatten(), corrected[b, k].flatten() + s / 0.1)


def test_a_later_pass_takes_its_prototypes_from_the_one_before():
    embedding, first, corrected = unit(1, 3, 6, 6), random_logits(1, 2, 6, 6), random_logits(1, 2, 6, 6)
    once, twice = prototypes(), prototypes(passes=2)
    torch.testing.assert_close(
        twice(embedding, first, corrected), once(embedding, once(embedding, first, corrected), corrected)
    )


def test_an_odd_pixel_is_decided_by_the_image_it_lies_in():
    """The coarse head is wrong where object pixels look like nothing it knows; those it is sure of look the same."""
    embedding = torch.zeros(1, 2, 1, 6)
    embedding[0, 0, 0, :3] = 1
    embedding[0, 1, 0, 3:] = 1
    coarse = torch.tensor([[4.0, 4.0, 4.0, 0.5, -4.0, -4.0]])
    logits = torch.stack([coarse, -coarse], dim=1).view(1, 2, 1, 6)
    assert logits.argmax(1).flatten().tolist() == [0, 0, 0, 0, 1, 1]
    refined = prototypes(channels=2)(embedding, logits, logits)
    assert refined.argmax(1).flatten().tolist() == [0, 0, 0, 1, 1, 1]


def test_where_nothing_is_surely_of_a_class_the_labeled_images_are_its_prototype():
    embedding = unit(1, 3, 4, 4)
    logits = torch.stack([torch.full((1, 4, 4), 9.0), torch.full((1, 4, 4), -9.0)], dim=1)
    module = prototypes()
    module.remembered.copy_(unit(2, 3))
    likeness = module.similarity(embedding, logits)
    torch.testing.assert_close(likeness[0, 1].flatten(), module.remembered[1] @ embedding[0].flatten(1))


@pytest.mark.parametrize("unknown", [0, 2])
def test_a_class_without_a_prototype_is_liked_no_better_than_the_least_liked_one(unknown):
    """No labeled patch and no sure pixel is of it: its logits gain on no class, also where a pixel is like none."""
    embedding, corrected = unit(2, 3, 4, 4), random_logits(2, 3, 4, 4)
    module = prototypes(classes=3)
    module.remembered.copy_(unit(3, 3))
    module.remembered[unknown] = 0
    known = [k for k in range(3) if k != unknown]
    gained = module(embedding, torch.zeros(2, 3, 4, 4), corrected) - corrected
    torch.testing.assert_close(gained[:, unknown], gained[:, known].amin(1))
    assert (gained[:, known].amax(1) < 0).any()


def test_where_nothing_is_known_the_logits_stay():
    """At the first step no pixel is sure and no labeled patch was seen."""
    embedding, corrected = unit(2, 3, 4, 4), random_logits(2, 2, 4, 4)
    assert torch.equal(prototypes()(embedding, torch.zeros(2, 2, 4, 4), corrected), corrected)


def test_images_of_a_batch_do_not_meet():
    embedding, logits = unit(3, 3, 4, 4), random_logits(3, 2, 4, 4)
    module = prototypes(passes=3)
    together = module(embedding, logits, logits)
    alone = torch.cat([module(e, z, z) for e, z in zip(embedding.split(1), logits.split(1), strict=True)])
    torch.testing.assert_close(together, alone)


def test_the_gradient_reaches_pixels_and_prototypes_but_not_what_chose_them():
    """Prototypes are made of the embedding, so that even a pixel whose own likeness is not looked at has a gradient."""
    embedding = unit(1, 3, 4, 4).requires_grad_()
    first, corrected = random_logits(1, 2, 4, 4).requires_grad_(), random_logits(1, 2, 4, 4).requires_grad_()
    prototypes(passes=2)(embedding, first, corrected)[0, :, 0, 0].sum().backward()
    assert first.grad is None
    assert corrected.grad is not None
    assert (embedding.grad.abs().sum(1) > 0).sum() > 1


def test_remembering_moves_the_known_classes_alone():
    module = prototypes(classes=3)
    vector = unit(4, 3)
    module.remember(vector, torch.tensor([0, 0, 2, IGNORE]))
    torch.testing.assert_close(module.remembered[0], F.normalize(vector[:2].sum(0), dim=0))
    assert module.remembered[1].abs().sum() == 0
    before = module.remembered.clone()
    module.remember(vector[3:], torch.tensor([2]))
    torch.testing.assert_close(module.remembered[2], F.normalize(0.9 * before[2] + 0.1 * vector[3], dim=0))
    assert torch.equal(module.remembered[:2], before[:2])


def test_a_remembered_class_moves_by_a_tenth_however_many_patches_there_are():
    module = prototypes()
    vector = unit(5, 3)
    module.remember(vector[:1], torch.tensor([0]))
    module.remember(vector[1:], torch.tensor([0, 0, 0, 0]))
    mean = F.normalize(vector[1:].sum(0), dim=0)
    torch.testing.assert_close(module.remembered[0], F.normalize(0.9 * vector[0] + 0.1 * mean, dim=0))


def test_the_likeness_stays_exact_under_autocast():
    embedding, logits = unit(2, 3, 8, 8), random_logits(2, 2, 8, 8)
    module = prototypes()
    expected = module.similarity(embedding, logits)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module.similarity(embedding, logits), expected)
