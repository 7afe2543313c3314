"""What every backbone gives and every head takes: features per scale, the decoder feature, logits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from criinet.config import Config
from criinet.errors import ConfigError, ShapeError
from criinet.networks.normalisation import BatchNorm2d, BatchNorm3d

CONV: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, type[BatchNorm2d] | type[BatchNorm3d]] = {2: BatchNorm2d, 3: BatchNorm3d}
Upsampling = Literal["linear", "nearest", "transposed"]


class NetworkConfig(Config):
    """Base of a network's settings."""

    weights: Annotated[
        Path | None,
        Field(description="file of weights (.safetensors, .pt, .pth) to start from; null: the network's own"),
    ] = None

    @field_validator("weights")
    @classmethod
    def _from_anywhere(cls, path: Path | None) -> Path | None:
        return path and path.absolute()


class Features(NamedTuple):
    """What a backbone computes from (B, C, ...) images.

    scales: encoder features, finest first; scales[0] has the decoder feature's resolution.
    pyramid: decoder features, finest first, one for every scale but the coarsest.
    """

    scales: tuple[Tensor, ...]
    pyramid: tuple[Tensor, ...]

    @property
    def decoder(self) -> Tensor:
        """(B, decoder_channels, ...) the last feature before any head."""
        return self.pyramid[0]


class Backbone(nn.Module):
    """An encoder-decoder without a head.

    Attributes:
        encoder: the part that pretrained weights fill.
        decoder: maps encoder features, finest first, to the pyramid.
        pretrained: True if the encoder starts from such weights, so that it may train at a rate of its own.
        dims: 2 for images, 3 for volumes.
        in_channels: channels of an image.
        multiple: every side of the input is a multiple of this.
        stride: image pixels per pixel of the decoder feature.
        scale_channels: channels of each encoder feature, finest first.
        pyramid_channels: channels of each decoder feature, finest first.
    """

    encoder: nn.Module
    decoder: nn.Module
    pretrained: bool = False
    dims: int
    in_channels: int
    multiple: int
    stride: int = 1
    scale_channels: tuple[int, ...]
    pyramid_channels: tuple[int, ...]

    @property
    def decoder_channels(self) -> int:
        """Channels of the decoder feature."""
        return self.pyramid_channels[0]

    def load_initial(self) -> None:
        """Fill the encoder with the weights that it starts from, where the settings ask for some that come with it.

        Raises:
            ConfigError: if they are missing or altered.
        """

    def normalise(self, image: Tensor) -> Tensor:
        """Bring images in [0, 1] to the range that the encoder wants."""
        raise NotImplementedError

    def new_decoder(self, upsampling: Upsampling = "linear") -> nn.Module:
        """Return a decoder of the same form with random weights of its own."""
        raise NotImplementedError

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map (B, C, ...) float32 images in [0, 1], sides multiples of ``multiple``, to encoder features."""
        return tuple(self.encoder(self.normalise(image)))

    def decode(self, scales: tuple[Tensor, ...]) -> Features:
        """Return the features that the decoder makes of encoder features."""
        return Features(scales, tuple(self.decoder(scales)))

    def forward(self, image: Tensor) -> Features:
        """Map (B, C, ...) float32 images in [0, 1], sides multiples of ``multiple``, to features."""
        return self.decode(self.encode(image))


class Segmentation(NamedTuple):
    """Logits (B, K, ...) at the image's resolution, and the features below them, at the backbone's own."""

    logits: Tensor
    features: Features


class Network(nn.Module):
    """A backbone and a linear head: ``z = conv1x1(F)``, brought to the image's resolution.

    Images of any size are padded at the far sides to the backbone's multiple by repeating the border, and cropped back.

    Args:
        backbone: gives the decoder feature F.
        classes: K, background included.
        initial: whether it begins with the weights that training starts from; False: a checkpoint will fill it.
    """

    def __init__(self, backbone: Backbone, classes: int, *, initial: bool = True) -> None:
        super().__init__()
        self.backbone = backbone
        self.classes = classes
        self.initial = initial
        self.head = CONV[backbone.dims](backbone.decoder_channels, classes, 1)
        self.rebuild: Callable[..., Network] | None = None

    def another(self, seed: int) -> "Network":
        """Return a network of the same form whose random weights depend on ``seed``; pretrained ones are the same.

        Raises:
            ConfigError: if this network was not made by ``build_network``.
        """
        if self.rebuild is None:
            raise ConfigError("this network cannot be built again; make it with build_network.")
        return self.rebuild(seed=seed)

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder features of (B, C, ...) images padded to the backbone's multiple.

        Raises:
            ShapeError: if the images have another number of dimensions than the network.
        """
        if image.ndim != self.backbone.dims + 2:
            raise ShapeError(f"{self.backbone.dims}D network given images of shape {tuple(image.shape)}.")
        return self.backbone.encode(pad_to_multiple(image, self.backbone.multiple))

    def decode(self, scales: tuple[Tensor, ...]) -> Features:
        """Return the features that the decoder makes of encoder features."""
        return self.backbone.decode(scales)

    def features(self, image: Tensor) -> Features:
        """Return the features of (B, C, ...) images padded to the backbone's multiple."""
        return self.decode(self.encode(image))

    def segment(self, features: Features, image: Tensor) -> Segmentation:
        """Apply the head to features of ``image``."""
        return Segmentation(self.to_image(self.head(features.decoder), image), features)

    def to_image(self, logits: Tensor, image: Tensor) -> Tensor:
        """Interpolate ``logits`` linearly to the padded image's resolution and crop to the image."""
        return fit_to_image(logits, image, self.backbone.multiple)

    def forward(self, image: Tensor) -> Segmentation:
        """Segment (B, C, ...) float32 images in [0, 1]."""
        return self.segment(self.features(image), image)


def resize(image: Tensor, size: list[int] | torch.Size) -> Tensor:
    """Interpolate (B, C, ...) linearly to ``size``; nothing is done where the size is right already."""
    if list(image.shape[2:]) == list(size):
        return image
    mode = "bilinear" if image.ndim == 4 else "trilinear"
    return F.interpolate(image, size=list(size), mode=mode, align_corners=False)


def fit_to_image(logits: Tensor, image: Tensor, multiple: int) -> Tensor:
    """Interpolate (B, K, ...) ``logits`` of an image padded to ``multiple`` linearly, and crop them to the image."""
    logits = resize(logits, [padded_side(side, multiple) for side in image.shape[2:]])
    for axis, side in enumerate(image.shape[2:], start=2):
        logits = logits.narrow(axis, 0, side)
    return logits


def padded_side(side: int, multiple: int) -> int:
    """Return the smallest multiple that is at least ``side``."""
    return -(-side // multiple) * multiple


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the far borders of (B, C, ...) until every side is a multiple."""
    padding: list[int] = []
    for side in reversed(image.shape[2:]):
        padding += [0, padded_side(side, multiple) - side]
    return F.pad(image, padding, mode="replicate") if any(padding) else image


def conv_block(dims: int, inputs: int, outputs: int) -> nn.Sequential:
    """Return a 3x3 convolution, batch normalisation and a ReLU, same size out as in."""
    convolution = CONV[dims](inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, NORM[dims](outputs), nn.ReLU(inplace=True))


def prefer_channels_last(module: nn.Module, dims: int) -> None:
    """Store 2D weights channels-last, which depthwise convolutions on CPUs and tensor cores both want."""
    if dims == 2:
        cast(Any, module).to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class NetworkEntry:
    """A registered network: what it is, how to build its backbone, its settings, where it comes from."""

    summary: str
    reference: str
    config: type[NetworkConfig]
    build: Callable[..., Backbone]
    dims: tuple[int, ...] = (2,)


def load_weights(backbone: Backbone, path: Path) -> None:
    """Fill ``backbone`` from a file of tensors by name; a file that holds ``encoder.*`` only is welcome.

    Raises:
        ConfigError: if the file cannot be read, fits no parameter, or has a tensor of another shape.
    """
    from safetensors.torch import load_file

    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, weights_only=True, map_location="cpu")
        )
    except Exception as error:
        raise ConfigError(
            f"network.weights: {path} cannot be read as weights ({type(error).__name__}); give a .safetensors, .pt or "
            ".pth file of tensors by name."
        ) from error
    own = backbone.state_dict()
    common = {name: tensor for name, tensor in state.items() if name in own}
    if not common:
        raise ConfigError(
            f"network.weights: no tensor in {path} has a name of this network, as '{next(iter(own))}'; give weights of "
            "this network, or choose theirs with network.name."
        )
    for name, tensor in common.items():
        if tensor.shape != own[name].shape:
            raise ConfigError(
                f"network.weights: '{name}' in {path} has shape {tuple(tensor.shape)}, "
                f"this network needs {tuple(own[name].shape)}; give the same network settings as it was trained with."
            )
    backbone.load_state_dict(common, strict=False)
