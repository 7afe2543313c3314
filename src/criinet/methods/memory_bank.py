"""A first-in, first-out memory of patch descriptors by class."""

import torch
from torch import Tensor, nn

from criinet.labels import IGNORE
from criinet.losses import Descriptors


class MemoryBank(nn.Module):
    """The last ``capacity`` descriptors of every class, detached, as buffers that checkpoints keep.

    Why: the few labeled images of a batch hold too few patches of other images to rank against.  [C]

    Args:
        classes: K.
        capacity: descriptors of each class; 0 remembers nothing.
        channels: E.
    """

    vectors: Tensor
    cases: Tensor
    written: Tensor

    def __init__(self, classes: int, capacity: int, channels: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("vectors", torch.zeros(classes, capacity + 1, channels))
        self.register_buffer("cases", torch.full((classes, capacity + 1), IGNORE))
        self.register_buffer("written", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def add(self, new: Descriptors) -> None:
        """Write the known descriptors over the oldest ones; what exceeds the capacity keeps the last.

        The slot after the last one takes what is not to be kept, so that no size depends on the data.
        """
        if self.capacity == 0:
            return
        for c in range(len(self.vectors)):
            known = new.label == c
            rank = known.cumsum(0) - 1
            kept = known & (rank >= known.sum() - self.capacity)
            slot = torch.where(kept, (self.written[c] + rank) % self.capacity, self.capacity)
            self.vectors[c].index_copy_(0, slot, new.vector.detach().to(self.vectors.dtype))
            self.cases[c].index_copy_(0, slot, new.case)
            self.written[c] += known.sum()
        self.cases[:, -1] = IGNORE

    def forget(self) -> None:
        """Empty every slot."""
        self.cases.fill_(IGNORE)
        self.written.zero_()

    def stored(self) -> Descriptors:
        """Return all K * capacity slots; empty ones have label IGNORE."""
        cases = self.cases[:, :-1]
        labels = torch.arange(len(cases), device=cases.device).unsqueeze(1).expand_as(cases)
        return Descriptors(
            self.vectors[:, :-1].flatten(0, 1), torch.where(cases >= 0, labels, IGNORE).flatten(), cases.flatten()
        )
