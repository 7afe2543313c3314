"""What it costs to pass labeled and unlabeled images through a network in one batch.

    python benchmarks/shared_statistics.py --data FOLDER --datasets acdc kvasir-seg

Trains Mean Teacher twice on each data set, from the same weights on the same batches: once as it stands, once with both
kinds of images in one batch, so that they share the statistics of batch normalisation. Writes the Dice on the
validation cases at every check. FOLDER holds dataset folders.
"""

import argparse
from pathlib import Path

import torch
from provenance import provenance
from torch import Tensor

from criinet.data.files import write_json
from criinet.engine.training import train
from criinet.losses import cross_entropy_dice, mean_squared
from criinet.methods import MeanTeacher, methods
from criinet.methods.perturbations import clipped_noise
from criinet.records import ValidationRecord
from criinet.types import LabeledBatch, UnlabeledBatch

HERE = Path(__file__).parent


class OneBatch(MeanTeacher):
    """Mean Teacher with labeled and unlabeled images in one batch."""

    def losses(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the terms of Mean Teacher."""
        logits = self.student(torch.cat([labeled.image, unlabeled.weak])).logits
        on_labeled, on_unlabeled = logits.split([len(labeled), len(unlabeled)])
        target = self.targets(unlabeled.weak + clipped_noise(unlabeled.weak, self.config.noise))
        return {
            "supervised": cross_entropy_dice(on_labeled, labeled.target),
            "consistency": mean_squared(on_unlabeled.float().softmax(1), target),
        }


def main() -> None:
    """Train both ways and write the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset folders")
    parser.add_argument("--datasets", nargs="+", required=True)
    parser.add_argument("--labeled", default="4%")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/shared_statistics"))
    parser.add_argument("--results", type=Path, default=HERE / "results" / "shared_statistics.json")
    asked = parser.parse_args()
    methods.add("one-batch", OneBatch)
    rows: list[dict[str, object]] = []
    for dataset in asked.datasets:
        for seed in asked.seeds:
            for method in ("mean-teacher", "one-batch"):
                settings = {"trainer": {"iterations": asked.iterations, "checks": 5}, "data": {"size": [128, 128]}}
                run = train(
                    asked.data / dataset,
                    asked.out / f"{dataset}-{method}-{seed}",
                    method=method,
                    labeled=asked.labeled,
                    seed=seed,
                    settings=settings,
                    overwrite=True,
                )
                looks = [record for record in run.records() if isinstance(record, ValidationRecord)]
                curve = {look.step: round(look.dice, 4) for look in looks}
                batches = "one" if method == "one-batch" else "apart"
                rows.append({"dataset": dataset, "batches": batches, "seed": seed, "validation_dice": curve})
                print(rows[-1], flush=True)
    record = {
        **provenance(),
        "rows": rows,
    }
    write_json(asked.results, record)


if __name__ == "__main__":
    main()
