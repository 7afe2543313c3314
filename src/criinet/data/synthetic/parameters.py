"""What is drawn for one synthetic case, and how often: area, contrast, pigments, hairs and the rest."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

PIGMENTS: dict[str, tuple[float, float, float]] = {
    "brown": (0.55, 1.0, 1.45),
    "black": (0.95, 1.0, 1.05),
    "pink": (0.25, 1.45, 1.3),
    "blue-grey": (1.35, 0.95, 0.7),
    "pale": (-0.7, -1.0, -1.3),
}
"""Absorbance of red, green and blue by each kind of lesion, mean absolute value 1; pale is lighter than skin."""

STICKERS: dict[str, tuple[float, float, float]] = {
    "blue": (0.16, 0.36, 0.72),
    "green": (0.2, 0.58, 0.34),
    "yellow": (0.88, 0.76, 0.2),
    "orange": (0.86, 0.44, 0.16),
    "brown": (0.4, 0.22, 0.14),
    "black": (0.08, 0.07, 0.08),
}
"""Colours of marker stickers, linear red, green and blue in [0, 1]."""
_PIGMENT_SHARES = (0.42, 0.14, 0.2, 0.14, 0.1)
STREAMS = ("parameters", "outline", "skin", "texture", "freckles", "vessels", "shadow", "surface", "border", "light")


@dataclass(frozen=True)
class Parameters:
    """What was drawn for one case.

    area: truth asked for, fraction of the image, [0.025, 0.43]; at most 0.85 of the visible disc is given.
    elongation: long over short axis, [1, 1.9]. irregularity: roughness of the outline, [0.1, 1].
    lesions: 1, or 2 in about 3 % of cases. at_border: the lesion is cut by the image border.
    contrast: mean absolute absorbance of the lesion in natural-log units, [0.128, 1.5]; below 0.2 is barely visible.
    blur: standard deviation of the boundary in px, [0.4, 6].
    pigment, second_pigment: keys of PIGMENTS. second_share: how much of the lesion has the second one, [0, 0.6].
    core: extra absorbance of the centre, [0, 1].
    network, mottle: strength of lines and of clouds inside the lesion, [0, 1].
    regression: scar-like clearing inside the lesion, [0, 0.8].
    skin_tone: 0 (Fitzpatrick I) to 1 (VI). skin_mottle: uneven colour of the skin, [0.3, 1.3].
    hairs: 0 to 25. light_hairs: they are lighter than the skin.
    freckles: 0 to 40 dark spots of radius up to 2 px; nevi: 0 to 4 of radius up to 6 px; neither is lesion.
    vascular: absorbance of a pink patch that is not lesion, [0, 0.6]. vessels: 0 to 14 thin red lines.
    shadow: darkening from one side, [0, 0.9] in log units. ink: 0 to 3 strokes of a skin marker.
    sticker: "" or a key of STICKERS. ruler: tick marks along one side.
    bubbles: 0 to 10 gel bubbles. glints: 0 to 14 specular dots.
    vignette: darkening of the corners, [0, 0.6].
    aperture: radius of the visible disc in short sides, 0.54 to 0.68, or 0 for the whole image.
    illumination: slope of the light across the image, [0, 0.35]. warmth: colour cast, [-0.12, 0.12].
    focus: blur of the whole image in px, [0, 1.1].
    noise: standard deviation of sensor noise, [0.004, 0.04] of full scale.
    """

    area: float
    elongation: float
    irregularity: float
    lesions: int
    at_border: bool
    contrast: float
    blur: float
    pigment: str
    second_pigment: str
    second_share: float
    core: float
    network: float
    mottle: float
    regression: float
    skin_tone: float
    skin_mottle: float
    hairs: int
    light_hairs: bool
    freckles: int
    nevi: int
    vascular: float
    vessels: int
    shadow: float
    ink: int
    sticker: str
    ruler: bool
    bubbles: int
    glints: int
    vignette: float
    aperture: float
    illumination: float
    warmth: float
    focus: float
    noise: float


def draw_parameters(seed: int, index: int) -> Parameters:
    """Draw the parameters of one case, more than a quarter of them of low contrast; ranges as in ``Parameters``."""
    draw = _Draw(stream(seed, index, "parameters"))
    pigment, second = draw.one_of(list(PIGMENTS), _PIGMENT_SHARES), draw.one_of(list(PIGMENTS), _PIGMENT_SHARES)
    lesions = 2 if draw.chance(0.03) else 1
    blur = draw.log_span(0.4, 6)
    return Parameters(
        area=draw.log_span(0.04, 0.2) if lesions == 2 else draw.log_span(0.025, 0.43),
        elongation=draw.span(1, 1.9),
        irregularity=draw.span(0.1, 1),
        lesions=lesions,
        at_border=draw.chance(0.14) and lesions == 1,
        contrast=_contrast(draw, pigment, blur),
        blur=blur,
        pigment=pigment,
        second_pigment=second,
        second_share=draw.span(0, 0.6) if draw.chance(0.5) else 0.0,
        core=draw.span(0, 1),
        network=draw.span(0, 1) if draw.chance(0.6) else 0.0,
        mottle=draw.span(0, 1),
        regression=draw.span(0.2, 0.8) if draw.chance(0.2) else 0.0,
        skin_tone=draw.beta(0.9, 1.5),
        skin_mottle=draw.span(0.3, 1.3),
        hairs=draw.up_to(25, 0.55),
        light_hairs=draw.chance(0.15),
        freckles=draw.up_to(40, 0.5),
        nevi=draw.up_to(4, 0.3),
        vascular=draw.span(0.12, 0.6) if draw.chance(0.38) else 0.0,
        vessels=draw.up_to(14, 0.35),
        shadow=draw.span(0.2, 0.9) if draw.chance(0.28) else 0.0,
        ink=draw.up_to(3, 0.12),
        sticker=draw.one_of(list(STICKERS)) if draw.chance(0.2) else "",
        ruler=draw.chance(0.12),
        bubbles=draw.up_to(10, 0.25),
        glints=draw.up_to(14, 0.3),
        vignette=draw.span(0, 0.6) if draw.chance(0.6) else 0.0,
        aperture=draw.span(0.54, 0.68) if draw.chance(0.14) else 0.0,
        illumination=draw.span(0, 0.35),
        warmth=draw.span(-0.12, 0.12),
        focus=draw.span(0, 1.1),
        noise=draw.log_span(0.004, 0.04),
    )


class _Draw:
    """Draws of one random stream, rounded so that a table of them reads well."""

    def __init__(self, rng: Generator) -> None:
        self.rng = rng

    def span(self, low: float, high: float) -> float:
        return round(float(self.rng.uniform(low, high)), 4)

    def log_span(self, low: float, high: float) -> float:
        return round(math.exp(self.rng.uniform(math.log(low), math.log(high))), 4)

    def beta(self, a: float, b: float) -> float:
        return round(float(self.rng.beta(a, b)), 4)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def up_to(self, most: int, probability: float) -> int:
        """0, or with ``probability`` 1 to ``most``, few more often than many."""
        return 1 + int(most * self.rng.random() ** 1.7) if self.chance(probability) else 0

    def one_of(self, names: list[str], shares: tuple[float, ...] | None = None) -> str:
        return str(self.rng.choice(names, p=shares))


def _contrast(draw: _Draw, pigment: str, blur: float) -> float:
    """Draw the contrast: low in a third, more where the edge is blurred, never strong in pale and pink lesions."""
    contrast = draw.log_span(0.11, 0.22) if draw.chance(0.34) else draw.log_span(0.22, 0.95)
    contrast = max(contrast, 0.12 + 0.02 * blur)
    contrast = min(contrast, {"pale": 0.24, "pink": 0.55}.get(pigment, contrast))
    return round(contrast * (1.55 if pigment == "black" else 1), 4)


def stream(seed: int, index: int, name: str) -> Generator:
    return np.random.default_rng((seed, index, STREAMS.index(name)))
