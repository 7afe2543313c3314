"""A round whose folder is gone is not used, and does not keep the page from being started."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from criinet.errors import RunError, StorageError
from criinet.review import rounds as rounds_module
from criinet.review import server as server_module
from criinet.review.server import Server, serve
from criinet.review.session import ReviewSession


def with_round(place: Path, session: ReviewSession, *, current: int) -> Path:
    """Let a finished round stand in the book, with the weights of the run, and return its folder."""
    rounds = session.rounds
    shutil.copytree(rounds.run.root, place / "copy", ignore=shutil.ignore_patterns("review"))
    folder = rounds.folder(1).root
    folder.parent.mkdir(exist_ok=True)
    (place / "copy").rename(folder)
    begun = rounds.round(0).model_copy(update={"number": 1, "began_from": 0})
    rounds._write(rounds.book.model_copy(update={"rounds": (*rounds.book.rounds, begun), "current": current}))
    return folder


def test_the_model_in_use_stays_where_another_cannot_be_loaded(place, session, client):
    folder = with_round(place, session, current=0)
    shutil.rmtree(folder)
    answer = client.post("/api/rounds", json={"action": "use", "number": 1})
    assert (answer.status_code, answer.json()["error"].split(" (")[0]) == (409, f"{folder} holds no run")
    assert (session.rounds.current.number, session.model.number) == (0, 0)
    again = ReviewSession(place / "run", place / "data", device="cpu")
    assert (again.rounds.current.number, again.note) == (0, "")
    again.close()


def test_the_model_in_use_stays_where_another_cannot_be_noted(place, session, monkeypatch):
    with_round(place, session, current=0)

    def full(*_: object) -> None:
        raise StorageError("no space left to write rounds.json; free some space.")

    monkeypatch.setattr(rounds_module, "write_text_atomically", full)
    with pytest.raises(StorageError, match="no space left"):
        session.use_round(1)
    assert (session.rounds.current.number, session.model.number) == (0, 0)


def test_the_page_starts_with_the_runs_own_model_where_the_rounds_is_gone_and_says_so(place, session, monkeypatch):
    folder = with_round(place, session, current=1)
    shutil.move(folder, place / "away")
    said: list[str] = []
    served: list[ReviewSession] = []

    def opened(*given: Any, **options: Any) -> ReviewSession:
        served.append(ReviewSession(*given, **options))
        return served[0]

    monkeypatch.setattr(server_module, "ReviewSession", opened)
    monkeypatch.setattr(Server, "run", lambda *_, **__: None)
    serve(place / "run", place / "data", port=0, device="cpu", say=said.append)
    assert (served[0].rounds.current.number, served[0].model.number) == (0, 0)
    assert said[0] == f"warning: {served[0].about()['note']}"
    assert f"round 1 is gone from {folder}" in said[0]

    shutil.move(place / "away", folder)
    again = ReviewSession(place / "run", place / "data", device="cpu")
    assert (again.rounds.current.number, again.model.number, again.note) == (1, 1, "")
    with pytest.raises(RunError, match="no round 7"):
        again.use_round(7)
    again.use_round(0)
    assert (again.rounds.current.number, again.model.number) == (0, 0)
    again.close()
