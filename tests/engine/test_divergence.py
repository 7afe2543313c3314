"""What breaks first is named, though losses are read every few steps, and a smaller rate advised where it can help."""

import signal

import pytest
import torch

from criinet.engine.checkpoint import load_checkpoint
from criinet.engine.distributed import launch
from criinet.engine.divergence import Vitals
from criinet.engine.folder import RunFolder
from criinet.errors import DivergedError, InterruptedRunError

LONG = {"iterations": 20, "checks": 1}


def times(factor):
    """Return what multiplies the second loss at every call by ``factor`` of the number of the call."""
    calls = []

    def extra(_, logits):
        calls.append(None)
        return logits.square().mean() * factor(len(calls))

    return extra


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [1, 4, 10])
def test_the_loss_that_broke_is_named_and_not_the_first_that_its_weights_spoilt(broken, at, own, tmp_path):
    """Losses are read at step 10, when everything is NaN."""
    sentence = rf"^training diverged: 'extra' is {broken} at step {at}\. Look at how the method computes 'extra'\.$"
    with pytest.raises(DivergedError, match=sentence):
        own(LONG, extra=times(lambda call: broken if call == at else 1.0))
    assert not (tmp_path / "run").exists()


def test_losses_that_break_at_once_may_come_of_the_rate_and_the_last_good_checkpoint_stays(own, tmp_path):
    """NaN at step 5; checks at 2, 4, 6, 8: the checkpoint of step 4 stays, none of broken weights replaces it."""
    calls = []

    def losses(self, labeled, *_):
        calls.append(None)
        logits = self.student(labeled.image).logits * (float("nan") if len(calls) == 5 else 1.0)
        return {"supervised": logits.mean(), "extra": logits.square().mean()}

    with pytest.raises(
        DivergedError,
        match=r"'supervised' is nan and 'extra' is nan at step 5\. The last good checkpoint is kept; start another run "
        r"with a smaller rate, as --set trainer\.learning_rate=3e-04\.$",
    ):
        own({"iterations": 20, "checks": 10}, losses=losses)
    state = load_checkpoint(RunFolder(tmp_path / "run").checkpoint("last"))
    assert state["step"] == 4
    assert all(torch.isfinite(v.float()).all() for v in state["method"].values())


def test_a_resumed_run_counts_steps_from_its_beginning(own):
    def interrupt(_, logits):
        signal.raise_signal(signal.SIGINT)
        return logits.square().mean()

    with pytest.raises(InterruptedRunError):
        own(LONG, extra=interrupt)
    with pytest.raises(DivergedError, match=r"'extra' is nan at step 4\. The last good checkpoint is kept; look"):
        own(LONG, resume=True, extra=times(lambda call: float("nan") if call == 3 else 1.0))


@pytest.mark.parametrize(
    ("factor", "advice"),
    [
        (lambda _: 1e9, "Look at how the method computes 'extra'"),
        (lambda call: 30.0**call, "Start again with a smaller rate"),
    ],
    ids=["always huge", "grows"],
)
def test_a_huge_loss_is_the_rates_doing_if_it_grew(factor, advice, own, tmp_path):
    with pytest.raises(DivergedError, match=rf"diverged: 'extra' is [\d.e+]+ at step 10\. {advice}"):
        own(LONG, extra=times(factor))
    assert not (tmp_path / "run").exists(), "there was no checkpoint yet: the same command may be given again"


def test_a_gradient_that_is_not_finite_is_named_too(own):
    """The root of 0 is 0, its slope is not finite."""
    with pytest.raises(DivergedError, match=r"'gradient' is nan at step 1\. Look at how the losses are computed"):
        own(LONG, extra=lambda _, logits: (logits * 0).sum().sqrt())


def test_a_loss_that_grew_before_it_broke_is_the_rates_doing():
    """Their sum: from 1 to 3, then the second loss overflows."""
    vitals = Vitals(("supervised", "extra"), torch.device("cpu"))
    for extra in (0.5, 2.5, float("inf"), float("nan")):
        vitals.note((torch.tensor(0.5), torch.tensor(extra)), torch.tensor(1e6))
    found = vitals.broken(launch("cpu", "32"))
    assert found is not None
    assert (found.step, found.values, found.rate) == (3, {"extra": float("inf")}, True)


def test_what_is_finite_is_not_broken_however_long_the_gradient():
    vitals = Vitals(("supervised",), torch.device("cpu"))
    vitals.note((torch.tensor(0.5),), torch.tensor(1e6))
    assert vitals.broken(launch("cpu", "32")) is None
