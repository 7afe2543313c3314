"""`criinet review`: its mistakes are one sentence, and it prints an address with a token."""

import json
import re
import signal
import sys
import time

import pytest

from review_process import start_review


def test_a_folder_without_a_run_is_said(criinet, place):
    outcome = criinet("review", place / "data", place / "data")
    assert outcome.code == 2
    assert "holds no run" in outcome.sentence


def test_a_missing_dataset_is_said(criinet, place):
    outcome = criinet("review", place / "run", place / "nowhere")
    assert outcome.code == 2
    assert "nowhere does not exist" in outcome.sentence


def test_pixels_without_ground_truth_are_refused(criinet, place):
    """The page could neither show nor keep them."""
    card = place / "data" / "dataset.json"
    told = json.loads(card.read_text())
    card.write_text(json.dumps({**told, "ignore": True}))
    outcome = criinet("review", place / "run", place / "data")
    card.write_text(json.dumps(told))
    assert outcome.code == 2
    assert '"ignore": true' in outcome.sentence


def test_without_the_extra_it_says_what_to_install(criinet, place, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "criinet.review", raising=False)
    monkeypatch.delitem(sys.modules, "criinet.review.server", raising=False)
    outcome = criinet("review", place / "run", place / "data")
    assert outcome.code == 2
    assert "criinet[review]" in outcome.sentence


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_it_prints_an_address_and_ends_on_ctrl_c(place, host):
    process, said = start_review(place, "--port", "0", "--host", host)
    with process:
        assert re.search(rf"open http://{re.escape(host)}:\d+/\?token=[\w-]{{32}} ", said)
        assert ("warning: 0.0.0.0 can be reached from other machines" in said) == (host == "0.0.0.0")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=30)[1]
    assert "Traceback" not in rest
    assert process.returncode in (0, 130)
