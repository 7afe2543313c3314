"""The shift of objects' logits: what it does, which one validation cases choose, and that a run keeps to it."""

import math

import pytest
import torch

from criinet.engine import trainer
from criinet.engine.build import load
from criinet.engine.checkpoint import load_checkpoint, save_checkpoint
from criinet.engine.evaluator import evaluate
from criinet.engine.origin import open_recorded, recorded_split
from criinet.engine.shift import FEWEST, SHIFTS, choose_shift, dice_by_class, dice_by_shift, shifted
from criinet.engine.training import train
from criinet.labels import IGNORE
from criinet.metrics import case_dice
from criinet.records import ValidationRecord


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_shift_by_hand():
    """Of .2 .5 .3 the last two grow by e: .2, 1.359, .815, over their sum 2.375."""
    found = shifted(torch.tensor([0.2, 0.5, 0.3]).view(1, 3, 1, 1), 1.0).flatten()
    total = 0.2 + 0.8 * math.e
    torch.testing.assert_close(found, torch.tensor([0.2, 0.5 * math.e, 0.3 * math.e]) / total)


def test_shifts_add_up_and_none_changes_nothing():
    probs = draw(2, 3, 4, 5).softmax(1)
    assert shifted(probs, 0.0) is probs
    torch.testing.assert_close(shifted(shifted(probs, 1.5), -1.5), probs)
    torch.testing.assert_close(shifted(shifted(probs, 0.5), 1.0), shifted(probs, 1.5))


def test_dice_under_every_shift_is_that_of_the_shifted_probabilities():
    """Also beside pixels without ground truth, and for a class that is nowhere: NaN in both."""
    probs = draw(4, 3, 6, 7).mul(2).softmax(1)
    target = torch.randint(IGNORE, 3, (4, 6, 7), generator=torch.Generator().manual_seed(1))
    target[0] = 0
    found = dice_by_shift(probs, target)
    assert found.shape == (4, len(SHIFTS), 2)
    for number, shift in enumerate(SHIFTS):
        expected = dice_by_class(shifted(probs, shift).argmax(1), target, 3)
        torch.testing.assert_close(found[:, number], expected, equal_nan=True)


def by_shift(peak: float, cases: int) -> torch.Tensor:
    """Return Dice (N, S, 1) that falls off from its best shift by .1 a nat, alike for all cases."""
    away = torch.tensor([abs(shift - peak) for shift in SHIFTS])
    return (0.9 - 0.1 * away).expand(cases, -1).unsqueeze(2)


@pytest.mark.parametrize("peak", [-1.5, 0.0, 2.0])
def test_what_all_cases_agree_on_is_chosen(peak):
    assert choose_shift(by_shift(peak, FEWEST)) == peak


def test_without_enough_cases_nothing_is_shifted():
    assert choose_shift(by_shift(2.0, FEWEST - 1)) == 0


def test_a_smaller_shift_is_taken_if_it_is_as_good_for_all_these_cases_tell():
    """Dice .8, .9 and .91 at shifts 0, 1 and 2; whether 2 is better than 1 depends on the case."""
    dice = torch.full((10, len(SHIFTS), 1), 0.5)
    dice[:, SHIFTS.index(0)], dice[:, SHIFTS.index(1)] = 0.8, 0.9
    dice[:, SHIFTS.index(2), 0] = 0.91 + torch.tensor([0.05, -0.05]).repeat(5)
    assert choose_shift(dice) == 1
    dice[:, SHIFTS.index(2)] = 0.91
    assert choose_shift(dice) == 2


def test_what_many_cases_tell_apart_is_no_tie():
    """.88 and a mean of .91: cases differ by .05, so the mean of sixteen by .05 / 4, which is less than .03."""
    dice = torch.full((16, len(SHIFTS), 1), 0.5)
    dice[:, SHIFTS.index(0)] = 0.88
    dice[:, SHIFTS.index(2), 0] = 0.91 + torch.tensor([0.05, -0.05]).repeat(8)
    assert choose_shift(dice) == 2


def test_where_every_shift_is_as_good_nothing_is_shifted():
    assert choose_shift(torch.full((10, len(SHIFTS), 1), 0.8)) == 0


def test_leaving_empty_what_is_empty_counts_for_a_shift():
    """A shift brings five cases .02 more Dice, and finds something in five where nothing is."""
    dice = torch.full((10, len(SHIFTS), 1), math.nan)
    above = SHIFTS.index(0.5)
    dice[:5, :above], dice[:5, above:] = 0.8, 0.82
    dice[5:, above:] = 0.0
    assert choose_shift(dice) == 0


def test_finding_what_is_not_there_counts_against_a_shift():
    """Nine cases without any object, where Dice is NaN until something is found: 0 then; one case gains by it."""
    dice = torch.full((10, len(SHIFTS), 1), math.nan)
    dice[0] = by_shift(3.0, 1)[0]
    dice[1:, SHIFTS.index(0.5) :] = 0.0
    assert choose_shift(dice) <= 0


@pytest.fixture
def bold(monkeypatch):
    """Validation cases, few as they are, ask for a shift of 1.5."""
    monkeypatch.setattr(trainer, "choose_shift", lambda _: 1.5)


@pytest.mark.usefixtures("bold")
def test_a_run_predicts_with_the_shift_that_it_chose(drawn, fit, tmp_path):
    run = fit(drawn, tmp_path / "run")
    assert [load_checkpoint(run.checkpoint(name))["shift"] for name in ("last", "best")] == [1.5, 1.5]
    predictor = load(run.root, device="cpu", tta=False)
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = predictor.method.predict(image).probs
    torch.testing.assert_close(predictor.apply(image).probs, shifted(plain, 1.5))
    asked = load(run.root, device="cpu", tta=False, shift=-2.0)
    torch.testing.assert_close(asked.apply(image).probs, shifted(plain, -2.0))
    assert {row["shift"] for row in evaluate(run.root, device="cpu")["rows"]} == {1.5}
    validation = [record for record in run.records() if isinstance(record, ValidationRecord)]
    assert {record.shift for record in validation} == {1.5}


@pytest.mark.usefixtures("bold")
def test_validation_during_training_is_without_it(drawn, fit, tmp_path):
    """What is chosen on cases would flatter on the same cases; and training itself is what it would be."""
    with_it, without = (
        fit(drawn, tmp_path / name, trainer={"shift": wanted}) for name, wanted in (("with", True), ("without", False))
    )
    assert load_checkpoint(without.checkpoint("last"))["shift"] == 0
    ours, theirs = ([r.dice for r in run.records() if isinstance(r, ValidationRecord)] for run in (with_it, without))
    assert ours == theirs


@pytest.mark.parametrize("data", [{"window": "patch"}, {"window": "whole", "size": [48, 48]}])
def test_images_are_validated_as_they_are_predicted(drawn, tiny_settings, tmp_path, data):
    """Larger than a window, or of training size: the Dice is that of the masks that the run writes."""
    settings = tiny_settings({"data": data, "trainer": {"shift": False}})
    run = train(drawn, tmp_path / "run", method="supervised", settings=settings, device="cpu")
    opened = open_recorded(run.read_config().dataset)
    cases = opened.select(recorded_split(run).val)
    predictor = load(run.root, device="cpu", tta=False)
    scores = [case_dice(predictor.predict(opened.read_scan(c)).mask, opened.read_mask(c), 2) for c in cases]
    last = [record for record in run.records() if isinstance(record, ValidationRecord)][-1]
    assert last.dice == pytest.approx(sum(scores) / len(scores), abs=1e-6)


@pytest.mark.usefixtures("bold")
def test_a_resumed_run_keeps_its_shift(drawn, fit, tmp_path, monkeypatch):
    """Stopped between two checks, it saves the one of the last check."""
    run = fit(drawn, tmp_path / "run")
    monkeypatch.setattr(trainer, "choose_shift", lambda _: 0.0)
    again = fit(drawn, tmp_path / "run", resume=True)
    assert load_checkpoint(again.checkpoint("last"))["shift"] == 1.5
    assert again.root == run.root


def test_a_run_of_before_there_was_a_shift_predicts_as_it_did(run):
    state = load_checkpoint(run.checkpoint("last"))
    del state["shift"]
    save_checkpoint(run.checkpoint("last"), state)
    assert load(run.root, device="cpu").shift == 0


def test_what_is_found_where_nobody_knows_counts_in_no_dice():
    predicted, target = torch.tensor([[[1, 1, 0]]]), torch.tensor([[[1, IGNORE, 0]]])
    assert dice_by_class(predicted, target, 2).tolist() == [[1.0]]
