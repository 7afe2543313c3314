"""The order in which images are asked for: the least sure first, lookalikes apart."""

import numpy as np
import pytest
import torch

from criinet.data.images import read_image
from criinet.data.settings import DataConfig
from criinet.engine import acquisition
from criinet.engine.acquisition import (
    STRATEGIES,
    benefits,
    choose,
    core_set_order,
    embed,
    look_at_scans,
    mutual_information,
    ranks,
    spread_order,
)
from criinet.engine.build import load
from criinet.engine.predictor import Predictor
from criinet.engine.uncertainty import Uncertainty
from criinet.methods import Method, Prediction


def test_ranks_go_from_0_to_1_and_ties_share_their_mean():
    assert ranks([3.0, 1.0, 2.0]).tolist() == [1.0, 0.0, 0.5]
    assert ranks([5.0, 5.0, 9.0]).tolist() == [0.25, 0.25, 1.0]
    assert ranks([2.0, 2.0]).tolist() == [0.5, 0.5]


def test_of_two_equally_uncertain_images_the_one_that_is_less_work_comes_first():
    long, short = Uncertainty(0.5, 0.2, 0.1, 9.0), Uncertainty(0.5, 0.2, 0.1, 1.0)
    sure = Uncertainty(0.95, 0.01, 0.0, 1.0)
    found = benefits([long, short, sure])
    assert found[1] > found[0] > found[2]
    assert found.min() >= 0
    assert found.max() <= 1
    nan = float("nan")
    alone = benefits([Uncertainty(0.5, 0.2, nan, 1.0), Uncertainty(0.9, 0.1, nan, 1.0)])
    assert alone[0] > alone[1]
    assert benefits([]).shape == (0,)


def test_disagreement_counts_for_an_image_and_effort_against_it_by_a_quarter():
    """Of two that differ in one thing alone the ranks are 0 and 1; all that ties is .5.

    Disagreement: a mean of .5, .5 and 1 or 0, less .5 / 4. Boundary: .5, less 0 or 1 / 4. Both then (x + .25) / 1.25.
    """
    torn, agreed = benefits([Uncertainty(0.5, 0.2, 0.9, 1.0), Uncertainty(0.5, 0.2, 0.1, 1.0)])
    assert (torn, agreed) == (pytest.approx((2 / 3 + 0.125) / 1.25), pytest.approx((1 / 3 + 0.125) / 1.25))
    short, long = Uncertainty(0.5, 0.2, 0.1, 1.0), Uncertainty(0.5, 0.2, 0.1, 9.0)
    assert benefits([short, long]).tolist() == pytest.approx([0.6, 0.4])


def test_ten_lookalikes_are_not_asked_for_in_a_row():
    embeddings = np.concatenate([np.zeros((10, 2)), np.arange(1, 6)[:, None] * np.ones((5, 2)) * 10]).astype(np.float32)
    benefit = np.concatenate([np.full(10, 0.9), np.full(5, 0.5)]).astype(np.float32)
    order = spread_order(benefit, embeddings, np.zeros((0, 2), np.float32))
    assert order[0] < 10
    assert sorted(order[1:6]) == [10, 11, 12, 13, 14]
    assert sorted(order) == list(range(15))
    known = spread_order(benefit, embeddings, embeddings[:1])
    assert known[0] >= 10


def test_an_image_counts_in_full_from_the_usual_distance_on():
    """Usually 10 apart: half of that from the known one, .9 is worth .45."""
    embeddings = np.array([[5.0], [10.0], [20.0]], np.float32)
    assert spread_order(np.array([0.9, 0.5, 0.6], np.float32), embeddings, np.zeros((1, 1), np.float32)) == [2, 1, 0]


def test_behind_the_spread_ones_the_order_is_that_of_the_benefit(monkeypatch):
    monkeypatch.setattr(acquisition, "SPREAD_OUT", 1)
    alike = np.zeros((4, 1), np.float32)
    assert spread_order(np.array([0.1, 0.9, 0.2, 0.7], np.float32), alike, alike[:0]) == [1, 3, 2, 0]


def test_core_set_takes_the_farthest():
    line = np.array([[0.0], [1.0], [5.0], [10.0]], np.float32)
    assert core_set_order(line, line[:1], 2) == [3, 2]
    assert core_set_order(line, line[:0], 9) == [0, 3, 2, 1]
    assert sorted(core_set_order(line[[0, 0, 0]], line[:1], 3)) == [0, 1, 2], "lookalikes, each once"


def test_each_strategy_asks_for_what_it_says(monkeypatch):
    """Three images that look like 1, 0 and 9, of entropies .1, .9 and .4, and a labeled one that looks like 9 or 0."""
    nan = float("nan")
    uncertainties = [Uncertainty(0.5, entropy, nan, 1.0) for entropy in (0.1, 0.9, 0.4)]
    looks = list(zip(uncertainties, np.array([[1.0], [0.0], [9.0]], np.float32), strict=True))
    monkeypatch.setattr(acquisition, "look_at_scans", lambda *_: looks)
    monkeypatch.setattr(acquisition, "embed_all", lambda _, reads: np.array([[read()] for read in reads], np.float32))
    monkeypatch.setattr(acquisition, "mutual_information", lambda _, batch: [-abs(value - 1.0) for value in batch])
    images = [lambda value=value: value for value in (1.0, 0.0, 9.0)]
    assert choose("entropy", None, images, [], 2, 0) == [1, 2]
    assert choose("bald", None, images, [], 2, 0) == [0, 1]
    assert choose("core-set", None, images, images[2:], 1, 0) == [1], "0 is the farthest from 9"
    assert choose("benefit", None, images, [], 1, 0) == [1]
    assert choose("benefit", None, images, images[1:2], 1, 0) == [2], "a twin of the labeled one teaches nothing"


def test_random_images_are_others_for_another_seed():
    images = [lambda: 0.0] * 20
    one, same, other = (choose("random", None, images, [], 20, seed) for seed in (0, 0, 1))
    assert one == same != other
    assert sorted(other) == list(range(20))


class Says(Method):
    """Calls the left half of what it sees an object, which no mirror moves, or what is bright, which it does."""

    classes = 2

    def __init__(self, what: str) -> None:
        torch.nn.Module.__init__(self)
        self.what = what

    def predict(self, image):
        left = (torch.arange(image.shape[3]) < image.shape[3] // 2).expand(len(image), *image.shape[2:])
        found = left if self.what == "left" else image[:, 0] > 0.5
        return Prediction(torch.stack([~found, found], 1).float())


@pytest.mark.parametrize(("what", "expected"), [("left", 1.0), ("bright", 0.0)])
def test_mirrored_views_disagree_where_a_method_is_not_mirrored_along(what, expected):
    """Sure in every view; two of four say "left" where two say "right", which is one whole bit of two classes."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    predictor = Predictor(Says(what), DataConfig(size=(32, 32)), ("background", "object"))
    assert mutual_information(predictor, [image, image]) == pytest.approx([expected] * 2, abs=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_chooses_so_many_different_images_and_the_same_again(trained, drawn, strategy):
    predictor = load(trained, device="cpu")
    paths = sorted((drawn / "images").iterdir())
    images, labeled = ([lambda p=p: read_image(p) for p in some] for some in (paths[6:18], paths[:6]))
    chosen = choose(strategy, predictor, images, labeled, 5, seed=3)
    assert len(set(chosen)) == 5
    assert all(0 <= i < 12 for i in chosen)
    assert choose(strategy, predictor, images, labeled, 5, seed=3) == chosen


def test_an_image_looks_the_same_whichever_it_is_batched_with(trained, drawn):
    predictor = load(trained, device="cpu")
    images = [read_image(path) for path in sorted((drawn / "images").iterdir())[:10]]
    together = [embedding for _, embedding in look_at_scans(predictor, images)]
    assert np.allclose(together[9], embed(predictor, [images[9]])[0], atol=1e-5)
