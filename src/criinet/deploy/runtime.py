"""Masks from an exported ONNX file through onnxruntime; neither this module nor what it imports needs torch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from criinet.data.fitting import corners_of, cut, fit, gaussian_window, with_channels
from criinet.data.images import require_pixels
from criinet.data.inputs import Part
from criinet.data.predictions import Outputs, gray_maps, require_shift, write_predictions
from criinet.data.threads import Advance
from criinet.deploy.card import KEY, ModelCard, is_intact, read_card
from criinet.errors import CheckpointError, ConfigError

BATCH = 8
ZIPPED = b"PK\x03\x04"
"""How a file of torch begins."""
Array = NDArray[Any]
Seen = tuple[Array, tuple[int, int]]
"""(C, h, w) float32 as the network sees an image, resized or padded, and the image's own size (H, W)."""
Opinions = tuple[Array, Array | None]
"""Probabilities (B, K, h, w), and those of the first of two opinions, or None."""


@dataclass(frozen=True)
class ExportedPrediction:
    """What an exported file says of one image, at the image's own size (H, W).

    probs: (K, H, W) float32, sums to 1 over classes.
    coarse: (K, H, W) the first of two opinions, or None where the method has one.
    """

    probs: Array
    coarse: Array | None

    @property
    def mask(self) -> Array:
        """(H, W) uint8: the most probable class."""
        return self.probs.argmax(0).astype(np.uint8)

    @property
    def entropy(self) -> Array:
        """(H, W) float32 in [0, 1]: entropy over ln K, 1 is least sure."""
        logs = np.log(np.maximum(self.probs, np.finfo(np.float32).tiny))
        return -(self.probs * logs).sum(0) / np.float32(np.log(len(self.probs)))

    @property
    def disagreement(self) -> Array | None:
        """(H, W) float32 in [0, 1]: total variation of both opinions, sum |p_c - p_r| / 2; None with one."""
        return None if self.coarse is None else np.abs(self.probs - self.coarse).sum(0) / 2

    def uncertainty_maps(self) -> dict[str, Array]:
        """Return ``entropy``, and ``disagreement`` of two opinions, as (H, W) uint8; 255 is 1."""
        return gray_maps(self.entropy, self.disagreement)


class ExportedPredictor:
    """Segments images as the run does that the file was exported from.

    In window "whole" an image is resized to the training size and its probabilities are resized back. In window "patch"
    overlapping crops cover the image at its own resolution and are blended by a Gaussian.

    Args:
        session: an ``onnxruntime.InferenceSession``.
        card: what the file says about itself.
        shift: added to the logits of objects, in place of the shift that the outputs have; None: that one.
        tta: average over the mirrored images that training mirrored too; None: as the card says.

    Raises:
        ConfigError: for a shift that leaves one class alone, or none.
    """

    scan_dims = 2
    """It takes images, no volumes."""

    voxel = None
    """So there are no voxels whose size nobody knows."""

    spacing = None
    """Nor any to bring them to."""

    fixed_range = None
    """Nor values of volumes to look at."""

    def __init__(self, session: Any, card: ModelCard, *, shift: float | None = None, tta: bool | None = None) -> None:
        self.session, self.card = session, card
        self.shift = card.shift if shift is None else require_shift(shift)
        self.mirrors: list[tuple[int, ...]] = [(), *(card.mirrors if (card.tta if tta is None else tta) else ())]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, background first."""
        return self.card.classes

    def predict(self, image: Array | Image.Image) -> ExportedPrediction:
        """Segment one (H, W) or (H, W, 3) uint8 image, or one of Pillow."""
        return next(self.predict_many([image]))

    def predict_many(self, images: Iterable[Array | Image.Image]) -> Iterator[ExportedPrediction]:
        """Segment images of any sizes, a few at a time, in order.

        Raises:
            DataError: for what is no image.
        """
        seen = map(self.seen, images)  # One after the other: only what the network sees is kept of a batch.
        if self.card.window == "patch":
            yield from map(self.windows, seen)
            return
        while batch := list(islice(seen, BATCH)):
            yield from self.whole(batch)

    def seen(self, image: Array | Image.Image) -> Seen:
        """Return an image as the network sees it, and how large it is itself."""
        pixels = require_pixels(image)
        return prepare(pixels, self.card), (pixels.shape[0], pixels.shape[1])

    def whole(self, images: list[Seen]) -> Iterator[ExportedPrediction]:
        """Segment resized images and bring the probabilities back to their sizes."""
        probs, coarse = self.apply(np.stack([pixels for pixels, _ in images]))
        for i, (_, size) in enumerate(images):
            yield ExportedPrediction(enlarge(probs[i], size), None if coarse is None else enlarge(coarse[i], size))

    def windows(self, image: Seen) -> ExportedPrediction:
        """Segment overlapping crops at the image's own resolution and blend them."""
        padded, (height, width) = image
        box = self.card.size
        corners = corners_of(padded.shape[1:], box)
        weight = gaussian_window(box)
        blended = np.zeros((len(self.card.outputs), len(self.classes), *padded.shape[1:]), np.float32)
        total = np.zeros(padded.shape[1:], np.float32)
        for first in range(0, len(corners), BATCH):
            some = [cut(corner, box) for corner in corners[first : first + BATCH]]
            found = self.apply(np.stack([padded[(slice(None), *place)] for place in some]))
            for i, place in enumerate(some):
                total[place] += weight
                for sum_of, opinion in zip(blended, found, strict=False):
                    if opinion is not None:
                        sum_of[(slice(None), *place)] += opinion[i] * weight
        cropped = (blended / total)[..., :height, :width]
        return ExportedPrediction(cropped[0], cropped[1] if len(cropped) > 1 else None)

    def apply(self, batch: Array) -> Opinions:
        """Segment (B, C, h, w) float32 images in [0, 1], averaged over mirrors."""
        summed: list[Array] = []
        for axes in self.mirrors:
            found = [np.flip(probs, axes) for probs in self.run(np.flip(batch, axes))]
            summed = [a + b for a, b in zip(summed, found, strict=True)] if summed else found
        means = [probs / len(self.mirrors) for probs in summed] if len(self.mirrors) > 1 else summed
        return means[0], means[1] if len(means) > 1 else None

    def run(self, batch: Array) -> list[Array]:
        """Run the network on (B, C, h, w) images, padded at the far sides to its multiple, and crop every output."""
        height, width = batch.shape[2:]
        missing = [(0, -side % self.card.multiple) for side in (height, width)]
        padded = np.pad(batch, [(0, 0), (0, 0), *missing], mode="edge") if any(far for _, far in missing) else batch
        found = self.session.run(list(self.card.outputs), {"image": np.ascontiguousarray(padded)})
        more = self.shift - self.card.shift
        return [raised(probs[..., :height, :width], more) for probs in found]


def load_exported(
    source: Path | str | bytes, *, shift: float | None = None, tta: bool | None = None, threads: int = 0
) -> ExportedPredictor:
    """Load an ONNX file of `criinet export` for prediction on the CPU.

    Args:
        source: the file, or its content.
        shift: added to the logits of objects; None: as the file says.
        tta: average over mirrored images; None: as the file says.
        threads: of the network; 0 leaves onnxruntime its own choice, all cores.

    Raises:
        ConfigError: if onnxruntime is not installed, or the shift leaves one class alone, or none.
        CheckpointError: if the file is missing, damaged, foreign or newer, or its metadata contradict its network.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "an exported ONNX file needs onnxruntime; install it with pip install 'criinet[runtime]'."
        ) from error
    name = "the exported network" if isinstance(source, bytes) else str(source)
    if not isinstance(source, bytes) and Path(source).is_dir():
        raise CheckpointError(f"{name} is a folder. Give the file that `criinet export RUN --out model.onnx` makes.")
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise CheckpointError(f"{name} does not exist. Make it with `criinet export RUN --out {name}`.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has an exception of its own for each way in which a file is damaged.
        if (source[:4] if isinstance(source, bytes) else beginning(Path(source))) == ZIPPED:
            raise CheckpointError(
                f"{name} is no ONNX file, but one of torch, as TorchScript and checkpoints are. `criinet predict` "
                "takes the folder of a run, or what `criinet export RUN --out model.onnx` writes."
            ) from error
        raise CheckpointError(
            f"{name} is truncated or no ONNX file ({type(error).__name__}). "
            "Copy it again, or export the run again as ONNX."
        ) from error
    card = read_card(session.get_modelmeta().custom_metadata_map.get(KEY), name)
    if not is_intact(source if isinstance(source, bytes) else Path(source).read_bytes(), card):
        raise CheckpointError(f"{name} is damaged. Copy it again, or export the run again as ONNX.")
    require_agreement(session, card, name)
    return ExportedPredictor(session, card, shift=shift, tta=tta)


def beginning(path: Path) -> bytes:
    """Return the first four bytes of a file."""
    with path.open("rb") as file:
        return file.read(4)


def require_agreement(session: Any, card: ModelCard, name: str) -> None:
    """Check the card of the file called ``name`` against its network, as far as the graph tells without an image.

    Raises:
        CheckpointError: if inputs, outputs, channels or classes differ, or a mirrored axis is none of the image's two.
    """
    told = {"image": card.channels, **dict.fromkeys(card.outputs, len(card.classes))}
    shapes: dict[str, list[Any]] = {node.name: node.shape for node in (*session.get_inputs(), *session.get_outputs())}
    if shapes.keys() != told.keys():
        what = f"tells of {', '.join(sorted(told))}, its network has {', '.join(sorted(shapes))}"
    elif wrong := [part for part, channels in told.items() if not may_have(shapes[part], channels)]:
        what = f"gives {wrong[0]} C={told[wrong[0]]} channels, its network the shape {shapes[wrong[0]]}"
    elif odd := [axes for axes in card.mirrors if len({-1, -2} & set(axes)) < len(axes)]:
        what = f"mirrors along axes {list(odd[0])}, where -1 and -2 are those of an image"
    else:
        return
    raise CheckpointError(f"the metadata of {name} {what}. Export the run again.")


def may_have(shape: list[Any], channels: int) -> bool:
    """Tell whether a shape of the graph is one of (B, C, h, w) with so many channels; what is no number is open."""
    return len(shape) == 4 and (shape[1] == channels or not isinstance(shape[1], int))


def predict_folder(
    file: Path | str,
    images: Path | str,
    out: Path | str,
    *,
    outputs: Outputs | None = None,
    part: Part | None = None,
    shift: float | None = None,
    tta: bool | None = None,
    skip_bad: bool = False,
    advance: Advance | None = None,
) -> list[str]:
    """Write a mask for every image under ``images`` to ``out``; return one sentence for each file that was skipped.

    Raises:
        ConfigError: if onnxruntime is not installed.
        CheckpointError: if the file is missing, damaged, foreign or newer.
        DataError: if there are no images, one cannot be read and ``skip_bad`` is False, none can, ``out`` holds
            originals, or masks that are to be kept were made by another file or with other options.
    """
    return write_predictions(
        Path(images),
        Path(out),
        lambda: load_exported(file, shift=shift, tta=tta),
        Path(file),
        outputs=outputs or Outputs(),
        part=part or Part(),
        skip_bad=skip_bad,
        warn=None,
        advance=advance,
    )


def prepare(image: Array, card: ModelCard) -> Array:
    """Return (H, W) or (H, W, 3) uint8 as the network sees it: (C, h, w) float32 in [0, 1]."""
    fitted = fit(with_channels(image, card.channels), card, labels=False)
    return fitted.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def raised(probs: Array, shift: float) -> Array:
    """Add ``shift`` to the logits of the objects of (B, K, h, w) probabilities."""
    if shift == 0:
        return probs
    gain = np.array([1.0, *[np.exp(shift)] * (probs.shape[1] - 1)], probs.dtype)
    weighed = probs * gain.reshape(1, -1, 1, 1)
    return weighed / weighed.sum(1, keepdims=True)


def enlarge(probs: Array, size: tuple[int, int]) -> Array:
    """Resize (K, h, w) float32 probabilities linearly to (K, H, W), with anti-aliasing where they shrink."""
    if probs.shape[1:] == size:
        return probs
    target = (size[1], size[0])
    return np.stack([np.asarray(Image.fromarray(p).resize(target, Image.Resampling.BILINEAR)) for p in probs])
