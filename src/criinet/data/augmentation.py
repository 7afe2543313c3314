"""Weak and strong views of whole batches on the batch's device: no Python per image.

All randomness comes from the generator that is passed, which lives on the batch's device. Images are (B, C, H, W) or
(B, C, D, H, W) float32 in [0, 1], masks (B, ...) int64.
"""

import math
from functools import cache
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
    tilt: Annotated[float, Field(ge=0, le=180, description="largest rotation out of the slices; boxes only")] = 10.0
    zoom: Annotated[float, Field(ge=0, lt=1, description="largest change of size; .25: from 1/1.25 to 1.25")] = 0.25
    shift: Annotated[Strength, Field(description="largest shift, as a share of the side")] = 0.1
    brightness: Annotated[Strength, Field(description="largest relative change")] = 0.4
    contrast: Annotated[Strength, Field(description="largest relative change")] = 0.4
    saturation: Annotated[Strength, Field(description="largest relative change; colour images only")] = 0.4
    hue: Annotated[float, Field(ge=0, le=0.5, description="largest rotation of hue, in turns; colour only")] = 0.05
    blur: Annotated[float, Field(ge=0, description="largest sd of Gaussian blur at 256 pixels, in pixels")] = 2.0
    noise: Annotated[Strength, Field(description="largest sd of Gaussian noise, of the full range")] = 0.05
    colour_probability: Annotated[Fraction, Field(description="how often strong views change colour; noise, too")] = 0.8
    blur_probability: Annotated[Fraction, Field(description="how often views are blurred, relative to colour")] = 0.5
    cutmix_probability: Annotated[Fraction, Field(description="how often strong views take a box of another")] = 0.5
    labeled_colour_probability: Annotated[Fraction, Field(description="colour_probability of labeled images")] = 0.5


def uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    """Draw from [low, high) on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def chance(count: int, probability: float, generator: Generator) -> Tensor:
    """Draw (count,) bool, True with ``probability``."""
    return uniform((count,), 0, 1, generator) < probability


def per_image(values: Tensor, image: Tensor) -> Tensor:
    """Reshape (B,) so that it spreads over (B, C, ...)."""
    return values.view(-1, *[1] * (image.ndim - 1))


def draw_affine(count: int, size: tuple[int, ...], config: AugmentationConfig, generator: Generator) -> Tensor:
    """Draw (count, n, n + 1) matrices that map output to input coordinates in [-1, 1]: flip, rotate, zoom, shift.

    Rotation keeps the shape of objects in images that are not square. Boxes are also tilted out of their slices.

    Args:
        size: (H, W) or (D, H, W).
    """
    if len(size) == 3:
        return draw_affine_of_boxes(count, (size[0], size[1], size[2]), config, generator)
    angle = draw_angles((count,), config.rotate, generator)
    zoom, flips, shift = draw_zoom_flips_shift(count, 2, config, generator)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    aspect = size[0] / size[1]
    across = torch.stack([cos * flips[0], -sin * aspect * flips[1], shift[:, 0]], dim=1)
    down = torch.stack([sin / aspect * flips[0], cos * flips[1], shift[:, 1]], dim=1)
    return torch.stack([across, down], dim=1)


def draw_affine_of_boxes(
    count: int, size: tuple[int, int, int], config: AugmentationConfig, generator: Generator
) -> Tensor:
    """Draw (count, 3, 4) matrices for boxes: A = S^-1 R S F / zoom, R a rotation, F flips, S half the sides.

    R turns within the slices by up to ``rotate``, and out of them about either axis by up to ``tilt``. Coordinates are
    in the order (w, h, d) of ``affine_grid``.
    """
    turn = draw_angles((count,), config.rotate, generator)
    tilts = draw_angles((2, count), config.tilt, generator)
    zoom, flips, shift = draw_zoom_flips_shift(count, 3, config, generator)
    rotation = rotations(turn, (0, 1)) @ rotations(tilts[0], (0, 2)) @ rotations(tilts[1], (1, 2))
    half = half_sides(size, generator.device)
    matrix = rotation * (half / half.unsqueeze(1)) / zoom.view(-1, 1, 1)
    matrix = matrix * torch.stack([*flips, torch.ones_like(zoom)], dim=1).unsqueeze(1)
    return torch.cat([matrix, shift.unsqueeze(2)], dim=2)


def draw_angles(shape: tuple[int, ...], largest: float, generator: Generator) -> Tensor:
    """Draw angles in radians, of up to ``largest`` degrees in either direction."""
    return uniform(shape, -largest, largest, generator) * (math.pi / 180)


def draw_zoom_flips_shift(
    count: int, dims: int, config: AugmentationConfig, generator: Generator
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Draw the zoom (count,), a flip of the width and one of the height, 1 or -1 (count,), and shifts (count, dims)."""
    zoom = torch.exp(uniform((count,), -1, 1, generator) * math.log1p(config.zoom))
    flips = [
        1.0 - 2.0 * (chance(count, 0.5, generator) & on).float()
        for on in (config.flip_horizontal, config.flip_vertical)
    ]
    return zoom, flips, uniform((count, dims), -2 * config.shift, 2 * config.shift, generator)


@cache
def half_sides(size: tuple[int, int, int], device: torch.device) -> Tensor:
    """Return half of width, height and depth, (3,) float32 on a device."""
    return torch.tensor([size[2], size[1], size[0]], device=device) / 2


def rotations(angle: Tensor, plane: tuple[int, int]) -> Tensor:
    """Return (B, 3, 3) rotations by ``angle`` (B,) in radians in the plane of two axes."""
    first, second = plane
    matrix = torch.eye(3, device=angle.device).repeat(len(angle), 1, 1)
    matrix[:, first, first] = matrix[:, second, second] = torch.cos(angle)
    matrix[:, first, second], matrix[:, second, first] = -torch.sin(angle), torch.sin(angle)
    return matrix


def transform(image: Tensor, affine: Tensor) -> Tensor:
    """Resample (B, C, ...) float images linearly; what lies outside is mirrored in."""
    grid = F.affine_grid(affine, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def transform_mask(mask: Tensor, affine: Tensor) -> Tensor:
    """Resample (B, ...) integer masks by nearest neighbour, with the geometry of ``transform``."""
    image = mask.unsqueeze(1).float()
    grid = F.affine_grid(affine, list(image.shape), align_corners=False)
    moved = F.grid_sample(image, grid, mode="nearest", padding_mode="reflection", align_corners=False)
    return moved.squeeze(1).round().long()


TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
FROM_YIQ = torch.linalg.inv(TO_YIQ)


@cache
def yiq(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the matrices into the YIQ space and back, on a device."""
    return TO_YIQ.to(device), FROM_YIQ.to(device)


def jitter_colour(image: Tensor, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Change brightness, contrast and, in colour images, saturation and hue, each image by its own draw.

    Brightness multiplies; contrast scales about the image's mean; saturation and hue scale and rotate the colour plane
    of the YIQ space, which is one 3x3 matrix for each image.
    """
    n = len(image)
    bright = 1 + per_image(uniform((n,), -config.brightness, config.brightness, generator), image)
    contrast = 1 + per_image(uniform((n,), -config.contrast, config.contrast, generator), image)
    image = image * bright
    mean = image.mean(tuple(range(1, image.ndim)), keepdim=True)
    image = (image - mean) * contrast + mean
    if image.shape[1] == 3:
        saturation = 1 + uniform((n,), -config.saturation, config.saturation, generator)
        turn = uniform((n,), -config.hue, config.hue, generator) * (2 * math.pi)
        cos, sin = torch.cos(turn) * saturation, torch.sin(turn) * saturation
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rows = [one, zero, zero, zero, cos, -sin, zero, sin, cos]
        there, back = yiq(image.device)
        matrix = back @ torch.stack(rows, dim=1).view(n, 3, 3) @ there
        image = torch.einsum("bij,bj...->bi...", matrix, image)
    return image.clamp(0, 1)


def blur(image: Tensor, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Blur each image by a Gaussian of its own width, separably; widths scale with the image's side over 256."""
    (n, channels), sides = image.shape[:2], image.shape[2:]
    largest = config.blur * min(sides[-2:]) / 256
    if largest <= 0.1:
        return image
    sd = uniform((n, 1), 0.1, largest, generator)
    reach = math.ceil(2 * largest)
    taps = torch.arange(-reach, reach + 1, device=image.device)
    kernel = torch.exp(-0.5 * (taps / sd) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(image.reshape(1, n * channels, *sides), [reach] * (2 * len(sides)), mode="replicate")
    convolve = F.conv2d if len(sides) == 2 else F.conv3d
    for axis in reversed(range(len(sides))):
        along = [len(taps) if other == axis else 1 for other in range(len(sides))]
        flat = convolve(flat, kernel.view(n * channels, 1, *along), groups=n * channels)
    return flat.view(n, channels, *sides)


def vary_appearance(image: Tensor, probability: float, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Change colour with ``probability``, blur with it times ``blur_probability``, and add noise with it.

    Each of the three is drawn by itself: by the defaults 80 % of strong views change colour, 40 % are blurred and 80 %
    get noise; of labeled images 50 %, 25 % and 50 %.
    """
    n = len(image)
    coloured = per_image(chance(n, probability, generator), image)
    image = torch.where(coloured, jitter_colour(image, config, generator), image)
    blurred = per_image(chance(n, probability * config.blur_probability, generator), image)
    image = torch.where(blurred, blur(image, config, generator), image)
    sd = uniform((n,), 0, config.noise, generator) * chance(n, probability, generator)
    noise = torch.randn(image.shape, generator=generator, device=image.device)
    return (image + per_image(sd, image) * noise).clamp(0, 1)


def draw_cutmix(image: Tensor, probability: float, generator: Generator) -> CutMix:
    """Draw for each image a box of 2 to 40 % of its area (volume), of any aspect from .3 to 3.3, from another image.

    A box in a volume takes of its depth the cube root of its share.

    Reference: Yun et al., ICCV 2019, arXiv 1905.04899; sizes as in the public recipe of UniMatch, CVPR 2023.
    """
    n, sides = len(image), image.shape[2:]
    share = uniform((n,), 0.02, 0.4, generator)
    aspect = torch.exp(uniform((n,), math.log(0.3), math.log(1 / 0.3), generator))
    area = share if len(sides) == 2 else share ** (2 / 3)
    halves = [((area * aspect).sqrt() / 2).clamp(max=0.5), ((area / aspect).sqrt() / 2).clamp(max=0.5)]
    if len(sides) == 3:
        halves.insert(0, share ** (1 / 3) / 2)
    places = uniform((len(sides), n), 0, 1, generator)
    box = torch.ones(n, *[1] * len(sides), dtype=torch.bool, device=image.device)
    for axis, (side, half, place) in enumerate(zip(sides, halves, places, strict=True)):
        centre = half + place * (1 - 2 * half)
        along = (torch.arange(side, device=image.device) + 0.5) / side
        inside = (along - centre.unsqueeze(1)).abs() <= half.unsqueeze(1)
        box = box & inside.view(n, *[side if other == axis else 1 for other in range(len(sides))])
    used = chance(n, probability, generator)
    source = torch.roll(torch.arange(n, device=image.device), 1)
    return CutMix(source, (box & used.view(n, *[1] * len(sides))).unsqueeze(1))


def labeled_views(batch: LabeledBatch, config: AugmentationConfig, generator: Generator) -> LabeledBatch:
    """Move image and mask alike, and vary the image's appearance as often as configured."""
    affine = draw_affine(len(batch), tuple(batch.image.shape[2:]), config, generator)
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
    affine = draw_affine(len(image), tuple(image.shape[2:]), config, generator)
    weak = transform(image, affine)
    views, mixes = {}, {}
    for name in names:
        if name == "weak":
            views[name] = weak
            continue
        mixes[name] = draw_cutmix(weak, config.cutmix_probability, generator)
        views[name] = mixes[name].apply(vary_appearance(weak, config.colour_probability, config, generator))
    return UnlabeledBatch(views, mixes, None if pseudo_label is None else transform_mask(pseudo_label, affine))
