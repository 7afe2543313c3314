"""Paints one synthetic case, layer by layer, from its parameters."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from criinet.data.synthetic.parameters import PIGMENTS, STICKERS, STREAMS, Parameters, draw_parameters, stream
from criinet.errors import DataError

Size = tuple[int, int]
Field = NDArray[np.floating]
Points = list[tuple[float, float]]

REFERENCE_SIDE = 128
"""Short side, in pixels, of the image in which lengths are given."""

AREA_RANGE = (0.02, 0.45)
"""Fraction of the image that the truth covers, lowest and highest."""

_SKIN = np.array(
    [
        (0.91, 0.74, 0.68),
        (0.87, 0.67, 0.58),
        (0.80, 0.58, 0.47),
        (0.68, 0.46, 0.35),
        (0.51, 0.33, 0.25),
        (0.35, 0.23, 0.18),
    ]
)
_INK = np.array((1.1, 1.35, 0.45), dtype=np.float32)
_OVERSAMPLING = 2


@dataclass(frozen=True)
class SyntheticCase:
    """One image with its exact truth.

    image: (H, W, 3) uint8 RGB.
    mask: (H, W) uint8, 1 inside the outline as it was before any blur, 0 outside, never empty.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    parameters: Parameters


def render(seed: int, index: int, size: Size = (128, 128)) -> SyntheticCase:
    """Draw case ``index`` of the data set ``seed``; the same arguments always give the same case.

    Args:
        seed, index: integers >= 0.
        size: (H, W) in pixels, both >= 32.
    """
    return compose(draw_parameters(seed, index), seed, index, size)


def compose(parameters: Parameters, seed: int, index: int, size: Size = (128, 128)) -> SyntheticCase:
    """Paint a case from given parameters; ``seed`` and ``index`` decide what they leave open: where a hair lies.

    Raises:
        DataError: if a side is shorter than 32 pixels.
    """
    if min(size) < 32:
        raise DataError(f"a synthetic image of {size[0]}x{size[1]} is too small. Ask for sides of at least 32 pixels.")
    frame, p = _frame(size), parameters
    streams = {name: stream(seed, index, name) for name in STREAMS}
    aperture = _aperture(frame, p, streams["light"])
    mask, depth = _outline(frame, p, aperture, streams["outline"])
    absorbance = _skin_texture(frame, p, streams["skin"])
    absorbance += _lesion(frame, p, mask, depth, streams["texture"])
    absorbance += _freckles(frame, p, streams["freckles"])
    absorbance += _vascular(frame, p, streams["vessels"])
    absorbance += _shadow(frame, p, streams["shadow"])[..., None]
    image = np.exp(np.log(_skin_colour(p.skin_tone)) - absorbance)
    image = _surface(frame, p, image, streams["surface"])
    image = _border_objects(frame, p, image, mask, streams["border"])
    image = _optics(frame, p, image, aperture, streams["light"])
    return SyntheticCase((image * 255 + 0.5).astype(np.uint8), mask.astype(np.uint8), p)


class _Frame:
    """The grid of one image size: coordinates in short sides from the centre, smooth noise, and a canvas for shapes."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.short = min(size)
        self.scale = self.short / REFERENCE_SIDE
        self.half = (size[0] / self.short / 2, size[1] / self.short / 2)
        self.y: Field = ((np.arange(size[0], dtype=np.float32) + 0.5) / self.short - self.half[0])[:, None]
        self.x: Field = ((np.arange(size[1], dtype=np.float32) + 0.5) / self.short - self.half[1])[None, :]

    def noise(self, rng: Generator, cells: int) -> Field:
        """(H, W) smooth noise, sd about 0.7: cubic splines between normal values, ``cells`` to the short side."""
        rows, columns = (_upsampler(side, min(side, max(4, round(cells * side / self.short)))) for side in self.size)
        return rows @ rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32) @ columns.T

    def lines(self, rng: Generator, cells: int, width: float) -> Field:
        """(H, W) net of lines in [0, 1], where smooth noise crosses zero: exp(-(noise / width)^2)."""
        return np.exp(-((self.noise(rng, cells) / width) ** 2))

    def drawn(self, draw: Callable[[ImageDraw.ImageDraw, float], None]) -> Field:
        """(H, W) in [0, 1]: antialiased shapes; ``draw`` gets a grey canvas and its pixels per px."""
        canvas = Image.new("L", (self.size[1] * _OVERSAMPLING, self.size[0] * _OVERSAMPLING))
        draw(ImageDraw.Draw(canvas), self.scale * _OVERSAMPLING)
        return np.asarray(canvas.reduce(_OVERSAMPLING), dtype=np.float32) / 255

    def soften(self, layer: Field, blur: float) -> Field:
        """``layer`` after a Gaussian of ``blur`` px."""
        return ndimage.gaussian_filter(layer, blur * self.scale, mode="nearest", truncate=3.0)

    def extent(self) -> tuple[float, float]:
        """Width and height in px."""
        return self.size[1] / self.scale, self.size[0] / self.scale


@lru_cache(maxsize=8)
def _frame(size: Size) -> _Frame:
    return _Frame(size)


@lru_cache(maxsize=256)
def _upsampler(length: int, cells: int) -> Field:
    """(length, cells) matrix of cubic interpolation: two products with it are a zoom, many times faster than one."""
    return np.asarray(ndimage.zoom(np.eye(cells, dtype=np.float32), (length / cells, 1), order=3, mode="nearest"))


def _skin_colour(tone: float) -> Field:
    """(3,) colour of skin, from tone 0 (Fitzpatrick I) to 1 (VI)."""
    at = np.linspace(0, 1, len(_SKIN))
    return np.array([np.interp(tone, at, channel) for channel in _SKIN.T], dtype=np.float32)


def _pigment(name: str) -> Field:
    return np.array(PIGMENTS[name], dtype=np.float32)


def _aperture(frame: _Frame, p: Parameters, rng: Generator) -> Field:
    """(H, W) visibility in [0, 1]: 0 in the black corners outside the disc of the dermatoscope."""
    if p.aperture == 0:
        return np.ones(frame.size, dtype=np.float32)
    cy, cx = rng.uniform(-0.05, 0.05, 2)
    radius = np.hypot(frame.y - cy, frame.x - cx)
    return np.clip((p.aperture - radius) * REFERENCE_SIDE / 2 + 0.5, 0, 1).astype(np.float32)


def _outline(frame: _Frame, p: Parameters, aperture: Field, rng: Generator) -> tuple[NDArray[np.bool_], Field]:
    """Draw the truth: the sublevel set of a warped radius at the quantile that gives the asked area.

    Returns:
        mask: (H, W) bool, in the visible disc only.
        depth: (H, W), 1 at the lesion's centre, 0 at its outline, negative outside.
    """
    radius = float(np.sqrt(p.area / p.lesions * frame.half[0] * frame.half[1] * 4 / np.pi))
    centre = _centre(frame, p, radius, rng)
    level = _level(frame, p, centre, radius, rng)
    if p.lesions == 2:
        other = (-centre[0], -centre[1])
        level = np.minimum(level, _level(frame, p, other, radius, rng) * rng.uniform(0.8, 1.25))
    visible = aperture > 0.5
    level = np.where(visible, level, np.inf)
    rank = int(min(p.area * level.size, 0.85 * np.count_nonzero(visible)))
    threshold = np.partition(level, rank, axis=None)[rank]
    labels, found = cast("tuple[NDArray[np.int32], int]", ndimage.label(level < threshold))
    if found > p.lesions:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = np.isin(labels, np.argsort(sizes)[-p.lesions :])
    else:
        mask = labels > 0
    return mask, 1 - np.minimum(level / threshold, 3)


def _centre(frame: _Frame, p: Parameters, radius: float, rng: Generator) -> tuple[float, float]:
    """(y, x) of the lesion in short sides: anywhere it fits, at a border, or off the middle where there are two."""
    room = [max(0.06, half - 1.15 * radius) for half in frame.half]
    y, x = (float(rng.uniform(-free, free)) for free in room)
    side, sign = int(rng.integers(2)), float(rng.choice((-1, 1)))
    off = sign * (frame.half[side] - rng.uniform(0, 0.7) * radius) if p.at_border else sign * 0.6 * frame.half[side]
    if p.at_border or p.lesions == 2:
        return (off, x) if side == 0 else (y, off)
    return y, x


def _level(frame: _Frame, p: Parameters, centre: tuple[float, float], radius: float, rng: Generator) -> Field:
    """(H, W) distance from the centre in lesion radii, bent so that its level sets are irregular.

    level = |A (x + warp(x) - centre)| / radius * exp(-sum_k a_k cos(k angle + phase_k) + rough(x))
    """
    warp = 0.16 * p.irregularity * radius
    y = frame.y - centre[0] + warp * frame.noise(rng, 5)
    x = frame.x - centre[1] + warp * frame.noise(rng, 5)
    turn = rng.uniform(0, math.pi)
    stretch = math.sqrt(p.elongation)
    along = (x * math.cos(turn) + y * math.sin(turn)) / stretch
    across = (y * math.cos(turn) - x * math.sin(turn)) * stretch
    order = np.arange(2, 8)
    amplitude = 0.3 * p.irregularity * rng.normal(size=len(order)) / order
    phase = rng.uniform(0, 2 * np.pi, len(order))
    angles = np.linspace(-np.pi, np.pi, 257)
    wobble = (amplitude * np.cos(angles[:, None] * order + phase)).sum(1)
    bend = np.interp(np.arctan2(across, along), angles, np.clip(wobble, -0.5, 0.5)).astype(np.float32)
    rough = 0.05 * p.irregularity * frame.noise(rng, 22)
    return np.hypot(along, across) / radius * np.exp(rough - bend)


def _skin_texture(frame: _Frame, p: Parameters, rng: Generator) -> Field:
    """(H, W, 3) absorbance of the skin's own unevenness: clouds of blood and of melanin, grain, and fine creases."""
    blood = frame.noise(rng, 6) * 0.035 + frame.noise(rng, 18) * 0.02
    melanin = frame.noise(rng, 5) * 0.035 + frame.noise(rng, 26) * 0.025 + frame.noise(rng, 64) * 0.03
    creases = frame.lines(rng, 30, 0.22) * rng.uniform(0, 0.09)
    texture = blood[..., None] * _pigment("pink") + (melanin + creases)[..., None] * _pigment("brown")
    return texture * p.skin_mottle


def _lesion(frame: _Frame, p: Parameters, mask: NDArray[np.bool_], depth: Field, rng: Generator) -> Field:
    """(H, W, 3) absorbance of the lesion: contrast * soft edge * structure * mix of two pigments.

    The structure (core, clouds, lines, clearing) has mean 1 over the truth: ``contrast`` is the mean absorbance there.
    Lightening is capped at 0.25, as skin without pigment is not white.
    """
    edge = frame.soften(mask.astype(np.float32), p.blur)
    inner = np.clip(depth, 0, 1)
    lines = frame.lines(rng, int(rng.integers(22, 36)), 0.3) - 0.35
    clouds = frame.noise(rng, 7) * 0.55 + frame.noise(rng, 16) * 0.35
    structure = 1 + p.core * (1.6 * inner - 0.4) + 0.75 * p.network * lines + 0.6 * p.mottle * clouds
    clearing = 1 / (1 + np.exp(-6 * (frame.noise(rng, 6) - 0.5)))
    structure = np.maximum(structure * (1 - p.regression * clearing), 0.05)
    structure /= max(float(structure[mask].mean()), 0.1)
    second = 1 / (1 + np.exp(-5 * (frame.noise(rng, 5) + 1.6 * (p.second_share - 0.45))))
    second = (second if p.second_share > 0 else np.zeros_like(second))[..., None]
    colour = _pigment(p.pigment) * (1 - second) + _pigment(p.second_pigment) * second
    return np.maximum(p.contrast * (edge * structure)[..., None] * colour, -0.25)


def _freckles(frame: _Frame, p: Parameters, rng: Generator) -> Field:
    """(H, W, 3) absorbance of freckles and small nevi: brown or black spots below the size of a lesion."""
    if p.freckles + p.nevi == 0:
        return np.zeros((1, 1, 3), dtype=np.float32)
    width, height = frame.extent()
    radii = np.concatenate([rng.uniform(0.5, 2, p.freckles), rng.uniform(3, 6, p.nevi)])
    spots = np.column_stack([rng.uniform(0, width, len(radii)), rng.uniform(0, height, len(radii)), radii])
    shades = rng.integers(90, 256, len(radii))

    def draw(canvas: ImageDraw.ImageDraw, scale: float) -> None:
        for (x, y, radius), shade in zip(spots * scale, shades, strict=True):
            flat = radius * (0.7 + 0.3 * shade / 255)
            canvas.ellipse((x - radius, y - flat, x + radius, y + flat), fill=int(shade))

    layer = frame.soften(frame.drawn(draw), float(rng.uniform(0.4, 1.3)))
    pigment = _pigment("brown" if rng.random() < 0.75 else "black")
    return rng.uniform(0.25, 1.0) * layer[..., None] * pigment


def _vascular(frame: _Frame, p: Parameters, rng: Generator) -> Field:
    """(H, W, 3) absorbance of blood and ink: diffuse pink patches without an outline, thin vessels, pen strokes."""
    total = np.zeros((1, 1, 3), dtype=np.float32)
    for _ in range(int(rng.integers(1, 3)) if p.vascular else 0):
        cy, cx = rng.uniform(-0.5, 0.5, 2)
        sy, sx = rng.uniform(0.07, 0.2, 2)
        patch = np.exp(-((frame.y - cy) ** 2) / (2 * sy**2) - (frame.x - cx) ** 2 / (2 * sx**2))
        patch = patch * np.clip(1 + 0.7 * frame.noise(rng, 9), 0, 2.5)
        total = total + (p.vascular * patch)[..., None] * _pigment("pink")
    if p.vessels:
        around = rng.uniform(0.1, 0.9, 2)
        layer = frame.drawn(_curves(frame, rng, p.vessels, reach=0.25, width=(0.5, 1.1), around=around))
        total = total + rng.uniform(0.3, 0.7) * frame.soften(layer, 0.5)[..., None] * _pigment("pink")
    if p.ink:
        around = rng.choice((0.1, 0.9), 2)
        layer = frame.drawn(_curves(frame, rng, p.ink, reach=0.4, width=(1.5, 3.5), around=around))
        total = total + rng.uniform(0.4, 1.0) * frame.soften(layer, 0.6)[..., None] * _INK
    return total


def _curves(
    frame: _Frame, rng: Generator, count: int, *, reach: float, width: tuple[float, float], around: NDArray[np.float64]
) -> Callable[[ImageDraw.ImageDraw, float], None]:
    """Prepare quadratic Bezier curves: ``reach`` in image sides, ``around`` (x, y) in [0, 1], ``width`` in px."""
    extent = np.array(frame.extent())
    start = around + rng.normal(0, 0.5 * reach, (count, 2))
    angle = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.6, count)
    length = reach * rng.uniform(0.5, 1.5, count)
    step = np.column_stack([np.cos(angle), np.sin(angle)]) * length[:, None]
    middle = start + step / 2 + rng.normal(0, 0.22 * reach, (count, 2))
    t = np.linspace(0, 1, 14)[:, None, None]
    points = ((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * (start + step)) * extent
    widths, shades = rng.uniform(*width, count), rng.integers(150, 256, count)

    def draw(canvas: ImageDraw.ImageDraw, scale: float) -> None:
        for curve in range(count):
            line: Points = [(float(x), float(y)) for x, y in points[:, curve] * scale]
            canvas.line(line, fill=int(shades[curve]), width=max(1, round(widths[curve] * scale)), joint="curve")

    return draw


def _shadow(frame: _Frame, p: Parameters, rng: Generator) -> Field:
    """(H, W) absorbance of a soft shadow that comes in from one side."""
    if p.shadow == 0:
        return np.zeros((1, 1), dtype=np.float32)
    angle, start, softness = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.42), rng.uniform(0.015, 0.09)
    across = frame.x * math.cos(angle) + frame.y * math.sin(angle) + 0.06 * frame.noise(rng, 5)
    return (p.shadow / (1 + np.exp((start - across) / softness))).astype(np.float32)


def _surface(frame: _Frame, p: Parameters, image: Field, rng: Generator) -> Field:
    """Lay hairs, gel bubbles and specular dots over the skin."""
    if p.hairs:
        draw = _curves(frame, rng, p.hairs, reach=0.9, width=(0.5, 1.6), around=rng.uniform(0.3, 0.7, 2))
        hair = np.array((0.8, 0.72, 0.6) if p.light_hairs else rng.uniform(0.03, 0.2) * np.array((1.2, 1, 0.9)))
        opacity = frame.drawn(draw)[..., None] * rng.uniform(0.55, 0.95)
        image = image + (hair.astype(np.float32) - image) * opacity
    if p.bubbles + p.glints:
        width, height = frame.extent()
        count = p.bubbles + p.glints
        spots = np.column_stack([rng.uniform(0, width, count), rng.uniform(0, height, count)])
        radii = np.concatenate([rng.uniform(1.5, 6, p.bubbles), rng.uniform(0.3, 0.9, p.glints)])

        def draw_wet(canvas: ImageDraw.ImageDraw, scale: float) -> None:
            for number, (x, y) in enumerate(spots * scale):
                radius = radii[number] * scale
                box = (x - radius, y - radius, x + radius, y + radius)
                if number < p.bubbles:
                    canvas.arc(box, 20, 320, fill=150, width=max(1, round(0.6 * scale)))
                else:
                    canvas.ellipse(box, fill=255)

        opacity = frame.soften(frame.drawn(draw_wet), 0.4)[..., None]
        image = image + (0.97 - image) * opacity
    return image


def _border_objects(frame: _Frame, p: Parameters, image: Field, mask: NDArray[np.bool_], rng: Generator) -> Field:
    """Lay a sticker or a ruler at the border that is farthest from the lesion."""
    if not p.sticker and not p.ruler:
        return image
    (hy, hx), (rows, columns) = frame.half, np.nonzero(mask)
    away_y = -1.0 if rows.mean() / frame.size[0] > 0.5 else 1.0
    away_x = -1.0 if columns.mean() / frame.size[1] > 0.5 else 1.0
    if p.sticker:
        cy, cx = away_y * hy * rng.uniform(0.75, 1.05), away_x * hx * rng.uniform(0.75, 1.05)
        radius = rng.uniform(0.1, 0.24)
        power = rng.choice((2.0, 6.0))
        bulge = np.abs((frame.y - cy) / radius) ** power + np.abs((frame.x - cx) / radius) ** power
        opacity = np.clip((1 - bulge) * radius * REFERENCE_SIDE / power + 0.5, 0, 1).astype(np.float32)[..., None]
        colour = np.array(STICKERS[p.sticker], dtype=np.float32) * (1 + 0.08 * frame.noise(rng, 8))[..., None]
        image = image + (colour - image) * opacity * rng.uniform(0.85, 1)
    if p.ruler:
        width, height = frame.extent()
        pitch, long, edge = rng.uniform(4, 9), rng.uniform(4, 8), height if away_y > 0 else 0

        def draw(canvas: ImageDraw.ImageDraw, scale: float) -> None:
            for number, x in enumerate(np.arange(2, width, pitch)):
                tip = edge - away_y * long * (1.7 if number % 5 == 0 else 1)
                canvas.line([(x * scale, edge * scale), (x * scale, tip * scale)], fill=230, width=max(1, round(scale)))

        ink = 0.92 if p.skin_tone > 0.6 else 0.08
        image = image + (ink - image) * frame.drawn(draw)[..., None]
    return image


def _optics(frame: _Frame, p: Parameters, image: Field, aperture: Field, rng: Generator) -> Field:
    """Light, colour cast, vignette, focus, black corners and sensor noise; values are clipped to [0, 1]."""
    angle = rng.uniform(0, 2 * np.pi)
    slope = p.illumination * (frame.x * math.cos(angle) + frame.y * math.sin(angle))
    corners = np.hypot(frame.y / frame.half[0], frame.x / frame.half[1]) / math.sqrt(2)
    light = rng.uniform(0.82, 1.08) * (1 + slope) * (1 - p.vignette * corners**2.5)
    cast = np.array((1 + p.warmth, 1, 1 - p.warmth), dtype=np.float32)
    image = image * light.astype(np.float32)[..., None] * cast
    if p.focus > 0.3:
        blur = p.focus * frame.scale
        image = ndimage.gaussian_filter(image, (blur, blur, 0), mode="nearest", truncate=3.0)
    image = image * aperture[..., None] + rng.standard_normal(image.shape, dtype=np.float32) * p.noise
    return np.clip(image, 0, 1)
