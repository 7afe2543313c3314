"""The settings of data: what a network is shown of an image or a volume."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from criinet.config import Config, Count, Fraction, Millimetres
from criinet.data.augmentation import AugmentationConfig
from criinet.data.intensity import Intensity

Side = Annotated[int, Field(ge=16, le=4096)]
Depth = Annotated[int, Field(ge=4, le=4096)]
Kind = Literal["images", "slices", "volumes"]


class DataConfig(Config):
    """What the network sees of an image."""

    kind: Annotated[
        Kind, Field(description="images; or of volumes: slices for a 2D network, volumes for boxes and a 3D network")
    ] = "images"
    size: Annotated[
        tuple[Side, Side] | tuple[Depth, Side, Side],
        Field(description="height and width, for boxes also depth before them, that the network is trained on"),
    ] = (128, 128)
    window: Annotated[
        Literal["whole", "patch"],
        Field(
            description="whole: each image is resized; patch: crops at the image's own resolution, then sliding window"
        ),
    ] = "whole"
    channels: Annotated[Literal[1, 3], Field(description="1: gray, 3: colour")] = 3
    spacing: Annotated[
        tuple[Millimetres, Millimetres, Millimetres] | None,
        Field(description="of volumes: depth, height and width in mm of a voxel in training; null: as stored"),
    ] = None
    intensity: Annotated[
        Intensity,
        Field(description="of volumes: z-score, range (fixed, as in CT), or window (the file's own, or percentiles)"),
    ] = "z-score"
    range: Annotated[
        tuple[float, float], Field(description="of volumes: what becomes black and white with intensity=range, in HU")
    ] = (-160.0, 240.0)
    one_object: Annotated[
        tuple[Count, ...],
        Field(description="of volumes: numbers of classes of which predictions keep the largest connected object"),
    ] = ()
    tta: Annotated[bool, Field(description="predict the mean over mirrored images, as training mirrors them")] = False
    foreground: Annotated[Fraction, Field(description="of volumes: how often a window is centred on an object")] = 0.0
    augmentation: AugmentationConfig = AugmentationConfig()

    @field_validator("range")
    @classmethod
    def _rises(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] >= limits[1]:
            raise ValueError("give the value that becomes black, and then a larger one that becomes white")
        return limits

    @property
    def dims(self) -> int:
        """How many spatial axes the network has."""
        return 3 if self.kind == "volumes" else 2

    @property
    def scan_dims(self) -> int:
        """How many spatial axes a scan has, which is not always as many as the network: slices are of volumes."""
        return 2 if self.kind == "images" else 3

    @property
    def box(self) -> tuple[int, ...]:
        """The window that is cut from a stored case, by its spatial axes: a slice is one voxel deep."""
        return (1, *self.size) if self.kind == "slices" else self.size
