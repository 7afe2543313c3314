"""Which images are worth a person's minutes: those that a model is unsure of, in an order that spreads lookalikes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from criinet.data.fitting import fit, with_channels
from criinet.data.formats import Volume
from criinet.data.sampling import evenly
from criinet.data.scans import Scan
from criinet.engine.predictor import Array, Predictor, as_tensor
from criinet.engine.sliding_window import BATCH
from criinet.engine.uncertainty import Uncertainty
from criinet.losses import entropy

Strategy = Literal["benefit", "random", "entropy", "bald", "core-set"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Vector = NDArray[np.float32]

EFFORT = 0.25
"""How much of the benefit the longest outline costs."""
SPREAD_OUT = 500
"""So many images from the top of an order are spread out; the others follow by their benefit."""
MIRRORS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))
"""Axes of (B, C, H, W) that the committee of "bald" is mirrored along."""


def look_at_scans(predictor: Predictor, scans: Iterable[Scan]) -> Iterator[tuple[Uncertainty, Vector]]:
    """Yield the uncertainty about every image or volume of any size, and its embedding (E,) float32, in order.

    Volumes are looked at one by one, with a predictor that keeps probabilities.
    """
    if predictor.scan_dims == 3:
        for volume in scans:
            assert isinstance(volume, Volume)
            yield Uncertainty.of(predictor.predict(volume)), embed_volume(predictor, volume)
        return
    for batch in in_batches(scan.values if isinstance(scan, Volume) else scan for scan in scans):
        embeddings = embed(predictor, batch)
        for predicted, embedding in zip(predictor.predict_many(batch), embeddings, strict=True):
            yield Uncertainty.of(predicted), embedding


def embed(predictor: Predictor, images: Sequence[Array]) -> NDArray[np.float32]:
    """Return the mean of the coarsest encoder feature over each image, resized to the training size: (B, E)."""
    return coarsest_means(predictor, whole_batch(predictor, images)).cpu().numpy()


def embed_volume(predictor: Predictor, volume: Volume) -> Vector:
    """Return the mean of the coarsest encoder feature over all windows of a volume, its slices or boxes: (E,)."""
    pixels, _ = predictor.fitted(volume)
    window = predictor.window
    batches = (window.crops(pixels, some) for some in window.batches(pixels.shape[1:]))
    means = (coarsest_means(predictor, batch.to(predictor.device)).cpu() for batch in batches)
    return torch.cat(list(means)).mean(0).numpy()


@torch.no_grad()
def coarsest_means(predictor: Predictor, batch: Tensor) -> Tensor:
    """Return the mean of the coarsest encoder feature over each (C, ...) of a batch: (B, E) float32."""
    return predictor.method.networks[0].encode(batch)[-1].float().flatten(2).mean(2)


@torch.no_grad()
def mutual_information(predictor: Predictor, images: Sequence[Array]) -> list[float]:
    """Return how much the predictions of the mirrored images disagree: H(mean p) - mean H(p), averaged over pixels.

    Reference: Houlsby et al., 2011, arXiv 1112.5745, eq. 2.
    Differs: the committee are four mirrored views instead of draws of weights, which every method here has.
    """
    batch = whole_batch(predictor, images)
    views = [predictor.method.predict(batch.flip(axes)).probs.flip(axes) for axes in MIRRORS]
    within = torch.stack([entropy(probs) for probs in views]).mean(0)
    return (entropy(torch.stack(views).mean(0)) - within).flatten(1).mean(1).tolist()


def whole_batch(predictor: Predictor, images: Sequence[Array]) -> Tensor:
    """Return images of any sizes, resized to the training size: (B, C, h, w) in [0, 1] on the predictor's device."""
    config = predictor.data.model_copy(update={"window": "whole"})
    resized = [fit(with_channels(image, config.channels), config, labels=False) for image in images]
    return torch.stack([as_tensor(image) for image in resized]).to(predictor.device)


def benefits(uncertainties: Sequence[Uncertainty]) -> Vector:
    """Return what correcting each image is expected to teach for the effort, in [0, 1], relative to the others.

        benefit = (mean rank of 1 - expected Dice, disagreement and entropy) - (rank of the boundary length) / 4

    then shifted and scaled to [0, 1]; ranks are in [0, 1], ties share their mean. Without a second opinion the
    disagreement is left out.

    Returns:
        (N,) float32.
    """
    if not uncertainties:
        return np.zeros(0, np.float32)
    signs = [
        [1 - one.expected_dice for one in uncertainties],
        [one.entropy for one in uncertainties],
        [one.disagreement for one in uncertainties],
    ]
    known = [sign for sign in signs if not np.isnan(sign).any()]
    taught = np.mean([ranks(sign) for sign in known], axis=0)
    effort = EFFORT * ranks([one.boundary for one in uncertainties])
    return ((taught - effort + EFFORT) / (1 + EFFORT)).astype(np.float32)


def ranks(values: Sequence[float]) -> Vector:
    """Return the rank of each value in [0, 1], 1 for the largest; ties share their mean."""
    found, where, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    if len(found) == 1:
        return np.full(len(values), 0.5, np.float32)
    middle = np.cumsum(counts) - (counts + 1) / 2
    return (middle[where] / (len(values) - 1)).astype(np.float32)


def spread_order(benefit: Vector, embeddings: NDArray[np.float32], known: NDArray[np.float32]) -> list[int]:
    """Order images by benefit, each discounted by how much it looks like one that is known or comes before it.

    The next image has the largest ``benefit * min(1, d / m)``: d is its distance to the nearest image that is known or
    chosen, m the median distance between images.

    Args:
        benefit: (N,) in [0, 1].
        embeddings: (N, E) of the same images.
        known: (M, E) of the images that have a mask; M may be 0.

    Returns:
        All N indices, the most useful first.
    """
    usual = median_distance(embeddings)
    nearest = nearest_distance(embeddings, known)
    order: list[int] = []
    left = np.ones(len(benefit), bool)
    for _ in range(min(SPREAD_OUT, len(benefit))):
        worth = np.where(left, benefit * np.minimum(1, nearest / usual), -1.0)
        chosen = int(worth.argmax())
        order.append(chosen)
        left[chosen] = False
        nearest = np.minimum(nearest, np.linalg.norm(embeddings - embeddings[chosen], axis=1))
    rest = np.flatnonzero(left)
    return order + [int(i) for i in rest[np.argsort(-benefit[rest], kind="stable")]]


def core_set_order(embeddings: NDArray[np.float32], known: NDArray[np.float32], count: int) -> list[int]:
    """Choose ``count`` images one by one, each the farthest from all that are known or chosen.

    Reference: Sener & Savarese, ICLR 2018, arXiv 1708.00489, algorithm 1.
    """
    nearest = nearest_distance(embeddings, known)
    order: list[int] = []
    for _ in range(min(count, len(embeddings))):
        nearest[order] = -1.0
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(embeddings - embeddings[order[-1]], axis=1))
    return order


def nearest_distance(embeddings: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the distance (N,) of each image to the nearest known one; infinite if none is known."""
    nearest = np.full(len(embeddings), np.inf)
    for one in known:
        nearest = np.minimum(nearest, np.linalg.norm(embeddings - one, axis=1))
    return nearest


def median_distance(embeddings: NDArray[np.float32]) -> float:
    """Return the median distance between images, of at most 200 evenly chosen ones; 1 if all are alike."""
    some = embeddings[evenly(len(embeddings), 200)]
    distances = np.linalg.norm(some[:, None] - some[None], axis=2)[np.triu_indices(len(some), 1)]
    median = float(np.median(distances)) if len(distances) else 0.0
    return median or 1.0


def choose(
    strategy: Strategy,
    predictor: Predictor,
    images: Sequence[Callable[[], Array]],
    labeled: Sequence[Callable[[], Array]],
    count: int,
    seed: int,
) -> list[int]:
    """Choose which ``count`` of the unlabeled images a person should label next.

    "benefit" is the order of the review page; "random" knows no model; "entropy" takes the largest mean entropy,
    "bald" the largest mutual information between mirrored views, "core-set" the farthest from all that is labeled.

    Args:
        images: read the unlabeled images, in order. labeled: read the labeled ones.
        seed: of "random".
    """
    if strategy == "random":
        return [int(i) for i in np.random.default_rng(seed).permutation(len(images))[:count]]
    if strategy == "bald":
        scores = [s for batch in in_batches(read() for read in images) for s in mutual_information(predictor, batch)]
        return best(scores, count)
    if strategy == "core-set":
        return core_set_order(embed_all(predictor, images), embed_all(predictor, labeled), count)
    looks = list(look_at_scans(predictor, (read() for read in images)))
    uncertainties = [uncertainty for uncertainty, _ in looks]
    if strategy == "entropy":
        return best([one.entropy for one in uncertainties], count)
    embeddings = np.stack([embedding for _, embedding in looks])
    return spread_order(benefits(uncertainties), embeddings, embed_all(predictor, labeled))[:count]


def best(scores: Sequence[float], count: int) -> list[int]:
    """Return the indices of the ``count`` largest scores, the largest first."""
    return [int(i) for i in np.argsort(-np.asarray(scores), kind="stable")[:count]]


def in_batches(images: Iterable[Array]) -> Iterator[list[Array]]:
    """Yield images a few at a time."""
    stream = iter(images)
    while batch := list(islice(stream, BATCH)):
        yield batch


def embed_all(predictor: Predictor, images: Iterable[Callable[[], Array]]) -> NDArray[np.float32]:
    """Return the embeddings (N, E) of images."""
    return np.concatenate([embed(predictor, batch) for batch in in_batches(read() for read in images)])
