"""The queue, the model's planes, and what the page is told."""

import threading
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pytest
from review_page import eventually

from criinet.data.images import read_image
from criinet.engine.build import load
from criinet.engine.predictor import Predictor
from criinet.review import model as model_module
from criinet.review import session as session_module
from criinet.review.model import Looks
from criinet.review.session import ReviewSession
from criinet.review.store import Effort

OPEN = "case_0010"


def ranked(session: ReviewSession) -> ReviewSession:
    session.model.start()
    session.model.wait()
    return session


def test_every_case_outside_validation_and_test_is_listed_those_to_review_first(session, client):
    ranked(session)
    listed = client.get("/api/cases").json()["cases"]
    assert {case["name"] for case in listed} == {f"case_{i:04d}" for i in range(1, 19)}
    assert [case["status"] for case in listed] == ["open"] * 12 + ["labeled"] * 6
    assert all(0 <= case["benefit"] <= 1 for case in listed[:12])
    assert all(0 <= case["expected_dice"] <= 1 for case in listed)


def test_the_queue_is_there_before_it_is_ranked(client):
    listed = client.get("/api/cases").json()["cases"]
    assert [case["name"] for case in listed[:12]] == [f"case_{i:04d}" for i in range(7, 19)]
    assert all(case["benefit"] is None for case in listed)
    assert client.get("/api/status").json()["ranked"] is False


def test_looks_are_kept_between_sessions_and_damaged_ones_measured_again(place, session):
    ranked(session)
    order = [case["name"] for case in session.cases()]
    again = ReviewSession(place / "run", place / "data", device="cpu")
    assert [case["name"] for case in again.cases()] == order
    again.close()
    path = place / "run" / "review" / "looks" / "round_0.npz"
    path.write_bytes(path.read_bytes()[:100])
    assert Looks.read(path) is None
    anew = ReviewSession(place / "run", place / "data", device="cpu")
    assert [case["name"] for case in ranked(anew).cases()] == order
    anew.close()


@pytest.fixture
def eight_looks(session, monkeypatch) -> Iterator[Callable[[], None]]:
    """Look at the first eight cases by name, the labeled ones and two more, and hold the next four in hand."""
    plain, go_on, calls = session.model._look_at, threading.Event(), count()

    def look_at(cases):
        if next(calls) == 2:
            go_on.wait()
        return plain(cases)

    def look() -> None:
        session.model.start()
        eventually(lambda: session.model.looked == 8)

    monkeypatch.setattr(session.model, "_look_at", look_at)
    yield look
    go_on.set()
    session.model.wait()


def test_a_page_that_is_stopped_remembers_what_was_looked_at_until_then(place, session, eight_looks, monkeypatch):
    eight_looks()
    monkeypatch.setattr(session_module, "GRACE", 0)
    session.close()
    again = ReviewSession(place / "run", place / "data", device="cpu")
    seen = [f"case_{i:04d}" for i in range(1, 19) if again.model.uncertainty(f"case_{i:04d}") is not None]
    assert seen == [f"case_{i:04d}" for i in range(1, 9)]
    assert again.model.uncertainty("case_0008") == session.model.uncertainty("case_0008")
    assert ranked(again).queue.complete
    again.close()


def test_what_was_looked_at_is_remembered_and_ranked_in_between(place, session, eight_looks, monkeypatch):
    """A page that is killed has lost a minute, and who looks at it early sees which of the first images to take."""
    monkeypatch.setattr(model_module, "INTERVAL", 0)
    eight_looks()
    eventually(lambda: len(session.queue.benefit) == 2)
    assert {case["name"] for case in session.cases()[:2]} == {"case_0007", "case_0008"}
    assert session.status()["ranked"] is False
    looks = Looks.read(place / "run" / "review" / "looks" / "round_0.npz")
    assert looks is not None
    assert looks.names == tuple(f"case_{i:04d}" for i in range(1, 9))


def test_planes_are_what_the_run_predicts(place, client):
    predictor: Predictor = load(place / "run", device="cpu")
    expected = predictor.predict(read_image(place / "data" / "images" / f"{OPEN}.png"))
    detail = client.get(f"/api/cases/{OPEN}").json()
    assert (detail["height"], detail["width"], detail["round"]) == (48, 48, 0)
    assert set(detail["planes"]) == {
        "refined", "coarse", "uncertainty", "disagreement", "probability-0", "probability-1",
    }  # fmt: skip
    planes = {
        name: np.frombuffer(client.get(f"/api/cases/{OPEN}/planes/{name}").content, np.uint8).reshape(48, 48)
        for name in detail["planes"]
    }
    assert np.array_equal(planes["refined"], expected.mask)
    assert np.array_equal(planes["coarse"], expected.coarse_mask)
    assert np.array_equal(planes["probability-1"], np.round(expected.probs[1].numpy() * 255))
    assert np.array_equal(planes["uncertainty"], np.round(expected.entropy * 255))
    assert client.get(f"/api/cases/{OPEN}/planes/mask").status_code == 422


def test_a_persons_mask_is_what_opens_next_time(client, save):
    drawn = np.zeros((48, 48), np.uint8)
    drawn[3, 4] = 1
    save(OPEN, drawn)
    assert "mask" in client.get(f"/api/cases/{OPEN}").json()["planes"]
    assert np.array_equal(
        np.frombuffer(client.get(f"/api/cases/{OPEN}/planes/mask").content, np.uint8).reshape(48, 48), drawn
    )


def test_progress_counts_what_is_reviewed_and_what_the_model_expects(session, client, save):
    ranked(session)
    before = client.get("/api/status").json()
    assert (before["reviewed"], before["to_review"], before["ranked"]) == (0, 12, True)
    assert before["expected"]["before"] == before["expected"]["now"]
    uncertainty = session.model.uncertainty(OPEN)
    assert uncertainty is not None
    save(OPEN)
    after = client.get("/api/status").json()
    assert (after["reviewed"], after["to_review"]) == (1, 12)
    gained = (1 - uncertainty.expected_dice) / 12
    assert np.isclose(after["expected"]["now"], before["expected"]["before"] + gained)
    assert after["minutes"] == 0.2


def test_of_a_rejected_image_no_mask_is_expected(session):
    ranked(session)
    uncertainties = [session.model.uncertainty(f"case_{i:04d}") for i in range(7, 19) if i != 10]
    session.store.decide(OPEN, "rejected", session.store.entry(OPEN).version, Effort())
    mean = np.mean([uncertainty.expected_dice for uncertainty in uncertainties if uncertainty is not None])
    assert session.status()["expected"] == {"before": pytest.approx(mean), "now": pytest.approx(mean)}


def test_a_skipped_image_comes_after_all_that_are_open(session):
    ranked(session)
    first = session.cases()[0]["name"]
    session.store.decide(first, "skipped", session.store.entry(first).version, Effort())
    session._rank()
    assert [case["status"] for case in session.cases()] == ["open"] * 11 + ["skipped"] + ["labeled"] * 6


def test_an_unreadable_image_is_named_and_stops_nothing(place):
    (place / "data" / "images" / f"{OPEN}.png").write_bytes(b"not an image")
    opened = ranked(ReviewSession(place / "run", place / "data", device="cpu"))
    assert opened.queue.complete
    problems = {case["name"]: case["problem"] for case in opened.cases() if case["problem"]}
    assert list(problems) == [OPEN]
    assert "is damaged" in problems[OPEN]
    opened.close()


def test_answers_are_compressed_and_the_page_is_served(client):
    answer = client.get("/")
    assert "<title>criinet review</title>" in answer.text
    assert client.get("/main.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/api/cases", headers={"accept-encoding": "gzip"}).headers["content-encoding"] == "gzip"


def test_the_queue_keeps_away_from_what_has_a_mask(session, monkeypatch):
    asked = []
    monkeypatch.setattr(session.model, "order", lambda _, known: asked.append(list(known)) or ([], {}))
    session._rank()
    assert asked[0] == session.store.labeled_now() != []
