"""Whether images from the file beside the run are drawn as fast as images in memory.

    python benchmarks/data_path.py [--images 50000]

Draws 500 synthetic images of 128x128 and links each a hundred times, decodes all of them once into memory and once into
the file that takes what memory cannot hold, and then draws random batches from both in turns. The system may still hold
parts of the file in memory: it is written just before, and how much of it fits is noted.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance

from criinet.data.dataset import open_dataset
from criinet.data.files import write_json
from criinet.data.settings import DataConfig
from criinet.data.spill import Spill
from criinet.data.store import Store, load_store
from criinet.data.synthetic import write_dataset

HERE = Path(__file__).parent
DRAWN = 500


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "data_path.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_dataset(data, count=DRAWN, size=(128, 128), masks=0, val=0, test=0)
        first = sorted((data / "images").iterdir())
        for i in range(DRAWN, asked.images):
            os.link(first[i % DRAWN], data / "images" / f"linked_{i:06d}{first[i % DRAWN].suffix}")
        dataset = open_dataset(data)
        spill = Spill(Path(folder), limit=0)
        record: dict[str, Any] = {
            **provenance(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"),
            "images": len(dataset),
        }
        stores: dict[str, Store] = {}
        for name, kept in (("file", spill), ("memory", None)):
            started = time.perf_counter()
            stores[name] = load_store(dataset, dataset.cases, DataConfig(), with_masks=False, spill=kept)
            record[f"decoded_a_second_into_{name}"] = round(len(dataset) / (time.perf_counter() - started))
    record["gib_in_file"] = round(spill.in_file / 2**30, 2)
    seconds: dict[str, list[float]] = {name: [] for name in stores}
    rng = np.random.default_rng(0)
    for _ in range(asked.turns):
        for name, store in stores.items():
            batches = rng.integers(len(store), size=(20, asked.batch)).tolist()
            started = time.perf_counter()
            for batch in batches:
                store.draw(batch, rng)
            seconds[name].append((time.perf_counter() - started) / len(batches))
    for name, seen in seconds.items():
        record[f"drawn_a_second_from_{name}"] = round(asked.batch / statistics.median(seen))
    ratios = [memory / file for memory, file in zip(seconds["memory"], seconds["file"], strict=True)]
    record["file_over_memory"] = round(statistics.median(ratios), 2)
    record["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(record)
    write_json(asked.results, record)


if __name__ == "__main__":
    main()
