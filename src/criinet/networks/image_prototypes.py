"""What an image says of its own classes: every pixel compared with the prototypes of that image."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from criinet.networks.normalisation import mean_over_all, shared
from criinet.precision import product_in_float32

KEPT = 0.9
"""Share of m_k that a step keeps."""


class ImagePrototypes(nn.Module):
    """Correct logits by how like a pixel is to what is sure in the same image.

        w_k(x) = q_k(x) where q_k(x) >= h, else 0,             q = softmax(z)
        mu_k   = normalise( mean over x of w_k(x) e(x) + n m_k )
        s_k(x) = <e(x), mu_k>
        z      <- z_0 + s / t                                  repeated; z starts as what is to be refined

    A network learns from a few images what an object looks like; in another image objects and surroundings look
    otherwise, but still like themselves. The parts that are sure tell how, and decide those that are not.
    m_k is a moving average of labeled patches of class k; in an image where nothing is surely of class k
    it alone is the prototype. A class without either has no prototype: there s_k is the least of the others, so that
    what is not known is never liked best. Where an image is cut into windows, each window is an image of its own here.

    Args:
        classes: K. channels: E, length of an embedding.
        temperature: t > 0. sure: h in [0, 1]. prior: n >= 0, weight of m_k as a share of the image's pixels.
        passes: how often z is corrected, at least 1. The weights w have no gradient, so only the last pass has one.

    Reference: Fan et al., ECCV 2022, arXiv 2207.11549 (self-support prototypes, for few-shot segmentation); Yuan et
    al., ECCV 2020, arXiv 1909.11065 (object context).
    Differs: prototypes of unit embeddings that ranked losses shape, several passes, and the prior of labeled images.
    """

    remembered: Tensor
    """(K, E) m_k; zero until a labeled patch of the class was seen."""

    def __init__(
        self, classes: int, channels: int, *, temperature: float, sure: float, prior: float, passes: int
    ) -> None:
        super().__init__()
        self.temperature, self.sure, self.prior, self.passes = temperature, sure, prior, passes
        self.register_buffer("remembered", torch.zeros(classes, channels))

    def forward(self, embedding: Tensor, first: Tensor, corrected: Tensor) -> Tensor:
        """Return refined logits (B, K, ...) float32.

        Args:
            embedding: (B, E, ...) unit vectors.
            first: (B, K, ...) logits that the first pass takes its weights from.
            corrected: (B, K, ...) z_0.
        """
        refined = first
        for left in reversed(range(self.passes)):
            with torch.set_grad_enabled(torch.is_grad_enabled() and left == 0):
                refined = corrected + self.similarity(embedding, refined) / self.temperature
        return refined

    def similarity(self, embedding: Tensor, logits: Tensor) -> Tensor:
        """Return s (B, K, ...) in [-1, 1] float32, with prototypes that these logits choose."""
        probs = logits.detach().float().softmax(1).flatten(2)
        weight = torch.where(probs >= self.sure, probs, 0)
        pixels = embedding.flatten(2)
        own = product_in_float32(weight, pixels.transpose(1, 2)) / weight.shape[-1]
        prototype = F.normalize(own + self.prior * self.remembered, dim=-1, eps=1e-6)
        likeness = product_in_float32(prototype, pixels)
        known = prototype.square().sum(-1, keepdim=True) > 0
        least = likeness.masked_fill(~known, 1).amin(1, keepdim=True) * known.any(1, keepdim=True)
        return torch.where(known, likeness, least).view(logits.shape)

    @torch.no_grad()
    def remember(self, vector: Tensor, label: Tensor) -> None:
        """Move m_k towards the mean of the new descriptors of class k, of all processes that share the batch.

        Args:
            vector: (M, E) unit vectors of labeled patches.
            label: (M,) int64 class, or IGNORE.
        """
        classes = torch.arange(len(self.remembered), device=label.device)
        of_class = label == classes.unsqueeze(1)
        total, count = product_in_float32(of_class, vector), of_class.sum(1, keepdim=True).float()
        if shared(self):
            total, count = mean_over_all(total), mean_over_all(count)
        new = F.normalize(total, dim=-1, eps=1e-6)
        moved = F.normalize(KEPT * self.remembered + (1 - KEPT) * new, dim=-1, eps=1e-6)
        self.remembered.copy_(torch.where(count > 0, moved, self.remembered))
