"""The ranked list loss on unit embeddings, the core of both ranked losses of CRII-Net."""

import math

import torch
from torch import Tensor

from criinet.errors import ShapeError
from criinet.precision import product_in_float32

MIN_SQUARED_DISTANCE = 1e-12


def ranked_list_loss(
    queries: Tensor,
    query_class: Tensor,
    keys: Tensor,
    key_class: Tensor,
    *,
    alpha: float = 1.2,
    margin: float = 0.4,
    temperature: float = 10.0,
    excluded: Tensor | None = None,
    query_weight: Tensor | None = None,
) -> Tensor:
    """Pull same-class embeddings inside radius ``alpha - margin`` and push the others beyond ``alpha``.

        d_ij    = sqrt(max(||q_i - k_j||^2, 1e-12))
        P_i     = same-class keys, not ``excluded``, with d_ij > alpha - margin
        N_i     = other-class keys with d_ij < alpha
        l_plus  = mean_{P_i} (d_ij - (alpha - margin))
        l_minus = sum_{N_i} w_ij (alpha - d_ij) / sum_{N_i} w_ij,   w_ij = exp(temperature (alpha - d_ij)), detached
        loss    = mean over queries of (l_plus + l_minus) / 2;   an empty set contributes 0                      [I]

    Args:
        queries: (..., Q, E) unit vectors; computed in float32. Leading axes are patches.
        query_class: (..., Q) integer classes; -1 leaves a query out.
        keys: (..., G, E) unit vectors.
        key_class: (..., G) integer classes; -1 leaves a key out.
        alpha: radius beyond which other classes should lie, in (0, 2).
        margin: m > 0; the same class should lie within alpha - margin. Default [C].
        temperature: T >= 0; the larger, the more the nearest wrong key dominates. 0 weighs all alike.
        excluded: (..., Q, G) bool, True where query and key are no positive pair, as one pixel or two of one image;
            a negative one still, if their classes differ. None excludes nothing.
        query_weight: (..., Q) non-negative weight of each query in the mean; None weighs all alike.

    Returns:
        Scalar >= 0; 0 is best: every class inside its own ball. Zero, with a gradient of zero, without valid queries.

    Raises:
        ShapeError: if the embedding axes differ.

    Reference: Wang et al., CVPR 2019, arXiv 1903.03238, eq. 5 to 9.
    Differs: halves the sum; positives are a plain mean; the distance is clamped at 1e-6 for a finite gradient.
    """
    if queries.shape[-1] != keys.shape[-1]:
        raise ShapeError(f"queries have {queries.shape[-1]} channels, keys have {keys.shape[-1]}.")
    distance = euclidean(queries.float(), keys.float())
    known = (query_class >= 0).unsqueeze(-1) & (key_class >= 0).unsqueeze(-2)
    alike = query_class.unsqueeze(-1) == key_class.unsqueeze(-2)
    positive = known & alike & (distance > alpha - margin)
    if excluded is not None:
        positive = positive & ~excluded
    negative = known & ~alike & (distance < alpha)
    l_plus = masked_mean(distance - (alpha - margin), positive.float())
    closeness = alpha - distance
    nearness = (temperature * closeness.detach()).masked_fill(~negative, -math.inf)
    l_minus = (nearness.softmax(-1).nan_to_num() * closeness).sum(-1)  # NaN where there is no negative.
    counted = (query_class >= 0).float()
    if query_weight is not None:
        counted = counted * query_weight
    return masked_mean(((l_plus + l_minus) / 2).flatten(), counted.flatten())


def euclidean(queries: Tensor, keys: Tensor) -> Tensor:
    """Compute the distances (..., Q, G) between (..., Q, E) and (..., G, E), with a finite gradient at zero."""
    squared = queries.square().sum(-1).unsqueeze(-1) + keys.square().sum(-1).unsqueeze(-2)
    squared = squared - 2 * product_in_float32(queries, keys.transpose(-1, -2))
    return squared.clamp(min=MIN_SQUARED_DISTANCE).sqrt()


def masked_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Compute the weighted mean over the last axis; 0 where all weights are 0."""
    total = weight.sum(-1)
    return (values * weight).sum(-1) / torch.where(total > 0, total, torch.ones_like(total))
