"""Pictures for the page and masks from it: pixels alone, with nothing of a file's header."""

import io

import numpy as np
from PIL import Image

from criinet.data.images import Pixels
from criinet.errors import DataError

THUMBNAIL = 96
"""Longest side of a thumbnail, in pixels."""


def as_png(pixels: Pixels) -> bytes:
    """Return (H, W) or (H, W, 3) uint8 as a PNG, compressed a little, which is fast."""
    return _saved(Image.fromarray(np.ascontiguousarray(pixels)), format="PNG", compress_level=1)


def as_thumbnail(pixels: Pixels) -> bytes:
    """Return an image as a small WebP."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2)
    return _saved(image, format="WEBP", quality=75, method=2)


def decode_mask(body: bytes, size: tuple[int, int]) -> Pixels:
    """Read an uploaded mask: an 8-bit gray PNG of ``size`` (H, W) that holds class indices, slices one above another.

    The size is checked before anything is decoded.

    Raises:
        DataError: if it is anything else.
    """
    wanted = f"a gray PNG of {size[1]}x{size[0]} with class indices"
    try:
        with Image.open(io.BytesIO(body), formats=["PNG"]) as image:
            if (image.height, image.width) != size or image.mode != "L" or getattr(image, "n_frames", 1) > 1:
                raise DataError(
                    f"the uploaded mask is {image.width}x{image.height} of mode {image.mode}; send {wanted}."
                )
            return np.array(image)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file.
        raise DataError(f"the uploaded mask cannot be read as an image; send {wanted}.") from error


def _saved(image: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, **options)  # pyright: ignore[reportArgumentType]
    return content.getvalue()
