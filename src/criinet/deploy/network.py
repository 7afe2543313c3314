"""What a method predicts with, as a network of its own, in the formats that other programs load."""

import io
import logging
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from criinet.deploy.card import KEY, UNSEALED, ModelCard, sealed
from criinet.deploy.runtime import load_exported
from criinet.engine.shift import shifted
from criinet.errors import ConfigError
from criinet.methods import Method

Array = NDArray[Any]
Runner = Callable[[Array], Sequence[Array]]
"""Runs a network on a batch (B, C, h, w) and returns every output."""


class Opinions(nn.Module):
    """What a run makes of images, as a network: (B, C, h, w) to one or two (B, K, h, w).

    Args:
        shift: what is added to the logits of objects.
    """

    def __init__(self, method: Method, shift: float) -> None:
        super().__init__()
        self.method, self.shift = method, shift

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the probabilities, and those of the first of two opinions where there are two."""
        found = self.method.predict(image)
        opinions = (found.probs,) if found.coarse is None else (found.probs, found.coarse)
        return tuple(shifted(probs, self.shift) for probs in opinions)


@torch.no_grad()
def as_network(method: Method, card: ModelCard, shift: float = 0.0) -> Opinions:
    """Return what the method predicts with as a network, without the parts that only training needs."""
    used: set[nn.Module] = set()

    def note(module: nn.Module, _: Any) -> None:
        used.add(module)

    hooks = [module.register_forward_pre_hook(note) for module in method.modules()]
    method.predict(torch.zeros(1, card.channels, card.multiple, card.multiple))
    for hook in hooks:
        hook.remove()
    for name, part in list(method.named_children()):
        if used.isdisjoint(part.modules()):
            delattr(method, name)
    return Opinions(method, shift).eval().requires_grad_(False)


def example(card: ModelCard) -> Tensor:
    """Return a batch to follow through the network: none of its sides is 1 or equal to another."""
    return torch.rand(2, card.channels, 3 * card.multiple, 4 * card.multiple)


@contextmanager
def quiet() -> Generator[None, None, None]:
    """Silence what PyTorch's exporters tell their developers: parity is checked afterwards."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@torch.no_grad()
def to_onnx(network: Opinions, card: ModelCard) -> bytes:
    """Return the network as an ONNX file in float32, with the card in its metadata.

    Raises:
        ConfigError: if onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript
    except ImportError as error:
        raise ConfigError(
            "exporting to ONNX needs onnx and onnxscript; install them with pip install 'criinet[export]'."
        ) from error
    del onnx, onnxscript  # The exporter of PyTorch imports them by itself.
    dim = torch.export.Dim
    rows, columns = card.multiple * dim("rows", min=1), card.multiple * dim("columns", min=1)
    with quiet():
        program = torch.onnx.export(
            network,
            (example(card),),
            dynamo=True,
            dynamic_shapes={"image": {0: dim("batch", min=1), 2: rows, 3: columns}},
            input_names=["image"],
            output_names=list(card.outputs),
            verbose=False,
        )
    return with_card(cast(Any, program).model_proto, card)


def with_card(model: Any, card: ModelCard) -> bytes:
    """Return an ``onnx.ModelProto`` as a file with ``card`` as its only metadata, sealed by its digest."""
    from onnx.helper import set_model_props

    del model.metadata_props[:]
    set_model_props(model, {KEY: card.model_copy(update={"digest": UNSEALED.decode()}).to_json()})
    return sealed(model.SerializeToString())


def to_torchscript(network: Opinions, card: ModelCard) -> bytes:
    """Return the network as TorchScript, with the card as the extra file "criinet.json".

    Tracing is deprecated in favour of ``torch.export``, whose files load in Python alone; a traced file also loads in
    C++ and in the servers and viewers that medical images are read with.
    """
    content = io.BytesIO()
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(network, (example(card),), check_trace=False)
        torch.jit.save(traced, content, _extra_files={f"{KEY}.json": card.to_json()})
    return content.getvalue()


def run_onnx(content: bytes) -> Runner:
    """Return what runs an ONNX file on a batch."""
    return load_exported(content).run


def run_torchscript(content: bytes) -> Runner:
    """Return what runs a TorchScript file on a batch."""
    with quiet():
        network = torch.jit.load(io.BytesIO(content))
    return lambda batch: [probs.numpy() for probs in network(torch.from_numpy(batch))]
