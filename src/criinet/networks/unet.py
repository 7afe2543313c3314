"""The field's U-Net, from scratch, for images and volumes."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from criinet.networks.base import Backbone, Features, NetworkConfig, conv_block, resize

Channels = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class UNetConfig(NetworkConfig):
    """Settings of the U-Net from scratch."""

    channels: Annotated[
        tuple[Channels, ...],
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
        self.pool = F.max_pool2d if dims == 2 else F.max_pool3d

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature of every scale, finest first."""
        scales: list[Tensor] = []
        for block in self.blocks:
            image = block(self.pool(image, 2) if scales else image)
            scales.append(image)
        return scales


class UNetDecoder(nn.Module):
    """From the coarsest scale up: interpolate, join the encoder's feature, two 3x3 convolutions."""

    def __init__(self, dims: int, scale_channels: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        below = (*widths[1:], scale_channels[-1])
        self.blocks = nn.ModuleList(
            nn.Sequential(conv_block(dims, coarse + skip, width), conv_block(dims, width, width))
            for coarse, skip, width in zip(below, scale_channels[:-1], widths, strict=True)
        )

    def forward(self, scales: list[Tensor]) -> Tensor:
        """Return the decoder feature at the resolution of the finest scale."""
        import torch

        feature = scales[-1]
        for block, skip in zip(reversed(self.blocks), reversed(scales[:-1]), strict=True):
            feature = block(torch.cat([resize(feature, skip.shape[2:]), skip], dim=1))
        return feature


class UNet(Backbone):
    """The U-Net of semi-supervised benchmarks: 16 to 256 channels, bilinear up-sampling, batch normalisation.

    Reference: Ronneberger et al., MICCAI 2015, arXiv 1505.04597.
    Differs: batch normalisation, padding instead of cropping, interpolation instead of transposed convolution, dropout
    in the encoder that grows with depth, all as the public benchmarks of the field do.
    """

    def __init__(self, in_channels: int, dims: int, config: UNetConfig) -> None:
        super().__init__()
        self.dims = dims
        self.multiple = 2 ** (len(config.channels) - 1)
        self.scale_channels = config.channels
        self.decoder_channels = config.channels[0]
        self.encoder = UNetEncoder(in_channels, dims, config)
        self.decoder = UNetDecoder(dims, config.channels, config.channels[:-1])

    def forward(self, image: Tensor) -> Features:
        """Map (B, C, ...) images in [0, 1], centred here to [-1, 1], to features at full resolution."""
        scales = self.encoder(image * 2 - 1)
        return Features(tuple(scales), self.decoder(scales))
