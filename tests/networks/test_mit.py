"""The hierarchical transformer: attention by hand, a view of the whole image, a modest size."""

import math

import pytest
import torch

from criinet.errors import ConfigError
from criinet.networks import build_network, parse_network
from criinet.networks.mit import MixFFN, ReducedAttention


def size_of(dims: int) -> int:
    network = build_network("mit-unet", parse_network("mit-unet", {}), in_channels=3, classes=2, dims=dims, seed=0)
    return sum(parameter.numel() for parameter in network.parameters())


def test_it_is_small():
    """Two and a half million weights for images."""
    assert 2e6 < size_of(2) < 3e6
    assert size_of(3) < 5e6


@pytest.mark.parametrize(("reduction", "sides"), [(1, (3, 5)), (2, (4, 6)), (2, (2, 4, 6))])
def test_attention_by_hand(reduction, sides):
    """softmax(q k / sqrt(d)) v for every head, keys and values of blocks averaged over ``reduction`` pixels a side."""
    torch.manual_seed(0)
    layer = ReducedAttention(len(sides), 6, 3, reduction).eval()
    like = torch.randn(1, 6, *sides)
    tokens = like.flatten(2).mT
    grid = tokens[0]
    if reduction > 1:
        averages = []
        for corner in torch.cartesian_prod(*(torch.arange(0, side, reduction) for side in sides)):
            block = like[(0, slice(None), *(slice(int(c), int(c) + reduction) for c in corner))]
            averages.append(block.flatten(1).mean(1))
        grid = layer.coarse(torch.stack(averages))
    query, (key, value) = layer.query(tokens[0]), layer.key_value(grid).chunk(2, dim=1)
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        weights = (query[:, part] @ key[:, part].T / math.sqrt(3)).softmax(1)
        heads.append(weights @ value[:, part])
    torch.testing.assert_close(layer(tokens, like)[0], layer.out(torch.cat(heads, dim=1)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("sides", [(5, 7), (3, 5, 7)])
def test_the_mix_ffn_sees_direct_neighbours_alone(sides):
    """A pixel's change reaches its 3x3 neighbourhood and no further; along which axis is not mixed up."""
    torch.manual_seed(0)
    layer = MixFFN(len(sides), 4, 8)
    image = torch.randn(1, 4, *sides)
    changed = image.clone()
    changed[(0, slice(None), *(side // 2 for side in sides))] += 1
    out, other = (layer(x.flatten(2).mT, x).mT.view_as(x) for x in (image, changed))
    moved = (out - other)[0].abs().sum(0) > 1e-6
    expected = torch.zeros(sides, dtype=torch.bool)
    expected[tuple(slice(side // 2 - 1, side // 2 + 2) for side in sides)] = True
    assert torch.equal(moved, expected)


def test_every_pixel_sees_the_whole_image():
    """A change in one corner moves the finest transformer feature in the opposite corner."""
    config = parse_network("mit-unet", {})
    encoder = build_network("mit-unet", config, in_channels=1, classes=2, dims=2, seed=0).backbone.encoder.eval()
    image = torch.rand(1, 1, 64, 96)
    changed = image.clone()
    changed[..., :8, :8] = 1 - changed[..., :8, :8]
    with torch.no_grad():
        before, after = encoder(image), encoder(changed)
    assert [tuple(scale.shape[2:]) for scale in before] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    assert torch.equal(before[0][..., -1, -1], after[0][..., -1, -1])
    assert not torch.equal(before[1][..., -1, -1], after[1][..., -1, -1])


def test_where_a_thing_is_matters():
    """Attention alone would not know: a mirrored image does not give the mirrored features."""
    config = parse_network("mit-unet", {"channels": [8], "head": 4, "stem": 4})
    encoder = build_network("mit-unet", config, in_channels=1, classes=2, dims=2, seed=0).backbone.encoder.eval()
    image = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        straight, mirrored = encoder(image)[-1], encoder(image.flip(-1))[-1].flip(-1)
    assert (straight - mirrored).abs().max() > 1e-3


@pytest.mark.parametrize("setting", [{"channels": [48], "head": 32}, {"channels": []}, {"depth": 0}, {"head": 0}])
def test_settings_that_make_no_transformer_are_refused(setting):
    with pytest.raises(ConfigError, match=r"^setting 'network"):
        parse_network("mit-unet", setting)
