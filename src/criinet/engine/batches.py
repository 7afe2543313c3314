"""What each step sees: drawn by seed, step and process alone, and augmented."""

from collections.abc import Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from criinet.data.augmentation import labeled_views, unlabeled_views
from criinet.data.sampling import batch_indices, step_seed
from criinet.data.store import Store
from criinet.engine.distributed import share
from criinet.engine.pools import Pools
from criinet.engine.settings import RunConfig
from criinet.random_numbers import seed_on_host
from criinet.types import LabeledBatch, UnlabeledBatch

STREAMS = 4
LABELED, UNLABELED, AUGMENT, METHOD = range(STREAMS)
"""Streams of random numbers; each step draws from every stream afresh, so a resumed run draws the same."""


class Batches:
    """Draws and augments the batches of each step, which depend on the seed and the step, not on those before.

    generator: of the augmentation, on the device.
    pseudo_labeled: what a round before labeled, in place of the unlabeled pool; None before there is such a round.

    Args:
        pools: the cases, where drawing is fastest. views: of unlabeled images that the method asks for.

    Raises:
        ConfigError: if a batch cannot be shared evenly by the processes.
    """

    def __init__(self, pools: Pools, config: RunConfig, views: Sequence[str], fabric: Fabric) -> None:
        self.pools, self.config, self.views = pools, config, tuple(views)
        self.device, self.rank = fabric.device, fabric.global_rank
        names = ("labeled_batch", "unlabeled_batch")
        self.shares = {name: share(getattr(config.trainer, name), fabric, name) for name in names}
        self.generator = torch.Generator(self.device)
        self.pseudo_labeled: Store | None = None

    def random_seed(self, step: int, stream: int) -> int:
        """Return the seed of a stream of random numbers in a step; each process has streams of its own."""
        return step_seed(self.config.seed, step, stream + STREAMS * self.rank)

    def seed(self, step: int) -> None:
        """Set the random numbers of a step: those of the augmentation, and the method's, from the global generators."""
        self.generator.manual_seed(self.random_seed(step, AUGMENT))
        torch.manual_seed(self.random_seed(step, METHOD))
        seed_on_host(self.random_seed(step, METHOD))

    def cases(self, store: Store, name: str, stream: int, step: int) -> list[int]:
        """Return which cases of a pool this process sees in a step: its share of the whole batch."""
        batch = getattr(self.config.trainer, name)
        return batch_indices(len(store), batch, step_seed(self.config.seed, 0, stream), step)[self.shares[name]]

    def draw(self, step: int) -> list[Tensor]:
        """Return what a step sees, before augmentation, on the device; it depends on seed, step and process alone.

        Returns:
            Labeled images, their targets and identities, then, where the method uses them, unlabeled images and, where
            a round before made some, their pseudo-labels.
        """
        at = self.cases(self.pools.labeled, "labeled_batch", LABELED, step)
        image, target = self.pools.labeled.draw(at, np.random.default_rng(self.random_seed(step, LABELED)))
        assert target is not None
        drawn = [image, target, torch.tensor(at)]
        if self.views:
            pool = self.pseudo_labeled or self.pools.unlabeled
            at = self.cases(pool, "unlabeled_batch", UNLABELED, step)
            image, label = pool.draw(at, np.random.default_rng(self.random_seed(step, UNLABELED)))
            drawn += [image] if label is None else [image, label]
        return [each.to(self.device, non_blocking=True) for each in drawn]

    def views_of(self, drawn: Sequence[Tensor]) -> tuple[LabeledBatch, UnlabeledBatch]:
        """Augment what was drawn, by the random numbers of ``generator``."""
        image, target, case, *unlabeled = drawn
        augmentation = self.config.data.augmentation
        labeled = labeled_views(LabeledBatch(image, target, case), augmentation, self.generator)
        if not unlabeled:
            return labeled, UnlabeledBatch({}, {})
        image, *label = unlabeled
        return labeled, unlabeled_views(image, self.views, augmentation, self.generator, *label)
