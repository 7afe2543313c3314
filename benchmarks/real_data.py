"""Train and evaluate methods on real data sets under one budget, and write every row with its command.

    python benchmarks/real_data.py --data FOLDER --datasets kvasir-seg isic2018 --methods supervised mean-teacher crii

FOLDER holds dataset folders. Runs that are done are not repeated; ``--jobs 2 --threads 1`` trains two at a time.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CRIINET = Path(sys.executable).parent / "criinet"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset folders")
    parser.add_argument("--datasets", nargs="+", required=True)
    parser.add_argument("--methods", nargs="+", required=True)
    parser.add_argument("--labeled", default="4%")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="each seeds the label draw and the training")
    parser.add_argument("--set", nargs="*", default=[], help="settings for every run, as trainer.iterations=500")
    parser.add_argument("--out", type=Path, default=Path("runs/real_data"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "real_data.json")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="threads of each run; 0: all cores")
    return parser.parse_args()


def criinet(*words: str, threads: int, log: Path) -> None:
    """Run one command with its output in ``log``."""
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    with log.open("a") as file:
        subprocess.run([str(CRIINET), *words], check=True, stdout=file, stderr=file, env=environment)


def run(asked: argparse.Namespace, dataset: str, method: str, seed: int) -> dict[str, Any]:
    """Train and evaluate one run, unless it is done, and return its results."""
    out = asked.out / f"{dataset}-{method}-{seed}"
    if not (out / "results.json").exists():
        settings = [word for text in [*asked.set, f"trainer.threads={asked.threads}"] for word in ("--set", text)]
        log = asked.out / f"{out.name}.log"
        what = [str(asked.data / dataset), "--out", str(out), "--method", method, "--labeled", asked.labeled]
        how = ["--seed", str(seed), "--no-predict", *settings]
        how.append("--resume" if (out / "config.json").exists() else "--overwrite")
        criinet("train", *what, *how, threads=asked.threads, log=log)
        criinet("evaluate", str(out), threads=asked.threads, log=log)
    results = json.loads((out / "results.json").read_text())
    last = next(row for row in results["rows"] if row["checkpoint"] == "last" and row["class"] == "mean")
    print(
        f"{dataset} {method} seed {seed}: Dice {last['dice']:.3f} in {last['train_seconds'] / 60:.1f} min", flush=True
    )
    return results


def stability(out: Path) -> float | None:
    """Return the mean change of the unlabeled targets between looks in the second half of training; None without."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    changes = [line["target_change"] for line in lines if line["kind"] == "monitor" and line["target_change"]]
    late = changes[len(changes) // 2 :]
    return sum(late) / len(late) if late else None


def main() -> None:
    """Run the grid and write its rows."""
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    grid = [(dataset, method, seed) for dataset in asked.datasets for seed in asked.seeds for method in asked.methods]
    with ThreadPoolExecutor(asked.jobs) as pool:
        try:
            found = list(pool.map(lambda cell: run(asked, *cell), grid))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    record = {
        "command": " ".join(["python benchmarks/real_data.py", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {asked.jobs} runs at a time",
        "rows": [row for results in found for row in results["rows"]],
        "strata": [
            {**{k: results["run"][k] for k in ("method", "dataset", "seed")}, **row}
            for results in found
            for row in results["strata"]
        ],
        "target_change": [
            {
                "method": method,
                "dataset": dataset,
                "seed": seed,
                "late": stability(asked.out / f"{dataset}-{method}-{seed}"),
            }
            for dataset, method, seed in grid
        ],
    }
    asked.results.write_text(json.dumps(record, indent=1) + "\n")
    print(f"results: {asked.results}")


if __name__ == "__main__":
    main()
