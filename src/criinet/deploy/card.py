"""What an exported file says about itself: all that a prediction needs beside the weights; needs no torch."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from criinet.config import Config, Count
from criinet.errors import CheckpointError

FORMAT = 2
KEY = "criinet"
"""Name of the metadata entry that holds the card as JSON."""
UNSEALED = b"sealed".rjust(64, b"0")
"""What stands in a card's digest while that is computed."""


class Quantisation(Config):
    """What 8-bit integers cost, measured when the file was made.

    calibration: how many unlabeled images set the ranges of the activations.
    cases: how many validation cases were measured; 0 where the run has none.
    dice_float, dice_int8: mean Dice over cases and foreground classes before and after; None without cases.
    """

    calibration: Count
    cases: Annotated[int, Field(ge=0)]
    dice_float: float | None
    dice_int8: float | None


class ModelCard(Config):
    """How to feed an exported network and what comes out.

    The network takes ``image``: (B, channels, h, w) float32 in [0, 1], h and w multiples of ``multiple``. It gives
    ``probabilities`` (B, K, h, w) float32, and ``coarse``, the same of the first of two opinions, where it has one.

    format: of this card.
    classes: K names, background first.
    size: height and width of training; in window "whole" an image is resized to it, in "patch" crops have it.
    multiple: every side of the input is a multiple of this; pad at the far sides by repeating the border.
    mirrors: axes of (B, C, h, w) along which training mirrored, what `--tta` averages over.
    tta: whether that is done unless `--no-tta` is given.
    outputs: names of the outputs.
    shift: of the objects' logits, already in the outputs.
    method, network, dataset, checkpoint, step, version: where the weights come from.
    quantisation: None for a file in float32.
    digest: SHA-256 of an ONNX file with UNSEALED in this place; None elsewhere, and where an older criinet wrote it.
    """

    format: int
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    size: tuple[Count, Count]
    window: Literal["whole", "patch"]
    channels: Literal[1, 3]
    multiple: Count
    mirrors: tuple[tuple[int, ...], ...]
    tta: bool = False
    outputs: tuple[Literal["probabilities"]] | tuple[Literal["probabilities"], Literal["coarse"]]
    shift: float = 0.0
    method: str
    network: str
    dataset: str
    checkpoint: str
    step: int
    version: str
    quantisation: Quantisation | None = None
    digest: str | None = None

    def to_json(self) -> str:
        """Return the card as it stands in the file."""
        return self.model_dump_json()


def sealed(content: bytes) -> bytes:
    """Return an ONNX file whose card has UNSEALED as its digest with the digest of the whole file there instead."""
    return content.replace(UNSEALED, hashlib.sha256(content).hexdigest().encode())


def is_intact(content: bytes, card: ModelCard) -> bool:
    """Tell whether an ONNX file is as it was when its card got its digest; one without a digest may be."""
    if card.digest is None:
        return True
    return hashlib.sha256(content.replace(card.digest.encode(), UNSEALED)).hexdigest() == card.digest


def read_card(text: str | None, name: str) -> ModelCard:
    """Return the card that stands in the file called ``name``.

    Raises:
        CheckpointError: if there is none, it cannot be read, or a newer criinet wrote it.
    """
    if text is None:
        raise CheckpointError(f"{name} was not exported by criinet. Make one with `criinet export RUN --out FILE`.")
    try:
        found: Any = json.loads(text)
        newer = int(found["format"]) > FORMAT
        card = None if newer else ModelCard.model_validate(found)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise CheckpointError(f"the metadata of {name} cannot be read. Export the run again.") from error
    if card is None:
        raise CheckpointError(
            f"{name} has format {found['format']}, this criinet reads up to {FORMAT}. Install a newer criinet."
        )
    return card
