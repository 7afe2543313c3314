"""The `criinet` command: every error is one sentence, every exit code means something."""

import os
import signal
import sys
from typing import Annotated, Any

import typer

from criinet.cli import benchmark, data, demo, deploy, listing, results, review, training
from criinet.errors import DEBUG, INTERRUPTED, CriinetError

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Click's base of all mistakes on a command line, which Typer does not export."""

app = typer.Typer(
    name="criinet",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data")
app.command("demo")(demo.demo)
app.command("split")(data.split)
app.command("train")(training.train)
app.command("predict")(results.predict)
app.command("evaluate")(results.evaluate)
app.command("benchmark")(benchmark.benchmark)
app.command("search")(benchmark.search)
app.command("report")(results.report)
app.command("review")(review.review)
app.command("export")(deploy.export)
app.command("methods")(listing.methods)
app.command("networks")(listing.networks)
app.command("settings")(listing.settings)


def show_version(asked: bool) -> None:
    """Print the version and exit, if it was asked for."""
    from importlib.metadata import version

    if asked:
        print(f"criinet {version('criinet')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Masks for a whole folder of medical images from a handful of masks, with evidence of how good they are."""


def run() -> None:
    """Run the command line: exit 0 done, 1 internal, 2 the user's input, 130 interrupted.

    With CRIINET_DEBUG an error ends it with its traceback.
    """
    end_as_ctrl_c()
    share_cores()
    try:
        code = app(prog_name="criinet", standalone_mode=False)
        if code == INTERRUPTED:
            fail("interrupted.", INTERRUPTED)
        sys.exit(code)
    except UsageError as error:
        explain_usage(error)
    except CriinetError as error:
        if os.environ.get(DEBUG) and error.exit_code != INTERRUPTED:
            raise
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        fail("interrupted.", INTERRUPTED)
    except BrokenPipeError:
        os._exit(0)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        fail(
            f"internal error ({type(error).__name__}: {error}). Run it with {DEBUG}=1 and report what it prints.",
            1,
        )


def end_as_ctrl_c() -> None:
    """Let what ends a job or a container (SIGTERM), or a terminal that is closed (SIGHUP), do what Ctrl-C does.

    Where SIGHUP is ignored, as under nohup, it stays so.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # Windows has none.
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def share_cores() -> None:
    """Let idle threads of the network sleep soon: beside other work, whoever spins takes the core that it waits for.

    libgomp, which PyTorch computes with on Linux, spins 300 000 times by default. A thirtieth of that is still longer
    than most waits of a training with nothing beside it (`benchmarks/beside_others.py`). It reads this before PyTorch
    is imported; child processes get it too.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "10000"


def explain_usage(error: Any) -> None:
    """Say in one sentence what is wrong with the command line; a bare `criinet` gets the help instead."""
    message: str = error.format_message()
    if "\n" in message:
        print(message, file=sys.stderr)
        sys.exit(2)
    command = error.ctx.command_path if error.ctx is not None else "criinet"
    message += "" if message.endswith((".", "?")) else "."
    fail(f"{message} `{command} --help` lists what there is.", 2)


def fail(sentence: str, code: int) -> None:
    """Print one sentence to standard error and exit."""
    print(f"criinet: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    run()
