"""An ONNX file in 8-bit integers: ranges from unlabeled images, its price in Dice from validation cases."""

import logging
import math
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from criinet.data.dataset import Case, Dataset
from criinet.data.images import read_image
from criinet.deploy.card import ModelCard, Quantisation
from criinet.deploy.network import with_card
from criinet.deploy.runtime import ExportedPredictor, load_exported, prepare
from criinet.engine.examples import spaced
from criinet.engine.folder import RunFolder
from criinet.engine.origin import open_recorded, recorded_split
from criinet.errors import RunError
from criinet.metrics import case_dice, finite_mean

Array = NDArray[Any]
CALIBRATION = 32
"""Images that set the ranges of the activations."""
OPERATORS = ["Conv", "Clip", "Add", "Concat", "Resize", "MaxPool"]
"""What runs in 8 bits: with the convolutions what lies between them, so that a ReLU6 bounds the range before it."""


def quantise(content: bytes, card: ModelCard, folder: RunFolder) -> tuple[bytes, ModelCard]:
    """Return an ONNX file in 8-bit integers, and its card with what they cost on the validation cases.

    Convolutions and what lies between them are quantised; what is made of the last ones' outputs, prototypes and
    softmax, stays in float32. Weights are int8 with a scale for each output channel, activations uint8 with the range
    that they had on unlabeled images (labeled ones where there are none).

    Args:
        content: the file in float32.

    Raises:
        RunError: if the run's dataset is gone.
        DataError: if an image or a mask cannot be read.
    """
    import onnx

    about, split = folder.read_config().dataset, recorded_split(folder)
    if not about.path.is_dir():
        raise RunError(
            f"--int8 needs the run's images, but {about.path} is gone. Restore it, or export without --int8."
        )
    dataset = open_recorded(about)
    seen = dataset.select(spaced(split.unlabeled or split.labeled, CALIBRATION))
    small = onnx.load_from_string(to_int8(content, [crop(read_image(case.image), card) for case in seen]))
    cases = dataset.select(split.val)
    price = Quantisation(
        calibration=len(seen),
        cases=len(cases),
        dice_float=mean_dice(load_exported(content), dataset, cases),
        dice_int8=mean_dice(load_exported(with_card(small, card)), dataset, cases),
    )
    priced = card.model_copy(update={"quantisation": price})
    return with_card(small, priced), priced


def crop(image: Array, card: ModelCard) -> Array:
    """Return the middle of an image as the network sees it, (1, C, h, w) with sides that are multiples."""
    prepared = prepare(image, card)
    height, width = (side + -side % card.multiple for side in card.size)
    top, left = ((have - side) // 2 for have, side in zip(prepared.shape[1:], card.size, strict=True))
    middle = prepared[None, :, top : top + card.size[0], left : left + card.size[1]]
    return np.pad(middle, [(0, 0), (0, 0), (0, height - card.size[0]), (0, width - card.size[1])], mode="edge")


def to_int8(content: bytes, images: Sequence[Array]) -> bytes:
    """Return an ONNX file in 8-bit integers whose activations have the ranges that ``images`` give them."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(quantization.CalibrationDataReader):
        """Gives one image after the other, then None."""

        def __init__(self) -> None:
            self.images: Iterator[Array] = iter(images)

        def get_next(self) -> dict[str, Array] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            """Return the next image by the name of the network's input."""
            image = next(self.images, None)
            return None if image is None else {"image": image}

    with tempfile.TemporaryDirectory() as folder:
        whole, folded, small = (Path(folder) / f"{name}.onnx" for name in ("whole", "folded", "small"))
        whole.write_bytes(content)
        with quiet():
            quant_pre_process(str(whole), str(folded), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(folded),
                str(small),
                Images(),
                op_types_to_quantize=OPERATORS,
                nodes_to_exclude=behind_convolutions(folded),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
        return small.read_bytes()


@contextmanager
def quiet() -> Generator[None, None, None]:
    """Silence what onnxruntime tells its developers, through its own loggers and the root one; others are heard."""

    def heard(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or "onnxruntime" not in Path(record.pathname).parts

    own = logging.getLogger("onnxruntime")
    level = own.level
    own.setLevel(logging.ERROR)
    logging.root.addFilter(heard)
    try:
        yield
    finally:
        logging.root.removeFilter(heard)
        own.setLevel(level)


def behind_convolutions(file: Path) -> list[str]:
    """Return the names of the nodes that no convolution takes anything from: what is made of the last ones' outputs."""
    import onnx

    graph = onnx.load(str(file)).graph
    taken: set[str] = set()
    behind: list[str] = []
    for node in reversed(graph.node):
        if node.op_type == "Conv" or not taken.isdisjoint(node.output):
            taken.update(node.input)
        else:
            behind.append(node.name)
    return behind


def mean_dice(predictor: ExportedPredictor, dataset: Dataset, cases: Sequence[Case]) -> float | None:
    """Return the mean :func:`criinet.metrics.case_dice`; None if no case has anything to find."""
    predictions = predictor.predict_many(read_image(case.image) for case in cases)
    found = [
        case_dice(predicted.mask, dataset.read_mask(case), len(dataset.classes))
        for case, predicted in zip(cases, predictions, strict=True)
    ]
    mean = finite_mean(found)
    return None if math.isnan(mean) else mean
