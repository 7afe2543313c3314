"""A branch reads another network's encoder, and owns its decoder and head alone."""

import pytest
import torch

from criinet.networks import Branch, build_network, parse_network


def small(name="unet", dims=2, classes=3):
    settings = {"channels": [4, 6, 8], "dropout": []} if name == "unet" else {"pretrained": False}
    config = parse_network(name, settings)
    return build_network(name, config, in_channels=1, classes=classes, dims=dims, seed=0)


@pytest.mark.parametrize("upsampling", ["linear", "nearest", "transposed"])
@pytest.mark.parametrize(("dims", "sides"), [(2, (11, 18)), (3, (5, 7, 9))])
def test_its_logits_fit_images_of_any_size(dims, sides, upsampling):
    network, image = small(dims=dims), torch.rand(2, 1, *sides)
    assert Branch(network, upsampling)(network.encode(image), image).shape == (2, 3, *sides)


def test_on_a_backbone_of_stride_two_its_logits_are_interpolated_as_the_networks_own_are():
    network, image = small("lite0-unet").eval(), torch.rand(1, 1, 40, 50)
    branch = Branch(network).eval()
    branch.decoder.load_state_dict(network.backbone.decoder.state_dict())
    branch.head.load_state_dict(network.head.state_dict())
    assert torch.equal(branch(network.encode(image), image), network(image).logits)


def test_it_holds_no_part_of_the_network_and_starts_elsewhere():
    network = small()
    branch = Branch(network)
    assert not {id(p) for p in branch.parameters()} & {id(p) for p in network.parameters()}
    assert {name.split(".")[0] for name in branch.state_dict()} == {"decoder", "head"}
    own, other = branch.head.weight, network.head.weight
    assert own.shape == other.shape
    assert not torch.equal(own, other)


def test_its_gradient_reaches_the_encoder_and_not_the_networks_decoder():
    network, image = small(), torch.rand(2, 1, 12, 16)
    Branch(network)(network.encode(image), image).square().mean().backward()
    assert all(p.grad is not None for p in network.backbone.encoder.parameters())
    assert all(p.grad is None for p in [*network.backbone.decoder.parameters(), *network.head.parameters()])
