"""A U-Net decoder on a small hierarchical transformer, for images and volumes."""

from typing import Annotated, Self, cast

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from criinet.config import Count
from criinet.networks.base import CONV, NetworkConfig, conv_block
from criinet.networks.unet import UNetBackbone, UNetDecoder


class MiTUNetConfig(NetworkConfig):
    """Settings of the U-Net on a hierarchical transformer."""

    stem: Annotated[Count, Field(description="channels of the convolutional stem at stride 2")] = 16
    channels: Annotated[
        tuple[Count, ...],
        Field(min_length=1, description="channels of each transformer stage, at strides 4, 8, 16 and on"),
    ] = (32, 64, 128, 192)
    depth: Annotated[Count, Field(description="transformer blocks of each stage")] = 2
    head: Annotated[Count, Field(description="channels of one attention head")] = 32
    expansion: Annotated[Count, Field(description="widening inside the mix-FFN")] = 4

    @model_validator(mode="after")
    def heads_divide_channels(self) -> Self:
        """Refuse stages that cannot be shared out among heads."""
        if any(width % min(self.head, width) for width in self.channels):
            raise ValueError(f"every stage's channels must be a multiple of head={self.head}, or at most that")
        return self


def to_tokens(image: Tensor) -> Tensor:
    """Map (B, C, ...) to (B, N, C), one token for each pixel."""
    return image.flatten(2).transpose(1, 2)


def to_image(tokens: Tensor, like: Tensor) -> Tensor:
    """Map (B, N, C) back to (B, C, ...) with the sides of ``like``."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, *like.shape[2:])


class ReducedAttention(nn.Module):
    """Multi-head self-attention of all pixels to a grid that is ``reduction`` times coarser."""

    def __init__(self, dims: int, channels: int, head: int, reduction: int) -> None:
        super().__init__()
        self.heads = channels // min(head, channels)
        self.reduction = reduction
        self.pool = F.avg_pool2d if dims == 2 else F.avg_pool3d
        self.query = nn.Linear(channels, channels)
        self.coarse = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels)) if reduction > 1 else None
        self.key_value = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, like: Tensor) -> Tensor:
        """Map (B, N, C) tokens of an image with the sides of ``like`` to (B, N, C)."""
        grid = tokens
        if self.coarse is not None:
            grid = self.coarse(to_tokens(self.pool(to_image(tokens, like), self.reduction)))
        key, value = self.key_value(grid).chunk(2, dim=-1)
        query, key, value = (self.split(part) for part in (self.query(tokens), key, value))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def split(self, tokens: Tensor) -> Tensor:
        """Map (B, N, C) to (B, heads, N, C / heads)."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MixFFN(nn.Module):
    """Widen each token, filter each channel over its 3x3 neighbours, narrow again: position comes from the filter."""

    def __init__(self, dims: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.widen = nn.Linear(channels, hidden)
        self.filter = CONV[dims](hidden, hidden, 3, padding=1, groups=hidden)
        self.narrow = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor, like: Tensor) -> Tensor:
        """Map (B, N, C) tokens of an image with the sides of ``like`` to (B, N, C)."""
        filtered = self.filter(to_image(self.widen(tokens), like))
        return self.narrow(F.gelu(to_tokens(filtered)))


class MixBlock(nn.Module):
    """Attention and mix-FFN, each added to its normalised input's origin."""

    def __init__(self, dims: int, channels: int, head: int, reduction: int, hidden: int) -> None:
        super().__init__()
        self.before_attention, self.before_ffn = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = ReducedAttention(dims, channels, head, reduction)
        self.ffn = MixFFN(dims, channels, hidden)

    def forward(self, tokens: Tensor, like: Tensor) -> Tensor:
        """Map (B, N, C) tokens of an image with the sides of ``like`` to (B, N, C)."""
        tokens = tokens + self.attention(self.before_attention(tokens), like)
        return tokens + self.ffn(self.before_ffn(tokens), like)


class MiTStage(nn.Module):
    """Overlapping patches at half the resolution, transformer blocks, a norm."""

    def __init__(self, dims: int, inputs: int, channels: int, reduction: int, config: MiTUNetConfig) -> None:
        super().__init__()
        self.patches = CONV[dims](inputs, channels, 3, stride=2, padding=1)
        self.patch_norm, self.norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        hidden = config.expansion * channels
        self.blocks = nn.ModuleList(
            MixBlock(dims, channels, config.head, reduction, hidden) for _ in range(config.depth)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, inputs, ...) to (B, channels, ...), half as long in every axis."""
        patches = self.patches(image)
        tokens = self.patch_norm(to_tokens(patches))
        for block in self.blocks:
            tokens = block(tokens, patches)
        return to_image(self.norm(tokens), patches)


class MiTEncoder(nn.Module):
    """A convolutional stem at stride 2, then transformer stages, each at half the resolution of the one before."""

    def __init__(self, in_channels: int, dims: int, config: MiTUNetConfig) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            CONV[dims](in_channels, config.stem, 3, stride=2, padding=1), conv_block(dims, config.stem, config.stem)
        )
        inputs = (config.stem, *config.channels[:-1])
        self.stages = nn.ModuleList(
            MiTStage(dims, i, o, 2 ** (len(inputs) - 1 - at), config)
            for at, (i, o) in enumerate(zip(inputs, config.channels, strict=True))
        )
        for layer in self.stages.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features at strides 2, 4, 8 and on of (B, C, ...)."""
        scales = [cast(Tensor, self.stem(image))]
        for stage in self.stages:
            scales.append(stage(scales[-1]))
        return scales


class MiTUNet(UNetBackbone):
    """A U-Net decoder on a Mix Transformer; features at half the image's resolution.

    Every stage attends to a grid as coarse as the last stage: reductions 8, 4, 2 and 1 for four stages.

    Reference: Xie et al., NeurIPS 2021, arXiv 2105.15203, section 3.1.
    Differs: a stem of 3x3 convolutions and a 3x3 patch embedding, each of stride 2, instead of one 7x7 of stride 4, so
    that the decoder has a feature at stride 2; keys and values come from averages over the coarse grid, as in PVT v2
    (arXiv 2106.13797), which has fewer weights than a strided convolution, most of all in volumes; no stochastic depth;
    a U-Net's decoder instead of the paper's; narrower than MiT-B0; from scratch.
    """

    def __init__(self, in_channels: int, dims: int, config: MiTUNetConfig) -> None:
        super().__init__()
        self.dims, self.in_channels = dims, in_channels
        self.multiple = 2 ** (len(config.channels) + 1)
        self.stride = 2
        self.scale_channels = (config.stem, *config.channels)
        self.pyramid_channels = self.scale_channels[:-1]
        self.encoder = MiTEncoder(in_channels, dims, config)
        self.decoder = UNetDecoder(dims, self.scale_channels, self.pyramid_channels)

    def normalise(self, image: Tensor) -> Tensor:
        """Centre images in [0, 1] to [-1, 1]."""
        return image * 2 - 1
