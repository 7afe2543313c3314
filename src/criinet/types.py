"""The few values that cross rooms. Axes: B batch, C channels, K classes, then D H W (volumes) or H W (images)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LabeledBatch:
    """Images with ground truth, augmented alike.

    image: (B, C, ...) float32 in [0, 1].
    target: (B, ...) int64 class indices in [0, K) or IGNORE.
    case: (B,) int64 identity of each image, the same whenever it is drawn again.
    """

    image: Tensor
    target: Tensor
    case: Tensor

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class CutMix:
    """Which box of each image of a view was pasted from which other image of the batch.

    source: (B,) int64, the image that the box comes from.
    box: (B, 1, ...) bool, True inside the pasted box.
    """

    source: Tensor
    box: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """Paste the boxes into ``image`` (B, C, ...), or confidences, as the view was mixed."""
        return torch.where(self.box, image[self.source], image)

    def apply_to_labels(self, label: Tensor) -> Tensor:
        """Paste the boxes into class indices (B, ...), which have no axis of channels."""
        return self.apply(label.unsqueeze(1)).squeeze(1)


@dataclass(frozen=True)
class UnlabeledBatch:
    """Views of images without ground truth. There is no field for it, so leakage cannot be written.

    All views of one image share its geometry, so pixel (h, w) is the same tissue in each, save inside a CutMix box.

    views: name to (B, C, ...) float32 in [0, 1]; the names are those that the method asked for.
    mixes: the CutMix of each strong view, by the view's name.
    pseudo_label: (B, ...) int64, what the method itself said of these images at the end of its last round, moved as the
        weak view was; IGNORE where it said nothing. None in a first round.
    """

    views: dict[str, Tensor]
    mixes: dict[str, CutMix]
    pseudo_label: Tensor | None = None

    @property
    def weak(self) -> Tensor:
        """The geometrically transformed images, with no change of colour."""
        return self.views["weak"]

    def __len__(self) -> int:
        return len(next(iter(self.views.values()))) if self.views else 0
