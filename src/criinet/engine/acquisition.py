"""Which images are worth a person's minutes: what a model doubts about each, and an order that spreads lookalikes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from criinet.data.fitting import fit, with_channels
from criinet.data.formats import Volume
from criinet.data.predictions import VolumePrediction
from criinet.data.sampling import evenly
from criinet.data.scans import Scan
from criinet.engine.predictor import Array, Predicted, Predictor, as_tensor
from criinet.engine.sliding_window import BATCH
from criinet.losses import entropy

Strategy = Literal["benefit", "random", "entropy", "bald", "core-set"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Vector = NDArray[np.float32]

SMOOTH = 1e-3
"""Share of the image's pixels below which an object is as good as none, in the expected Dice."""
EFFORT = 0.25
"""How much of the benefit the longest outline costs."""
SPREAD_OUT = 500
"""So many images from the top of an order are spread out; the others follow by their benefit."""
MIRRORS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))
"""Axes of (B, C, H, W) that the committee of "bald" is mirrored along."""


@dataclass(frozen=True)
class Doubt:
    """What a model says about its own mask of one image; of a volume the mean over its slices, as viewers show them.

    expected_dice: Dice of the mask with a truth drawn from the probabilities, in [0, 1].
    entropy: mean over pixels, in [0, 1].
    disagreement: mean total variation of both opinions, in [0, 1]; NaN where the method has one.
    boundary: length of the mask's outlines over the root of the image's area: what correcting it would take.
    """

    expected_dice: float
    entropy: float
    disagreement: float
    boundary: float

    @classmethod
    def of(cls, predicted: Predicted) -> "Doubt":
        """Measure one prediction; that of a volume must hold its probabilities."""
        if isinstance(predicted, VolumePrediction):
            return cls.of_slices(predicted)
        mask, disagreement = predicted.mask, predicted.disagreement
        return cls(
            expected_dice=expected_dice(predicted.probs),
            entropy=float(predicted.entropy.mean()),
            disagreement=float("nan") if disagreement is None else float(disagreement.mean()),
            boundary=outline_length(mask) / float(np.sqrt(mask.size)),
        )

    @classmethod
    def of_slices(cls, predicted: VolumePrediction) -> "Doubt":
        """Measure every slice of a volume and take the means."""
        axes, disagreement = predicted.geometry.axes, predicted.maps.get("disagreement")
        mask, probs = axes.apply(predicted.mask), axes.apply(np.asarray(predicted.probs))
        slices = (np.ascontiguousarray(probs[:, d], np.float32) for d in range(len(mask)))
        return cls(
            expected_dice=float(np.mean([expected_dice(torch.from_numpy(one)) for one in slices])),
            entropy=float(predicted.maps["entropy"].mean()) / 255,
            disagreement=float("nan") if disagreement is None else float(disagreement.mean()) / 255,
            boundary=float(np.mean([outline_length(one) for one in mask])) / float(np.sqrt(mask[0].size)),
        )


def expected_dice(probs: Tensor) -> float:
    """Estimate the Dice of the most probable mask against a truth drawn from the probabilities themselves.

        mean over classes c > 0 that occur of (2 sum(p_c m_c) + s) / (sum(p_c) + sum(m_c) + s),  m = argmax p

    with s a thousandth of the pixels, so that an image without an object, rightly left empty, counts as 1. It is what
    the model believes, right only as far as its probabilities are calibrated.

    Args:
        probs: (K, H, W) float32, sums to 1 over classes.

    Returns:
        In [0, 1], 1 is best.
    """
    smooth = SMOOTH * probs.shape[1] * probs.shape[2]
    mask = torch.nn.functional.one_hot(probs.argmax(0), len(probs)).permute(2, 0, 1).float()
    both, total = (probs * mask).flatten(1).sum(1), (probs + mask).flatten(1).sum(1)
    scores = (2 * both + smooth) / (total + smooth)
    occurs = mask.flatten(1).any(1)
    occurs[0] = False
    return float(scores[occurs].mean() if occurs.any() else scores[1:].mean())


def outline_length(mask: Array) -> int:
    """Count the pairs of neighbouring pixels of different classes in an (H, W) mask."""
    return int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())


def look_at_scans(predictor: Predictor, scans: Iterable[Scan]) -> Iterator[tuple[Doubt, Vector]]:
    """Yield the doubt about every image or volume of any size, and its embedding (E,) float32, in order.

    Volumes are looked at one by one, with a predictor that keeps probabilities.
    """
    if predictor.scan_dims == 3:
        for volume in scans:
            assert isinstance(volume, Volume)
            yield Doubt.of(predictor.predict(volume)), embed_volume(predictor, volume)
        return
    for batch in in_batches(scan.values if isinstance(scan, Volume) else scan for scan in scans):
        embeddings = embed(predictor, batch)
        for predicted, embedding in zip(predictor.predict_many(batch), embeddings, strict=True):
            yield Doubt.of(predicted), embedding


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


def benefits(doubts: Sequence[Doubt]) -> Vector:
    """Return what correcting each image is expected to teach for the effort, in [0, 1], relative to the others.

        benefit = (mean rank of 1 - expected Dice, disagreement and entropy) - (rank of the boundary length) / 4

    then shifted and scaled to [0, 1]; ranks are in [0, 1], ties share their mean. Without a second opinion the
    disagreement is left out.

    Returns:
        (N,) float32.
    """
    if not doubts:
        return np.zeros(0, np.float32)
    signs = [[1 - d.expected_dice for d in doubts], [d.entropy for d in doubts], [d.disagreement for d in doubts]]
    known = [sign for sign in signs if not np.isnan(sign).any()]
    taught = np.mean([ranks(sign) for sign in known], axis=0)
    return ((taught - EFFORT * ranks([d.boundary for d in doubts]) + EFFORT) / (1 + EFFORT)).astype(np.float32)


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
    doubts = [doubt for doubt, _ in looks]
    if strategy == "entropy":
        return best([doubt.entropy for doubt in doubts], count)
    embeddings = np.stack([embedding for _, embedding in looks])
    return spread_order(benefits(doubts), embeddings, embed_all(predictor, labeled))[:count]


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
