"""A trainer at its beginning, for scripts that time its steps one by one."""

from collections.abc import Mapping
from typing import Any

from criinet.data.dataset import Dataset
from criinet.data.draws import make_split
from criinet.engine.build import build_method
from criinet.engine.distributed import launch
from criinet.engine.pools import load_pools
from criinet.engine.settings import resolve
from criinet.engine.trainer import Trainer
from criinet.engine.training import look, pick


def make_trainer(
    dataset: Dataset, settings: Mapping[str, Any], device: str, *, labeled: str = "4%", seed: int = 0
) -> Trainer:
    """Return what `criinet train` trains with these settings, without a folder, its method in training mode."""
    split = make_split(dataset, labeled, seed)
    config = resolve(settings, pick(look(dataset, split), device, settings), seed=seed)
    method = build_method(config, dataset.classes)
    pools = load_pools(dataset, split, config)
    trainer = Trainer(method, pools, config, dataset.classes, fabric=launch(device, config.trainer.precision))
    trainer.method.train()
    return trainer


def take_step(trainer: Trainer) -> Any:
    """Take one step, in the middle of every ramp, and return what the trainer does."""
    taken = trainer.train_step(0.5)
    trainer.step += 1
    return taken
