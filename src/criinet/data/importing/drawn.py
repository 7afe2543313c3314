"""From what annotation tools draw on images to masks: outlines, circles, and files that hold them as JSON."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, TypeVar

import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from criinet.data.bad_files import BadFileError, reason_of
from criinet.data.card import read_groups
from criinet.data.files import read_json
from criinet.data.images import image_size
from criinet.data.importing.plan import Content, ImportPlan, Item, Wanted, Written, require_drawn
from criinet.data.importing.sources import files_below
from criinet.data.kinds import PICTURE_SUFFIXES, comparable, key_of, stem_of, suffix_of
from criinet.data.masks import BACKGROUND, IGNORED_VALUE, letters_of
from criinet.errors import DataError

IGNORED = "__ignore__"
"""The label that LabelMe keeps for what nobody knows, as it does ``_background_`` for what is no object."""

_MOST_CLASSES = 254
Size = tuple[int, int]
Filled = NDArray[np.bool_]
Coordinate = Annotated[float, Field(allow_inf_nan=False)]
Point = tuple[Coordinate, Coordinate]
"""x to the right and y downwards, in pixels from the image's corner."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Shape:
    """What was drawn once: of which class, and which pixels of an image of (H, W) it covers."""

    label: str
    cover: Callable[[Size], Filled]


@dataclass
class Drawings:
    """What annotation files draw on images.

    shapes: on each image, in the order of drawing. file: the one that draws on it. known: names of classes in their
    order, where a file has one. left_out: one sentence for each thing that is not taken.
    """

    shapes: dict[Path, Sequence[Shape]] = field(default_factory=dict[Path, Sequence[Shape]])
    file: dict[Path, Path] = field(default_factory=dict[Path, Path])
    known: list[str] = field(default_factory=list[str])
    left_out: list[str] = field(default_factory=list[str])

    def add(self, image: Path, file: Path, said: tuple[int | None, int | None], shapes: Sequence[Shape] | None) -> None:
        """Take what a file draws on an image.

        Args:
            said: (H, W) of the image that it was drawn on, None where the file does not say it.
            shapes: None where not all of them can be read, so that the image is unlabeled.

        Raises:
            BadFileError: if it was drawn on an image of another size, or something draws on that image already.
        """
        height, width = image_size(image)
        if None not in said and said != (height, width):
            what = f"was drawn on {said[1]}x{said[0]} pixels, and {image} has {width}x{height}"
            raise BadFileError(file, what, "Put back the image that it was drawn on")
        other = self.file.get(image)
        if other is not None:
            who = "twice, under two numbers" if other == file else f"as {other} does"
            raise BadFileError(file, f"draws on {image} {who}", "Keep the one that holds, or join them")
        self.file[image] = file
        if shapes is not None:
            self.shapes[image] = shapes

    def plan(self, source: Path, wanted: Wanted, images: Sequence[Path], name: str) -> ImportPlan:
        """Return the dataset of all ``images``, of which those with drawings get masks.

        Raises:
            DataError: if a structure is wanted that nobody drew, or what was drawn cannot be used.
        """
        if not self.shapes and not self.left_out:
            return ImportPlan((), {})
        counts = Counter(label for shapes in self.shapes.values() for label in {shape.label for shape in shapes})
        background = {label for label in counts if letters_of(label) == BACKGROUND}
        objects = {label: count for label, count in counts.items() if label not in (*background, IGNORED)}
        if not objects:
            said = f": {'; '.join(self.left_out)}" if self.left_out else "; outline some, then import again"
            raise DataError(f"{source} has no image with an outline of an object{said}.")
        require_drawn(source, wanted.structures, objects, nothing="no drawn object")
        known = [label for label in self.known if label in objects]
        classes = wanted.structures or tuple(dict.fromkeys([*known, *sorted(objects)]))
        if len(classes) > _MOST_CLASSES:
            raise DataError(
                f"{source} has {len(classes)} classes, more than a mask holds; choose with --structure NAME."
            )
        number_of = {label: number for number, label in enumerate(classes, start=1)}
        number_of |= dict.fromkeys(background, 0) | ({IGNORED: IGNORED_VALUE} if IGNORED in counts else {})
        items = [Item(stem_of(path), path, self.mask(path, number_of), stem_of(path)) for path in images]
        group_of = read_groups(source, [item.name for item in items])
        grouped = tuple(replace(item, group=group_of[item.name]) for item in items)
        card: dict[str, Any] = {"name": name, "classes": ["background", *classes], "encoding": "index"}
        card |= {"ignore": True} if IGNORED in counts else {}
        return ImportPlan(grouped, card, left_out=tuple(self.left_out))

    def mask(self, image: Path, number_of: Mapping[str, int]) -> Written | None:
        """Return the mask of an image, on which a later drawing covers an earlier one; None if nobody drew on it."""
        if image not in self.shapes:
            return None

        def make() -> Content:
            height, width = image_size(image)
            labels = np.zeros((height, width), np.uint8)
            for shape in self.shapes[image]:
                if shape.label not in number_of:
                    continue
                try:
                    labels[shape.cover((height, width))] = number_of[shape.label]
                except (ValueError, OverflowError) as error:
                    what = f"has an object '{shape.label}' on {image.name} that cannot be read: {error}"
                    raise BadFileError(self.file[image], what, "Export it again") from error
            return labels, None

        return Written(".png", make)


@dataclass(frozen=True)
class Pictures:
    """The images of a source, in order, and by the last part of their paths.

    folders: those that they lie in. annotated: those that annotation files lie in or below.
    """

    source: Path
    all: tuple[Path, ...]
    by_name: Mapping[str, Path]
    folders: frozenset[Path]
    annotated: frozenset[Path]

    @classmethod
    def below(cls, source: Path, files: Iterable[Path]) -> "Pictures":
        """Find the images in a folder and in those below it, but for datasets that an import has made there.

        Args:
            files: those that draw on them.

        Raises:
            BadFileError: if two share a name, the suffix aside.
        """
        images = tuple(path for path in files_below(source) if suffix_of(path) in PICTURE_SUFFIXES)
        first: dict[str, Path] = {}
        for path in images:
            if first.setdefault(key_of(path), path) != path:
                raise BadFileError(path, f"has the same name as {first[key_of(path)]}", "Rename or remove one of them")
        by_name = {comparable(path.name): path for path in images}
        annotated = frozenset(folder for file in files for folder in file.parents)
        return cls(source, images, by_name, frozenset(path.parent for path in images), annotated)

    def at(self, file: Path, said: str) -> Path | None:
        """Return the image that lies where a file says, from its own folder on."""
        told = PureWindowsPath(comparable(said))  # Of either kind of slash.
        image = self.by_name.get(told.name)
        found = image is not None and _spelled(image) == _spelled(file.parent / told.as_posix())
        return image if found else None

    def beside(self, file: Path) -> Path | None:
        """Return the image of a file's own name in its folder."""
        return next((path for path in self.all if path.parent == file.parent and stem_of(path) == file.stem), None)

    def called(self, file: Path, said: str) -> Path | None:
        """Return the image of the name that a file says, wherever it lies now.

        Raises:
            BadFileError: if that is likely another image of the same name.
        """
        told = PureWindowsPath(comparable(said))
        image = self.by_name.get(told.name)
        if image is None or (self._near(image, file) and self._agree(image, file, told)):
            return image
        what = f"was drawn on '{said}', which is not there; {image} seems to be another image of that name"
        raise BadFileError(file, what, "Put back the image that it was drawn on, or correct its path in the file")

    def _near(self, image: Path, file: Path) -> bool:
        """Tell whether no other file is nearer to an image, and no other images to the file."""
        nearest = next(folder for folder in image.parents if folder in self.annotated)
        return nearest in file.parents and (file.parent in image.parents or file.parent not in self.folders)

    def _agree(self, image: Path, file: Path, told: PureWindowsPath) -> bool:
        """Tell whether an image lies in the folders that are told, unless they are those of another computer."""
        place, source = (Path(_spelled(path)) for path in (file.parent / told.as_posix(), self.source))
        if told.drive or not place.is_relative_to(source):
            return True
        parts = place.relative_to(source).parts if told.root else told.parts
        own = image.relative_to(self.source).parts
        return all(comparable(a) == comparable(b) for a, b in zip(reversed(own), reversed(parts), strict=False))


def _spelled(path: Path) -> str:
    """Return a path in full as it is compared; it need not be there."""
    return comparable(os.path.normpath(path.absolute()))


def annotation_files(source: Path, kind: type[Model], tool: str, *keys: str) -> list[tuple[Path, Model]]:
    """Return the JSON files in a folder and below that hold a list under each of some keys, and what they hold.

    Raises:
        BadFileError: if one cannot be read, or something in it is missing or of another kind.
    """
    found: list[tuple[Path, Model]] = []
    for file in (path for path in files_below(source) if path.suffix.lower() == ".json"):
        content = read_json(file, "Change its permissions", "Save or export it again")
        if isinstance(content, dict) and all(isinstance(content.get(key), list) for key in keys):
            found.append((file, _checked(kind, file, content, tool)))
    return found


def _checked(kind: type[Model], file: Path, content: dict[str, Any], tool: str) -> Model:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        what = f"is no {tool} file as it is known: {where}: {reason_of(problem['msg'])}"
        raise BadFileError(file, what, "Save or export it again") from error


def polygon(points: Sequence[Point]) -> Callable[[Size], Filled]:
    """Return which pixels have their centre, half a pixel from their corner, inside a polygon."""

    def cover(size: Size) -> Filled:
        corners, covered = np.asarray(points), np.zeros(size, np.bool_)
        low = np.clip(np.floor(corners.min(0)), 0, size[::-1]).astype(int)
        high = np.clip(np.ceil(corners.max(0)), 0, size[::-1]).astype(int)
        across, down = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        inside = Outline(corners).contains_points(np.stack([across.ravel(), down.ravel()], axis=1))
        covered[low[1] : high[1], low[0] : high[0]] = inside.reshape(across.shape)
        return covered

    return cover


def circle(centre: Point, edge: Point) -> Callable[[Size], Filled]:
    """Return which pixels have their centre inside a circle."""

    def cover(size: Size) -> Filled:
        down, across = np.ogrid[: size[0], : size[1]]
        radius = np.hypot(edge[0] - centre[0], edge[1] - centre[1])
        return np.hypot(across + 0.5 - centre[0], down + 0.5 - centre[1]) <= radius

    return cover


def stamp(picture: Filled, corner: Point) -> Callable[[Size], Filled]:
    """Return the pixels of a small mask whose first one lies at ``corner``."""

    def cover(size: Size) -> Filled:
        covered = np.zeros(size, np.bool_)
        x, y = (round(value) for value in corner)
        part = picture[max(0, -y) : size[0] - y, max(0, -x) : size[1] - x]
        covered[max(0, y) : max(0, y) + part.shape[0], max(0, x) : max(0, x) + part.shape[1]] = part
        return covered

    return cover
