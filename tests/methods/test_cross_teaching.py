"""Cross teaching: Dice both ways by hand, and a transformer that fits whatever network is given."""

import pytest
import torch

from criinet.errors import ConfigError
from criinet.methods import methods, parse_method
from criinet.networks import build_network, networks, parse_network
from criinet.types import LabeledBatch, UnlabeledBatch

SMALL = {"transformer": {"stem": 4, "channels": [8, 8], "head": 4, "depth": 1}}


@pytest.fixture
def labeled(see) -> LabeledBatch:
    return LabeledBatch(see([[0.8]]), torch.ones(1, 1, 1, dtype=torch.long), torch.zeros(1).long())


@pytest.fixture
def opposed(glass):
    """The network given sees p; in place of the transformer another one sees 1 - p."""
    method = glass("cross-teaching", **SMALL)
    method.transformer = method.student.another(0)
    with torch.no_grad():
        method.transformer.head.weight.mul_(-1)
    return method


def test_both_directions_by_hand(opposed, see, labeled):
    """p = .8 .6 .1 against classes 0 0 1, and .2 .4 .9 against 1 1 0.

    Each way, of both classes, 1 - 2 x .1 / (1.01 + 1) and 1 - 2 x .6 / (1.01 + 2).
    """
    unlabeled = UnlabeledBatch({"weak": see([[0.8, 0.6, 0.1]])}, {})
    value = opposed.losses(labeled, unlabeled, 0.0)["cross"].item()
    assert value == pytest.approx((1 - 0.2 / 2.01) + (1 - 1.2 / 3.01), abs=1e-5)


def test_no_gradient_passes_through_a_class(opposed, see, labeled):
    """Without its own loss a network has no gradient: the other's term reaches it through its classes alone."""
    for parameter in opposed.transformer.parameters():
        parameter.requires_grad_(False)
    image = see([[0.8, 0.6, 0.1]])
    opposed.losses(labeled, UnlabeledBatch({"weak": image}, {}), 0.0)["cross"].backward()
    probs = torch.tensor([0.8, 0.6, 0.1], requires_grad=True)
    dice = [2 * probs[2] / (probs.square().sum() + 1), 2 * (1 - probs[:2]).sum() / ((1 - probs).square().sum() + 2)]
    (1 - sum(dice) / 2).backward()
    foreground = (probs.grad * (probs * (1 - probs)).detach()).sum().item()
    assert opposed.student.head.bias.grad.tolist() == pytest.approx([-foreground, foreground], abs=1e-5)


@pytest.mark.parametrize(("name", "dims"), [(name, dims) for name, entry in networks.items() for dims in entry.dims])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_transformer_takes_the_images_of_any_network(name, dims, channels):
    network = build_network(name, parse_network(name, {}), in_channels=channels, classes=3, dims=dims, seed=0)
    assert network.backbone.in_channels == channels
    method = methods.get("cross-teaching")(network, parse_method("cross-teaching", SMALL)).eval()
    with torch.no_grad():
        logits = method.transformer(torch.rand(1, channels, *[9, 11, 14][:dims])).logits
    assert logits.shape == (1, 3, *[9, 11, 14][:dims])


def test_the_transformers_size_is_a_setting():
    config = parse_method("cross-teaching", SMALL)
    assert config.transformer.channels == (8, 8)
    assert parse_method("cross-teaching", {}).transformer == parse_network("mit-unet", {})
    with pytest.raises(ConfigError, match=r"^unknown setting 'method\.transformer\.dept'\. Did you mean 'depth'"):
        parse_method("cross-teaching", {"transformer": {"dept": 3}})


def test_the_given_network_alone_predicts(tasks):
    task = tasks()
    method = task.method("cross-teaching", **SMALL).eval()
    image, _ = task.draw(2, seed=1)
    before = method.predict(image).probs
    with torch.no_grad():
        method.transformer.head.weight.zero_()
    assert torch.equal(method.predict(image).probs, before)
