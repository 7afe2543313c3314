"""Coarser heads: where their logits lie in the image, and what they teach."""

import pytest
import torch
from torch.nn import functional as F

from criinet.networks import Network, ScaleHeads, build_network, parse_network


@pytest.fixture
def network() -> Network:
    """Return a network of three scales."""
    config = parse_network("unet", {"channels": [4, 8, 16], "dropout": []})
    return build_network("unet", config, in_channels=3, classes=3, dims=2, seed=0)


def test_coarser_logits_lie_where_the_padded_image_has_them(network):
    """21 x 30 is padded to 24 x 32 and cropped back, not stretched."""
    network.eval()
    heads, image = ScaleHeads(network, 3), torch.rand(1, 3, 21, 30)
    said = network(image)
    features = (said.features.pyramid[1], said.features.scales[-1])
    for found, head, feature in zip(heads(said, image)[1:], heads, features, strict=True):
        padded = F.interpolate(head(feature), size=(24, 32), mode="bilinear", align_corners=False)
        torch.testing.assert_close(found, padded[..., :21, :30])


def test_every_coarser_head_teaches_the_shared_network(network):
    heads, image = ScaleHeads(network, 3), torch.rand(2, 3, 24, 32)
    for logits in heads(network(image), image)[1:]:
        network.zero_grad()
        logits.square().sum().backward(retain_graph=True)
        coarsest = network.backbone.encoder.blocks[-1]
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in coarsest.parameters())
