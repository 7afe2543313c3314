"""Weak and strong views of whole batches on the batch's device: no Python per image.

All randomness comes from the generator that is passed, which lives on the batch's device. Images are (B, C, H, W)
float32 in [0, 1], masks (B, H, W) int64.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from criinet.config import Config, Fraction
from criinet.types import CutMix, LabeledBatch, UnlabeledBatch

Strength = Annotated[float, Field(ge=0, le=1)]


class AugmentationConfig(Config):
    """How images are varied. Geometry makes the weak view; colour, blur, noise and CutMix make strong ones of it."""

    flip_horizontal: Annotated[bool, Field(description="mirror left and right, half of the time")] = True
    flip_vertical: Annotated[bool, Field(description="mirror up and down, half of the time")] = True
    rotate: Annotated[float, Field(ge=0, le=180, description="largest rotation, in degrees")] = 30.0
    zoom: Annotated[float, Field(ge=0, lt=1, description="largest change of size; .25: from 1/1.25 to 1.25")] = 0.25
    shift: Annotated[Strength, Field(description="largest shift, as a share of the side")] = 0.1
    brightness: Annotated[Strength, Field(description="largest relative change")] = 0.4
    contrast: Annotated[Strength, Field(description="largest relative change")] = 0.4
    saturation: Annotated[Strength, Field(description="largest relative change; colour images only")] = 0.4
    hue: Annotated[float, Field(ge=0, le=0.5, description="largest rotation of hue, in turns; colour only")] = 0.05
    blur: Annotated[float, Field(ge=0, description="largest sd of Gaussian blur at 256 pixels, in pixels")] = 2.0
    noise: Annotated[Strength, Field(description="largest sd of Gaussian noise, of the full range")] = 0.05
    colour_probability: Annotated[Fraction, Field(description="how often strong views change colour")] = 0.8
    blur_probability: Annotated[Fraction, Field(description="how often strong views are blurred")] = 0.5
    cutmix_probability: Annotated[Fraction, Field(description="how often strong views take a box of another")] = 0.5
    labeled_colour_probability: Annotated[Fraction, Field(description="how often labeled images change colour")] = 0.5


def uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    """Draw from [low, high) on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def chance(count: int, probability: float, generator: Generator) -> Tensor:
    """Draw (count,) bool, True with ``probability``."""
    return uniform((count,), 0, 1, generator) < probability


def draw_affine(count: int, size: tuple[int, int], config: AugmentationConfig, generator: Generator) -> Tensor:
    """Draw (count, 2, 3) matrices that map output to input coordinates in [-1, 1]: flip, rotate, zoom, shift.

    Rotation keeps the shape of objects in images that are not square.
    """
    angle = uniform((count,), -config.rotate, config.rotate, generator) * (math.pi / 180)
    zoom = torch.exp(uniform((count,), -1, 1, generator) * math.log1p(config.zoom))
    flips = [
        1.0 - 2.0 * (chance(count, 0.5, generator) & on).float()
        for on in (config.flip_horizontal, config.flip_vertical)
    ]
    shift = uniform((count, 2), -2 * config.shift, 2 * config.shift, generator)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    aspect = size[0] / size[1]
    across = torch.stack([cos * flips[0], -sin * aspect * flips[1], shift[:, 0]], dim=1)
    down = torch.stack([sin / aspect * flips[0], cos * flips[1], shift[:, 1]], dim=1)
    return torch.stack([across, down], dim=1)


def transform(image: Tensor, affine: Tensor) -> Tensor:
    """Resample (B, C, H, W) float images linearly; what lies outside is mirrored in."""
    grid = F.affine_grid(affine, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def transform_mask(mask: Tensor, affine: Tensor) -> Tensor:
    """Resample (B, H, W) integer masks by nearest neighbour, with the geometry of ``transform``."""
    image = mask.unsqueeze(1).float()
    grid = F.affine_grid(affine, list(image.shape), align_corners=False)
    moved = F.grid_sample(image, grid, mode="nearest", padding_mode="reflection", align_corners=False)
    return moved.squeeze(1).round().long()


LUMA = (0.299, 0.587, 0.114)
TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def jitter_colour(image: Tensor, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Change brightness, contrast and, in colour images, saturation and hue, each image by its own draw.

    Brightness multiplies; contrast scales about the image's mean; saturation and hue scale and rotate the colour plane
    of the YIQ space, which is one 3x3 matrix for each image.
    """
    n = len(image)
    bright = 1 + uniform((n, 1, 1, 1), -config.brightness, config.brightness, generator)
    contrast = 1 + uniform((n, 1, 1, 1), -config.contrast, config.contrast, generator)
    image = image * bright
    mean = image.mean((1, 2, 3), keepdim=True)
    image = (image - mean) * contrast + mean
    if image.shape[1] == 3:
        saturation = 1 + uniform((n,), -config.saturation, config.saturation, generator)
        turn = uniform((n,), -config.hue, config.hue, generator) * (2 * math.pi)
        cos, sin = torch.cos(turn) * saturation, torch.sin(turn) * saturation
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rows = [one, zero, zero, zero, cos, -sin, zero, sin, cos]
        to_yiq = torch.tensor(TO_YIQ, device=image.device)
        matrix = torch.linalg.inv(to_yiq) @ torch.stack(rows, dim=1).view(n, 3, 3) @ to_yiq
        image = torch.einsum("bij,bjhw->bihw", matrix, image)
    return image.clamp(0, 1)


def blur(image: Tensor, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Blur each image by a Gaussian of its own width, separably; widths scale with the image's side over 256."""
    n, channels, height, width = image.shape
    largest = config.blur * min(height, width) / 256
    if largest <= 0.1:
        return image
    sd = uniform((n, 1), 0.1, largest, generator)
    reach = math.ceil(2 * largest)
    taps = torch.arange(-reach, reach + 1, device=image.device)
    kernel = torch.exp(-0.5 * (taps / sd) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0).unsqueeze(1)
    flat = F.pad(image.reshape(1, n * channels, height, width), [reach] * 4, mode="replicate")
    flat = F.conv2d(flat, kernel.unsqueeze(2), groups=n * channels)
    flat = F.conv2d(flat, kernel.unsqueeze(3), groups=n * channels)
    return flat.view(n, channels, height, width)


def vary_appearance(image: Tensor, probability: float, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Change colour with ``probability``, then blur and add noise with the configured one."""
    n = len(image)
    coloured = chance(n, probability, generator).view(n, 1, 1, 1)
    image = torch.where(coloured, jitter_colour(image, config, generator), image)
    blurred = chance(n, probability * config.blur_probability, generator).view(n, 1, 1, 1)
    image = torch.where(blurred, blur(image, config, generator), image)
    sd = uniform((n, 1, 1, 1), 0, config.noise, generator) * chance(n, probability, generator).view(n, 1, 1, 1)
    noise = torch.randn(image.shape, generator=generator, device=image.device)
    return (image + sd * noise).clamp(0, 1)


def draw_cutmix(image: Tensor, probability: float, generator: Generator) -> CutMix:
    """Draw for each image a box of 2 to 40 % of its area, of any aspect from .3 to 3.3, from another image.

    Reference: Yun et al., ICCV 2019, arXiv 1905.04899; sizes as in the public recipe of UniMatch, CVPR 2023.
    """
    n, _, height, width = image.shape
    area = uniform((n,), 0.02, 0.4, generator)
    aspect = torch.exp(uniform((n,), math.log(0.3), math.log(1 / 0.3), generator))
    half_h, half_w = ((area * aspect).sqrt() / 2).clamp(max=0.5), ((area / aspect).sqrt() / 2).clamp(max=0.5)
    centre = uniform((2, n), 0, 1, generator)
    centre_h = half_h + centre[0] * (1 - 2 * half_h)
    centre_w = half_w + centre[1] * (1 - 2 * half_w)
    rows = (torch.arange(height, device=image.device) + 0.5) / height
    columns = (torch.arange(width, device=image.device) + 0.5) / width
    inside_h = (rows - centre_h.unsqueeze(1)).abs() <= half_h.unsqueeze(1)
    inside_w = (columns - centre_w.unsqueeze(1)).abs() <= half_w.unsqueeze(1)
    used = chance(n, probability, generator)
    box = inside_h.unsqueeze(2) & inside_w.unsqueeze(1) & used.view(n, 1, 1)
    source = torch.roll(torch.arange(n, device=image.device), 1)
    return CutMix(source, box.unsqueeze(1))


def labeled_views(batch: LabeledBatch, config: AugmentationConfig, generator: Generator) -> LabeledBatch:
    """Move image and mask alike, and vary the image's appearance as often as configured."""
    affine = draw_affine(len(batch), (batch.image.shape[2], batch.image.shape[3]), config, generator)
    image = transform(batch.image, affine)
    image = vary_appearance(image, config.labeled_colour_probability, config, generator)
    return LabeledBatch(image, transform_mask(batch.target, affine), batch.case)


def unlabeled_views(
    image: Tensor,
    names: tuple[str, ...],
    config: AugmentationConfig,
    generator: Generator,
    pseudo_label: Tensor | None = None,
) -> UnlabeledBatch:
    """Make the views called ``names``: "weak" is geometry alone, every "strong_*" varies it and is cut and mixed.

    A pseudo-label is moved as the weak view is.
    """
    affine = draw_affine(len(image), (image.shape[2], image.shape[3]), config, generator)
    weak = transform(image, affine)
    views, mixes = {}, {}
    for name in names:
        if name == "weak":
            views[name] = weak
            continue
        mixes[name] = draw_cutmix(weak, config.cutmix_probability, generator)
        views[name] = mixes[name].apply(vary_appearance(weak, config.colour_probability, config, generator))
    return UnlabeledBatch(views, mixes, None if pseudo_label is None else transform_mask(pseudo_label, affine))
