"""What a training step costs beside other work, by how long idle threads spin (GOMP_SPINCOUNT).

    python benchmarks/beside_others.py --results FILE

Times steps of `lite0-unet` at 96x96 with all cores, in processes of their own: with the spin count of libgomp itself
and with others, each on a machine with nothing beside it and beside one other training of one thread a core. All take
turns, several times over; the median counts, and ratios within one call alone mean something.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from provenance import provenance

from criinet.data.files import write_json
from criinet.data.threads import cores
from criinet.networks import build_network, parse_network

OWN = "libgomp's own"
SPINS = (OWN, "10000", "1000")
SECONDS, WARM_UP, TURNS = 2.5, 2, 5


def main() -> None:
    """Time every combination in turn and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="file that the table is written to")
    parser.add_argument("--worker", type=int, help="time steps with so many threads, and print milliseconds")
    parser.add_argument("--burn", action="store_true", help="train with one thread until killed")
    asked = parser.parse_args()
    if asked.burn:
        steps(1, float("inf"))
    elif asked.worker:
        print(steps(asked.worker, SECONDS))
    elif asked.results:
        write_json(asked.results, {**provenance(f"{cores()} threads"), "milliseconds_a_step": compared()})
    else:
        parser.error("--results is missing")


def compared() -> dict[str, dict[str, Any]]:
    """Return the milliseconds a step of every turn and their median, by what runs beside it and by the spin count."""
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(TURNS):
        for beside, burners in (("nothing", 0), ("a training on every core", cores())):
            others = [subprocess.Popen([sys.executable, __file__, "--burn"]) for _ in range(burners)]
            for spins in SPINS:
                found.setdefault(beside, {}).setdefault(spins, []).append(timed(spins))
                print(beside, spins, found[beside][spins], flush=True)
            for other in others:
                other.kill()
                other.wait()
    return {
        beside: {spins: {"median": statistics.median(turns), "turns": turns} for spins, turns in by_spins.items()}
        for beside, by_spins in found.items()
    }


def timed(spins: str) -> float:
    """Return the milliseconds a step in a process with this spin count."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    environment |= {"GOMP_SPINCOUNT": spins} if spins != OWN else {}
    command = [sys.executable, __file__, "--worker", str(cores())]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def steps(threads: int, seconds: float) -> float:
    """Train for so long after the warm-up and return the mean milliseconds a step."""
    torch.set_num_threads(threads)
    network = build_network("lite0-unet", parse_network("lite0-unet", {}), in_channels=3, classes=2, dims=2, seed=0).to(
        memory_format=torch.channels_last
    )  # pyright: ignore[reportCallIssue]
    image = torch.rand(8, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    done, begun = -WARM_UP, time.perf_counter()
    while done <= 0 or time.perf_counter() - begun < seconds:
        if done == 0:
            begun = time.perf_counter()
        optimizer.zero_grad()
        network(image).logits.square().mean().backward()
        optimizer.step()
        done += 1
    return round((time.perf_counter() - begun) / done * 1000, 1)


if __name__ == "__main__":
    main()
