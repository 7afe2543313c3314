"""Whether an exported file gives what the run gives, on real images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from criinet.data.images import read_image
from criinet.data.inputs import images_in
from criinet.data.kinds import comparable, key_of
from criinet.deploy.card import ModelCard
from criinet.deploy.network import Opinions, Runner
from criinet.deploy.runtime import prepare
from criinet.engine.examples import spaced
from criinet.engine.folder import RunFolder
from criinet.engine.origin import recorded_split
from criinet.errors import ParityError

Array = NDArray[Any]
TOLERANCE = 1e-4
"""The largest difference in a probability that a file may show: masks differ only where two classes are that close."""
PROBES = 4


@dataclass(frozen=True)
class Probes:
    """Images that an exported file is checked on.

    images: (H, W) or (H, W, 3) uint8, of any sizes.
    real: False if they are random, because the run's dataset is gone.
    """

    images: tuple[Array, ...]
    real: bool

    def batches(self, card: ModelCard) -> list[Array]:
        """Return them as the network takes them: all at the training size, one at another size that is not square."""
        height, width = (side + -side % card.multiple for side in card.size)
        usual = card.model_copy(update={"size": (height, width), "window": "whole"})
        other = card.model_copy(update={"size": (height + card.multiple, width + 2 * card.multiple), "window": "whole"})
        return [np.stack([prepare(image, usual) for image in self.images]), prepare(self.images[0], other)[None]]


def find_probes(folder: RunFolder, card: ModelCard) -> Probes:
    """Return images of the run's dataset, evenly spaced by name, unlabeled ones if there are; else random ones."""
    root, split = folder.read_config().dataset.path, recorded_split(folder)
    here = {key_of(path): path for path in images_in(root)} if (root / "images").is_dir() else {}
    names = [name for name in map(comparable, split.unlabeled or split.labeled) if name in here]
    if names:
        return Probes(tuple(read_image(here[name]) for name in spaced(names, PROBES)), real=True)
    rng = np.random.default_rng(0)
    shape = (card.size[0] + 7, card.size[1] + 3, 3)
    return Probes(tuple(rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(PROBES)), real=False)


@torch.no_grad()
def check_parity(network: Opinions, exported: Runner, probes: Probes, card: ModelCard) -> float:
    """Return the largest difference in any probability between the network and its exported form.

    Raises:
        ParityError: if it is above ``TOLERANCE``, or no number.
    """
    difference = 0.0
    for batch in probes.batches(card):
        expected = [probs.numpy() for probs in network(torch.from_numpy(batch))]
        for one, other in zip(expected, exported(batch), strict=True):
            largest = np.abs(one - other).max() if one.shape == other.shape else np.nan
            difference = float(np.maximum(difference, largest))  # Of a number and NaN it is NaN.
            if not difference <= TOLERANCE:
                raise ParityError(
                    f"the exported network differs from the run by {difference:.1e} in a probability, {TOLERANCE:.0e} "
                    "is allowed; nothing was written. Report it with RUN/config.json, or try another --format."
                )
    return difference
