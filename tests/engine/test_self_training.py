"""Rounds: pseudo-labels are what the method said, training starts anew, and a cut-off run resumes to the same end."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split
from criinet.engine.build import build_method
from criinet.engine.checkpoint import load_checkpoint
from criinet.engine.pools import load_pools
from criinet.engine.predictor import Predictor
from criinet.engine.self_training import PseudoLabels, pseudo_label
from criinet.engine.settings import resolve
from criinet.engine.trainer import Trainer
from criinet.errors import MethodError
from criinet.labels import IGNORE

ROUNDS = {"iterations": 9, "checks": 2}


@pytest.fixture
def trainer(drawn, tiny) -> Trainer:
    opened = open_dataset(drawn)
    config = resolve({**tiny(**ROUNDS), "method": {"name": "st++"}})
    pools = load_pools(opened, make_split(opened, None, seed=0), config)
    return Trainer(build_method(config, opened.classes), pools, config, opened.classes)


def test_rounds_share_the_iterations(trainer):
    """Nine steps are three rounds of three; with ten the last is shorter, and progress still runs from 0 to 1."""
    assert trainer.round_length == 3
    progress = []
    for step in range(9):
        trainer.step = step
        progress.append(trainer.progress)
    assert progress == pytest.approx([0, 1 / 3, 2 / 3] * 3)
    trainer.settings = trainer.settings.model_copy(update={"iterations": 10})
    trainer.step = 9
    assert (trainer.round_length, trainer.progress) == (4, 0.5)


def test_pseudo_labels_are_predictions_averaged_over_mirrored_images(trainer):
    pool, data = trainer.pools.unlabeled, trainer.config.data
    predictor = Predictor(trainer.method, data, trainer.classes, tta=True)
    expected = [predictor.predict(image.permute(1, 2, 0).numpy()).mask for image in pool.images]
    found = pseudo_label(trainer.method, 1, pool, data, trainer.classes, "cpu")
    assert all((label.numpy() == mask).all() for label, mask in zip(found.labels, expected, strict=True))
    assert len(found.kept) == round(len(pool) / 2)
    kept = found.store(pool)
    assert torch.equal(kept.images[0], pool.images[found.kept[0]])
    assert torch.equal(kept.masks[0], found.labels[found.kept[0]])


@pytest.mark.parametrize(
    ("function", "found", "sentence"),
    [
        (
            "reliability",
            lambda image, _: image.mean(),
            r"a tensor of shape \(\) from reliability for 8 images; return one",
        ),
        ("begin_round", lambda _, scores: scores < 0, r"\(\d+,\) with 0 images from begin_round; mark one of \d+"),
        ("begin_round", lambda *_: 1 / 0, r"failed \(ZeroDivisionError"),
    ],
)
def test_what_a_round_owes_and_does_not_give_names_the_method(function, found, sentence, trainer, monkeypatch):
    monkeypatch.setattr(trainer.method, function, found)
    with pytest.raises(MethodError, match=rf"^method 'st\+\+' .*{sentence}"):
        pseudo_label(trainer.method, 1, trainer.pools.unlabeled, trainer.config.data, trainer.classes, "cpu")


def test_gray_images_are_labeled_too(drawn, tiny_settings):
    opened = open_dataset(drawn)
    config = resolve(tiny_settings({"trainer": ROUNDS, "data": {"channels": 1}, "method": {"name": "st++"}}))
    pools = load_pools(opened, make_split(opened, None, seed=0), config)
    method = build_method(config, opened.classes)
    found = pseudo_label(method, 1, pools.unlabeled, config.data, opened.classes, "cpu")
    gray = pools.unlabeled.images[0][0].numpy()
    expected = Predictor(method, config.data, opened.classes, tta=True).predict(gray).mask
    assert (found.labels[0].numpy() == expected).all()


def test_pseudo_labels_are_read_back_as_written(tmp_path):
    labels = PseudoLabels((torch.tensor([[0, 1], [2, IGNORE]], dtype=torch.int16),), torch.tensor([0.5]), [0])
    labels.save(tmp_path / "round_1.pt")
    read = PseudoLabels.read(tmp_path / "round_1.pt")
    assert torch.equal(read.labels[0], labels.labels[0])
    assert (read.reliability.tolist(), read.kept) == ([0.5], [0])


def test_a_pseudo_label_moves_as_its_image_does(trainer, batches_of):
    """Images that are their own pseudo-labels, 0 and 255, stay so in the weak view, but for pixels cut by an edge."""
    pool = trainer.pools.unlabeled
    labels = tuple((image[0] > 127).to(torch.int16) for image in pool.images)
    found = PseudoLabels(labels, torch.ones(len(labels)), list(range(len(labels))))
    images = tuple(label.to(torch.uint8).mul(255).expand(3, -1, -1) for label in labels)
    trainer.batches.pseudo_labeled = replace(found.store(pool), images=images)
    trainer.batches.views = ("weak",)
    _, unlabeled = batches_of(trainer)
    assert unlabeled.pseudo_label is not None
    assert ((unlabeled.weak[:, 0] > 0.5).long() == unlabeled.pseudo_label).float().mean() > 0.97


def test_the_optimizer_starts_anew(trainer):
    trainer.method.train()
    for _ in range(3):
        trainer.train_step(0.0)
        trainer.step += 1
    assert trainer.unwrapped.state
    trainer.begin_round()
    assert not trainer.unwrapped.state
    assert trainer.method.training


class CutOffError(BaseException):
    """Stands for a process that was killed."""


@pytest.mark.parametrize("at", [3, 5, 6, 8])
def test_a_run_that_was_cut_off_in_any_round_resumes_to_the_same_weights(at, drawn, fit, tmp_path):
    """At the end of a round, before the next one has saved anything, and in the middle of one."""
    whole = fit(drawn, tmp_path / "whole", method="st++", trainer=ROUNDS)

    def watch(step: int, _: list[dict]) -> None:
        if step >= at:
            raise CutOffError

    with pytest.raises(CutOffError):
        fit(drawn, tmp_path / "run", method="st++", trainer=ROUNDS, watch=watch)
    run = fit(drawn, tmp_path / "run", method="st++", trainer=ROUNDS, resume=True)
    ended, expected = (load_checkpoint(Path(r.root) / "checkpoints" / "last.pt")["method"] for r in (run, whole))
    assert all(torch.equal(ended[name], expected[name]) for name in expected)
    labels = [PseudoLabels.read(r.checkpoint("round_2")).labels for r in (run, whole)]
    assert all(torch.equal(one, other) for one, other in zip(*labels, strict=True))
