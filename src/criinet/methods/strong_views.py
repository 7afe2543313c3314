"""What the weak view's labels teach: strong views, and the weak view itself through incomplete features.

Source: Yang et al., CVPR 2023, arXiv 2208.09910 (UniMatch), sections 3.2 to 3.4.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from criinet.losses import deep_supervision, squared_dice_loss
from criinet.methods.perturbations import drop_channels
from criinet.networks import Network, Segmentation
from criinet.types import UnlabeledBatch


def strong_view_losses(
    at_scales: Callable[[Tensor], list[Tensor]], unlabeled: UnlabeledBatch, label: Tensor
) -> dict[str, Tensor]:
    """Return the loss of each strong view under the weak view's labels, mixed as the view is.

    Args:
        at_scales: the logits of every scale of (B, C, ...) images; called once, on both views together.
        unlabeled: the batch.
        label: (B, ...) classes of the weak view, or IGNORE.
    """
    names = ("strong_1", "strong_2")
    of_both = at_scales(torch.cat([unlabeled.views[name] for name in names]))
    of_each = zip(*(logits.chunk(2) for logits in of_both), strict=True)
    return {
        name: dice_at_scales(logits, unlabeled.mixes[name].apply_to_labels(label))
        for name, logits in zip(names, of_each, strict=True)
    }


def segment_incomplete(network: Network, scales: tuple[Tensor, ...], image: Tensor, drop: float) -> Segmentation:
    """Segment images whose encoder features have whole channels silenced, others in each image and at each scale.

    Args:
        network: whose decoder and head are applied.
        scales: encoder features of ``image``, finest first.
        image: (B, C, ...).
        drop: probability that a channel is silenced, in [0, 1).
    """
    silenced = tuple(drop_channels(feature, drop) for feature in scales)
    return network.segment(network.decode(silenced), image)


def dice_at_scales(logits: Iterable[Tensor], label: Tensor) -> Tensor:
    """Return the squared Dice loss of logits (B, K, ...), finest first, against (B, ...) classes or IGNORE."""
    return deep_supervision(squared_dice_loss(each.float().softmax(1), label) for each in logits)
