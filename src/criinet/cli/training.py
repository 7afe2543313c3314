"""`criinet train`: from images and a few masks to a trained run, masks for the rest, and a report."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from criinet.cli.options import Device, GroupBy, Labeled, SkipBad
from criinet.defaults import DEFAULT_METHOD


def train(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Folder with images/ and, for the labeled cases, masks/.")
    ],
    out: Annotated[Path, typer.Option(metavar="OUT", help="Folder of the run.")],
    method: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help=f"Method, see `criinet methods`. [default: {DEFAULT_METHOD}]"),
    ] = None,
    labeled: Labeled = None,
    split: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file of `criinet split`, or your own with train, val and test, instead of --labeled.",
        ),
    ] = None,
    group_by: GroupBy = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML, YAML or JSON file of settings, or config.json of a run.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One setting, as trainer.iterations=500 or network.name=unet; may be repeated. "
            "`criinet settings` lists all.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Seed of the split and of training. [default: 0]")
    ] = None,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in OUT.")] = False,
    skip_bad: SkipBad = False,
    predict: Annotated[
        bool, typer.Option(help="Segment the unlabeled cases after training, and write report.html.")
    ] = True,
) -> None:
    """Train on a folder of images of which a few have masks; then segment the others and write a report."""
    from criinet.cli.show import err
    from criinet.engine.distributed import is_first

    run_training(
        dataset,
        out,
        method=method,
        labeled=labeled,
        split=split,
        groups=group_by,
        seed=seed,
        settings=gather(config, settings or []),
        device=device,
        resume=resume,
        overwrite=overwrite,
        skip_bad=skip_bad,
    )
    if not is_first():
        return
    if predict:
        finish(out, device)
        err.print(f"report: {out / 'report.html'}")
    err.print(next_steps(out))


def next_steps(run: Path) -> str:
    """Say what can be done with a run now; what cannot is left out."""
    from criinet.engine.folder import RunFolder
    from criinet.engine.origin import recorded_split

    name = shlex.quote(str(run))
    measured = f"`criinet evaluate {name}` measures it on test cases, " if recorded_split(RunFolder(run)).test else ""
    return f"next: {measured}`criinet predict {name} IMAGES --out MASKS`"


def gather(config: Path | None, assignments: list[str]) -> dict[str, Any]:
    """Return the settings of a file with those of the command line on top."""
    from criinet.config import assignment, merge
    from criinet.engine.settings import settings_in

    settings = settings_in(config) if config is not None else {}
    for text in assignments:
        settings = merge(settings, assignment(text))
    return settings


def run_training(dataset: Path, out: Path, *, quiet: bool = False, **options: Any) -> None:
    """Train with a progress bar; say first what was picked and why."""
    from criinet.cli.training_display import TrainingDisplay
    from criinet.engine.training import train as train_run

    with TrainingDisplay(quiet=quiet) as shown:
        train_run(dataset, out, announce=shown.announce, warn=shown.warn, watch=shown.watch, **options)
        shown.finish()


def finish(run: Path, device: str) -> None:
    """Segment the unlabeled cases of a run and write its report."""
    from criinet.cli.show import bar, err
    from criinet.engine.prediction import predict_unlabeled
    from criinet.report import write_report

    with bar("segmenting") as advance:
        count = predict_unlabeled(run, device=device, advance=advance)
    if count:
        err.print(f"wrote masks for {count} case{'s' if count > 1 else ''} to {run / 'predictions'}")
    write_report([run], run / "report.html")
