"""Batch normalisation predicts by statistics of the final weights on training images, and nothing else changes."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split
from criinet.data.store import Store
from criinet.engine import trainer
from criinet.engine.batch_statistics import BATCH, drawn_at, measure_statistics
from criinet.engine.build import build_method
from criinet.engine.checkpoint import load_checkpoint
from criinet.engine.pools import load_pools
from criinet.engine.settings import resolve

CPU = torch.device("cpu")
RUNNING = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture
def made(drawn, tiny):
    """An untrained method and the unlabeled images."""
    dataset = open_dataset(drawn)
    config = resolve({**tiny(), "method": {"name": "crii"}})
    store = load_pools(dataset, make_split(dataset, None), config).unlabeled
    return build_method(config, dataset.classes), store


def first_norm(method) -> nn.BatchNorm2d:
    return next(layer for layer in method.student.modules() if isinstance(layer, nn.BatchNorm2d))


def test_statistics_are_the_means_over_batches_of_what_enters_the_layer(made):
    method, store = made
    seen: list[Tensor] = []
    layer = first_norm(method)
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    measure_statistics(method, store, 256, CPU)
    hook.remove()
    means = torch.stack([x.mean((0, 2, 3)) for x in seen])
    variances = torch.stack([x.var((0, 2, 3), unbiased=True) for x in seen])
    torch.testing.assert_close(layer.running_mean, means.mean(0))
    torch.testing.assert_close(layer.running_var, variances.mean(0))
    assert layer.momentum == 0.1
    assert not method.training


def test_nothing_but_running_statistics_changes_and_twice_is_once(made):
    method, store = made
    before = {key: value.clone() for key, value in method.state_dict().items()}
    measure_statistics(method, store, 256, CPU)
    once = {key: value.clone() for key, value in method.state_dict().items()}
    measure_statistics(method, store, 256, CPU)
    for key, value in method.state_dict().items():
        if key.endswith(RUNNING):
            assert key.endswith("tracked") or torch.equal(value, once[key]), key
        else:
            assert torch.equal(value, before[key]), key
    assert not torch.equal(first_norm(method).running_mean, before_mean(before))


def before_mean(state: dict[str, Tensor]) -> Tensor:
    return next(value for key, value in state.items() if key.endswith("running_mean"))


def test_none_asked_for_or_a_single_image_leaves_the_running_averages(made):
    method, store = made
    before = first_norm(method).running_mean.clone()
    measure_statistics(method, store, 0, CPU)
    single = Store((store.images[0],), (), store.config)
    measure_statistics(method, single, 256, CPU)
    assert torch.equal(first_norm(method).running_mean, before)


def test_batches_are_full_and_hold_each_image_once(made):
    _, store = made
    many = Store(tuple(store.images) * 10, (), store.config)
    batches = drawn_at(many, 64)
    assert [len(batch) for batch in batches] == [BATCH] * (64 // BATCH)
    assert len(set(np.concatenate(batches))) == 64
    assert batches == drawn_at(many, 64)


def test_a_run_ends_with_measured_statistics_and_the_same_weights(drawn, fit, tmp_path):
    runs = [fit(drawn, tmp_path / str(images), trainer={"statistics": images}) for images in (0, 256)]
    one, other = (load_checkpoint(run.checkpoint("last"))["method"] for run in runs)
    for key, value in one.items():
        assert torch.equal(value, other[key]) != key.endswith(RUNNING), key


def test_a_run_measures_statistics_on_its_unlabeled_images(drawn, fit, tmp_path, monkeypatch):
    looked_at = []
    monkeypatch.setattr(trainer, "measure_statistics", lambda _, store, *__: looked_at.append(len(store)))
    fit(drawn, tmp_path / "run")
    assert looked_at == [12]


def test_the_images_looked_at_are_drawn_from_the_whole_pool(made):
    _, store = made
    many = Store(tuple(store.images) * 50, (), store.config)
    found = np.concatenate(drawn_at(many, 64))
    assert found.min() < len(many) / 4 < 3 * len(many) / 4 < found.max()
