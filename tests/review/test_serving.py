"""A run has one server; however that ends, another one can begin, and if it was asked to end, its round is saved."""

import json
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from review_page import eventually, square

from criinet.engine.checkpoint import load_checkpoint
from criinet.engine.folder import RunFolder
from criinet.errors import RunError
from criinet.review import server as server_module
from criinet.review.app import create_app
from criinet.review.server import Server, serve
from criinet.review.session import ReviewSession
from criinet.review.store import Effort
from review_process import start_review

OPEN = "case_0010"


class Caller:
    """Speaks to a server as its page does."""

    def __init__(self, said: str) -> None:
        self.address, self.token = re.findall(r"open (http://\S+)/\?token=(\S+)", said)[0]

    def __call__(self, path: str, body: dict | None = None) -> dict:
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.address}{path}", content, headers)) as answer:
            return json.load(answer)


@contextmanager
def serving(place: Path, *words: str) -> Generator[tuple[Caller, "subprocess.Popen[str]"]]:
    """Start `criinet review` on a free port, and kill it in the end if it is still there."""
    process, said = start_review(place, "--port", "0", "--device", "cpu", *words)
    with process:
        try:
            yield Caller(said), process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_run_has_one_server_until_that_ends_in_any_way(place, monkeypatch):
    lock = place / "run" / "review" / ".lock"
    with serving(place) as (_, process):
        with monkeypatch.context() as patched:
            patched.setattr(server_module, "ReviewSession", lambda *_, **__: pytest.fail("a second one opened the run"))
            with pytest.raises(RunError, match=rf"another process \({process.pid}\) serves the review page of .*run\."):
                serve(place / "run", place / "data", port=0)
        process.kill()
        process.wait()
    assert lock.exists()
    with serving(place) as (call, process):
        assert call("/api/status")["reviewed"] == 0
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert not lock.exists()


@contextmanager
def stuck_upload(call: Caller) -> Generator[None]:
    """Begin to send a mask, and stop in the middle."""
    host, port = call.address.removeprefix("http://").split(":")
    query = "action=corrected&version=0"
    head = f"PUT /api/cases/{OPEN}/mask?{query} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {call.token}"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}\r\nContent-Type: image/png\r\nContent-Length: 500\r\n\r\nhalf".encode())
        yield


@pytest.mark.slow
def test_a_server_that_is_asked_to_end_saves_its_round_whatever_is_being_sent_to_it(place):
    opened = ReviewSession(place / "run", place / "data", device="cpu")
    opened.store.save_mask(OPEN, square(), "corrected", opened.store.entry(OPEN).version, Effort())
    opened.close()
    with serving(place, "--iterations", "5000") as (call, process):
        call("/api/rounds", {"action": "start"})
        eventually(lambda: (call("/api/status")["progress"] or {}).get("step"))
        with stuck_upload(call):
            call("/api/status")
            process.terminate()
            said = process.communicate(timeout=60)[1]
    assert "Traceback" not in said
    assert process.returncode == 130
    book = json.loads((place / "run" / "review" / "rounds.json").read_text())
    assert [r["status"] for r in book["rounds"]] == ["done", "stopped"]
    assert 0 < load_checkpoint(RunFolder(place / "run" / "review" / "round_1").checkpoint("last"))["step"] < 5000


def test_the_round_is_told_to_end_before_requests_are_waited_for():
    """The prediction of a volume may take longer than a system waits."""
    told: list[bool] = []
    server = Server(uvicorn.Config(create_app, log_config=None), lambda: told.append(server.should_exit))
    server.handle_exit(signal.SIGTERM, None)
    assert (told, server.should_exit) == ([False], True)
