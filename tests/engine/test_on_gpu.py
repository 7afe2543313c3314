"""On a GPU: the host never waits inside a step, results are a CPU's within rounding, and resuming goes on."""

import numpy as np
import pytest
import torch

from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split
from criinet.engine.build import build_method, load
from criinet.engine.checkpoint import load_checkpoint
from criinet.engine.distributed import launch
from criinet.engine.evaluator import evaluate
from criinet.engine.pools import load_pools
from criinet.engine.settings import resolve
from criinet.engine.trainer import Trainer
from criinet.engine.training import train
from criinet.losses import Descriptors, inter_patch_ranked_loss, ranked_list_loss
from criinet.methods import methods

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU"),
]
ON_THE_HOST = {"dtc", "sassnet", "bcp", "st++"}
"""Methods that wait: for SciPy's distance maps, for a component that may be labeled, for a count that is looked at."""
RECORDABLE = [name for name in methods if methods.get(name).recordable]


def trainer_of(name: str, dataset, tiny, device: str, precision: str) -> Trainer:
    opened = open_dataset(dataset)
    split = make_split(opened, None)
    trainer = {"precision": precision, "iterations": 100, "cuda_graph": False}
    config = resolve({**tiny(**trainer), "method": {"name": name}})
    pools = load_pools(opened, split, config)
    method = build_method(config, opened.classes)
    trainer = Trainer(method, pools, config, opened.classes, fabric=launch(device, precision))
    trainer.method.train()
    return trainer


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("name", [n for n in methods if n not in ON_THE_HOST])
def test_a_step_never_makes_the_host_wait(name, drawn, tiny):
    """After a first step, in which libraries set themselves up; PyTorch raises at every hidden synchronisation."""
    trainer = trainer_of(name, drawn, tiny, "cuda", "bf16")
    trainer.train_step(0.5)
    trainer.step += 1
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            terms, _ = trainer.train_step(0.5)
            trainer.step += 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(bool(torch.isfinite(term)) for term in terms.values())


def test_a_run_trained_on_a_gpu_says_the_same_on_a_cpu(drawn, tiny, tmp_path):
    run = train(drawn, tmp_path / "run", method="crii", settings=tiny(precision="bf16"), device="cuda")
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    there, here = (load(run.root, device=device).predict(image).probs for device in ("cuda", "cpu"))
    assert np.abs(np.asarray(there) - np.asarray(here)).max() < 5e-3
    assert evaluate(run.root, device="cuda")["rows"]


def weights(run) -> torch.Tensor:
    state = load_checkpoint(run.checkpoint("last"))["method"]
    return torch.cat([v.flatten() for key, v in state.items() if v.is_floating_point() and "memory" not in key])


def is_as_near(found, whole, again) -> bool:
    """Whether ``found`` is from ``whole`` no farther than a run done twice is: sums on a GPU have no fixed order."""
    one, other, third = weights(found), weights(whole), weights(again)
    return bool((one - other).norm() <= 3 * (third - other).norm() + 1e-4 * other.norm())


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("name", ["crii", "crii-plus", "mean-teacher", "ua-mt"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(name, precision, drawn, tiny, tmp_path):
    def run(out, **options):
        settings = tiny(iterations=12, checks=3, precision=precision)
        return train(drawn, tmp_path / out, method=name, settings=settings, device="cuda", **options)

    def cut_off(step, records):
        if step == 8 and records[0].kind == "validation":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("cut", watch=cut_off)
    assert is_as_near(run("cut", resume=True), run("whole"), run("again"))


@pytest.mark.parametrize("name", RECORDABLE)
def test_a_recorded_step_does_what_it_does_unrecorded(name, drawn, tiny, tmp_path):
    def run(out, recorded):
        settings = tiny(iterations=12, checks=2, precision="bf16", cuda_graph=recorded)
        return train(drawn, tmp_path / out, method=name, settings=settings, device="cuda")

    assert is_as_near(run("recorded", True), run("whole", False), run("again", False))


def test_ranked_losses_are_in_float32_under_autocast():
    """Against float32 on the CPU, with embeddings so near each other that bfloat16 would see no distance."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(1, 16, generator=generator) + 0.01 * torch.randn(64, 16), dim=1)
    label = torch.arange(64) % 2
    exact = ranked_list_loss(vectors, label, vectors, label)
    known = Descriptors(vectors.cuda(), label.cuda(), torch.arange(64).cuda())
    with torch.autocast("cuda", torch.bfloat16):
        found = ranked_list_loss(vectors.cuda(), label.cuda(), vectors.cuda(), label.cuda())
        across = inter_patch_ranked_loss(known, known)
    assert float(found) == pytest.approx(float(exact), rel=1e-3)
    assert float(across) == pytest.approx(float(exact), rel=1e-3)
