"""How much memory the prediction of a large volume takes.

    python benchmarks/volume_memory.py [--shape D H W]

The network says of each voxel what its own gray value says, so that the time is that of windows and blending; the
activations of one batch of windows come on top. Of the mask the largest object is kept. Writes the peak of this process
in GiB.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from provenance import provenance

from criinet.config import MethodConfig
from criinet.data.files import write_json
from criinet.data.formats import Volume
from criinet.data.geometry import Geometry
from criinet.data.settings import DataConfig
from criinet.engine.machine import peak_memory
from criinet.engine.predictor import Predictor
from criinet.methods import Method, Prediction

HERE = Path(__file__).parent


class ByVoxel(Method):
    """A method of two classes that looks at one voxel at a time."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.classes = 2
        self.config = MethodConfig(weights={})

    def predict(self, image: torch.Tensor) -> Prediction:
        """Call a voxel foreground if it is bright."""
        return Prediction(torch.cat([1 - image, image], dim=1))


def main() -> None:
    """Predict a volume of int16 noise at its own voxels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 1024, 1024))
    parser.add_argument("--results", type=Path, default=HERE / "results" / "volume_memory.json")
    asked = parser.parse_args()
    depth, height, width = asked.shape
    started = time.monotonic()
    rng = np.random.default_rng(0)
    values = np.empty((depth, height, width), np.int16)
    for plane in values:
        plane[:] = rng.integers(0, 1000, plane.shape)
    data = DataConfig(kind="volumes", size=(64, 128, 128), window="patch", channels=1, one_object=(1,))
    predictor = Predictor(ByVoxel(), data, ("background", "object"), uncertainty=False)
    found = predictor.predict(Volume(values, Geometry.unknown()))
    record = {
        **provenance(),
        "shape": list(found.mask.shape),
        "peak_gib": round(peak_memory("cpu") / 1024, 2),
        "seconds": round(time.monotonic() - started),
    }
    print(record)
    write_json(asked.results, record)


if __name__ == "__main__":
    main()
