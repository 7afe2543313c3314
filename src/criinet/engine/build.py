"""Methods, built by the settings of a run and filled with its weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from criinet.engine.checkpoint import load_checkpoint
from criinet.engine.folder import RunFolder
from criinet.engine.machine import pick_device
from criinet.engine.method_calls import mistake, named
from criinet.engine.predictor import Predictor
from criinet.engine.requirements import require_values
from criinet.engine.settings import RunConfig
from criinet.errors import OVERWRITE, CheckpointError
from criinet.methods import Method, methods
from criinet.networks import Network, build_network
from criinet.networks.base import prefer_channels_last
from criinet.random_numbers import seeded_cpu


def build_method(config: RunConfig, classes: tuple[str, ...], *, initial: bool = True) -> Method:
    """Build the method on a freshly initialised network; the weights depend on the seed alone.

    Args:
        initial: False leaves out pretrained weights, which a checkpoint is to replace and whose files may be gone.
    """
    network: Network = build_network(
        config.network_name,
        config.network,
        in_channels=config.data.channels,
        classes=len(classes),
        dims=config.data.dims,
        seed=config.seed,
        initial=initial,
    )
    require_values(config, network.backbone.multiple)
    return seeded(config, network)


def seeded(config: RunConfig, network: Network) -> Method:
    """Build the method's own layers from the seed too, leaving the global generators as they were.

    Raises:
        MethodError: if it fails, or leaves out what ``Method.__init__`` does.
    """
    kind = methods.get(config.method_name)
    with seeded_cpu(config.seed + 1), named(kind):
        method = kind(network, config.method)
    if not all(hasattr(method, name) for name in ("config", "classes", "student")):
        raise mistake(kind, "leaves out its base in __init__; begin that with super().__init__(network, config)")
    prefer_channels_last(method, network.backbone.dims)
    return method


def load(
    run: Path | str,
    *,
    checkpoint: str = "last",
    device: str = "auto",
    shift: float | None = None,
    tta: bool | None = None,
    uncertainty: bool = True,
    keep_probs: bool = False,
) -> Predictor:
    """Load a trained run for prediction.

    Args:
        run: folder of the run.
        checkpoint: "last", or "best" on the validation cases.
        device: "auto", "cpu" or "cuda".
        shift: added to the logits of objects; None: what the run's validation cases chose.
        tta: average over mirrored images; None: as the run's settings say.
        uncertainty: keep maps of uncertainty, and the first of two opinions, of volumes.
        keep_probs: keep the probabilities of volumes.

    Raises:
        RunError: if there is no run.
        CheckpointError: if the checkpoint is missing, truncated, newer, or of a method that has changed since.
    """
    folder = RunFolder(Path(run))
    return load_trained(
        folder, checkpoint, device, shift=shift, tta=tta, uncertainty=uncertainty, keep_probs=keep_probs
    ).predictor


@dataclass(frozen=True)
class Trained:
    """A checkpoint of a run, loaded.

    predictor: has its weights. step: after which it was written. seconds: of training until then.
    memory: the most that training took until then, in MiB.
    """

    predictor: Predictor
    step: int
    seconds: float
    memory: float


def load_trained(
    folder: RunFolder,
    checkpoint: str,
    device: str,
    *,
    shift: float | None = None,
    tta: bool | None = None,
    uncertainty: bool = True,
    keep_probs: bool = False,
) -> Trained:
    """Load a checkpoint of a run with what it says of itself; the arguments are those of :func:`load`."""
    recorded = folder.read_config()
    config, classes = recorded.config(), recorded.dataset.classes
    method = build_method(config, classes, initial=False)
    state = fill(
        method.load_state_dict,
        folder.checkpoint(checkpoint),
        f"Another version of criinet wrote it: train anew with {OVERWRITE}.",
    )
    where = pick_device(device)
    predictor = Predictor(
        method,
        config.data,
        classes,
        device=where,
        shift=state.get("shift", 0.0) if shift is None else shift,
        tta=tta,
        uncertainty=uncertainty,
        keep_probs=keep_probs,
        voxel=recorded.dataset.voxel,
    )
    return Trained(predictor, state["step"], state["seconds"], state["memory"])


def begin_with(method: Method, run: RunFolder) -> None:
    """Fill a method with the last weights of a run.

    Raises:
        CheckpointError: if there are none, or they belong to another method, network or classes.
    """
    fill(method.begin_with, run.checkpoint("last"), "Begin with a run of the same settings, or without one.")


def fill(load_state: Callable[[dict[str, Tensor]], Any], checkpoint: Path, otherwise: str) -> dict[str, Any]:
    """Fill a method with the weights of a checkpoint, and return all that the checkpoint holds.

    Args:
        load_state: of the method.
        otherwise: what to do where they do not fit.

    Raises:
        CheckpointError: if there are none, or they belong to another method, network, classes or version.
    """
    state = load_checkpoint(checkpoint)
    try:
        load_state(state["method"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {checkpoint} does not fit this run's method, network and classes. {otherwise}"
        ) from error
    return state
