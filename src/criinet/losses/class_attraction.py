"""Pixels of a class gather around remembered features of that class."""

import torch
from torch import Tensor
from torch.nn import functional as F

from criinet.errors import ShapeError
from criinet.precision import product_in_float32


def class_attraction(queries: Tensor, query_class: Tensor, keys: Tensor, key_class: Tensor) -> Tensor:
    """Pull features towards all keys of their own class.

        loss = mean over queries q of ( 1 - mean over keys k of q's class of cos(q, k) )

    Queries whose class has no key are left out. Gradients never reach the keys.

    Args:
        queries: (Q, E) features of any length; computed in float32.
        query_class: (Q,) integer classes; -1 leaves a query out.
        keys: (M, E) features of any length.
        key_class: (M,) integer classes; -1 leaves a key out.

    Returns:
        Scalar in [0, 2]; 0 is best. Zero, with a gradient of zero, if no query has a key.

    Raises:
        ShapeError: if the feature axes differ.

    Reference: Alonso et al., ICCV 2021, arXiv 2104.13415; Wu et al., MICCAI 2022, arXiv 2203.01324.
    Differs: no learned weights of queries and keys; a plain mean over queries instead of one over classes.
    """
    if queries.shape[-1] != keys.shape[-1]:
        raise ShapeError(f"queries have {queries.shape[-1]} channels, keys have {keys.shape[-1]}.")
    pairs = (query_class.unsqueeze(1) == key_class.unsqueeze(0)) & (key_class >= 0).unsqueeze(0)
    query, key = (F.normalize(features.float(), dim=1, eps=1e-6) for features in (queries, keys.detach()))
    cosine = product_in_float32(query, key.T)
    count = pairs.sum(1)
    nearness = (cosine * pairs).sum(1) / count.clamp(min=1)
    counted = count > 0
    return torch.where(counted, 1 - nearness, 0 * nearness).sum() / counted.sum().clamp(min=1)
