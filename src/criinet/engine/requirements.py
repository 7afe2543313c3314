"""What must hold before a training begins; each check says what to do where it does not."""

import math
from collections.abc import Sequence

from criinet.data.dataset import Case, Dataset
from criinet.data.scans import mask_mismatch
from criinet.data.settings import DataConfig
from criinet.engine.settings import RunConfig
from criinet.errors import ConfigError
from criinet.methods import methods

MOST = 2**63
"""Seeds are below it."""


def require_one(name: str, given: bool, other: str, other_given: bool) -> None:
    """Check that not both of two options are given.

    Raises:
        ConfigError: if they are.
    """
    if given and other_given:
        raise ConfigError(f"{name} and {other} contradict each other; give one of them.")


def require_seed(seed: object) -> None:
    """Check that a seed is one.

    Raises:
        ConfigError: if it is not.
    """
    if seed is not None and not (isinstance(seed, int) and 0 <= seed < MOST):
        raise ConfigError(f"{seed!r} is no seed; give a whole number from 0 to {MOST - 1}.")


def require_kind(config: RunConfig, dataset: Dataset, device: str) -> None:
    """Check that the settings of the data fit each other, the dataset and the device.

    Raises:
        ConfigError: otherwise.
    """
    data = config.data
    if dataset.dims != data.scan_dims:
        fitting = "images" if dataset.dims == 2 else "slices or volumes"
        raise ConfigError(f"data.kind is '{data.kind}', but {dataset.name} holds {fitting}; use data.kind={fitting}.")
    if len(data.size) != data.dims:
        sides = "depth, height and width" if data.dims == 3 else "height and width"
        raise ConfigError(f"data.size is {list(data.size)}, but data.kind={data.kind} needs {sides}; give as many.")
    for name in ("one_object", "foreground", "intensity", "range", "spacing"):
        if data.kind == "images" and getattr(data, name) != getattr(DataConfig(), name):
            raise ConfigError(f"data.{name} is for volumes, but {dataset.name} holds images; drop it.")
    if data.kind != "images" and data.window != "patch":
        raise ConfigError("data.window is 'whole', but volumes are seen in windows; use data.window=patch.")
    if device == "cpu" and data.dims == 3 and config.trainer.precision == "bf16":
        raise ConfigError(
            "trainer.precision is bf16, but PyTorch's gradients of 3D convolutions go wrong in it on a CPU; use 32."
        )


def require_values(config: RunConfig, multiple: int) -> None:
    """Check that batch normalisation sees more than one value of each channel on the coarsest scale.

    Args:
        multiple: pixels of the image for each pixel of that scale, along every axis.

    Raises:
        ConfigError: if it does not.
    """
    cells = math.prod(-(-side // multiple) for side in config.data.size)
    views = methods.get(config.method_name).views
    for name in ("labeled_batch", "unlabeled_batch") if views else ("labeled_batch",):
        if getattr(config.trainer, name) * cells < 2:
            raise ConfigError(
                f"trainer.{name} is 1 and data.size {list(config.data.size)}: too little for batch normalisation. "
                f"Use batches of 2, or images of more than {multiple} pixels a side."
            )


def require_masks_fit(cases: Sequence[Case], dims: int) -> None:
    """Check from the headers alone that every mask has the size of its image, and as a volume lies where it lies.

    Raises:
        DataError: if one has not, or a header cannot be read.
    """
    for case in cases:
        problem = case.mask and mask_mismatch(case.mask, case.image, dims)
        if problem:
            raise problem
