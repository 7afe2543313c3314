"""Networks that yield features per scale and the decoder feature, so that any method's heads fit on any of them."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from criinet.config import parse
from criinet.errors import ConfigError
from criinet.networks.announced import named, require_announced, require_kept
from criinet.networks.base import (
    Backbone,
    Features,
    Network,
    NetworkConfig,
    NetworkEntry,
    Segmentation,
    Upsampling,
    load_weights,
    prefer_channels_last,
)
from criinet.networks.branch import Branch
from criinet.networks.coarse_refined import CoarseRefined, CoarseRefinedOutput
from criinet.networks.image_prototypes import ImagePrototypes
from criinet.networks.lite0 import Lite0UNet, Lite0UNetConfig
from criinet.networks.mit import MiTUNet, MiTUNetConfig
from criinet.networks.scale_heads import ScaleHeads
from criinet.networks.unet import UNet, UNetConfig
from criinet.random_numbers import seeded_cpu
from criinet.registry import Registry

__all__ = [
    "Backbone",
    "Branch",
    "CoarseRefined",
    "CoarseRefinedOutput",
    "Features",
    "ImagePrototypes",
    "Network",
    "NetworkConfig",
    "NetworkEntry",
    "ScaleHeads",
    "Segmentation",
    "Upsampling",
    "build_network",
    "networks",
    "parse_network",
]

networks: Registry[NetworkEntry] = Registry("network", "criinet networks")
networks.add(
    "lite0-unet",
    NetworkEntry(
        "U-Net on an ImageNet-pretrained EfficientNet-Lite0; the default for images",
        "Tan & Le, ICML 2019, arXiv 1905.11946",
        Lite0UNetConfig,
        Lite0UNet,
    ),
)
networks.add(
    "mit-unet",
    NetworkEntry(
        "U-Net on a small hierarchical transformer from scratch, images and volumes",
        "Xie et al., NeurIPS 2021, arXiv 2105.15203",
        MiTUNetConfig,
        MiTUNet,
        dims=(2, 3),
    ),
)
networks.add(
    "unet",
    NetworkEntry(
        "the field's U-Net from scratch, 16 to 256 channels, images and volumes",
        "Ronneberger et al., MICCAI 2015, arXiv 1505.04597",
        UNetConfig,
        UNet,
        dims=(2, 3),
    ),
)


def parse_network(name: str, settings: Mapping[str, Any]) -> NetworkConfig:
    """Return the typed settings of the network called ``name``."""
    return parse(networks.get(name).config, settings, "network")


def build_network(
    name: str, config: NetworkConfig, *, in_channels: int, classes: int, dims: int, seed: int, initial: bool = True
) -> Network:
    """Build a network whose random weights depend on ``seed`` alone, so every method starts from the same ones.

    Args:
        in_channels: 1 for gray, 3 for colour.
        classes: K, background included.
        dims: 2 or 3.
        initial: False leaves out the pretrained weights and those of ``config.weights``, which a checkpoint replaces.

    Raises:
        ConfigError: if the network cannot do ``dims`` dimensions, or its weights file does not fit.
        NetworkError: if it fails, or gives other features than its backbone announces.
    """
    entry = networks.get(name)
    if dims not in entry.dims:
        fitting = [other for other, candidate in networks.items() if dims in candidate.dims]
        raise ConfigError(f"network '{name}' has no {dims}D form; {dims}D networks: {', '.join(fitting)}.")
    with seeded_cpu(seed), named(name):
        backbone = entry.build(in_channels, dims, config)
        require_announced(name, backbone)
        network = Network(backbone, classes, initial=initial)
    if initial:
        require_kept(name, backbone)
        backbone.load_initial()
    if initial and config.weights is not None:
        load_weights(backbone, config.weights)
    backbone.pretrained = backbone.pretrained or config.weights is not None
    prefer_channels_last(network, dims)
    form = {"in_channels": in_channels, "classes": classes, "dims": dims, "initial": initial}
    network.rebuild = partial(build_network, name, config, **form)
    return network
