"""How much memory the prediction of a large volume takes: python benchmarks/volume_memory.py [D H W].

The network says of each voxel what its own gray value says, so that the time is that of windows and blending; the
activations of one batch of windows come on top. Prints the peak of this process in GiB.
"""

import sys
import time

import numpy as np
import torch

from criinet.config import MethodConfig
from criinet.data.formats import Volume
from criinet.data.geometry import Geometry
from criinet.data.store import DataConfig
from criinet.engine.predictor import Predictor
from criinet.engine.reproducibility import peak_memory
from criinet.methods import Method, Prediction


class ByVoxel(Method):
    """A method of two classes that looks at one voxel at a time."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.config = MethodConfig(weights={})

    def predict(self, image: torch.Tensor) -> Prediction:
        """Call a voxel foreground if it is bright."""
        return Prediction(torch.cat([1 - image, image], dim=1))


def main() -> None:
    """Predict a volume of int16 noise at its own voxels."""
    depth, height, width = (int(word) for word in sys.argv[1:4]) if len(sys.argv) > 3 else (512, 1024, 1024)
    started = time.monotonic()
    rng = np.random.default_rng(0)
    values = np.empty((depth, height, width), np.int16)
    for plane in values:
        plane[:] = rng.integers(0, 1000, plane.shape)
    data = DataConfig(kind="volumes", size=(64, 128, 128), window="patch", channels=1)
    predictor = Predictor(ByVoxel(), data, ("background", "object"), doubt=False)
    found = predictor.predict(Volume(values, Geometry.unknown()))
    seconds = time.monotonic() - started
    print(f"{width}x{height}x{depth}: mask {found.mask.shape}, {peak_memory('cpu') / 1024:.2f} GiB, {seconds:.0f} s")


if __name__ == "__main__":
    main()
