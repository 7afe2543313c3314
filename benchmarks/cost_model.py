"""What a run costs by the number of its images: measured at one size, checked at two larger ones, told for a million.

    python benchmarks/cost_model.py [--sizes 250 1000 4000]

    seconds(N, steps) = start + N decode + steps step + N segment

of a run with N unlabeled images: ``decode`` reads and resizes an image once, ``step`` is one of training, ``segment``
writes one mask. Each is measured on the first size; then whole runs of the other sizes are timed, decoding, training
and masks, and compared with what the formula says. Method, network and batch are those of `criinet train` on a CPU,
the number of steps is small, so that all parts show.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from provenance import provenance

from criinet.data.dataset import open_dataset
from criinet.data.draws import make_split
from criinet.data.files import write_json
from criinet.data.synthetic import write_dataset
from criinet.engine.pools import load_pools
from criinet.engine.prediction import predict_unlabeled
from criinet.engine.trainer import LOG_EVERY
from criinet.engine.training import train

HERE = Path(__file__).parent
LABELED, SIDE = 16, 128


def main() -> None:
    """Measure, check and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=3, default=(250, 1000, 4000), help="unlabeled images")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "cost_model.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [whole_run(Path(folder), count, asked) for count in asked.sizes]
    first = runs[0]
    step = first["step"]
    decode, segment = first["decoding"] / first["images"], first["segmenting"] / first["images"]
    start = first["total"] - first["decoding"] - asked.steps * step - first["segmenting"]
    for run in runs:
        run["told"] = round(start + run["images"] * (decode + segment) + asked.steps * step, 1)
        run["told_over_measured"] = round(run["told"] / run["total"], 2)
        print(run, flush=True)
    record = {
        **provenance(),
        "seconds": {"start": round(start, 2), "decode": decode, "step": step, "segment": segment},
        "runs": runs,
        "a_million_images": {
            "decoding_hours": round(1e6 * decode / 3600, 2),
            "segmenting_hours": round(1e6 * segment / 3600, 2),
            "decoded_gib": round(1e6 * 3 * SIDE**2 / 2**30, 1),
            "hours_of_10000_steps": round(1e4 * step / 3600, 2),
        },
    }
    print(record["seconds"], record["a_million_images"])
    write_json(asked.results, record)


def whole_run(folder: Path, count: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Train on so many unlabeled images and write their masks; return the seconds of all and of each part."""
    data, run = folder / f"data{count}", folder / f"run{count}"
    write_dataset(data, count=LABELED + count, size=(SIDE, SIDE), masks=LABELED, val=0, test=0)
    times: dict[int, float] = {}
    settings = {"trainer": {"iterations": asked.steps, "checks": 1, "threads": asked.threads}}
    started = time.perf_counter()
    trained = train(
        data,
        run,
        labeled=str(LABELED),
        settings=settings | {"data": {"size": [SIDE, SIDE]}},
        device="cpu",
        watch=lambda step, _: times.setdefault(step, time.perf_counter()),
    )
    ended = time.perf_counter()
    predict_unlabeled(trained.root, device="cpu")
    total = time.perf_counter() - started
    opened = open_dataset(data)
    split = make_split(opened, str(LABELED))
    decoding = time.perf_counter()
    pools = load_pools(opened, split, trained.read_config().config(), spill=folder)
    pools.unlabeled.require_all()
    decoding = time.perf_counter() - decoding
    return {
        "images": count,
        "total": round(total, 1),
        "decoding": round(decoding, 2),
        "segmenting": round(total - (ended - started), 2),
        "step": round((times[asked.steps] - times[LOG_EVERY]) / (asked.steps - LOG_EVERY), 3),
    }


if __name__ == "__main__":
    main()
