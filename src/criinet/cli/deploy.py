"""`criinet export`: a trained run as one file that predicts elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from criinet.deploy.export import Export


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; for a MONAI bundle a new folder.")],
    format: Annotated[str, typer.Option(metavar="FORMAT", help="onnx, torchscript or monai-bundle.")] = "onnx",
    checkpoint: Annotated[str, typer.Option(metavar="NAME", help="last, or best on the validation cases.")] = "last",
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Quantise to 8 bits: smaller and faster; the loss in Dice is measured and printed."
        ),
    ] = False,
) -> None:
    """Export a run to one file that predicts elsewhere, and check it against the run before it is kept."""
    from criinet.cli.show import bar, err
    from criinet.deploy.export import export as export_run

    with bar("exporting") as advance:
        written = export_run(run, out, format=format, checkpoint=checkpoint, int8=int8, advance=advance)
    for line in summary(written):
        err.print(line)


def summary(written: "Export") -> list[str]:
    """Return how the file was checked, and what to do with it."""
    from criinet.deploy.parity import TOLERANCE

    probes = written.probes
    whose = "images of the run's dataset" if probes.real else "random images, as the run's dataset is gone"
    lines = [
        f"checked on {len(probes.images)} {whose}: largest difference {written.difference:.1e} in a probability "
        f"({TOLERANCE:.0e} is allowed)",
    ]
    price = written.card.quantisation
    if price is not None and price.dice_float is not None and price.dice_int8 is not None:
        lines.append(
            f"8 bits: Dice {price.dice_int8:.3f} instead of {price.dice_float:.3f} on {price.cases} validation "
            f"cases (calibrated on {price.calibration} images)"
        )
    elif price is not None:
        lines.append("8 bits: the loss in Dice is not known, as the run has no validation cases")
    lines.append(f"written: {written.path}")
    lines.append(f"next: {written.use}")
    return lines
