"""`criinet benchmark`: a grid of methods, datasets, amounts of labels, draws and seeds, and one table of it all."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from criinet.cli.options import Device

if TYPE_CHECKING:
    from criinet.benchmarking.cells import Cell
    from criinet.benchmarking.search import Trial

PlanName = Annotated[
    str, typer.Argument(metavar="PLAN", help="A plan file, or the name of a plan that comes with criinet.")
]
Data = Annotated[Path, typer.Option(metavar="DATASETS", help="Folder that holds the plan's dataset folders.")]
Jobs = Annotated[int | None, typer.Option(metavar="N", min=1, help="Runs at a time. [default: one a core; on a GPU 1]")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue with what is in OUT.")]


def benchmark(
    plan: PlanName,
    out: Annotated[Path, typer.Option(metavar="OUT", help="Folder of the benchmark.")],
    data: Data = Path(),
    jobs: Jobs = None,
    engine: Annotated[str, typer.Option(metavar="ENGINE", help="local, or ray for a Ray cluster.")] = "local",
    device: Device = "auto",
    resume: Resume = False,
) -> None:
    """Do every run of a plan, and write tables, figures and a page; finished runs are never repeated."""
    import shlex
    import sys

    from criinet.benchmarking import benchmark as run_plan
    from criinet.benchmarking.bench import usual_jobs
    from criinet.cli.show import bar, err
    from criinet.report import write_benchmark_report

    with bar("benchmarking") as advance:

        def told(cell: "Cell", code: int, done: int, total: int) -> None:
            err.print(f"{done} of {total}: {cell.name} {'failed' if code else 'done'}")
            advance(done, total)

        results = run_plan(
            plan,
            out,
            data=data,
            jobs=jobs or usual_jobs(device),
            engine=engine,
            device=device,
            resume=resume,
            command=shlex.join(["criinet", *sys.argv[1:]]),
            told=told,
        )
    page = write_benchmark_report(out)
    for failure in results["failed"]:
        err.print(f"failed: {failure['run']}: {failure['reason']}")
    err.print(f"report: {page}")
    if results["failed"] or results["pending"]:
        raise typer.Exit(1)


def search(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A plan file with a table [search].")],
    out: Annotated[Path, typer.Option(metavar="OUT", help="Folder of the search; the tuned plan is OUT/tuned.json.")],
    data: Data = Path(),
    jobs: Jobs = None,
    device: Device = "auto",
    resume: Resume = False,
) -> None:
    """Search settings for every row of a plan on validation cases, with the same number of trials for each."""
    import shlex

    from criinet.benchmarking import search as run_search
    from criinet.benchmarking.bench import usual_jobs
    from criinet.cli.show import err

    def told(row: str, number: int, trial: "Trial") -> None:
        found = "failed" if trial.dice is None else f"validation Dice {trial.dice:.3f}"
        err.print(f"{row} trial {number}: {trial.settings or 'as it stands'}: {found}")

    run_search(plan, out, data=data, jobs=jobs or usual_jobs(device), device=device, resume=resume, told=told)
    command = ["criinet", "benchmark", str(out / "tuned.json"), *(["--data", str(data)] if data != Path() else [])]
    err.print(f"tuned plan: {out / 'tuned.json'}; run it with `{shlex.join(command)} --out DIR`")
