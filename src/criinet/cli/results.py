"""`criinet predict`, `evaluate` and `report`: what a trained run is good for, and how good it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from criinet.cli.options import AsJson, Device, SkipBad


def predict(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a trained run, or an ONNX file of `criinet export`.")
    ],
    images: Annotated[
        Path, typer.Argument(metavar="IMAGES", help="Folder of images or volumes, a dataset, or one of them.")
    ],
    out: Annotated[Path, typer.Option(metavar="OUT", help="Folder for the masks.")],
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write probabilities/NAME.npz.")] = False,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Also write uncertainty maps, 255 where the model is least certain: uncertainty/NAME_entropy and, of "
            "methods with two heads, NAME_disagreement.",
        ),
    ] = False,
    dicom_seg: Annotated[
        bool, typer.Option("--dicom-seg", help="Also write NAME.dcm, a DICOM-SEG of the scan's own patient.")
    ] = False,
    shift: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Shift of the object logits, instead of the one tuned on validation cases; a larger one finds more.",
        ),
    ] = None,
    tta: Annotated[
        bool | None,
        typer.Option(
            "--tta/--no-tta", help="Average predictions over mirrored images, or be faster. [default: as the run says]"
        ),
    ] = None,
    checkpoint: Annotated[str, typer.Option(metavar="NAME", help="last, or best on the validation cases.")] = "last",
    device: Device = "auto",
    skip_bad: SkipBad = False,
    resume: Annotated[bool, typer.Option("--resume", help="Skip images that have a mask in OUT already.")] = False,
    shard: Annotated[
        str,
        typer.Option(metavar="PART", help="Which part of the images, as 2/8; run each part in a process of its own."),
    ] = "1/1",
) -> None:
    """Write a mask for every image, at the image's own size."""
    from criinet.cli.show import bar, err
    from criinet.data.inputs import Part
    from criinet.data.predictions import Outputs, require_shift
    from criinet.data.provenance import noted_shift

    require_shift(shift or 0.0)
    outputs, part = Outputs(probabilities, uncertainty, dicom_seg), Part.parse(shard, resume=resume)
    notes: list[str] = []
    if run.suffix.lower() == ".onnx" or run.is_file():
        from criinet.deploy.runtime import predict_folder as predict_exported

        require_exported_options(run, checkpoint, device)
        with bar("segmenting") as advance:
            skipped = predict_exported(
                run, images, out, outputs=outputs, part=part, shift=shift, tta=tta, skip_bad=skip_bad, advance=advance
            )
    else:
        from criinet.engine.prediction import predict_folder

        with bar("segmenting") as advance:
            skipped = predict_folder(
                run,
                images,
                out,
                outputs=outputs,
                part=part,
                checkpoint=checkpoint,
                shift=shift,
                tta=tta,
                device=device,
                skip_bad=skip_bad,
                warn=notes.append,
                advance=advance,
            )
    for sentence in skipped:
        err.print(f"skipped: {sentence}")
    for sentence in notes:
        err.print(f"note: {sentence}")
    if shift is None and (chosen := noted_shift(out)):
        err.print(f"object logits are shifted by {chosen:+g}, as tuned on validation cases; --shift sets another shift")
    err.print(f"masks: {out}")


def require_exported_options(file: Path, checkpoint: str, device: str) -> None:
    """Refuse what an exported file cannot follow.

    Raises:
        ConfigError: for another checkpoint than the one in the file, or a GPU.
    """
    from criinet.errors import ConfigError

    if checkpoint != "last":
        raise ConfigError(f"{file} holds one checkpoint; drop --checkpoint, or give it to `criinet export`.")
    if device not in ("auto", "cpu"):
        raise ConfigError(f"{file} runs on the CPU; drop --device, or give the run's folder instead of the file.")


def evaluate(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="Folder of a trained run.")] = None,
    predictions: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of masks of any tool.")] = None,
    targets: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the true masks.")] = None,
    dataset: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the run's dataset is now, if it has moved.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", help="With --predictions: folder for results.json and cases.csv.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a run on its test cases, or a folder of masks against another."""
    import json

    from criinet.cli.show import bar, err
    from criinet.data.files import jsonable
    from criinet.engine.evaluator import evaluate as evaluate_run
    from criinet.engine.evaluator import evaluate_folders
    from criinet.errors import ConfigError
    from criinet.report import write_report

    if run is not None and predictions is None and targets is None:
        if out is not None:
            raise ConfigError(
                f"--out goes with --predictions; drop it: what is found of a run stands in {run / 'results.json'}."
            )
        with bar("evaluating") as advance:
            results = evaluate_run(run, dataset=dataset, device=device, advance=advance)
        write_report([run], run / "report.html")
    elif run is None and predictions is not None and targets is not None:
        if dataset is not None:
            raise ConfigError("--dataset goes with RUN; drop it: --targets says where the true masks are.")
        results = evaluate_folders(predictions, targets, out)
    else:
        raise ConfigError(
            "evaluate measures a run, or masks against others; give RUN, or --predictions DIR and --targets DIR."
        )
    if as_json:
        print(json.dumps(jsonable(results), indent=1))
    else:
        show_results(results, "test cases" if run is not None else "masks")
    for note in notes_on(results, tabled=not as_json):
        err.print(f"note: {note}")


def notes_on(results: dict[str, Any], *, tabled: bool) -> Iterator[str]:
    """Yield what a person should know of results; ``tabled``: and of the table that shows them."""
    from criinet.engine.summaries import MIXED

    if tabled and (note := note_on_distances(shown_rows(results))):
        yield note
    if results["unit"] == MIXED:
        yield "some masks have a voxel or pixel size and others have none, so distances have no mean"
    if results.get("partial"):
        yield f"partly annotated targets, measured only where annotated: {results['partial']}"
    if count := results.get("without_target"):
        yield f"{count} predictions have no target" if count > 1 else "1 prediction has no target"
    empty = dict.fromkeys(row["class"] for row in results["rows"] if row["cases"] == 0 and row["class"] != "mean")
    if empty:
        yield f"0 cases means that neither prediction nor ground truth has any object of: {', '.join(empty)}"
    last = next((row for row in results["rows"] if row["checkpoint"] == "last"), None)
    if last is not None and last["step"] != last["iterations"]:
        yield f"trained to step {last['step']} of {last['iterations']}; `criinet train --resume` continues."


def show_results(results: dict[str, Any], measured: str) -> None:
    """Print the rows of results as a table under the name of what was measured; a few cases have no interval."""
    from criinet.cli.show import out, table
    from criinet.report.text import distance, interval, number

    overlap, outline = ("Dice", "95 % interval", "IoU"), ("HD95", "surface Dice")
    headers = ("weights", "class", "cases", *overlap, *outline, "misses", "false alarms")
    rows = [
        [
            row["checkpoint"],
            row["class"],
            str(row["cases"]),
            number(row["dice"]),
            interval(row["dice_low"], row["dice_high"]),
            number(row["iou"]),
            distance(row["hd95"]),
            number(row["surface_dice"]),
            str(row["misses"]),
            str(row["false_alarms"]),
        ]
        for row in shown_rows(results)
    ]
    whole = next((row for row in results["rows"] if row["class"] == "mean"), None)
    patients = f" of {whole['groups']} patients" if whole and whole["groups"] < whole["cases"] else ""
    out.print(table(f"{measured}{patients}; distances in {results['unit']}", headers, rows))


def shown_rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of results without the mean over classes where there is one class alone."""
    several = len({row["class"] for row in results["rows"]}) > 2
    return [row for row in results["rows"] if row["class"] != "mean" or several]


def note_on_distances(rows: list[dict[str, Any]]) -> str:
    """Say of how many cases HD95 is a mean where misses and false alarms are left out of it, "" where none are.

    Up to three rows are named, of more the one that has the smallest share of its cases.
    """
    fewer = sorted(
        (row for row in rows if row["distance_cases"] < row["distance_of"]),
        key=lambda row: row["distance_cases"] / row["distance_of"],
    )
    if not fewer:
        return ""
    counts = [f"{row['distance_cases']} of {row['distance_of']} ({row['checkpoint']}, {row['class']})" for row in fewer]
    which = f": {', '.join(counts)}" if len(counts) <= 3 else f" in {len(counts)} rows, the fewest being {counts[0]}"
    per_class = ", for the mean counted class by class" if any(row["class"] == "mean" for row in fewer) else ""
    return f"misses and false alarms have no HD95, so it is the mean of fewer cases{per_class}{which}"


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="One run, several to compare, or the folder of a benchmark.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page about runs. [default: report.html in the first run]")
    ] = None,
) -> None:
    """Write one self-contained page, with figures as PNG and PDF beside it; of a benchmark also its tables."""
    from criinet.cli.outputs import require_replaceable
    from criinet.cli.show import err
    from criinet.errors import ConfigError
    from criinet.report import is_benchmark, is_report, read_run, save_figures, write_benchmark_report, write_report

    if out is not None:
        require_replaceable(out, "a report", is_report, "Give --out another name")
    if any(is_benchmark(run) for run in runs):
        if len(runs) > 1 or out is not None:
            raise ConfigError("the report of a benchmark stands in its own folder; give that folder alone, no --out.")
        page = write_benchmark_report(runs[0])
    else:
        page = write_report(runs, out or runs[0] / "report.html")
        save_figures([read_run(run) for run in runs], page.parent / "figures")
    err.print(f"report: {page}")
