"""Bidirectional copy-paste: two stages, two regions, and pseudo-labels of one piece."""

import math
from collections.abc import Callable

import pytest
import torch

from criinet.labels import IGNORE
from criinet.methods import parse_method
from criinet.types import LabeledBatch, UnlabeledBatch

Pairs = list[tuple[float, int]]
"""Probability of the foreground and class of each pixel."""


def by_hand(probs: list[float], target: list[int], dice_of: Callable[[Pairs], float] | None = None) -> float:
    """Return (cross-entropy + Dice) / 2 of foreground probabilities, pixel by pixel; IGNORE is skipped."""
    pairs = [(p, y) for p, y in zip(probs, target, strict=True) if y != IGNORE]
    if not pairs:
        return 0.0
    cross_entropy = sum(-math.log(p if y else 1 - p) for p, y in pairs) / len(pairs)
    return (cross_entropy + 1 - (dice_of or summed)(pairs)) / 2


def summed(pairs: Pairs) -> float:
    """Return the foreground's Dice with sums below the line, smoothed by one pixel, as true regions have it."""
    return (2 * sum(p for p, y in pairs if y) + 1) / (sum(p + y for p, y in pairs) + 1)


def squared(pairs: Pairs) -> float:
    """Return the mean Dice of both classes with squares below the line, as pseudo-labeled regions have it."""
    turned = [(1 - p, 1 - y) for p, y in pairs]
    return (
        sum(
            (2 * sum(p for p, y in each if y) + 1e-5) / (sum(p**2 + y for p, y in each) + 1e-5)
            for each in (pairs, turned)
        )
        / 2
    )


KNOWN, TARGET = [0.8, 0.3, 0.6, 0.4, 0.7, 0.2], [1, 0, 1, 1, IGNORE, 0]
UNKNOWN = [0.9, 0.8, 0.1, 0.7, 0.2, 0.3]
PIECES = [1, 1, 0, 0, 0, 0]
"""The most probable classes are 1 1 0 1 0 0; the lone fourth pixel is a smaller component."""


@pytest.fixture
def batches(see) -> tuple[LabeledBatch, UnlabeledBatch]:
    """One labeled and one unlabeled image of 1 x 6 pixels."""
    labeled = LabeledBatch(see([KNOWN]), torch.tensor([[TARGET]]), torch.zeros(1).long())
    return labeled, UnlabeledBatch({"weak": see([UNKNOWN])}, {})


def test_mixed_images_by_hand(glass, batches):
    """Each direction apart, then averaged: known inside the box and unknown outside, and the other way round."""
    method = glass("bcp")
    torch.manual_seed(4)
    inside = method.draw_boxes(batches[0].image).flatten().tolist()
    assert sum(inside) == 4
    true, pseudo = [], []
    for is_known in (inside, [not b for b in inside]):
        mixed = [k if here else u for here, k, u in zip(is_known, KNOWN, UNKNOWN, strict=True)]
        true.append(by_hand(mixed, [y if here else IGNORE for here, y in zip(is_known, TARGET, strict=True)]))
        guessed = [IGNORE if here else q for here, q in zip(is_known, PIECES, strict=True)]
        pseudo.append(by_hand(mixed, guessed, squared))
    torch.manual_seed(4)
    terms = method.losses(*batches, 0.25)
    assert terms["pretraining"].item() == 0
    assert terms["true_region"].item() == pytest.approx(sum(true) / 2, abs=1e-5)
    assert terms["pseudo_region"].item() == pytest.approx(sum(pseudo) / 2, abs=1e-5)


def test_pretraining_pastes_labeled_images_into_labeled_ones(glass, see):
    """Two images; inside its box each has pixels and classes of the other. Each region has a loss of its own."""
    images, targets = (KNOWN, UNKNOWN), ([1, 0, 1, 1, 0, 0], [0, 0, 1, 0, 1, 1])
    labeled = LabeledBatch(see([images[0]], [images[1]]), torch.tensor([[t] for t in targets]), torch.arange(2))
    method = glass("bcp")
    torch.manual_seed(6)
    boxes = method.draw_boxes(labeled.image).flatten(1).tolist()
    regions: dict[bool, tuple[list[float], list[int]]] = {True: ([], []), False: ([], [])}
    for i in (0, 1):
        for at, here in enumerate(boxes[i]):
            probs, classes = regions[here]
            probs.append(images[i ^ here][at])
            classes.append(targets[i ^ here][at])
    torch.manual_seed(6)
    terms = method.losses(labeled, UnlabeledBatch({"weak": labeled.image}, {}), 0.2)
    assert terms["pretraining"].item() == pytest.approx(sum(by_hand(*part) for part in regions.values()), abs=1e-5)
    assert terms["true_region"].item() == terms["pseudo_region"].item() == 0


@pytest.mark.parametrize(
    ("pretraining", "progress", "first"), [(0.25, 0.249, True), (0.25, 0.25, False), (0, 0, False)]
)
def test_the_stages_are_fractions_of_training(glass, batches, pretraining, progress, first):
    terms = glass("bcp", pretraining=pretraining).losses(*batches, progress)
    assert (terms["pretraining"].item() > 0) == first
    assert (terms["true_region"].item() > 0) != first


def test_true_regions_weigh_one_and_pseudo_regions_half():
    assert parse_method("bcp", {}).weights_at(0.0) == {"pretraining": 1.0, "true_region": 1.0, "pseudo_region": 0.5}


@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 4), (4, 1), (3, 2)])
def test_batches_of_unequal_size_are_paired_round_and_round(tasks, labeled, unlabeled):
    """Every image of the larger batch is used: changing the last one changes the loss."""
    task = tasks(labeled=labeled, unlabeled=unlabeled)
    method = task.method("bcp").eval()
    known, unknown = task.labeled_batch(), task.unlabeled_batch(("weak",))
    values = []
    for change in (False, True):
        images = [known.image.clone(), unknown.weak.clone()]
        if change:
            images[labeled < unlabeled][-1] = 0.5
        torch.manual_seed(0)
        batch = LabeledBatch(images[0], known.target, known.case)
        values.append(method.losses(batch, UnlabeledBatch({"weak": images[1]}, {}), 0.5)["true_region"].item())
    assert values[0] != values[1]


def test_the_pseudo_label_is_the_teachers(glass, batches):
    """A teacher that sees the opposite of the student turns the pseudo-label round, and gets no gradient."""
    method = glass("bcp", side=1.0)
    with torch.no_grad():
        method.teacher.network.head.weight.mul_(-1)
    terms = method.losses(*batches, 0.5)
    terms["pseudo_region"].backward()
    assert terms["pseudo_region"].item() == pytest.approx(by_hand(UNKNOWN, [0, 0, 0, 0, 1, 1], squared) / 2, abs=1e-5)
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
