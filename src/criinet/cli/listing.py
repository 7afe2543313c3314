"""What there is: methods and networks, each with its reference."""

from criinet.cli.options import AsJson


def methods(as_json: AsJson = False) -> None:
    """List the methods, with the paper of each."""
    from criinet.methods import methods as registered

    show("methods", [(name, entry.summary, entry.reference) for name, entry in registered.items()], as_json)


def networks(as_json: AsJson = False) -> None:
    """List the networks, with the paper of each."""
    from criinet.networks import networks as registered

    show("networks", [(name, entry.summary, entry.reference) for name, entry in registered.items()], as_json)


def show(title: str, rows: list[tuple[str, str, str]], as_json: bool) -> None:
    """Print a listing as a table or as JSON."""
    import json

    from criinet.cli.show import out, table

    if as_json:
        print(json.dumps([dict(zip(("name", "summary", "reference"), row, strict=True)) for row in rows], indent=1))
    else:
        out.print(table(title, ("name", "what it is", "reference"), rows, words=True))
