"""Serving the page: where it listens, the token, and the address that is printed."""

import ipaddress
import logging
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from criinet.engine.folder import RunFolder
from criinet.errors import ConfigError
from criinet.review.app import create_app
from criinet.review.guard import Guard
from criinet.review.session import ReviewSession

LOOPBACK = "127.0.0.1"
PORT = 8000
PATIENCE = 5
"""Seconds that requests have to end in once the server is to end; an upload that got stuck would hold it for ever."""


def serve(
    run: Path,
    dataset: Path,
    *,
    host: str = LOOPBACK,
    port: int = PORT,
    device: str = "auto",
    iterations: int | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the review page of a run until Ctrl-C, or until the system asks the process to end.

    Args:
        port: 0 takes a free one.
        iterations: steps of a round; None for half of the run's.
        say: called with each sentence for the person at the terminal, the address among them.

    Raises:
        ConfigError: if the address cannot be listened on.
        RunError: if another process serves the page of this run.
        UserError: if run or dataset cannot be used.
    """
    folder = RunFolder(run)
    folder.read_config()  # Before anything is written: there may be no run.
    with folder.unreviewed(), terminate_as_interrupt(), listen(host, port) as listening:
        session = ReviewSession(run, dataset, device=device, iterations=iterations)
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        if not is_loopback(host):
            say(
                f"warning: {host} can be reached from other machines, and the connection is not encrypted. "
                "Whoever has the address below can see the images and change the masks."
            )
        guard = Guard(create_app(session), token=token, hosts=own_hosts(host, port), cookie=f"criinet_review_{port}")
        if session.note:
            say(f"warning: {session.note}")
        what = "images" if session.dataset.dims == 2 else "volumes"
        say(f"{session.dataset.name}: {len(session.store.names('open', 'skipped'))} {what} to review")
        say(f"open http://{in_address(host)}:{port}/?token={token} (Ctrl-C ends)")
        try:
            session.start()
            config = uvicorn.Config(
                guard,
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=PATIENCE,
            )
            Server(config, session.rounds.interrupt).run(sockets=[listening])
        finally:
            session.close()


class Server(uvicorn.Server):
    """Tells the round at once when it is asked to end: the last requests may take longer than a system waits.

    Args:
        ending: called then, before the requests are waited for.
    """

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self.ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.ending()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # It takes requests that are cut off for errors.
        super().handle_exit(sig, frame)


@contextmanager
def terminate_as_interrupt() -> Generator[None, None, None]:
    """Turn SIGTERM, which would end the process at once, into KeyboardInterrupt while the block runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: if the port is taken, or the host is not one of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as stack:
            listening = stack.enter_context(socket.socket(family, kind, protocol))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()
            stack.pop_all()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{host}:{port} cannot be listened on ({reason}); give another --port or --host.") from error
    return listening


def is_loopback(host: str) -> bool:
    """Say whether a host is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def own_hosts(host: str, port: int) -> frozenset[str] | None:
    """Return every ``HOST:PORT`` that the page may be called by; None if they cannot be known.

    Browsers leave out port 80, which is that of every address without one.
    """
    if not is_loopback(host):
        return None
    names = ("127.0.0.1", "localhost", "[::1]", in_address(host))
    return frozenset([*(f"{name}:{port}" for name in names), *(names if port == 80 else ())])


def in_address(host: str) -> str:
    """Return a host as an address writes it."""
    return f"[{host}]" if ":" in host else host
