"""`criinet review`: a page to correct the masks that are worth it first, and to learn from them."""

from pathlib import Path
from typing import Annotated

import typer

from criinet.cli.options import Device


def review(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")],
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="The run's dataset; masks are saved to DATASET/masks.")
    ],
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on; any but 127.0.0.1 opens the page to the network.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    iterations: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Steps of each retraining. [default: half of the run's]")
    ] = None,
    device: Device = "auto",
) -> None:
    """Serve a page and print its address: a queue of the images worth correcting first, a brush, and retraining."""
    from criinet.cli.show import err
    from criinet.errors import ConfigError

    try:
        from criinet.review import serve
    except ImportError as error:
        raise ConfigError(
            "the review page needs FastAPI and uvicorn; install them with pip install 'criinet[review]'."
        ) from error
    serve(run, dataset, host=host, port=port, device=device, iterations=iterations, say=err.print)
