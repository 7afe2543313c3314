"""CRII-Net beyond the paper: what its two heads teach the coarse one, on which views, and that the rest is CRII-Net."""

import pytest
import torch

from criinet.errors import ConfigError
from criinet.labels import IGNORE
from criinet.losses import coarse_refined_consistency, deep_supervision, squared_dice_loss
from criinet.methods import CRIIPlus, parse_method
from criinet.methods.perturbations import drop_channels
from criinet.networks import CoarseRefinedOutput, Segmentation


@pytest.fixture
def scene(tasks):
    """Return a task of three classes, its batches, and a method whose heads differ."""
    task = tasks(classes=3, sides=(32, 48))

    def make(**settings) -> CRIIPlus:
        method = task.method("crii-plus", embedding=6, width=4, **settings)
        assert isinstance(method, CRIIPlus)
        torch.manual_seed(5)
        torch.nn.init.normal_(method.student.refine[-1].weight)
        return method

    return make, task.labeled_batch(), task.unlabeled_batch(("weak", "strong_1", "strong_2"))


@pytest.mark.parametrize(
    ("teacher", "confidence", "label"),
    [
        ("both", 0.8, [1, IGNORE, IGNORE, 0]),
        ("both", 0.7, [1, 1, IGNORE, 0]),
        ("both", 0.0, [1, 1, 1, 0]),
        ("coarse", 0.8, [1, IGNORE, IGNORE, 0]),
        ("coarse", 0.0, [1, 0, 1, 0]),
        ("refined", 0.8, [1, 1, IGNORE, 0]),
    ],
)
def test_a_pixel_is_taught_where_its_teacher_is_sure(scene, teacher, confidence, label):
    """Means .85, .7, .6, .1 of class 1; the heads apart by .1, .5, 0 and .1."""
    said = (
        torch.tensor([[[[1 - p for p in row]], [row]]]).log()
        for row in ([0.805, 0.45, 0.6, 0.05], [0.895, 0.95, 0.6, 0.15])
    )
    coarse, refined = (each.view(1, 2, 1, 4) for each in said)
    output = CoarseRefinedOutput(coarse, refined, coarse)
    assert scene[0](teacher=teacher, confidence=confidence).pseudo_label(output).tolist() == [[label]]


def test_strong_views_and_incomplete_features_learn_what_the_weak_view_means(scene):
    """Every unlabeled term again from the pure functions; a view's labels are mixed as the view was."""
    make, labeled, unlabeled = scene
    method = make().eval()
    with torch.no_grad():
        whole = method.student(unlabeled.weak)
    both = (whole.coarse.softmax(1) + whole.refined.softmax(1)) / 2
    half = float(both.amax(1).median())
    method.config = method.config.model_copy(update={"confidence": half})
    torch.manual_seed(3)
    terms = method.losses(labeled, unlabeled, 0.5)
    label = torch.where(both.amax(1) >= half, both.argmax(1), IGNORE)
    assert 0 < (label == IGNORE).float().mean() < 1
    for name in ("strong_1", "strong_2"):
        mix = unlabeled.mixes[name]
        mixed = torch.where(mix.box.squeeze(1), label[mix.source], label)
        coarse = method.at_scales(unlabeled.views[name])[1]
        assert len(coarse) > 1
        torch.testing.assert_close(
            terms[name], deep_supervision(squared_dice_loss(each.softmax(1), mixed) for each in coarse)
        )
    torch.manual_seed(3)
    method.labeled_losses(labeled)  # Draws patches, before features are silenced.
    network = method.student.network
    silenced = tuple(drop_channels(feature, 0.5) for feature in network.encode(unlabeled.weak))
    features = network.decode(silenced)
    finest = method.student.segment(features, unlabeled.weak).coarse
    incomplete = method.coarse_heads(Segmentation(finest, features), unlabeled.weak)
    assert len(incomplete) == len(method.coarse_heads) + 1
    torch.testing.assert_close(
        terms["features"], deep_supervision(squared_dice_loss(each.softmax(1), label) for each in incomplete)
    )
    torch.testing.assert_close(
        terms["consistency"], deep_supervision(coarse_refined_consistency(each, whole.refined) for each in incomplete)
    )


def test_without_dropped_channels_features_are_whole(scene):
    make, labeled, unlabeled = scene
    method = make(drop=0.0, confidence=0.0).eval()
    output, coarse = method.at_scales(unlabeled.weak)
    label = method.pseudo_label(output)
    torch.testing.assert_close(
        method.losses(labeled, unlabeled, 0.5)["features"],
        deep_supervision(squared_dice_loss(each.softmax(1), label) for each in coarse),
    )


def test_the_consistency_teaches_through_incomplete_features_alone(scene):
    """Its target is the refined head on whole features, which gets no gradient: the refinement does not move."""
    make, labeled, unlabeled = scene
    method = make()
    method.losses(labeled, unlabeled, 0.5)["consistency"].backward()
    assert all(parameter.grad is None for parameter in method.student.refine.parameters())
    assert any(parameter.grad.abs().sum() > 0 for parameter in method.student.network.backbone.parameters())


def test_the_labeled_terms_are_those_of_crii(scene, tasks):
    make, labeled, unlabeled = scene
    method = make()
    crii = tasks(classes=3, sides=(32, 48)).method("crii", embedding=6, width=4)
    crii.load_state_dict(method.state_dict())
    values = []
    for each in (method, crii):
        torch.manual_seed(0)
        values.append(each.labeled_losses(labeled))
    ours, theirs = values
    assert {name: value.item() for name, value in ours.items()} == {
        name: value.item() for name, value in theirs.items()
    }
    torch.manual_seed(0)
    terms = method.losses(labeled, unlabeled, 0.5)
    assert set(terms) == {*ours, "consistency", "strong_1", "strong_2", "features"} == set(method.config.weights)


def test_its_consistency_cannot_move_the_refined_head():
    """The pseudo-label's pass has no gradient, so another target would be a term that teaches nothing."""
    with pytest.raises(ConfigError, match=r"unknown setting 'method\.target'"):
        parse_method("crii-plus", {"target": "coarse"})
