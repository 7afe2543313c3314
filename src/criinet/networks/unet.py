"""The field's U-Net, from scratch, for images and volumes."""

from collections.abc import Sequence
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from criinet.config import Count
from criinet.networks.base import Backbone, NetworkConfig, Upsampling, conv_block, resize

Share = Annotated[float, Field(ge=0, lt=1)]


class UNetConfig(NetworkConfig):
    """Settings of the U-Net from scratch."""

    channels: Annotated[
        tuple[Count, ...],
        Field(min_length=2, description="channels of each scale, finest first"),
    ] = (16, 32, 64, 128, 256)
    dropout: Annotated[
        tuple[Share, ...],
        Field(description="dropout of each encoder scale, finest first"),
    ] = (0.05, 0.1, 0.2, 0.3, 0.5)


class UNetEncoder(nn.Module):
    """Two 3x3 convolutions a scale, halved by max pooling between scales."""

    def __init__(self, in_channels: int, dims: int, config: UNetConfig) -> None:
        super().__init__()
        inputs = (in_channels, *config.channels[:-1])
        dropout = (*config.dropout, *[0.0] * len(config.channels))
        self.blocks = nn.ModuleList(
            nn.Sequential(conv_block(dims, i, o), nn.Dropout(p), conv_block(dims, o, o))
            for i, o, p in zip(inputs, config.channels, dropout, strict=False)
        )
        self.pool = nn.MaxPool2d(2) if dims == 2 else nn.MaxPool3d(2)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature of every scale, finest first."""
        scales: list[Tensor] = []
        for block in self.blocks:
            image = block(self.pool(image) if scales else image)
            scales.append(image)
        return scales


class Enlarge(nn.Module):
    """Bring a feature to the next finer scale: by interpolation, by repetition, or by a learned 2x2 kernel."""

    def __init__(self, dims: int, channels: int, upsampling: Upsampling) -> None:
        super().__init__()
        transposed = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
        self.learned = transposed(channels, channels, 2, stride=2) if upsampling == "transposed" else None
        self.upsampling = upsampling

    def forward(self, feature: Tensor, size: torch.Size) -> Tensor:
        """Map (B, channels, ...) to (B, channels, *size), twice as long in every axis."""
        if self.learned is not None:
            return self.learned(feature)
        return resize(feature, size) if self.upsampling == "linear" else F.interpolate(feature, size=list(size))


class UNetDecoder(nn.Module):
    """From the coarsest scale up: enlarge, join the encoder's feature, two 3x3 convolutions."""

    def __init__(
        self, dims: int, scale_channels: tuple[int, ...], widths: tuple[int, ...], upsampling: Upsampling = "linear"
    ) -> None:
        super().__init__()
        self.form = (dims, scale_channels, widths)
        below = (*widths[1:], scale_channels[-1])
        self.enlarge = nn.ModuleList(Enlarge(dims, coarse, upsampling) for coarse in below)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv_block(dims, coarse + skip, width), conv_block(dims, width, width))
            for coarse, skip, width in zip(below, scale_channels[:-1], widths, strict=True)
        )

    def forward(self, scales: Sequence[Tensor]) -> list[Tensor]:
        """Return the decoder features, finest first, at the resolutions of all scales but the coarsest."""
        pyramid = [scales[-1]]
        for enlarge, block, skip in zip(
            reversed(self.enlarge), reversed(self.blocks), reversed(scales[:-1]), strict=True
        ):
            pyramid.insert(0, block(torch.cat([enlarge(pyramid[0], skip.shape[2:]), skip], dim=1)))
        return pyramid[:-1]

    def another(self, upsampling: Upsampling) -> "UNetDecoder":
        """Return a decoder of the same form with random weights of its own."""
        return UNetDecoder(*self.form, upsampling)


class UNetBackbone(Backbone):
    """A backbone whose decoder is a U-Net's."""

    def new_decoder(self, upsampling: Upsampling = "linear") -> UNetDecoder:
        """Return a decoder of the same form with random weights of its own."""
        return cast(UNetDecoder, self.decoder).another(upsampling)


class UNet(UNetBackbone):
    """The U-Net of semi-supervised benchmarks: 16 to 256 channels, bilinear up-sampling, batch normalisation.

    Reference: Ronneberger et al., MICCAI 2015, arXiv 1505.04597.
    Differs: batch normalisation, padding instead of cropping, interpolation instead of transposed convolution, dropout
    in the encoder that grows with depth, all as the public benchmarks of the field do.
    """

    def __init__(self, in_channels: int, dims: int, config: UNetConfig) -> None:
        super().__init__()
        self.dims, self.in_channels = dims, in_channels
        self.multiple = 2 ** (len(config.channels) - 1)
        self.scale_channels = config.channels
        self.pyramid_channels = config.channels[:-1]
        self.encoder = UNetEncoder(in_channels, dims, config)
        self.decoder = UNetDecoder(dims, config.channels, config.channels[:-1])

    def normalise(self, image: Tensor) -> Tensor:
        """Centre images in [0, 1] to [-1, 1]."""
        return image * 2 - 1
