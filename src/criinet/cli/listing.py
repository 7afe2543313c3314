"""What there is: methods and networks, each with its reference, and every setting with its meaning."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from criinet.cli.options import AsJson
from criinet.defaults import DEFAULT_METHOD, DEFAULT_NETWORK


def methods(as_json: AsJson = False) -> None:
    """List the methods, with the paper of each."""
    from criinet.methods import methods as registered

    show("methods", [(name, entry.summary, entry.reference) for name, entry in registered.items()], as_json)


def networks(as_json: AsJson = False) -> None:
    """List the networks, with the paper of each."""
    from criinet.networks import networks as registered

    show("networks", [(name, entry.summary, entry.reference) for name, entry in registered.items()], as_json)


def settings(
    method: Annotated[str, typer.Option(metavar="METHOD", help="Method whose settings to list.")] = DEFAULT_METHOD,
    network: Annotated[str, typer.Option(metavar="NETWORK", help="Network whose settings to list.")] = DEFAULT_NETWORK,
    as_json: AsJson = False,
) -> None:
    """List every setting with its default and meaning; `criinet train` prints those that it picks from the data."""
    from criinet.config import settings_of
    from criinet.engine.settings import models_of

    models = models_of(method, network)
    found = [setting for section, model in models.items() for setting in settings_of(model, section)]
    if as_json:
        print(json.dumps([asdict(setting) for setting in found], indent=1))
        return
    for setting in found:
        default = setting.default if isinstance(setting.default, str) else json.dumps(setting.default)
        print(f"{setting.name}={default}\n    {setting.meaning}")


def show(title: str, rows: list[tuple[str, str, str]], as_json: bool) -> None:
    """Print a listing as a table or as JSON."""
    from criinet.cli.show import out, table

    if as_json:
        print(json.dumps([dict(zip(("name", "summary", "reference"), row, strict=True)) for row in rows], indent=1))
    else:
        out.print(table(title, ("name", "what it is", "reference"), rows, words=True))
