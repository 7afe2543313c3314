"""LabelMe: a JSON file of shapes beside every annotated image."""

import base64
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import BaseModel, Field

from criinet.data.bad_files import BadFileError, in_a_sentence
from criinet.data.images import image_size
from criinet.data.importing.drawn import (
    Drawings,
    Filled,
    Pictures,
    Point,
    Shape,
    Size,
    annotation_files,
    circle,
    polygon,
    stamp,
)
from criinet.data.importing.plan import ImportPlan, Wanted

_OPEN = ("point", "points", "line", "linestrip")
"""Shapes that enclose nothing."""


class LabelMeShape(BaseModel):
    """One shape of LabelMe: of a mask ``points`` are two corners, of a circle its centre and a point on it.

    A rectangle has two opposite corners, or all four, as X-AnyLabeling writes it, and may then be turned.
    """

    label: str
    points: list[Point]
    shape_type: str | None = "polygon"
    mask: str | None = None

    def drawn(self, file: Path, size: Size) -> Shape | None:
        """Return what it covers of an image of (H, W); None if it encloses nothing that is read, like a point.

        Raises:
            BadFileError: if ``file``, whose shape this is, holds a mask that is no PNG, or larger than the image.
        """
        match self.shape_type or "polygon", self.points:
            case "polygon", [_, _, _, *_]:
                return Shape(self.label, polygon(self.points))
            case "rectangle" | "rotation" | "quadrilateral", [_, _, _, _]:
                return Shape(self.label, polygon(self.points))
            case "rectangle", [(left, top), (right, bottom)]:
                return Shape(self.label, polygon([(left, top), (right, top), (right, bottom), (left, bottom)]))
            case "circle", [centre, edge]:
                return Shape(self.label, circle(centre, edge))
            case "mask", [corner, *_] if self.mask is not None:
                return Shape(self.label, embedded(file, self.mask, size, corner))
            case _:
                return None


class LabelMeFile(BaseModel):
    """What LabelMe writes beside an image."""

    shapes: list[LabelMeShape]
    image: Annotated[str, Field(alias="imagePath")] = ""
    height: Annotated[int | None, Field(alias="imageHeight")] = None
    width: Annotated[int | None, Field(alias="imageWidth")] = None


def embedded(file: Path, mask: str, size: Size, corner: Point) -> Callable[[Size], Filled]:
    """Return the pixels of a PNG in base64 whose first one lies at ``corner``; it is decoded where it is drawn.

    Raises:
        BadFileError: if it is no PNG, or larger than an image of ``size`` (H, W).
    """

    def cover(size: Size) -> Filled:
        with in_a_sentence(file, "has a mask that is no PNG image"), picture() as opened:
            return stamp(np.asarray(opened) > 0, corner)(size)

    def picture() -> Image.Image:
        return Image.open(io.BytesIO(base64.b64decode(mask, validate=True)), formats=["PNG"])

    with in_a_sentence(file, "has a mask that is no PNG image"), picture() as opened:
        if opened.height > size[0] or opened.width > size[1]:
            what = f"has a mask of {opened.width}x{opened.height} pixels on an image of {size[1]}x{size[0]}"
            raise BadFileError(file, what, "Save it again with LabelMe")
    return cover


def plan_labelme(source: Path, wanted: Wanted) -> ImportPlan:
    """LabelMe: images, and beside those that were annotated a JSON file of polygons, rectangles, circles and masks.

    An image without a JSON file is unlabeled, one with a file that draws nothing has no object. Unlabeled is also one
    with a shape of an unknown kind, or with points and lines alone: there is an object that nobody outlined.

    Raises:
        DataError: if a structure is wanted that nobody drew.
        BadFileError: if a file cannot be read, its image is not there, or it was drawn on one of another size, or two
            draw on one image.
    """
    files = annotation_files(source, LabelMeFile, "LabelMe", "shapes")
    drawings, images = Drawings(), Pictures.below(source, [file for file, _ in files])
    left: Counter[str] = Counter()
    unlabeled: list[str] = []
    for file, read in files:
        image = images.at(file, read.image) or images.beside(file) or images.called(file, read.image)
        if image is None:
            raise BadFileError(file, f"was drawn on '{read.image}', which is not there", "Put the image beside it")
        drawn = [shape.drawn(file, image_size(image)) for shape in read.shapes]
        shapes = [shape for shape in drawn if shape is not None]
        unread = [str(each.shape_type) for each, shape in zip(read.shapes, drawn, strict=True) if shape is None]
        left.update(unread)
        known = set(unread).issubset(_OPEN) and (shapes or not unread)
        unlabeled += [] if known else [image.name]
        drawings.add(image, file, (read.height, read.width), shapes if known else None)
    if left:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
        drawings.left_out.append(f"left out, as they enclose nothing that is read: {kinds}")
    if unlabeled:
        more = f" and {len(unlabeled) - 3} more" if len(unlabeled) > 3 else ""
        drawings.left_out.append(f"images unlabeled, as an object may be left out: {', '.join(unlabeled[:3])}{more}")
    return drawings.plan(source, wanted, images.all, "labelme")
