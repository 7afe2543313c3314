"""Time the ranked losses of CRII-Net against patch size and patch count, beside a whole training step.

    python benchmarks/ranked_cost.py

Forward and backward of both losses on 4 labeled images of 128x128 (features 64x64), median of 9, as a share of the
median step of `crii` (forward and backward) with 4 labeled and 4 unlabeled images: CPU seconds of one thread, all in
one process, so that other work on the machine hardly counts.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from provenance import provenance
from torch.nn import functional as F

from criinet.data.files import write_json
from criinet.methods import CRIINet, parse_method
from criinet.networks import build_network, parse_network
from criinet.types import LabeledBatch, UnlabeledBatch

SIDE = 128


def labels() -> torch.Tensor:
    """Return four discs of different sizes."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return torch.stack([((y - 60) ** 2 + (x - 70) ** 2 < r**2).long() for r in (12, 20, 30, 40)])


def median_seconds(work: Callable[[], None], times: int = 9) -> float:
    """Return the median CPU time of ``work`` after two warm-ups."""
    taken: list[float] = []
    for i in range(times + 2):
        start = time.process_time()
        work()
        if i >= 2:
            taken.append(time.process_time() - start)
    return statistics.median(taken)


def method(patch: float, count: int) -> CRIINet:
    """Build CRII-Net on the default network with one patch size and count."""
    network = build_network("lite0-unet", parse_network("lite0-unet", {}), in_channels=3, classes=2, dims=2, seed=0)
    ranked = {"patch": patch, "boundary_patches": count, "pure_patches": count}
    return CRIINet(network, parse_method("crii", {"ranked": ranked}))  # pyright: ignore[reportArgumentType]


def main() -> None:
    """Measure and write the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batch = LabeledBatch(torch.rand(4, 3, SIDE, SIDE), labels(), torch.arange(4))
    unlabeled = UnlabeledBatch({"weak": torch.rand(4, 3, SIDE, SIDE)}, {})
    whole = method(1 / 8, 8).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def step() -> None:
        torch.stack(list(whole.losses(batch, unlabeled, 0.5).values())).sum().backward()

    step_seconds = median_seconds(step)
    rows: list[dict[str, float]] = []
    for patch in (1 / 16, 1 / 8, 1 / 4):
        for count in (2, 8, 32):
            probe = method(patch, count)
            embedding = F.normalize(torch.randn(4, 64, SIDE // 2, SIDE // 2), dim=1).requires_grad_()

            def losses(probe: CRIINet = probe, embedding: torch.Tensor = embedding) -> None:
                intra, inter = probe.ranked_losses(embedding, batch)
                (intra + inter).backward()

            seconds = median_seconds(losses)
            rows.append(
                {
                    "patch_side": round(patch * SIDE / 2),
                    "patches_of_each_kind": count,
                    "milliseconds": round(seconds * 1e3, 2),
                    "share_of_step": round(seconds / step_seconds, 3),
                }
            )
            print(rows[-1], flush=True)
    record = {
        **provenance(f"{torch.get_num_threads()} threads"),
        "step_milliseconds": round(step_seconds * 1e3, 1),
        "rows": rows,
    }
    write_json(Path(__file__).parent / "results" / "ranked_cost.json", record)


if __name__ == "__main__":
    main()
