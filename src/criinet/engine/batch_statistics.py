"""Batch normalisation's statistics, measured with the weights as they are at the end of training."""

import math

import numpy as np
import torch
from torch import nn

from criinet.data.store import Store
from criinet.engine.method_calls import predict
from criinet.methods import Method

BATCH = 16
"""Images that pass the network together: so many that their own statistics are near those of all images."""
PIXELS = BATCH * 256 * 256
"""Of larger images or boxes fewer pass together, and as many times as of small ones."""


@torch.no_grad()
def measure_statistics(method: Method, store: Store, images: int, device: torch.device) -> None:
    """Replace the running mean and variance of every batch normalisation that predicts by those of training images.

        m = mean over batches of mean(x),   v = mean over batches of var(x)

    of what enters the layer when images as they are, not augmented, pass the network with the final weights.

    Running averages lag behind the weights, forget all but the last dozen of small batches, and mix what labeled
    images, weak views and strong views give, so that a network predicts by other statistics than those it was trained
    with. The weights are not touched, and no mask is looked at. The method is left in evaluation mode.

    Args:
        store: the unlabeled images: they are as those that will be predicted.
        images: how many are looked at, at most; 0 leaves everything as it is. A store of a single image does, too.

    Reference: Wu & Johnson, 2021, arXiv 2105.07576, section 3.
    Differs: the variance is the mean of the batches' own, without that between them.
    """
    method.eval()
    layers = [layer for layer in method.student.modules() if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d)]
    batches = drawn_at(store, images)
    if not layers or not batches:
        return
    momenta = [layer.momentum for layer in layers]
    rng = np.random.default_rng(0)
    for number, at in enumerate(batches, start=1):
        for layer in layers:
            layer.train()
            layer.momentum = 1 / number
        image, _ = store.draw(at, rng)
        predict(method, image.to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    method.eval()


def drawn_at(store: Store, images: int) -> list[list[int]]:
    """Return full batches of cases in a random order that is always the same; of volumes a case may come again."""
    size = store.config.size
    batch = max(2, min(BATCH, PIXELS // math.prod(size)))
    count = images * batch // BATCH
    if store.config.window == "whole":
        count = min(count, len(store))
    if min(count, len(store)) < 2:
        return []
    order = np.random.default_rng(0).permutation(max(count, len(store)))[:count] % len(store)
    batch = min(batch, count)
    return [order[start : start + batch].tolist() for start in range(0, count - batch + 1, batch)]
