"""A round learns from what was drawn, from the weights in use on, is measured on frozen cases, and can be undone."""

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from review_page import eventually, square
from torch import Tensor, nn

from criinet.data.dataset import open_dataset
from criinet.data.settings import DataConfig
from criinet.data.splits import Split, load_split
from criinet.engine.checkpoint import load_checkpoint
from criinet.engine.folder import RunFolder
from criinet.engine.machine import environment
from criinet.engine.origin import open_recorded
from criinet.engine.predictor import Predictor
from criinet.engine.run_record import DatasetRecord, RunRecord
from criinet.engine.settings import resolve
from criinet.engine.training import train
from criinet.errors import CheckpointError, DataError, RunError, StorageError
from criinet.methods import Prediction
from criinet.review import rounds as rounds_module
from criinet.review import session as session_module
from criinet.review import worker
from criinet.review.book import Round
from criinet.review.rounds import Rounds
from criinet.review.session import ReviewSession
from criinet.review.store import Effort, training_split
from criinet.review.validation import measure, write_dice

OPEN = "case_0010"
SPLIT = Split(
    dataset="d", labeled=["x"], unlabeled=[], val=[], test=[], fraction=1, seed=0, groups=False, stratified=False,
    hash="",
)  # fmt: skip
launch = Rounds._launch
"""As it is where no fixture replaces it."""


def draw(session: ReviewSession, *names: str) -> None:
    for name in names:
        session.store.save_mask(name, square(), "corrected", session.store.entry(name).version, Effort(seconds=30))


def ended(session: ReviewSession, seconds: float = 240) -> Round:
    """Wait until no round trains."""
    eventually(lambda: not session.rounds.training, seconds)
    return session.rounds.book.rounds[-1]


def measured(session: ReviewSession) -> ReviewSession:
    """Wait until the run is measured and every image looked at."""
    session.start()
    eventually(lambda: session.queue.complete)
    return session


def test_the_next_split_labels_what_was_drawn_and_drops_what_was_rejected(session):
    draw(session, OPEN, "case_0011")
    session.store.decide("case_0012", "rejected", session.store.entry("case_0012").version, Effort())
    session.store.decide("case_0001", "rejected", session.store.entry("case_0001").version, Effort())
    before, dataset = session.split, open_recorded(session.recorded, session.dataset.root)
    split = training_split(session.store, dataset, before)
    assert set(split.labeled) == {*before.labeled, OPEN, "case_0011"} - {"case_0001"}
    assert set(split.unlabeled) == set(before.unlabeled) - {OPEN, "case_0011", "case_0012"}
    assert (split.val, split.test) == (before.val, before.test)


def test_training_begins_with_the_weights_of_another_run_and_says_so(place, tmp_path):
    recorded = json.loads((place / "run" / "config.json").read_text())
    settings = {section: recorded[section] for section in ("method", "network", "data", "trainer")}
    settings["trainer"] |= {"iterations": 1, "learning_rate": 1e-12}
    run = train(place / "data", tmp_path / "next", settings=settings, initial=place / "run", device="cpu")
    before, after = (load_checkpoint(r.checkpoint("last"))["method"] for r in (RunFolder(place / "run"), run))
    learned = [key for key in before if key.endswith("weight")]
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in learned)
    assert json.loads(run.config.read_text())["initial"] == str(place / "run")
    settings["network"] = {**settings["network"], "channels": [8, 8, 8]}
    with pytest.raises(CheckpointError, match="does not fit"):
        train(place / "data", tmp_path / "other", settings=settings, initial=place / "run", device="cpu")
    assert not (tmp_path / "other").exists()


def test_without_a_decision_there_is_nothing_to_learn(session):
    with pytest.raises(DataError, match="nothing was corrected"):
        session.retrain()


@pytest.mark.slow
def test_a_round_is_a_run_measured_on_the_frozen_cases_and_can_be_rolled_back(place, session):
    measured(session)
    first = session.rounds.round(0)
    assert first.dice is not None
    ranking, uncertainty = session.queue.number, session.model.uncertainty(OPEN)
    draw(session, OPEN, "case_0011")
    mine = (place / "data" / "masks" / f"{OPEN}.png").read_bytes()
    session.retrain()
    with pytest.raises(RunError, match="training already; wait or cancel it"):
        session.retrain()
    done = ended(session)
    assert (done.status, done.masks, done.minutes, done.began_from) == ("done", first.masks + 2, 1.0, 0)
    assert done.dice is not None
    assert done.verdict == "too few to tell"
    folder = session.rounds.folder(1)
    split = load_split(folder.split, open_recorded(session.recorded, session.dataset.root))
    assert {OPEN, "case_0011"} <= set(split.labeled)
    assert split.val == session.split.val
    assert json.loads(folder.config.read_text())["trainer"]["iterations"] == 3
    assert json.loads(folder.validation.read_text()).keys() == set(split.val)
    assert (place / "data" / "masks" / f"{OPEN}.png").read_bytes() == mine
    assert session.rounds.current.number == 1
    eventually(lambda: session.queue.number > ranking)
    assert session.model.uncertainty(OPEN) != uncertainty

    session.use_round(0)
    assert session.rounds.current.number == 0
    again = ReviewSession(place / "run", place / "data", device="cpu")
    assert again.rounds.current.number == 0
    assert [r.number for r in again.rounds.book.rounds] == [0, 1]
    again.close()
    with pytest.raises(RunError, match="no round 7"):
        session.use_round(7)


def in_training(place: Path, iterations: int) -> ReviewSession:
    """A session whose round has taken some steps."""
    session = ReviewSession(place / "run", place / "data", device="cpu", iterations=iterations)
    draw(session, OPEN)
    session.retrain()
    eventually(lambda: (session.rounds.progress() or {})["step"])
    return session


@pytest.mark.slow
def test_a_cancelled_round_is_saved_resumed_after_a_restart_and_ends_as_one_that_was_not(place):
    session = in_training(place, iterations=60)
    session.rounds.cancel()
    assert session.status()["stopping"] or not session.rounds.training
    session.close()
    stopped = session.rounds.book.rounds[-1]
    assert stopped.status == "stopped"
    assert session.rounds.current.number == 0
    step = load_checkpoint(session.rounds.folder(1).checkpoint("last"))["step"]
    assert 0 < step < 60

    again = ReviewSession(place / "run", place / "data", device="cpu", iterations=60)
    assert again.rounds.unfinished is not None
    with pytest.raises(RunError, match="resume or discard"):
        again.retrain()
    again.resume()
    assert not again.status()["stopping"]
    done = ended(again)
    assert done.status == "done"
    lines = RunFolder(again.rounds.folder(1).root).metrics.read_text().splitlines()
    steps = [r["step"] for r in map(json.loads, lines) if r["kind"] == "train"]
    assert steps == sorted(set(steps))
    assert steps[-1] == 60
    again.close()


@pytest.mark.slow
def test_a_round_whose_own_process_is_asked_to_end_is_saved(place):
    """As systemd asks every process of a service."""
    session = in_training(place, iterations=5000)
    assert session.rounds._process is not None
    session.rounds._process.terminate()
    assert ended(session).status == "stopped"
    assert 0 < load_checkpoint(session.rounds.folder(1).checkpoint("last"))["step"] < 5000
    session.close()


@pytest.mark.slow
def test_a_failed_round_says_why_and_can_be_discarded(place, session):
    draw(session, OPEN)
    (place / "data" / "images" / "case_0007.png").write_bytes(b"damaged")
    session.retrain()
    failed = ended(session)
    assert failed.status == "failed"
    assert "case_0007.png is damaged" in failed.reason
    assert session.rounds.current.number == 0
    session.rounds.discard()
    assert [r.number for r in session.rounds.book.rounds] == [0]
    assert session.store.entry(OPEN).status == "corrected"


def test_a_round_that_was_training_when_everything_was_killed_counts_as_stopped(place, session):
    book = session.rounds.book
    left = book.rounds[0].model_copy(update={"number": 1, "status": "training", "began_from": 0})
    path = place / "run" / "review" / "rounds.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(book.model_copy(update={"rounds": (*book.rounds, left)}).model_dump_json())
    again = ReviewSession(place / "run", place / "data", device="cpu")
    assert again.rounds.unfinished is not None
    assert again.rounds.unfinished.status == "stopped"
    again.close()


def test_a_damaged_book_of_rounds_is_refused(place):
    path = place / "run" / "review" / "rounds.json"
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(RunError, match=r"rounds.json cannot be read"):
        ReviewSession(place / "run", place / "data", device="cpu")


@pytest.mark.parametrize("numbers", [[], [1], [0, 2], [0, 1, 1]])
def test_a_book_whose_rounds_are_not_in_order_is_refused(numbers, rounds):
    first = rounds.round(0)
    listed = [json.loads(first.model_copy(update={"number": number}).model_dump_json()) for number in numbers]
    rounds.run.review.mkdir()
    (rounds.run.review / "rounds.json").write_text(json.dumps({"rounds": listed}))
    with pytest.raises(RunError, match=r"rounds.json cannot be read"):
        rounds._open()


def test_a_run_that_is_listed_as_a_stopped_round_is_not_discarded(rounds):
    listed = json.loads(rounds.round(0).model_copy(update={"status": "stopped"}).model_dump_json())
    rounds.run.review.mkdir()
    (rounds.run.review / "rounds.json").write_text(json.dumps({"rounds": [listed]}))
    with pytest.raises(RunError, match=r"rounds.json cannot be read"):
        rounds._open()


def test_rounds_without_their_book_are_kept(place):
    weights = place / "run" / "review" / "round_1" / "checkpoints" / "last.pt"
    weights.parent.mkdir(parents=True)
    weights.touch()
    with pytest.raises(RunError, match=r"round_1 is of a round, but .*rounds.json is missing"):
        ReviewSession(place / "run", place / "data", device="cpu")
    assert weights.exists()


def test_another_datasets_classes_are_refused(place: Path):
    card = place / "data" / "dataset.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "classes": ["background", "polyp"]}))
    with pytest.raises(DataError, match="was trained on the classes background, lesion"):
        ReviewSession(place / "run", place / "data", device="cpu")


class Timid(nn.Module):
    """Gives .4 to an object everywhere: a shift of 1 makes it one, e / (e + 1.5) = .64."""

    classes = 2

    def predict(self, image: Tensor) -> Prediction:
        return Prediction(torch.tensor([0.6, 0.4]).view(1, 2, 1, 1).expand(len(image), 2, *image.shape[2:]))


def test_frozen_cases_are_measured_without_the_shift_that_was_chosen_on_such(place):
    dataset = open_dataset(place / "data")
    predictor = Predictor(Timid(), DataConfig(size=(32, 32)), dataset.classes, shift=1.0)
    assert predictor.predict(dataset.read_scan(dataset.case("case_0019"))).mask.all()
    assert measure(predictor, dataset, ["case_0019"]) == {"case_0019": 0.0}
    assert predictor.shift == 1.0


def test_the_run_is_measured_on_the_device_that_was_asked_for(session, monkeypatch):
    """Although another round's model is in use."""
    asked: list[str | None] = []
    plain = session_module.load

    def load(run: Path, *, device: str | None = None) -> Predictor:
        asked.append(device)
        return plain(run, device="cpu")

    monkeypatch.setattr(session_module, "load", load)
    session.model.number = 1
    session._begin()
    assert asked == ["cpu"]
    assert session.rounds.round(0).dice is not None


@pytest.fixture
def rounds(tmp_path, monkeypatch) -> Rounds:
    """Rounds of a run of 10 steps and seed 5, whose trainings never begin; nine cases of six patients."""
    run = RunFolder(tmp_path)
    record = RunRecord(
        **resolve({"trainer": {"iterations": 10, "threads": 1}}, seed=5).to_dict(),
        dataset=DatasetRecord(path=tmp_path / "data", name="data", classes=("background", "lesion")),
        environment=environment("cpu"),
    )
    run.config.write_text(record.model_dump_json())
    run.split.write_text(SPLIT.model_dump_json())
    monkeypatch.setattr(Rounds, "_launch", lambda *_: None)
    return Rounds(run, device="cpu", groups={f"c{i}": f"p{max(0, i - 3)}" for i in range(9)}, iterations=None)


def begin(rounds: Rounds) -> tuple[Round, dict]:
    """Begin a round; return it and its job."""
    begun = rounds.start(SPLIT, 0.0, rounds.run.root)
    return begun, json.loads((rounds.run.review / f"round_{begun.number}.job.json").read_text())


def end(rounds: Rounds, begun: Round, *dice: float) -> Round:
    """End a round with the Dice of c0, c1, ..."""
    rounds.folder(begun.number).root.mkdir(parents=True, exist_ok=True)
    write_dice(rounds.folder(begun.number), {f"c{i}": value for i, value in enumerate(dice)})
    return rounds._finish(begun)


def test_a_round_begins_with_the_weights_in_use_and_a_seed_of_its_own(rounds):
    end(rounds, begin(rounds)[0], *[0.5] * 9)
    second, job = begin(rounds)
    assert (second.began_from, job["initial"], job["seed"]) == (1, str(rounds.folder(1).root), 5 + 2)
    end(rounds, second, *[0.5] * 9)
    rounds.use(1)
    third, job = begin(rounds)
    assert (third.began_from, job["initial"], job["seed"]) == (1, str(rounds.folder(1).root), 5 + 3)


def test_a_round_of_a_copied_run_goes_on_in_the_copy(rounds, monkeypatch):
    """With the steps that it was begun with, although the page is served for others."""
    rounds._update(begin(rounds)[0], status="stopped")
    rounds.iterations += 1
    copy = shutil.copytree(rounds.run.root, rounds.run.root / "copy")
    monkeypatch.chdir(rounds.run.root)
    again = Rounds(RunFolder(Path("copy")), device="cpu", groups={}, iterations=7)
    again.resume(Path("data"))
    job = json.loads((copy / "review" / "round_1.job.json").read_text())
    places = {key: Path(job[key]) for key in ("dataset", "split", "initial")}
    assert places == {
        "dataset": copy.parent / "data", "split": copy / "review" / "round_1.split.json", "initial": copy
    }  # fmt: skip
    assert job["settings"]["trainer"]["iterations"] == 5


def test_a_round_is_trained_beside_its_job_and_nothing_else_is_cleared(rounds, monkeypatch):
    begin(rounds)
    mine = rounds.folder(1).root / "mine.txt"
    mine.parent.mkdir()
    mine.touch()
    copy = shutil.copytree(rounds.run.root, rounds.run.root / "copy")
    trained: list[Path] = []

    def train(_: object, out: Path, **__: object) -> None:
        trained.append(out)
        raise RunError("it is not trained here.")

    monkeypatch.setattr(worker, "train", train)
    assert worker.main(copy / "review" / "round_1.job.json") == 1
    assert trained == [copy / "review" / "round_1"]
    assert (mine.exists(), trained[0].exists()) == (True, False)


def weights(rounds: Rounds, number: int) -> Path:
    """Let a round have learned something."""
    file = rounds.folder(number).checkpoint("last")
    file.parent.mkdir(parents=True)
    file.touch()
    return file


def test_what_a_full_disk_does_not_take_is_as_it_was(rounds, monkeypatch):
    """Else a round would train for ever without a process."""

    def full(*_: object) -> None:
        raise StorageError("no space left to write rounds.json; free some space.")

    end(rounds, begin(rounds)[0], *[0.5] * 9)
    rounds._update(begin(rounds)[0], status="stopped")
    with monkeypatch.context() as patched:
        patched.setattr(rounds_module, "write_text_atomically", full)
        for act in (lambda: rounds.resume(rounds.run.root), rounds.discard, lambda: rounds.use(0)):
            with pytest.raises(StorageError, match="no space left"):
                act()
            assert (rounds.book.rounds[-1].status, rounds.current.number) == ("stopped", 1)
    assert rounds.resume(rounds.run.root).status == "training"


@pytest.mark.parametrize("act", ["resume", "discard"])
def test_a_round_that_cannot_be_started_can_be_started_again_or_forgotten(act, rounds, monkeypatch):
    """There is no memory for another process."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(Rounds, "_launch", launch)
    with monkeypatch.context() as patched:
        patched.setattr(rounds_module, "start_child", full)
        with pytest.raises(StorageError, match=r"round 1 cannot be started \(cannot allocate memory\); free"):
            begin(rounds)
    assert (rounds.training, rounds.unfinished.status) == (False, "failed")
    monkeypatch.setattr(Rounds, "_launch", lambda *_: None)
    rounds.resume(rounds.run.root) if act == "resume" else rounds.discard()
    assert [each.status for each in rounds.book.rounds] == ["done", *(["training"] if act == "resume" else [])]


def test_a_round_whose_log_is_a_link_has_failed(rounds, monkeypatch):
    monkeypatch.setattr(Rounds, "_launch", launch)
    rounds.run.review.mkdir()
    (rounds.run.review / "round_1.log").symlink_to(rounds.run.root / "mine.txt")
    with pytest.raises(StorageError, match=r"round_1\.log is a link; remove it\."):
        begin(rounds)
    assert (rounds.training, rounds.unfinished.status) == (False, "failed")
    assert not (rounds.run.root / "mine.txt").exists()


def test_a_round_that_ended_without_a_word_or_its_log_says_so(rounds):
    assert rounds._why(1, 9) == "the training process ended with code 9 and said nothing."


def test_a_round_that_the_book_does_not_list_is_kept(rounds):
    """Somebody put an earlier rounds.json back. What was cut off before it learned anything is in nobody's way."""
    trained = weights(rounds, 1)
    with pytest.raises(RunError, match=r"round_1 holds a round that .*rounds.json does not list. Move it away"):
        begin(rounds)
    assert trained.exists()
    trained.unlink()
    assert begin(rounds)[0].number == 1
    assert not trained.parent.exists()


def test_a_round_that_is_being_discarded_is_listed_until_its_folder_is_gone(rounds, monkeypatch):
    """Killed in between, it can be discarded again; a folder that is not listed would be in the way of the next."""
    rounds._update(begin(rounds)[0], status="stopped")
    weights(rounds, 1)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            rounds.discard()
    assert rounds.unfinished is not None
    rounds.discard()
    assert begin(rounds)[0].number == 1


def test_nothing_is_noted_once_the_rounds_are_closed(rounds):
    """The run is still being measured when the page is stopped, and another server may begin."""
    rounds.close()
    rounds.measure_first({"c0": 0.5})
    assert not (rounds.run.review / "rounds.json").exists()


def test_no_other_model_comes_into_use_while_a_round_trains(rounds):
    end(rounds, begin(rounds)[0], *[0.5] * 9)
    begin(rounds)
    with pytest.raises(RunError, match="a round is training"):
        rounds.use(0)
    assert rounds.current.number == 1


def test_a_round_is_judged_by_patients_against_the_one_that_it_began_from(rounds):
    """Four cases of one patient gain .4 and those of five others .1 each: (.4 + 5 x .1) / 6 = .15, not .23.

    Then all lose .2. Six of six patients on one side: p is 2 / 2^6 = .03.
    """
    rounds.measure_first(dict.fromkeys((f"c{i}" for i in range(9)), 0.3))
    first = end(rounds, begin(rounds)[0], *[0.7] * 4, *[0.4] * 5)
    assert first.difference == pytest.approx(0.15)
    assert (first.verdict, rounds.current.number) == ("better", 1)
    second = end(rounds, begin(rounds)[0], *[0.5] * 4, *[0.2] * 5)
    assert second.difference == pytest.approx(-0.2)
    assert (second.low, second.high) == pytest.approx((-0.2, -0.2))
    assert (second.verdict, rounds.current.number) == ("worse", 2)


def test_five_patients_are_too_few_to_tell(rounds):
    """Even if all gain: a sign test of five of five has p = 2 / 2^5 = .06."""
    rounds.measure_first(dict.fromkeys((f"c{i}" for i in range(8)), 0.3))
    first = end(rounds, begin(rounds)[0], *[0.7] * 8)
    assert first.difference == pytest.approx(0.4)
    assert (first.low, first.high, first.verdict) == (None, None, "too few to tell")


def test_a_round_that_stops_false_alarms_is_better(rounds):
    """Nine images of six patients hold nothing: the first model finds something in each, the round rightly nothing."""
    rounds.measure_first(dict.fromkeys((f"c{i}" for i in range(9)), 0.0))
    first = end(rounds, begin(rounds)[0], *[float("nan")] * 9)
    assert (first.difference, first.verdict) == (1, "better")


def test_a_round_is_judged_against_an_earlier_model_that_it_began_from(rounds):
    end(rounds, begin(rounds)[0], *[0.7] * 9)
    end(rounds, begin(rounds)[0], *[0.2] * 9)
    rounds.use(1)
    third = end(rounds, begin(rounds)[0], *[0.75] * 9)
    assert (third.began_from, third.difference) == (1, pytest.approx(0.05))


@pytest.mark.slow
def test_a_round_whose_end_cannot_be_noted_has_failed_and_can_go_on(session, monkeypatch):
    """The disk is full when the training has ended: the page must not wait for ever."""
    draw(session, OPEN)
    write = session.rounds._write

    def full(book):
        if book.rounds[-1].status != "training":
            raise StorageError("no space left to write rounds.json; free some space.")
        write(book)

    monkeypatch.setattr(session.rounds, "_write", full)
    session.retrain()
    failed = ended(session)
    assert (failed.status, session.rounds.training) == ("failed", False)
    assert "no space left" in failed.reason


def test_a_damaged_validation_image_does_not_keep_the_queue_from_being_ranked(place, session, capsys):
    (place / "data" / "images" / "case_0019.png").write_bytes(b"damaged")
    session._begin()
    eventually(lambda: session.model.looked == len(session.model.cases))
    assert "case_0019.png is damaged" in capsys.readouterr().err
