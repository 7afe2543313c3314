"""From a dataset folder to a trained run: split, plan, decode, train."""

import json
import math
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from criinet.config import merge
from criinet.data.dataset import Case, Dataset, open_dataset
from criinet.data.files import write_json
from criinet.data.scans import mask_mismatch
from criinet.data.spill import Spill
from criinet.data.splits import Split, load_split, make_split, save_split
from criinet.data.store import DataConfig, load_store
from criinet.engine.checkpoint import load_checkpoint
from criinet.engine.folder import RunFolder
from criinet.engine.planner import look_at, plan
from criinet.engine.predictor import Predictor
from criinet.engine.processes import is_first, launch
from criinet.engine.reproducibility import environment, keep_memory, pick_device, use_threads
from criinet.engine.settings import SECTIONS, Choice, RunConfig, first_difference, from_recorded, resolve
from criinet.engine.tracking import tensorboard
from criinet.engine.trainer import Pools, Trainer, Watcher
from criinet.engine.volume_planner import look_at_volumes, plan_volumes
from criinet.errors import CheckpointError, ConfigError, DataError, RunError, StorageError
from criinet.methods import Method, methods
from criinet.networks import Network, build_network
from criinet.types import IGNORE

MOST = 2**63
"""Seeds are below it."""

_TRAINING = threading.Lock()


def train(
    dataset: Path | str,
    out: Path | str,
    *,
    method: str | None = None,
    labeled: str | int | None = None,
    split: Path | str | None = None,
    groups: Path | str | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    initial: Path | str | None = None,
    announce: Callable[[RunConfig, Split, Dataset], None] | None = None,
    warn: Callable[[str], None] | None = None,
    watch: Watcher | None = None,
) -> RunFolder:
    """Train one method on a dataset folder and return the run folder, which holds all that it learned.

    Args:
        dataset: folder with images/ and, for labeled cases, masks/.
        out: folder of the run.
        method: name of the method; "crii-plus" if neither this nor ``settings`` says so.
        labeled: how many of the training cases are labeled, as "4%" or 32; None takes every mask there is.
        split: a file from `criinet split`, instead of ``labeled``.
        groups: a CSV of case and group (patient); groups.csv of the dataset if None.
        seed: of the split and the training, from 0 to 2**63 - 1; 0 if None.
        settings: nested tables "method", "network", "data", "trainer" over what is picked from the data.
        device: "auto", "cpu" or "cuda".
        resume: go on with the run in ``out``; what is asked for must be what it was started with.
        overwrite: replace the run in ``out``.
        skip_bad: leave unreadable files out instead of stopping at the first.
        initial: folder of a run of the same method and network whose last weights training begins with.
        announce: called once with the settings, the split and the dataset, before anything slow.
        warn: called before training with each sentence about the labels that a person should know.
        watch: called with every record that is logged.

    One training runs in a process at a time: the random numbers of methods are those of the process.

    Raises:
        UserError: for anything that a person can mend, in one sentence.
    """
    require_one("resume", resume, "overwrite", overwrite)
    require_one("labeled", labeled is not None, "split", split is not None)
    require_seed(seed)
    asked = merge(settings or {}, {"method": {"name": method}} if method else {})
    device = pick_device(device)
    folder = RunFolder(Path(out))
    split, groups, initial = map(as_path, (split, groups, initial))
    if resume:
        if not folder.config.exists():
            raise RunError(f"{folder.root} holds no run to go on with (no config.json); start it without --resume.")
        recorded = folder.read_config()
        skip_bad = skip_bad or recorded["dataset"].get("skip_bad", False)
        groups = groups or as_path(recorded["dataset"].get("groups"))
        initial = None if folder.checkpoint("last").exists() else as_path(recorded.get("initial"))
    elif is_first():
        folder.require_free(overwrite=overwrite)
    opened = open_dataset(Path(dataset), skip_bad=skip_bad, groups=groups)
    if resume:
        config, parts = recorded_run(folder, opened, asked, labeled, split, seed)
    else:
        parts = load_split(split, opened) if split else make_split(opened, labeled, seed or 0)
        config = resolve(asked, choices_for(opened, parts, device, asked), seed=seed or 0)
    require_kind(config, opened, device)
    use_threads(config.trainer.threads)
    keep_memory()
    fabric = launch(device, config.trainer.precision)
    trained = build_method(config, opened.classes)
    if initial is not None:
        begin_with(trained, RunFolder(initial))
    if config.trainer.tensorboard and is_first():
        watch = tensorboard(folder.root / "tensorboard", watch)
    if announce is not None and is_first():
        announce(config, parts, opened)
    pools = load_pools(opened, parts, config, spill=nearest_folder(folder.root))
    try:
        for sentence in [*opened.unread, *label_warnings(opened, parts, pools)]:
            if warn is not None and is_first():
                warn(sentence)
        trainer = Trainer(trained, pools, config, opened.classes, fabric=fabric, folder=folder, watch=watch)
        if resume:
            trainer.resume(folder)
            if is_first():
                folder.sweep()
                go_on(folder, opened, further=trainer.step < config.trainer.iterations)
        elif is_first():
            if overwrite:
                pools.unlabeled.require_all()  # What stands there goes only when every file was read.
            folder.create(overwrite=overwrite)
            described = describe(opened, groups=groups, skip_bad=skip_bad, initial=initial)
            write_json(folder.config, {**config.to_dict(), **described, "environment": environment(device)})
            save_split(parts, folder.split)
        fit(trainer, folder, begun=not resume)
    finally:
        pools.unlabeled.stop()
    return folder


def go_on(folder: RunFolder, dataset: Dataset, *, further: bool) -> None:
    """Note where the dataset of a resumed run is now; if it trains ``further``, old results are no longer its own."""
    recorded = folder.read_config()
    place = str(dataset.root.resolve())
    if recorded["dataset"]["path"] != place:
        write_json(folder.config, {**recorded, "dataset": {**recorded["dataset"], "path": place}})
    if further:
        folder.forget_results()


def fit(trainer: Trainer, folder: RunFolder, *, begun: bool) -> None:
    """Train; a run that has just begun and fails over what can be mended before its first checkpoint leaves no folder.

    So the same command works once that is mended. The global random numbers are left as they were.

    Raises:
        RunError: if another training is under way in this process, whose random numbers would mix with these.
    """
    try:
        with by_itself(), torch.random.fork_rng(devices=[]):
            trainer.fit()
    except (ConfigError, DataError, RunError, StorageError):
        if begun and is_first() and not folder.checkpoint("last").exists():
            folder.discard()
        raise


@contextmanager
def by_itself() -> Generator[None, None, None]:
    """Let one training at a time go on in this process.

    Raises:
        RunError: if another is under way.
    """
    if not _TRAINING.acquire(blocking=False):
        raise RunError("another training is under way in this process; start each in a process of its own.")
    try:
        yield
    finally:
        _TRAINING.release()


def recorded_run(
    folder: RunFolder,
    dataset: Dataset,
    asked: Mapping[str, Any],
    labeled: str | int | None,
    split: Path | None,
    seed: int | None,
) -> tuple[RunConfig, Split]:
    """Return the settings and the split that a run was started with.

    Raises:
        RunError: if there is no run, or something else is asked for now; the message names the first difference.
        DataError: if the dataset has other classes now.
    """
    recorded = folder.read_config()
    config = from_recorded(recorded)
    difference = changed(config, asked, seed)
    if difference is not None:
        name, before, now = difference
        raise RunError(
            f"{folder.root} was trained with {name}={before}, now {now} is asked. "
            f"Start another run with another --out, or drop that option to resume."
        )
    require_same_classes(recorded, dataset, folder.root)
    recorded_split(folder)  # Says best how to mend a file that is missing.
    parts = load_split(folder.split, dataset)
    if labeled is not None or split is not None:
        wanted = load_split(split, dataset) if split else make_split(dataset, labeled, config.seed)
        if wanted.hash != parts.hash:
            raise RunError(
                f"{folder.root} was trained on split {parts.hash} with {len(parts.labeled)} labeled cases, now split "
                f"{wanted.hash} with {len(wanted.labeled)} is asked. Start another run, or drop --labeled and --split."
            )
    return config, parts


def changed(config: RunConfig, asked: Mapping[str, Any], seed: int | None) -> tuple[str, Any, Any] | None:
    """Return the first setting that is asked for otherwise than ``config`` has it: (name, before, asked).

    Values are compared as the settings read them, so "3e-4" is 0.0003.

    Raises:
        ConfigError: for an unknown key, or a value out of range.
    """
    before = config.to_dict()
    names = {s: {"name": t["name"]} for s, t in asked.items() if isinstance(t, Mapping) and "name" in t}
    difference = first_difference(before, names)
    if difference is not None:
        return difference
    tables = merge({section: before[section] for section in SECTIONS}, asked)
    now = resolve(tables, seed=config.seed if seed is None else seed).to_dict()
    return first_difference(before, {key: now[key] for key in (*SECTIONS, "seed")})


def describe(dataset: Dataset, *, groups: Path | None, skip_bad: bool, initial: Path | None) -> dict[str, Any]:
    """Return what a run must remember of its dataset, and of the run whose weights it began with."""
    begun = {} if initial is None else {"initial": str(initial.resolve())}
    return begun | {
        "dataset": {
            "path": str(dataset.root.resolve()),
            "name": dataset.name,
            "classes": list(dataset.classes),
            "dims": dataset.dims,
            "voxel": None if dataset.voxel is None else list(dataset.voxel),
            "spacing": None if (spacing := dataset.spacing_of(dataset.cases[0])) is None else list(spacing),
            "regions": {region: list(members) for region, members in dataset.regions.items()},
            "groups": None if groups is None else str(groups.resolve()),
            "skip_bad": skip_bad,
        }
    }


def as_path(path: Path | str | None) -> Path | None:
    """Return a path given as text or as a path, None for None."""
    return None if path is None else Path(path)


def open_recorded(recorded: Mapping[str, Any], moved: Path | None = None) -> Dataset:
    """Open the dataset of a run as training opened it, from ``config.json``; ``moved`` is where it is now."""
    about = recorded["dataset"]
    groups = as_path(about.get("groups"))
    return open_dataset(moved or Path(about["path"]), skip_bad=about.get("skip_bad", False), groups=groups)


def require_same_classes(recorded: Mapping[str, Any], dataset: Dataset, run: Path) -> None:
    """Check that a dataset has the classes that a run was trained on, by its ``config.json``, in their order.

    Raises:
        DataError: otherwise.
    """
    classes = recorded["dataset"]["classes"]
    if list(classes) != list(dataset.classes):
        raise DataError(
            f"{run} was trained on the classes {', '.join(classes)}, but {dataset.root} has "
            f"{', '.join(dataset.classes)}. Give the dataset that it was trained on, with its classes in their order."
        )


def build_method(config: RunConfig, classes: tuple[str, ...]) -> Method:
    """Build the method on a freshly initialised network; the weights depend on the seed alone."""
    network: Network = build_network(
        config.network_name,
        config.network,
        in_channels=config.data.channels,
        classes=len(classes),
        dims=config.data.dims,
        seed=config.seed,
    )
    require_views(config)
    require_values(config, network.backbone.multiple)
    return seeded(config, network)


def require_views(config: RunConfig) -> None:
    """Check that the method asks for views that there are.

    Raises:
        ConfigError: if it does not.
    """
    for view in methods.get(config.method_name).views:
        if view != "weak" and not view.startswith("strong_"):
            raise ConfigError(
                f"method '{config.method_name}' asks for a view '{view}'; there are weak and strong_1, ..."
            )


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


def seeded(config: RunConfig, network: Network) -> Method:
    """Build the method's own layers from the seed too, leaving the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        method = methods.get(config.method_name)(network, config.method)
    return method if network.backbone.dims == 3 else cast(Any, method).to(memory_format=torch.channels_last)


def begin_with(method: Method, run: RunFolder) -> None:
    """Fill a method with the last weights of a run.

    Raises:
        CheckpointError: if there are none, or they belong to another method, network or classes.
    """
    fill(method.begin_with, run.checkpoint("last"), "Begin with a run of the same settings, or without one.")


def fill(load_state: Callable[[dict[str, Tensor]], Any], checkpoint: Path, otherwise: str) -> dict[str, Any]:
    """Fill a method with the weights of a checkpoint, and return all that the checkpoint holds.

    Args:
        load_state: of the method.
        otherwise: what to do where they do not fit.

    Raises:
        CheckpointError: if there are none, or they belong to another method, network, classes or version.
    """
    state = load_checkpoint(checkpoint)
    try:
        load_state(state["method"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {checkpoint} does not fit this run's method, network and classes. {otherwise}"
        ) from error
    return state


def load_pools(dataset: Dataset, split: Split, config: RunConfig, *, spill: Path | None = None) -> Pools:
    """Decode what training sees, the unlabeled images in the background.

    Without unlabeled cases the labeled images, without their masks, take their place.

    Args:
        spill: folder for a nameless file of the unlabeled images that memory cannot hold.
    """
    unlabeled = split.unlabeled or split.labeled
    require_equal_sizes(dataset.select([*split.labeled, *split.val]), dataset.dims)
    return Pools(
        labeled=load_store(dataset, dataset.select(split.labeled), config.data, with_masks=True),
        val=load_store(dataset, dataset.select(split.val), config.data, with_masks=True),
        unlabeled=load_store(
            dataset, dataset.select(unlabeled), config.data, with_masks=False, spill=Spill(spill), background=True
        ),
    )


def choices_for(dataset: Dataset, split: Split, device: str, asked: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Pick every setting that depends on the data or the device."""
    if dataset.dims == 2:
        return plan(look_at(dataset, split), device, asked)
    require_equal_sizes(dataset.select(split.labeled), dataset.dims)
    return plan_volumes(look_at_volumes(dataset, split), device, asked)


def require_kind(config: RunConfig, dataset: Dataset, device: str) -> None:
    """Check that the settings of the data fit each other, the dataset and the device.

    Raises:
        ConfigError: otherwise.
    """
    data = config.data
    if (dataset.dims == 2) != (data.kind == "images"):
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


def nearest_folder(path: Path) -> Path:
    """Return ``path`` if it is a folder, or else the nearest one above it."""
    return next(parent for parent in (path, *path.resolve().parents) if parent.is_dir())


def label_warnings(dataset: Dataset, split: Split, pools: Pools) -> list[str]:
    """Return what a person should know of the labels before training.

    Raises:
        DataError: if no labeled case has any object: then there is nothing to learn.
    """
    found = {int(c) for mask in pools.labeled.masks for c in mask.unique()}
    missing = [name for c, name in enumerate(dataset.classes) if c > 0 and c not in found]
    count = len(split.labeled)
    others = ", or draw others with another --seed" if count < len(dataset.labeled) else ""
    if missing and len(missing) == len(dataset.classes) - 1:
        raise DataError(
            f"none of the {count} labeled cases has a pixel of {', '.join(missing)}; label other cases{others}."
        )
    warnings = [
        f"class '{name}' is in none of the {count} labeled cases, so it cannot be learned; "
        f"label a case that has it{others}"
        for name in missing
    ]
    partial = sum(bool((mask == IGNORE).any()) for mask in pools.labeled.masks)
    if partial:
        share = sum(float((mask != IGNORE).float().mean()) for mask in pools.labeled.masks) / count
        warnings.append(f"{partial} of {count} labeled cases have ground truth in a part alone, {share:.1%} on average")
    return warnings


def require_equal_sizes(cases: Sequence[Case], dims: int) -> None:
    """Check from the headers alone that every mask has the size of its image, and as a volume lies where it lies.

    Raises:
        DataError: if one has not, or a header cannot be read.
    """
    for case in cases:
        problem = case.mask and mask_mismatch(case.mask, case.image, dims)
        if problem:
            raise problem


def load(
    run: Path | str,
    *,
    checkpoint: str = "last",
    device: str = "auto",
    tta: bool | None = None,
    doubt: bool = True,
    keep_probs: bool = False,
) -> Predictor:
    """Load a trained run for prediction.

    Args:
        run: folder of the run.
        checkpoint: "last", or "best" on the validation cases.
        device: "auto", "cpu" or "cuda".
        tta: average over mirrored images; None: as the run's settings say.
        doubt: keep maps of doubt, and the first of two opinions, of volumes.
        keep_probs: keep the probabilities of volumes.

    Raises:
        RunError: if there is no run.
        CheckpointError: if the checkpoint is missing, truncated, newer, or of a method that has changed since.
    """
    folder = RunFolder(Path(run))
    recorded = folder.read_config()
    config, classes = from_recorded(recorded), tuple(recorded["dataset"]["classes"])
    method = build_method(config, classes)
    state = fill(
        method.load_state_dict,
        folder.checkpoint(checkpoint),
        "Another version of criinet wrote it: train anew with --overwrite.",
    )
    where = pick_device(device)
    voxel = recorded["dataset"].get("voxel")
    return Predictor(
        method,
        config.data,
        classes,
        device=where,
        shift=state.get("shift", 0.0),
        tta=tta,
        doubt=doubt,
        keep_probs=keep_probs,
        voxel=voxel and (voxel[0], voxel[1], voxel[2]),
    )


def recorded_split(folder: RunFolder) -> dict[str, Any]:
    """Return ``split.json`` of a run.

    Raises:
        RunError: if it cannot be read.
    """
    try:
        return json.loads(folder.split.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder.split} cannot be read. Restore it, or train anew with --overwrite.") from error
