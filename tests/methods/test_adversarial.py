"""DAN and SASSNet: two opponents in one optimizer, each with its own loss, as if there were two optimizers."""

import copy
import math

import pytest
import torch

from criinet.config import Ramp
from criinet.losses import signed_distance
from criinet.methods import methods
from criinet.methods.discriminator import Discriminator, to_fool, to_tell_apart

BOTH = pytest.mark.parametrize("name", ["dan", "sassnet"])


@BOTH
def test_the_weight_ramps_over_a_fraction_of_any_run(name):
    weights = methods.get(name).Config().weights
    assert weights["adversarial"] == Ramp(to=0.01, over=0.4)
    assert weights["discriminator"] == 1.0


class Scores(torch.nn.Module):
    """Stands for a discriminator: the score is a parameter times the mean of the map."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, segmentation, image):
        return self.scale * segmentation.flatten(1).mean(1) + 0 * image.sum()


def test_both_losses_by_hand():
    """Scores 1 and -1 of labeled, .5 of unlabeled images; -ln sigmoid(s) = ln(1 + e^-s)."""
    opponent = Scores()
    labeled = torch.tensor([0.5, -0.5]).view(2, 1, 1, 1)
    unlabeled = torch.tensor([0.25]).view(1, 1, 1, 1)
    fooled = to_fool(opponent, unlabeled, unlabeled)
    assert fooled.item() == pytest.approx(math.log(1 + math.exp(-0.5)))
    apart = to_tell_apart(opponent, (labeled, labeled), (unlabeled, unlabeled))
    real = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2
    assert apart.item() == pytest.approx((real + math.log(1 + math.exp(0.5))) / 2)


def test_each_loss_reaches_its_own_side_alone():
    opponent, map_ = Scores(), torch.tensor([0.25]).view(1, 1, 1, 1).requires_grad_()
    to_fool(opponent, map_, map_.detach()).backward()
    assert opponent.scale.grad is None
    assert map_.grad.item() == pytest.approx(-2 / (1 + math.exp(0.5)))
    map_.grad = None
    image = map_.detach()
    to_tell_apart(opponent, (map_, image), (map_, image)).backward()
    assert map_.grad is None
    assert opponent.scale.grad is not None


@pytest.mark.parametrize("sides", [(20, 28), (3, 5), (6, 8, 12)])
def test_the_discriminator_scores_images_of_any_size_one_by_one(sides):
    """No statistics are shared: the score of an image does not depend on those beside it."""
    opponent = Discriminator(len(sides), 2).train()
    maps, images = torch.rand(3, 2, *sides), torch.rand(3, 3, *sides)
    scores = opponent(maps, images)
    assert scores.shape == (3,)
    torch.testing.assert_close(opponent(maps[1:2], images[1:2])[0], scores[1])


def test_the_terms_of_dan_are_the_formula(tasks):
    """Softmax over the classes, then the scores of probabilities and gray images."""
    task = tasks(classes=4, in_channels=3, sides=(20, 36))
    method = task.method("dan")
    labeled, batch = task.labeled_batch(), task.unlabeled_batch(method.views)
    found = method.losses(labeled, batch, 0.5)

    def score(image):
        logits = method.student(image).logits
        return method.discriminator(logits.exp() / logits.exp().sum(1, keepdim=True), image)

    real, other = score(labeled.image), score(batch.weak)
    torch.testing.assert_close(found["adversarial"], -(1 / (1 + (-other).exp())).log().mean())
    apart = -(1 / (1 + (-real).exp())).log().mean() - (1 / (1 + other.exp())).log().mean()
    torch.testing.assert_close(found["discriminator"], apart / 2)


def test_the_terms_of_sassnet_are_the_formula(tasks):
    """The discriminator sees distances in [-1, 1], one map for each foreground class."""
    task = tasks(classes=4)
    method = task.method("sassnet")
    labeled, batch = task.labeled_batch(), task.unlabeled_batch(method.views)
    found = method.losses(labeled, batch, 0.5)

    def distances(image):
        return torch.tanh(method.distance.head(method.student(image).features.decoder))

    z = distances(labeled.image)
    torch.testing.assert_close(found["distance"], ((z - signed_distance(labeled.target, 4)) ** 2).mean())
    real, other = method.discriminator(z, labeled.image), method.discriminator(distances(batch.weak), batch.weak)
    torch.testing.assert_close(found["adversarial"], -(1 / (1 + (-other).exp())).log().mean())
    apart = -(1 / (1 + (-real).exp())).log().mean() - (1 / (1 + other.exp())).log().mean()
    torch.testing.assert_close(found["discriminator"], apart / 2)


@BOTH
def test_one_optimizer_does_what_two_would(name, tasks, adam):
    """Five steps of one AdamW on the sum, and of two AdamWs on the two sides' losses, end at the same parameters."""
    task = tasks()
    method = task.method(name)
    twin = copy.deepcopy(method)
    labeled, batch = task.labeled_batch(), task.unlabeled_batch(method.views)
    one = adam(method)
    opponent = list(twin.discriminator.parameters())
    mine = {id(p) for p in opponent}
    others = [p for p in twin.parameters() if id(p) not in mine]
    two = [torch.optim.AdamW(others, lr=1e-2), torch.optim.AdamW(opponent, lr=1e-2)]
    weights = method.config.weights_at(0.5)
    for _ in range(5):
        terms = method.losses(labeled, batch, 0.5)
        one.zero_grad()
        sum(weights[term] * value for term, value in terms.items()).backward()
        one.step()
        terms = twin.losses(labeled, batch, 0.5)
        against = terms.pop("discriminator")
        student = torch.autograd.grad(sum(weights[t] * v for t, v in terms.items()), others, retain_graph=True)
        own = torch.autograd.grad(weights["discriminator"] * against, opponent)
        for p, gradient in zip([*others, *opponent], [*student, *own], strict=True):
            p.grad = gradient
        for optimizer in two:
            optimizer.step()
    for p, q in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-5)


@BOTH
def test_the_segmentation_head_predicts(name, tasks):
    task = tasks()
    method = task.method(name).eval()
    image = task.labeled_batch().image
    assert torch.equal(method.predict(image).probs, method.student(image).logits.softmax(1))
