"""From a trained run to one file that predicts, checked against the run before it gets its name."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from criinet.data.files import make_folder, sweep, write_bytes_atomically
from criinet.data.threads import Advance
from criinet.deploy.bundle import write_bundle
from criinet.deploy.card import FORMAT, ModelCard
from criinet.deploy.network import Opinions, Runner, as_network, run_onnx, run_torchscript, to_onnx, to_torchscript
from criinet.deploy.parity import Probes, check_parity, find_probes
from criinet.deploy.quantise import quantise
from criinet.deploy.runtime import ExportedPredictor
from criinet.engine.build import load
from criinet.engine.checkpoint import load_checkpoint
from criinet.engine.folder import RunFolder
from criinet.engine.predictor import Predictor
from criinet.errors import ConfigError, RunError, StorageError
from criinet.registry import nearest


@dataclass(frozen=True)
class FileFormat:
    """How a network is built in one format, run from it and written, and how the names of such files end.

    suffixes: none for a folder.
    use: what a person does with {out} next.
    """

    suffixes: tuple[str, ...]
    build: Callable[[Opinions, ModelCard], bytes]
    run: Callable[[bytes], Runner]
    write: Callable[[Path, bytes, ModelCard], None]
    use: str


def write_file(out: Path, content: bytes, _: ModelCard) -> None:
    """Write a file that holds its own card, whole or not at all."""
    write_bytes_atomically(out, content)


FORMATS = {
    "onnx": FileFormat(
        (".onnx",), to_onnx, run_onnx, write_file, "`criinet predict {out} IMAGES --out MASKS`, which needs no torch"
    ),
    "torchscript": FileFormat(
        (".ts", ".pt"), to_torchscript, run_torchscript, write_file, "`torch.jit.load` opens it, in Python or C++"
    ),
    "monai-bundle": FileFormat(
        (),
        to_torchscript,
        run_torchscript,
        write_bundle,
        "in {out}, `python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES "
        "--output_dir MASKS`",
    ),
}
STAGES = 4


@dataclass(frozen=True)
class Export:
    """What was written, and how it was checked.

    use: what a person does with it next.
    difference: the largest difference from the run in any probability of the probes, in float32.
    """

    path: Path
    use: str
    card: ModelCard
    probes: Probes
    difference: float


def export(
    run: Path | str,
    out: Path | str,
    *,
    format: str = "onnx",
    checkpoint: str = "last",
    int8: bool = False,
    advance: Advance | None = None,
) -> Export:
    """Write what a run predicts with as one file; batch and size of the images stay free.

    The file holds the weights that ``predict`` uses (an averaged teacher where the method predicts with it), its shift,
    the normalisation of images, and a card of all else that a prediction needs. It is checked on images of the run's
    dataset, or on random ones where that is gone, and gets its name only then.

    Args:
        run: folder of the run.
        out: the file: .onnx, or .ts or .pt for TorchScript; for a MONAI bundle a folder that is not there yet.
        format: "onnx", "torchscript" or "monai-bundle".
        checkpoint: "last", or "best" on the validation cases.
        int8: of an ONNX file: 8-bit integers; parity is that of the file in float32 that it is made of, and the card
            says what 8 bits cost in Dice.
        advance: called with how many of the stages are done, and of how many.

    Raises:
        RunError: if there is no run, or it was trained on volumes.
        ConfigError: for an unknown format, a suffix that contradicts it, or a package that is not installed.
        StorageError: if ``out`` cannot be written.
        ParityError: if the file would not give what the run gives; nothing is written.
    """
    out = Path(out)
    require_place(out, format)
    if int8 and format != "onnx":
        raise ConfigError(f"--int8 makes ONNX files, not {format}; drop it, or give --format onnx.")

    def finished(stage: int) -> None:
        if advance is not None:
            advance(stage, STAGES)

    folder = RunFolder(Path(run))
    predictor = load(folder.root, checkpoint=checkpoint, device="cpu", tta=True)
    require_images(folder, predictor)
    make_folder(out.parent)
    sweep(out.parent, meant=out)
    card = describe(folder, predictor, checkpoint)
    network = as_network(predictor.method, card, predictor.shift)
    probes = find_probes(folder, card)
    finished(1)
    content = FORMATS[format].build(network, card)
    finished(2)
    difference = check_parity(network, FORMATS[format].run(content), probes, card)
    finished(3)
    if int8:
        content, card = quantise(content, card, folder)
    FORMATS[format].write(out, content, card)
    finished(4)
    return Export(out, FORMATS[format].use.format(out=shlex.quote(str(out))), card, probes, difference)


def require_place(out: Path, format: str) -> None:
    """Check what can be checked before the work begins.

    Raises:
        ConfigError: for an unknown format, or a suffix that contradicts it.
        StorageError: if something is in the way.
    """
    if format not in FORMATS:
        raise ConfigError(f"unknown format '{format}'.{nearest(format, FORMATS)} There are {', '.join(FORMATS)}.")
    suffixes = FORMATS[format].suffixes
    if not suffixes and out.exists():
        raise StorageError(f"{out} is there already. Give --out a new folder.")
    if suffixes and out.suffix.lower() not in suffixes:
        others = [
            f"with --format {name} in {' or '.join(kind.suffixes)}"
            for name, kind in FORMATS.items()
            if kind.suffixes and name != format
        ]
        raise ConfigError(
            f"--out {out} does not end in {' or '.join(suffixes)}, as a file of {format} does. Name it so; "
            f"{' and '.join(others)}."
        )
    if suffixes and out.is_dir():
        raise StorageError(f"{out} is a folder. Give --out the name of a file.")
    run = RunFolder(out.parent.parent)
    if suffixes and out.parent == run.checkpoint("last").parent and run.holds_run:
        raise StorageError(f"{out.parent} holds the checkpoints of a run. Give --out another folder.")


def require_images(folder: RunFolder, predictor: Predictor) -> None:
    """Refuse a run on volumes: bringing them to the network's grid and back is not part of a file.

    Raises:
        RunError: if it is one.
    """
    if predictor.scan_dims != ExportedPredictor.scan_dims:
        raise RunError(
            f"{folder.root} was trained on volumes, and exported files take images alone. "
            f"Predict with the run itself: `criinet predict {folder.root} VOLUMES --out MASKS`."
        )


def describe(folder: RunFolder, predictor: Predictor, checkpoint: str) -> ModelCard:
    """Return the card of a run's checkpoint; ``predictor`` was loaded with mirrors."""
    recorded = folder.read_config()
    config = recorded.config()
    data = predictor.data
    height, width = data.size[-2:]
    multiple = predictor.method.networks[0].backbone.multiple
    with torch.no_grad():
        found = predictor.method.predict(torch.zeros(1, data.channels, multiple, multiple))
    return ModelCard(
        format=FORMAT,
        classes=predictor.classes,
        size=(height, width),
        window=data.window,
        channels=data.channels,
        multiple=multiple,
        mirrors=tuple(tuple(axes) for axes in predictor.mirrors if axes),
        tta=data.tta,
        outputs=("probabilities",) if found.coarse is None else ("probabilities", "coarse"),
        shift=predictor.shift,
        method=config.method_name,
        network=config.network_name,
        dataset=recorded.dataset.name,
        checkpoint=checkpoint,
        step=load_checkpoint(folder.checkpoint(checkpoint))["step"],
        version=version("criinet"),
    )
