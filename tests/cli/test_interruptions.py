"""A full disk, a loss that breaks and Ctrl-C: one sentence, and what was there before stays."""

import errno

import pytest
import torch

from criinet.engine.checkpoint import load_checkpoint
from criinet.methods import Supervised
from files_of import contents

TRAIN = ["train", "data", "--out", "new"]


def test_a_disk_that_fills_up_during_training_keeps_the_last_checkpoint(criinet, place, tiny, monkeypatch):
    """There is room until the first checkpoint is written, and none for the second."""
    import os

    sync = os.fsync

    def until_full(descriptor: int) -> None:
        if (place / "new" / "checkpoints" / "last.pt").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr("criinet.data.files.os.fsync", until_full)
    outcome = criinet(*TRAIN, *tiny, "--method", "supervised")
    assert outcome.code == 2
    assert "no space left to write new/checkpoints" in outcome.sentence
    assert "free some space" in outcome.sentence
    assert load_checkpoint(place / "new" / "checkpoints" / "last.pt")["step"] == 3
    assert not list(place.rglob("*.tmp"))


def test_a_full_disk_spares_earlier_masks(criinet, place, monkeypatch):
    assert criinet("predict", "run", "data", "--out", "masks").code == 0
    before = contents(place)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("criinet.data.files.os.fsync", full)
    outcome = criinet("predict", "run", "data", "--out", "masks")
    assert outcome.code == 2
    assert "no space left to write masks/.prediction.json" in outcome.sentence
    assert contents(place) == before


def test_a_diverged_training_says_so_and_keeps_the_last_good_checkpoint(criinet, place, tiny, monkeypatch):
    honest, steps = Supervised.losses, []

    def poisoned(self, labeled, unlabeled, progress):
        steps.append(progress)
        terms = honest(self, labeled, unlabeled, progress)
        return {"supervised": terms["supervised"] * float("nan")} if len(steps) == 5 else terms

    monkeypatch.setattr(Supervised, "losses", poisoned)
    outcome = criinet(*TRAIN, *tiny, "--method", "supervised")
    assert outcome.code == 2
    assert "'supervised' is nan" in outcome.sentence
    assert "--set trainer.learning_rate=" in outcome.sentence
    state = load_checkpoint(place / "new" / "checkpoints" / "last.pt")
    assert state["step"] == 3
    assert all(torch.isfinite(weight.float()).all() for weight in state["method"].values())


@pytest.mark.parametrize("words", [["predict", "run", "data", "--out", "masks"], ["evaluate", "run"]])
def test_ctrl_c_exits_130_with_one_sentence(words, criinet, place, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("criinet.engine.predictor.Predictor.predict_many", interrupted)
    before = contents(place / "data")
    outcome = criinet(*words)
    assert outcome.code == 130
    assert outcome.sentence == "criinet: interrupted."
    assert contents(place / "data") == before


def test_ctrl_c_in_training_saves_and_exits_130(criinet, place, tiny, monkeypatch):
    import signal

    honest, steps = Supervised.losses, []

    def pressed(self, *batch):
        steps.append(len(steps))
        if len(steps) == 4:
            signal.raise_signal(signal.SIGINT)
        return honest(self, *batch)

    monkeypatch.setattr(Supervised, "losses", pressed)
    outcome = criinet(*TRAIN, *tiny, "--method", "supervised")
    assert outcome.code == 130
    assert outcome.sentence == "criinet: stopped after step 4; --resume (in Python resume=True) goes on from there."
    assert criinet(*TRAIN, "--resume", "--no-predict").code == 0
    resumed = load_checkpoint(place / "new" / "checkpoints" / "last.pt")["method"]
    whole = load_checkpoint(place / "run" / "checkpoints" / "last.pt")["method"]
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)
