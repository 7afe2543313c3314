"""The consistency of CRII-Net, on unlabeled images, and its two ranked losses, on features of labeled ones.

Marks as in the method's description: [A] stated by the paper's abstract, [I] inferred from it, [C] our choice.
Each is a pure function of tensors.
Source of all three: Du, Zhang, Liu, Wang, IEEE JBHI 27(8), 2023, doi 10.1109/JBHI.2023.3278741.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from criinet.labels import IGNORE
from criinet.losses.patches import Patches, draw_pixels
from criinet.losses.ranked import ranked_list_loss
from criinet.losses.segmentation import mean_squared
from criinet.precision import product_in_float32

ConsistencyTarget = Literal["refined", "coarse", "neither"]


class RankedGeometry(NamedTuple):
    """Margins of the ranked list loss: radius alpha, margin m and temperature T.  [C]"""

    alpha: float = 1.2
    margin: float = 0.4
    temperature: float = 10.0


class Descriptors(NamedTuple):
    """Patch embeddings, one for each class present in a patch.

    vector: (M, E) unit vectors.
    label: (M,) int64 class, IGNORE where the class is absent from the patch.
    case: (M,) int64 identity of the image.
    """

    vector: Tensor
    label: Tensor
    case: Tensor


def coarse_refined_consistency(
    coarse_logits: Tensor, refined_logits: Tensor, *, target: ConsistencyTarget = "refined"
) -> Tensor:
    """Compute how far the coarse prediction is from the refined one, which is its target.

        L_con = mean (p_c - stopgrad(p_r))^2                                        [A: it exists; C: form, direction]

    The target needs no noise, no moving average and no second network: for given weights and a given batch it is
    deterministic, save where the network itself has dropout, as ``unet`` does and ``lite0-unet`` does not. Without
    stop-gradient the cheapest agreement would be a refinement of zero.

    Args:
        coarse_logits, refined_logits: (B, K, ...) before softmax, of unlabeled images.
        target: which of the two gets no gradient; "neither" lets both move. Other than "refined" for ablations only.

    Returns:
        Scalar in [0, 1]; 0 is best.

    Raises:
        ShapeError: if the shapes differ.
    """
    coarse, refined = coarse_logits.float().softmax(1), refined_logits.float().softmax(1)
    if target == "neither":
        return (mean_squared(coarse, refined) + mean_squared(refined, coarse)) / 2
    return mean_squared(coarse, refined) if target == "refined" else mean_squared(refined, coarse)


def gather_pixels(embedding: Tensor, pixels: Tensor) -> Tensor:
    """Return the embeddings (B, N, P, E) of the flat pixel indices (B, N, P) in an embedding (B, E, ...)."""
    flat = embedding.flatten(2).transpose(1, 2)
    index = pixels.flatten(1).unsqueeze(-1).expand(-1, -1, flat.shape[-1])
    return flat.gather(1, index).view(*pixels.shape, -1)


def intra_patch_ranked_loss(
    embedding: Tensor,
    patches: Patches,
    classes: int,
    *,
    queries: int = 64,
    keys: int = 256,
    geometry: RankedGeometry | None = None,
) -> Tensor:
    """Rank pixels inside one patch on an object boundary (Intra-PRL).

    Queries are class-balanced pixels of the boundary band inside the patch, keys a class-balanced sample of the same
    patch; the ranked list loss does the rest. Neighbours across an edge share nearly all of their receptive field, so
    the nearest wrong-class pixels dominate the weights and the gradient lands on the edge.    [A: aim; I: pixel-wise
    inside a patch; C: numbers]

    Args:
        embedding: (B, E, ...) unit vectors.
        patches: (B, N, P) boundary patches in the embedding's resolution.
        classes: K.
        queries, keys: how many pixels of each patch are drawn, at most P.
        geometry: margins of the ranked list loss; None: its defaults.

    Returns:
        Scalar >= 0; 0 is best. Zero, with a gradient of zero, if no image has a boundary patch.

    Reference: Du et al., IEEE JBHI 2023, doi 10.1109/JBHI.2023.3278741; the loss: Wang et al., CVPR 2019, arXiv
    1903.03238.
    """
    query_at, query_class = draw_pixels(patches.labels, patches.band, classes, queries)
    key_at, key_class = draw_pixels(patches.labels, torch.ones_like(patches.band), classes, keys)
    both = gather_pixels(embedding, torch.cat([patches.pixels.gather(-1, at) for at in (query_at, key_at)], dim=-1))
    query, key = both.split([query_at.shape[-1], key_at.shape[-1]], dim=2)
    itself = query_at.unsqueeze(-1) == key_at.unsqueeze(-2)
    margins = (geometry or RankedGeometry())._asdict()
    return ranked_list_loss(query, query_class, key, key_class, excluded=itself, **margins)


def patch_descriptors(embedding: Tensor, patches: Patches, classes: int, case: Tensor) -> Descriptors:
    """Pool the embedding of every patch over each class that it holds.

        v_{P,c} = normalise(mean of e over {pixels of P with y = c})                                      [C]

    A mixed patch is never the average of two classes.

    Args:
        embedding: (B, E, ...) unit vectors.
        patches: (B, N, P).
        case: (B,) int64 identity of each image.

    Returns:
        Descriptors with M = B N K.
    """
    members = torch.stack([patches.labels == c for c in range(classes)], dim=-2)
    pooled = product_in_float32(members, gather_pixels(embedding, patches.pixels))
    present = members.any(dim=-1)
    label = torch.where(present, torch.arange(classes, device=present.device), IGNORE)
    return Descriptors(
        F.normalize(pooled.flatten(0, 2), dim=-1, eps=1e-6),
        label.flatten(),
        case[:, None, None].expand_as(label).flatten(),
    )


def inter_patch_ranked_loss(
    queries: Descriptors,
    keys: Descriptors,
    *,
    geometry: RankedGeometry | None = None,
    query_weight: Tensor | None = None,
) -> Tensor:
    """Rank patches across images (Inter-PRL), for lesions that hardly differ from what surrounds them.

    Positives are same-class descriptors of *other* images, negatives other-class descriptors of *all* images. A
    low-contrast lesion lies among the background's descriptors, stays non-trivial and takes the largest weights, while
    clear lesions elsewhere supply the positives.    [A: aim; I: patch-wise, across images; C: numbers]

    Args:
        queries: descriptors of this batch, with gradient.
        keys: descriptors of this batch and of the memory bank.
        geometry: margins of the ranked list loss; None: its defaults.
        query_weight: (M,) weight of each query, for instance by contrast; None weighs all alike.

    Returns:
        Scalar >= 0; 0 is best. Zero, with a gradient of zero, if no query has a class.

    Raises:
        ShapeError: if queries and keys have vectors of different lengths.

    Reference: Du et al., IEEE JBHI 2023, doi 10.1109/JBHI.2023.3278741; the loss: Wang et al., CVPR 2019, arXiv
    1903.03238.
    """
    same_case = queries.case.unsqueeze(-1) == keys.case.unsqueeze(-2)
    return ranked_list_loss(
        queries.vector,
        queries.label,
        keys.vector,
        keys.label,
        excluded=same_case,
        query_weight=query_weight,
        **(geometry or RankedGeometry())._asdict(),
    )


def low_contrast_weight(image: Tensor, labels: Tensor, strength: float) -> Tensor:
    """Weigh images by how little their foreground differs from the rest: ``1 + strength * exp(-CNR)``.  [C]

        CNR = |mu_in - mu_out| / sqrt((s_in^2 + s_out^2) / 2),   over gray values, foreground against background

    Args:
        image: (B, C, ...) in [0, 1].
        labels: (B, ...) int64 at the image's resolution.
        strength: >= 0.

    Returns:
        (B,) >= 1; 1 + strength where either side is empty.

    Differs from the evaluation's contrast: the whole background takes the place of a ring, which is cheap on batches.
    """
    gray = image.float().mean(1).flatten(1)
    flat = labels.flatten(1)
    moments: list[tuple[Tensor, Tensor]] = []
    for side in (flat > 0, flat == 0):
        count = side.sum(1).clamp(min=1)
        mean = (gray * side).sum(1) / count
        variance = ((gray - mean.unsqueeze(1)).square() * side).sum(1) / count
        moments.append((mean, variance))
    (mu_in, var_in), (mu_out, var_out) = moments
    cnr = (mu_in - mu_out).abs() / ((var_in + var_out) / 2).clamp(min=1e-8).sqrt()
    both = (flat > 0).any(1) & (flat == 0).any(1)
    return 1 + strength * torch.where(both, torch.exp(-cnr), torch.ones_like(cnr))
