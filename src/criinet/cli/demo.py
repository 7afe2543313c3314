"""`criinet demo`: the main job on embedded data, from images to an honest verdict."""

from pathlib import Path
from typing import Annotated

import typer

from criinet.defaults import DEFAULT_METHOD

IMAGES, TEST = 600, 300
"""So many are tested on that a gain of two or three points can be told from chance."""
LABELED = 16
ITERATIONS = 400
SIDE = 96


def page_title(chosen_by: int) -> str:
    """Name every mask that was used: those to train on, and as many as the best weights and the shift come from."""
    return f"criinet demo: {LABELED} masks to train, {chosen_by} to choose weights and shift, {IMAGES} images"


def make_room(out: Path, data: Path, runs: list[Path], *, overwrite: bool) -> None:
    """Check that OUT is free for a demo; one that is to be replaced goes, and nothing else.

    Raises:
        RunError: if something else stands there.
    """
    import shutil

    from criinet.errors import RunError

    if overwrite and (data / "parameters.csv").exists():
        for part in (data, *runs):
            shutil.rmtree(part, ignore_errors=True)
        (out / "report.html").unlink(missing_ok=True)
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file. Give --out a folder.")
    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out} is not empty. Add --overwrite to replace an earlier demo, or give --out another folder.")


def demo(
    out: Annotated[Path, typer.Option(metavar="OUT", help="Folder for data, runs and report.")] = Path("demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier demo in OUT.")] = False,
    iterations: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of each training.")] = ITERATIONS,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the labeled draw and of training.")] = 0,
) -> None:
    """Draw 600 synthetic skin images, train on 16 masks with and without the unlabeled rest, compare, report."""
    import time

    from criinet.cli.show import bar, err, table
    from criinet.cli.show import out as console
    from criinet.cli.training import finish, run_training
    from criinet.data.synthetic import write_dataset
    from criinet.engine.evaluator import evaluate
    from criinet.report import compare, read_run, write_report

    started = time.monotonic()
    data, runs = out / "data", [out / "supervised", out / DEFAULT_METHOD]
    make_room(out, data, runs, overwrite=overwrite)
    err.print(f"drawing {IMAGES} synthetic images to {data}")
    write_dataset(data, count=IMAGES, test=TEST, seed=0)
    for run in runs:
        run_training(
            data,
            run,
            quiet=run is not runs[-1],
            method=run.name,
            labeled=str(LABELED),
            seed=seed,
            settings={"trainer": {"iterations": iterations}, "data": {"size": [SIDE, SIDE]}},
        )
        with bar("evaluating") as advance:
            evaluate(run, advance=advance)
    finish(runs[-1], "auto")
    recorded = [read_run(run) for run in runs]
    chosen_by = recorded[0].split.val if recorded[0].split else 0
    page = write_report(runs, out / "report.html", title=page_title(chosen_by))
    compared = compare(recorded)
    headers, rows = compared.table()
    sideways = list(zip(headers, *rows, strict=True))
    console.print(table(f"the same {TEST} test images", sideways[0], sideways[1:]))
    for sentence in compared.sentences:
        console.print(sentence)
    err.print(f"report: {page} ({(time.monotonic() - started) / 60:.1f} minutes)")
