"""A mistake in a network is one sentence that names it, when it is built."""

import pytest
import torch
from torch import nn

from criinet.errors import NetworkError
from criinet.networks import Network, NetworkConfig, NetworkEntry, build_network, networks
from criinet.networks.base import NORM
from criinet.networks.unet import UNetBackbone, UNetDecoder


class Encoder(nn.Module):
    """Features at strides 2 and 4, with a norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(i, o, 2, stride=2) for i, o in ((3, 4), (4, 6)))
        self.norm, self.dropout = NORM[2](4), nn.Dropout(0.5)

    def forward(self, image):
        finer = self.dropout(self.norm(self.first(image)))
        torch.rand(3)
        return finer, self.second(finer)


class Half(UNetBackbone):
    """A backbone whose decoder feature has half of the image's resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.dims, self.in_channels, self.multiple, self.stride = 2, 3, 4, 2
        self.scale_channels, self.pyramid_channels = (4, 6), (5,)
        self.encoder, self.decoder = Encoder(), UNetDecoder(2, (4, 6), (5,))

    def normalise(self, image):
        return image - 0.5


@pytest.fixture
def build(monkeypatch):
    """Build the network `half`, of which something is changed."""
    monkeypatch.delenv("CRIINET_DEBUG", raising=False)

    def made(change=lambda _: None, **options) -> Network:
        def backbone(*_) -> Half:
            half = Half()
            change(half)
            return half

        monkeypatch.setitem(networks._entries, "half", NetworkEntry("one line", "none", NetworkConfig, backbone))
        return build_network("half", NetworkConfig(), in_channels=3, classes=2, dims=2, seed=0, **options)

    return made


def put(name, value):
    return lambda half: setattr(half, name, value)


def without_bound(_):
    raise ValueError("no bound.")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without_bound, r"failed \(ValueError: no bound\); run it with CRIINET_DEBUG=1 to see where\.$"),
        (lambda half: delattr(half, "multiple"), r"has no multiple; set self\.multiple in its __init__\.$"),
        (put("encoder", nn.Conv2d(5, 4, 1)), r"failed \(RuntimeError: .* to have 5 channels"),
        (put("normalise", None), r"failed \(TypeError: 'NoneType' object is not callable\)"),
        (
            put("scale_channels", (4, 8)),
            r"gives features of \(4, 6\) channels, but announces scale_channels \(4, 8\); ",
        ),
        (put("pyramid_channels", (7,)), r"gives features of \(5,\) channels, but announces pyramid_channels \(7,\)"),
        (
            put("stride", 1),
            r"gives for \(12, 16\) pixels a decoder feature of \(6, 8\), which at stride 1 is \(6, 8\) p",
        ),
        (
            put("stride", 4),
            r"gives .* a decoder feature of \(6, 8\), which at stride 4 is \(24, 32\) pixels; set self\.str",
        ),
        (
            put("multiple", 1),
            r"gives for \(9, 10\) pixels .* of \(4, 5\), which at stride 2 is .* and self\.multiple to wh",
        ),
        (put("encode", lambda _: ()), r"failed \(IndexError: tuple index out of range\)"),
    ],
)
def test_a_mistake_in_a_network_names_it(build, change, sentence):
    with pytest.raises(NetworkError, match=rf"^network 'half' {sentence}"):
        build(change)


def test_with_debug_the_error_itself_is_raised(build, monkeypatch):
    monkeypatch.setenv("CRIINET_DEBUG", "1")
    with pytest.raises(ValueError, match="no bound"):
        build(without_bound)


def test_the_pass_that_compares_leaves_nothing_behind(build):
    """Random numbers, running statistics and the mode are those of a network that a checkpoint is to fill."""
    torch.manual_seed(3)
    tried = build()
    drawn = torch.rand(2)
    torch.manual_seed(3)
    untried = build(initial=False)
    assert torch.equal(drawn, torch.rand(2))
    assert tried.state_dict().keys() == untried.state_dict().keys()
    assert all(map(torch.equal, tried.state_dict().values(), untried.state_dict().values()))
    assert all(module.training for module in tried.modules())
    assert all(parameter.grad is None for parameter in tried.parameters())
