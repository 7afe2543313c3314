"""What a backbone announces, compared once with what it gives: a mistake there is a sentence that names the network."""

from collections.abc import Generator
from contextlib import contextmanager

import torch

from criinet.errors import NetworkError
from criinet.foreign import failed, passes
from criinet.networks.base import Backbone, Features
from criinet.random_numbers import left_alone

ANNOUNCED = ("dims", "in_channels", "multiple", "scale_channels", "pyramid_channels")
"""What a backbone has to set itself."""
LEAST = 8
"""Sides of the image that it is tried on, at least."""


@contextmanager
def named(name: str) -> Generator[None, None, None]:
    """Turn an error of the network's own code into one that names the network.

    Raises:
        NetworkError: for any error but those that :func:`criinet.foreign.passes` lets pass.
    """
    try:
        yield
    except Exception as error:
        if passes(error):
            raise
        raise NetworkError(f"network '{name}' {failed(error)}.") from error


def require_announced(name: str, backbone: Backbone) -> None:
    """Check that a backbone sets all that it has to announce.

    Raises:
        NetworkError: if something is missing.
    """
    for attribute in ANNOUNCED:
        if not hasattr(backbone, attribute):
            raise NetworkError(f"network '{name}' has no {attribute}; set self.{attribute} in its __init__.")


def require_kept(name: str, backbone: Backbone) -> None:
    """Check that the features of a black image have the channels and the stride that the backbone announces.

    One pass in evaluation mode, which leaves random numbers and running statistics as they were; the backbone is in
    training mode afterwards. All sides but the last are odd times ``multiple``, so that one that is too small shows.

    Raises:
        NetworkError: if it fails, or they are others.
    """
    with torch.no_grad(), left_alone(devices=[]), named(name):
        times = LEAST // backbone.multiple | 1
        sides = (*[times * backbone.multiple] * (backbone.dims - 1), (times + 1) * backbone.multiple)
        features = backbone.eval()(torch.zeros(1, backbone.in_channels, *sides))
        compare(name, backbone, features, sides)
    backbone.train()


def compare(name: str, backbone: Backbone, features: Features, sides: tuple[int, ...]) -> None:
    """Compare the features of an image of these sides with what the backbone announces.

    Raises:
        NetworkError: if channels or resolutions are others.
    """
    for found, attribute in ((features.scales, "scale_channels"), (features.pyramid, "pyramid_channels")):
        channels, announced = tuple(f.shape[1] for f in found), tuple(getattr(backbone, attribute))
        if channels != announced:
            raise NetworkError(
                f"network '{name}' gives features of {channels} channels, but announces {attribute} {announced}; "
                "make both alike."
            )
    for feature, which in ((features.decoder, "decoder"), (features.scales[0], "finest encoder")):
        size = tuple(feature.shape[2:])
        seen = tuple(backbone.stride * side for side in size)
        if seen != sides:
            raise NetworkError(
                f"network '{name}' gives for {sides} pixels a {which} feature of {size}, which at stride "
                f"{backbone.stride} is {seen} pixels; set self.stride to the image's pixels per pixel of it, and "
                "self.multiple to what sides have to be divisible by."
            )
