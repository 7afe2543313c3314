"""UniMatch: three Dice terms by hand, a mixture of its own for each strong view, channels that fall silent."""

import pytest
import torch

from criinet.losses import cross_entropy_dice, deep_supervision, squared_dice_loss
from criinet.methods import parse_method
from criinet.types import CutMix, LabeledBatch, UnlabeledBatch


@pytest.fixture
def labeled(see) -> LabeledBatch:
    return LabeledBatch(see([[0.8]]), torch.ones(1, 1, 1, dtype=torch.long), torch.zeros(1).long())


def views(see, weak, first, second, boxes) -> UnlabeledBatch:
    """Two images of two pixels; ``boxes`` says for each strong view which pixels of image 0 come from image 1."""
    source = torch.tensor([1, 0])
    mixes = {
        f"strong_{i}": CutMix(source, torch.tensor([[[box]], [[[False, False]]]]).view(2, 1, 1, 2))
        for i, box in enumerate(boxes, start=1)
    }
    return UnlabeledBatch({"weak": see(*weak), "strong_1": see(*first), "strong_2": see(*second)}, mixes)


def test_the_terms_by_hand(glass, see, labeled):
    """Weak .99 .6 | .01 .98: classes 1 none | 0 1. The first view takes pixel 2 from image 1, the second pixel 1.

    With squares below the line, the mean over object and background:

    strong_1: classes 1 1 | 0 1, p = .7 .8 | .2 .9: 2 x 2.4 / (1.98 + 3) and 2 x .8 / (.78 + 1)
    strong_2: classes 0 none | 0 1, p = .4 .5 | .3 .6: 2 x .6 / (.61 + 1) and 2 x 1.3 / (1.01 + 2)
    features, nothing dropped: classes 1 none | 0 1, p = .99 . | .01 .98: 2 x 1.97 / (1.9406 + 2), 2 x .99 / (.9806 + 1)
    """
    batch = views(
        see,
        ([[0.99, 0.6]], [[0.01, 0.98]]),
        ([[0.7, 0.8]], [[0.2, 0.9]]),
        ([[0.4, 0.5]], [[0.3, 0.6]]),
        ([False, True], [True, False]),
    )
    terms = glass("unimatch", drop=0.0).losses(labeled, batch, 0.0)
    assert terms["strong_1"].item() == pytest.approx(1 - (4.8 / 4.98 + 1.6 / 1.78) / 2, abs=1e-5)
    assert terms["strong_2"].item() == pytest.approx(1 - (1.2 / 1.61 + 2.6 / 3.01) / 2, abs=1e-5)
    assert terms["features"].item() == pytest.approx(1 - (3.94 / 3.9406 + 1.98 / 1.9806) / 2, abs=1e-5)


def test_unsure_pixels_cost_nothing_and_move_nothing(glass, see, labeled):
    unsure = ([[0.6, 0.9]], [[0.2, 0.94]])
    method = glass("unimatch")
    terms = method.losses(labeled, views(see, unsure, unsure, unsure, ([True, True], [False, False])), 0.0)
    (terms["strong_1"] + terms["strong_2"] + terms["features"]).backward()
    assert all(terms[name].item() == 0 for name in method.unlabeled_terms)
    assert not method.student.head.weight.grad.any()


def test_the_weights_are_those_of_the_medical_recipe_doubled():
    """[Sup + s1 / 4 + s2 / 4 + fp / 2] / 2, without the last halving."""
    weights = parse_method("unimatch", {}).weights_at(0.0)
    assert weights == {"supervised": 1.0, "strong_1": 0.25, "strong_2": 0.25, "features": 0.5}


def test_the_feature_branch_learns_from_incomplete_features_only(tasks):
    """Two draws of the dropped channels give two values of that term, and the same values of all others."""
    task = tasks()
    method = task.method("unimatch", confidence=0.0)
    labeled, unlabeled = task.labeled_batch(), task.unlabeled_batch(method.views)
    values = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        values.append({name: term.item() for name, term in method.losses(labeled, unlabeled, 0.5).items()})
    assert values[0].pop("features") != values[1].pop("features")
    assert values[0] == values[1]


def test_every_scale_learns_what_the_finest_one_says(tasks):
    """Each term is the weighted mean over heads on all scales; the pseudo-label is the network's own, sure or not."""
    task = tasks()
    method = task.method("unimatch", confidence=0.0, drop=0.0, scales=3).eval()
    labeled, unlabeled = task.labeled_batch(), task.unlabeled_batch(method.views)
    assert len(method.heads) > 0

    def at_scales(image: torch.Tensor) -> list[torch.Tensor]:
        return method.heads(method.student(image), image)

    terms = method.losses(labeled, unlabeled, 0.5)
    label = method.student(unlabeled.weak).logits.argmax(1)
    expected = {
        "supervised": [cross_entropy_dice(logits, labeled.target) for logits in at_scales(labeled.image)],
        "features": [squared_dice_loss(logits.softmax(1), label) for logits in at_scales(unlabeled.weak)],
    }
    for name in ("strong_1", "strong_2"):
        mixed = unlabeled.mixes[name].apply_to_labels(label)
        logits = at_scales(unlabeled.views[name])
        expected[name] = [squared_dice_loss(each.softmax(1), mixed) for each in logits]
    assert set(terms) == set(expected)
    for name, of_scales in expected.items():
        assert len(of_scales) == 1 + len(method.heads)
        assert terms[name].item() == pytest.approx(deep_supervision(of_scales).item(), rel=1e-5)


def test_as_published_there_is_no_head_but_the_networks_own(tasks):
    assert len(tasks().method("unimatch").heads) == 0
