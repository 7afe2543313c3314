"""Draws dermoscopy-like images whose truth is known exactly: the data of ``criinet demo`` and of the tests.

An image is skin seen through layers that absorb light (Beer-Lambert), under things that lie on top of it:

    image = light * exp(log skin - sum of layers of absorbance)

The lesion is one of the layers; freckles, vessels, shadows, ink and stickers look like lesions but are none. Everything
is drawn from (seed, index) alone, each layer from its own random stream: changing one parameter leaves the other layers
as they were.
Lengths named "px" are those of an image whose short side is 128 pixels and grow with the image.
"""

from criinet.data.synthetic.folder import write_dataset
from criinet.data.synthetic.painting import AREA_RANGE, SyntheticCase, compose, render
from criinet.data.synthetic.parameters import PIGMENTS, STICKERS, Parameters, draw_parameters

__all__ = [
    "AREA_RANGE",
    "PIGMENTS",
    "STICKERS",
    "Parameters",
    "SyntheticCase",
    "compose",
    "draw_parameters",
    "render",
    "write_dataset",
]
