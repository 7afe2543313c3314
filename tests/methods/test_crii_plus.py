"""CRII-Net beyond the paper: what its teacher teaches, where it is silent, and what the rest is."""

import pytest
import torch

from criinet.losses import coarse_refined_consistency, cross_entropy_dice
from criinet.methods import CRIIPlus
from criinet.methods.crii_plus import REMEMBERED, head_agreement
from criinet.networks import CoarseRefinedOutput
from criinet.types import IGNORE


@pytest.fixture
def scene(tasks):
    """Return a task of three classes, its batches, and a method whose heads differ and whose teacher lags behind."""
    task = tasks(classes=3, sides=(32, 48))

    def make(**settings) -> CRIIPlus:
        method = task.method("crii-plus", embedding=6, width=4, **settings)
        assert isinstance(method, CRIIPlus)
        torch.manual_seed(5)
        torch.nn.init.normal_(method.student.refine[-1].weight)
        torch.nn.init.normal_(method.teacher.network.refine[-1].weight)
        return method

    return make, task.labeled_batch(), task.unlabeled_batch(("weak", "strong_1"))


class Says:
    """A teacher that says two given opinions of four pixels, as probabilities of class 1."""

    def __init__(self, coarse, refined) -> None:
        self.opinions = [torch.tensor([[[1 - p for p in said]], [list(said)]]) for said in (coarse, refined)]

    def __call__(self, image):
        coarse, refined = (each.transpose(0, 1).reshape(1, 2, 1, -1).log() for each in self.opinions)
        return CoarseRefinedOutput(coarse, refined, image, image)


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({"confidence": 0.7}, [1, IGNORE, IGNORE, 0]),
        ({"confidence": 0.0}, [1, IGNORE, 1, 0]),
        ({"confidence": 0.7, "agreement": False}, [1, 1, IGNORE, 0]),
        ({"confidence": 0.0, "agreement": False}, [1, 1, 1, 0]),
    ],
)
def test_a_pixel_is_taught_where_the_mean_is_sure_and_both_heads_say_the_same(scene, monkeypatch, settings, label):
    """Means .85, .7, .6, .1; in the second pixel the heads say 0 and 1."""
    method = scene[0](**settings)
    says = Says([0.8, 0.45, 0.6, 0.05], [0.9, 0.951, 0.6, 0.15])
    monkeypatch.setattr(method, "_modules", {**method._modules, "teacher": says})
    assert method.pseudo_label(torch.zeros(1, 3, 1, 4)).tolist() == [[label]]


def test_the_strong_view_is_taught_what_the_weak_one_means_mixed_alike(scene):
    """Both unlabeled terms again from the pure functions, through the averaged weights and this view's CutMix."""
    make, labeled, unlabeled = scene
    method = make(confidence=0.5)
    torch.manual_seed(3)
    terms = method.losses(labeled, unlabeled, 0.5)
    with torch.no_grad():
        said = method.teacher.network(unlabeled.weak)
    coarse, refined = said.coarse.softmax(1), said.refined.softmax(1)
    sure = ((coarse + refined) / 2).amax(1) >= 0.5
    label = torch.where(sure & (coarse.argmax(1) == refined.argmax(1)), refined.argmax(1), IGNORE)
    assert 0 < (label == IGNORE).float().mean() < 1
    mix = unlabeled.mixes["strong_1"]
    label = torch.where(mix.box.squeeze(1), label[mix.source], label)
    strong = method.student(unlabeled.views["strong_1"])
    expected = (cross_entropy_dice(strong.coarse, label) + cross_entropy_dice(strong.refined, label)) / 2
    torch.testing.assert_close(terms["strong"], expected)
    torch.testing.assert_close(terms["consistency"], coarse_refined_consistency(strong.coarse, strong.refined))


def test_the_labeled_terms_are_those_of_crii(scene, tasks):
    make, labeled, unlabeled = scene
    method = make()
    crii = tasks(classes=3, sides=(32, 48)).method("crii", embedding=6, width=4)
    crii.load_state_dict({k: v for k, v in method.state_dict().items() if k in crii.state_dict()})
    values = []
    for each in (method, crii):
        torch.manual_seed(0)
        values.append(each.losses(labeled, unlabeled, 0.5))
    ours, theirs = values
    for name in ("supervised_coarse", "supervised_refined", "intra", "inter"):
        assert ours[name].item() == theirs[name].item()


def test_it_predicts_with_the_averaged_weights(scene):
    make, labeled, _ = scene
    method = make().eval()
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter.zero_()
    output = method.teacher.network(labeled.image)
    predicted = method.predict(labeled.image)
    torch.testing.assert_close(predicted.probs, output.refined.softmax(1))
    assert predicted.coarse is not None
    torch.testing.assert_close(predicted.coarse, output.coarse.softmax(1))
    torch.testing.assert_close(method.targets(labeled.image), (predicted.probs + predicted.coarse) / 2)


def test_agreement_is_one_where_both_heads_are_sure_of_the_same():
    """By hand: 2 (.9 * .8 + .1 * .2) / (1.0 + 1.0); nothing in common 0; the same sure object 1."""
    said = [[0.9, 0.1], [0.8, 0.2], [1.0, 0.0], [0.0, 1.0]]
    one, other, left, right = (torch.tensor([[[1 - p for p in each], each]]) for each in said)
    assert head_agreement(one, other).item() == pytest.approx(0.74)
    assert head_agreement(left, right).item() == 0
    assert head_agreement(left, left).item() == 1
    assert head_agreement(one * 0 + torch.tensor([[[1.0], [0.0]]]), other).item() == 0


def test_the_worse_share_of_the_images_seen_lately_teaches_nothing(scene):
    """Of agreements .1 to .4 the upper half teaches; once as many as are remembered agree by .9, .5 is little."""
    method = scene[0](reliable=0.5)
    method.train()
    found = method.among_the_reliable(torch.tensor([0.1, 0.4, 0.2, 0.3]))
    assert found.tolist() == [False, True, False, True]
    assert method.among_the_reliable(torch.full((REMEMBERED,), 0.9)).all()
    assert method.seen.item() == REMEMBERED + 4
    assert method.among_the_reliable(torch.tensor([0.5, 0.95])).tolist() == [False, True]
    method.eval()
    before = method.agreements.clone()
    method.among_the_reliable(torch.tensor([0.5]))
    assert torch.equal(method.agreements, before)


def test_an_unreliable_image_has_no_label(scene):
    make, _, unlabeled = scene
    method = make(reliable=0.5, confidence=0.0, agreement=False)
    label = method.pseudo_label(unlabeled.weak)
    silent = (label == IGNORE).flatten(1)
    assert [bool(each.all()) for each in silent].count(True) == len(silent) // 2
    assert [bool(each.any()) for each in silent].count(True) == len(silent) // 2


def test_silenced_channels_reach_the_consistency_alone(scene):
    make, labeled, unlabeled = scene
    values = []
    for drop in (0.0, 0.5):
        method = make(drop=drop).eval()
        torch.manual_seed(0)
        values.append({k: v.item() for k, v in method.losses(labeled, unlabeled, 0.5).items()})
    plain, incomplete = values
    assert incomplete.pop("consistency") > plain.pop("consistency")
    assert incomplete == plain
