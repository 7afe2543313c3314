"""COCO: JSON files of outlined objects on listed images, as CVAT, Label Studio and others export them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel

from criinet.data.bad_files import BadFileError
from criinet.data.importing.drawn import (
    Coordinate,
    Drawings,
    Filled,
    Pictures,
    Shape,
    Size,
    annotation_files,
    polygon,
)
from criinet.data.importing.plan import ImportPlan, Wanted


class RunLengths(BaseModel):
    """A mask of COCO: runs of background and object in turn, down the columns; plain, or packed into text."""

    size: Size
    counts: list[int] | str

    def cover(self, size: Size) -> Filled:
        """Return the mask.

        Raises:
            ValueError: if it has another size, or other pixels than its size says.
        """
        runs = np.asarray(self.counts if isinstance(self.counts, list) else list(_unpacked(self.counts)), np.int64)
        if self.size != size or runs.sum() != size[0] * size[1] or (runs < 0).any():
            raise ValueError(f"its runs do not fill {size[1]}x{size[0]} pixels")
        values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return values.reshape(size, order="F")


def _unpacked(packed: str) -> Iterator[int]:
    """Read COCO's packed run lengths: six bits a character, five of them of the number; from the third on differences.

    Reference: the COCO API's ``rleFrString``.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in packed:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        yield runs[-1]
        value, shift = 0, 0


class CocoImage(BaseModel):
    """An image that a COCO file lists."""

    id: int | str
    file_name: str
    height: int | None = None
    width: int | None = None


class CocoCategory(BaseModel):
    """A class of a COCO file."""

    id: int | str
    name: str


def _pairs(flat: list[float]) -> list[float]:
    """Check that numbers are x and y in turn."""
    if len(flat) % 2:
        raise ValueError(f"{len(flat)} numbers are no x and y in turn")
    return flat


class CocoAnnotation(BaseModel):
    """An object of a COCO file: polygons as x, y, x, y, ..., which are joined, or run lengths; a box alone has none.

    A polygon of fewer than three points, as some tools write it, encloses nothing.
    """

    image_id: int | str
    category_id: int | str
    segmentation: list[Annotated[list[Coordinate], AfterValidator(_pairs)]] | RunLengths | None = None

    def drawn(self, label: str) -> list[Shape]:
        """Return what it covers."""
        if isinstance(self.segmentation, RunLengths):
            return [Shape(label, self.segmentation.cover)]
        outlines = [list(zip(flat[::2], flat[1::2], strict=True)) for flat in self.segmentation or () if len(flat) >= 6]
        return [Shape(label, polygon(points)) for points in outlines]


class CocoFile(BaseModel):
    """What COCO calls an instances file."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


def _objects(file: Path, read: CocoFile) -> dict[int | str, list[CocoAnnotation]]:
    """Return the objects of each image.

    Raises:
        BadFileError: if two images or categories share a number, or an object is of one that is not listed.
    """
    for kind, listed in (("image", read.images), ("category", read.categories)):
        number, count = Counter(each.id for each in listed).most_common(1)[0] if listed else (None, 0)
        if count > 1:
            what = f"lists {count} entries of the {kind} number {number!r}"
            raise BadFileError(file, what, "Export it again, or give each a number of its own")
    categories = {category.id for category in read.categories}
    objects: dict[int | str, list[CocoAnnotation]] = {image.id: [] for image in read.images}
    for each in read.annotations:
        if each.category_id not in categories:
            what = f"has an object of the category {each.category_id!r}, which it does not list"
            raise BadFileError(file, what, "Export it again")
        if each.image_id not in objects:
            what = f"has an object on the image {each.image_id!r}, which it does not list"
            raise BadFileError(file, what, "Export it again, or remove that object")
        objects[each.image_id].append(each)
    return objects


def plan_coco(source: Path, wanted: Wanted) -> ImportPlan:
    """COCO: images in any folders, and JSON files that list images, categories and outlined objects.

    An image of which no file outlines anything is unlabeled: these files do not tell an image that nobody looked at
    from one without objects. So is one with an object that has a box alone.

    Raises:
        DataError: if a structure is wanted that nobody drew.
        BadFileError: if a file cannot be read, contradicts itself, or was drawn on an image of another size, or two
            draw on one image.
    """
    files = annotation_files(source, CocoFile, "COCO", "images", "annotations", "categories")
    drawings, images = Drawings(), Pictures.below(source, [file for file, _ in files])
    missing, boxed = 0, set[Path]()
    for file, read in files:
        name_of = {category.id: category.name for category in read.categories}
        drawings.known += [name for _, name in sorted(name_of.items(), key=lambda pair: str(pair[0]).zfill(9))]
        objects = _objects(file, read)
        for listed in read.images:
            found = images.at(file, listed.file_name) or images.called(file, listed.file_name)
            outlined = [each.drawn(name_of[each.category_id]) for each in objects[listed.id]]
            if found is None:
                missing += 1
            elif [] in outlined:
                boxed.add(found)
            elif outlined:
                shapes = [shape for parts in outlined for shape in parts]
                drawings.add(found, file, (listed.height, listed.width), shapes)
    for image in boxed:
        drawings.shapes.pop(image, None)  # Another file may outline its other objects.
    bare = len(images.all) - len(drawings.shapes) - len(boxed) if drawings.known else 0
    for what, count in (
        ("listed and not there", missing),
        ("unlabeled, as an object has a box alone", len(boxed)),
        ("unlabeled, as nothing is outlined on them, which need not mean that there is no object", bare),
    ):
        if count:
            drawings.left_out.append(f"images {what}: {count}")
    return drawings.plan(source, wanted, images.all, "coco")
