"""From a dataset folder to a trained run: split, plan, decode, train."""

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from criinet.config import merge
from criinet.data.dataset import Dataset
from criinet.data.files import write_json
from criinet.data.notes import split_notes
from criinet.data.splits import Split, save_split
from criinet.engine.build import begin_with, build_method
from criinet.engine.distributed import is_first, launch
from criinet.engine.folder import RunFolder
from criinet.engine.image_planner import Facts, look_at, plan
from criinet.engine.machine import environment, keep_memory, pick_device, threads
from criinet.engine.origin import Asked, as_path, describe, recorded_run
from criinet.engine.pools import label_warnings, load_pools
from criinet.engine.requirements import require_kind, require_masks_fit, require_one, require_seed
from criinet.engine.run_record import RunRecord
from criinet.engine.settings import Choice, RunConfig, resolve
from criinet.engine.tracking import tensorboard
from criinet.engine.trainer import Trainer, Watcher
from criinet.engine.volume_planner import VolumeFacts, look_at_volumes, plan_volumes
from criinet.errors import RunError
from criinet.random_numbers import left_alone

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
        warn: called before training with each sentence about labels and split that a person should know.
        watch: called with every record that is logged.

    One training runs in a process at a time: the random numbers of methods are those of the process. They, and the
    number of PyTorch's threads, are left as they were; memory that was freed stays with the process from then on.

    Raises:
        UserError: for anything that a person can mend, in one sentence.
    """
    require_one("resume", resume, "overwrite", overwrite)
    require_one("labeled", labeled is not None, "split", split is not None)
    require_seed(seed)
    settings = merge(settings or {}, {"method": {"name": method}} if method else {})
    device, folder = pick_device(device), RunFolder(Path(out))
    split, groups, initial = map(as_path, (split, groups, initial))
    asked = Asked(Path(dataset), labeled, split, groups, seed, settings, skip_bad, initial)
    with by_itself(), folder.alone() if is_first() else nullcontext():
        job = resumed(folder, asked, device) if resume else begun(folder, asked, device, overwrite=overwrite)
        require_kind(job.config, job.dataset, device)
        with threads(job.config.trainer.threads):
            carry_out(job, announce, warn, watch)
    return folder


@dataclass(frozen=True)
class TrainingJob:
    """One training, read and checked before anything of the run folder changes.

    asked: what is asked for, with what a resumed run recorded in the places where nothing is.
    resume: go on with the run in ``folder``. overwrite: replace it.
    """

    folder: RunFolder
    asked: Asked
    device: str
    dataset: Dataset
    split: Split
    config: RunConfig
    resume: bool = False
    overwrite: bool = False


def begun(folder: RunFolder, asked: Asked, device: str, *, overwrite: bool) -> TrainingJob:
    """Return the job of a new run, its split drawn and its settings picked.

    Raises:
        UserError: if a run stands in ``folder`` and is not to be replaced, or what is asked for cannot be.
    """
    if is_first():
        folder.require_free(overwrite=overwrite)
    dataset, seed = asked.open(), asked.seed or 0
    split = asked.draw(dataset, seed)
    config = resolve(asked.settings, pick(look(dataset, split), device, asked.settings), seed=seed)
    return TrainingJob(folder, asked, device, dataset, split, config, overwrite=overwrite)


def resumed(folder: RunFolder, asked: Asked, device: str) -> TrainingJob:
    """Return the job of going on with the run in ``folder``.

    Raises:
        UserError: if there is none, or something else is asked for than it was started with.
    """
    if not folder.config.exists():
        raise RunError(f"{folder.root} holds no run to go on with (no config.json); start it without resume.")
    recorded = folder.read_config()
    about, saved = recorded.dataset, folder.checkpoint("last").exists()
    asked = replace(
        asked,
        skip_bad=asked.skip_bad or about.skip_bad,
        groups=asked.groups or about.groups,
        initial=None if saved else asked.initial or recorded.initial,
    )
    dataset = asked.open()
    config, split = recorded_run(folder, dataset, asked)
    return TrainingJob(folder, asked, device, dataset, split, config, resume=True)


def carry_out(
    job: TrainingJob,
    announce: Callable[[RunConfig, Split, Dataset], None] | None,
    warn: Callable[[str], None] | None,
    watch: Watcher | None,
) -> None:
    """Decode the images and train; the arguments are those of :func:`train`."""
    folder = job.folder
    keep_memory()
    fabric = launch(job.device, job.config.trainer.precision)
    filled = job.asked.initial is not None or (job.resume and folder.checkpoint("last").exists())
    trained = build_method(job.config, job.dataset.classes, initial=not filled)
    if job.asked.initial is not None:
        begin_with(trained, RunFolder(job.asked.initial))
    if not is_first():
        announce = warn = watch = None
    elif job.config.trainer.tensorboard:
        watch = tensorboard(folder.root / "tensorboard", watch)
    if announce is not None:
        announce(job.config, job.split, job.dataset)
    pools = load_pools(job.dataset, job.split, job.config, spill=nearest_folder(folder.root))
    try:
        told = [*job.dataset.notes, *label_warnings(job.dataset, job.split, pools)]
        if warn is not None:
            for sentence in [*told, *split_notes(job.dataset, job.split)]:
                warn(sentence)
        trainer = Trainer(trained, pools, job.config, job.dataset.classes, fabric=fabric, folder=folder, watch=watch)
        prepare(job, trainer)
        fit(trainer, folder, new=not job.resume)
    finally:
        pools.unlabeled.stop()


def prepare(job: TrainingJob, trainer: Trainer) -> None:
    """Make the run folder and record what the run is made from, or take the trainer to where the run was left."""
    folder = job.folder
    if job.resume:
        trainer.resume(folder)
        if is_first():
            folder.sweep()
            go_on(folder, job.dataset, further=trainer.step < job.config.trainer.iterations)
    elif is_first():
        if job.overwrite:
            trainer.pools.unlabeled.require_all()  # What stands there goes only when every file was read.
        folder.create(overwrite=job.overwrite)
        write_json(folder.config, record_of(job).model_dump(mode="json"))
        save_split(job.split, folder.split)


def record_of(job: TrainingJob) -> RunRecord:
    """Return what a run is made from."""
    return RunRecord(
        **job.config.to_dict(),
        initial=None if job.asked.initial is None else job.asked.initial.resolve(),
        dataset=describe(job.dataset, job.asked),
        environment=environment(job.device),
    )


def look(dataset: Dataset, split: Split) -> Facts | VolumeFacts:
    """Look at what settings are picked from: some training images and labeled masks, whatever is asked for.

    Raises:
        DataError: if one cannot be read, or the mask of a volume does not fit it.
    """
    if dataset.dims == 2:
        return look_at(dataset, split)
    require_masks_fit(dataset.select(split.labeled), dataset.dims)
    return look_at_volumes(dataset, split)


def pick(facts: Facts | VolumeFacts, device: str, asked: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Pick every setting that depends on the data or the device.

    Args:
        facts: from :func:`look`.
        device: "cpu" or "cuda".
        asked: the user's own settings, which others follow.
    """
    if isinstance(facts, Facts):
        return plan(facts, device, asked)
    return plan_volumes(facts, device, asked)


def go_on(folder: RunFolder, dataset: Dataset, *, further: bool) -> None:
    """Note where the dataset of a resumed run is now; if it trains ``further``, old results are no longer its own."""
    recorded = folder.read_config()
    moved = recorded.dataset.model_copy(update={"path": dataset.root.resolve()})
    if moved != recorded.dataset:
        write_json(folder.config, recorded.model_copy(update={"dataset": moved}).model_dump(mode="json"))
    if further:
        folder.forget_results()


def fit(trainer: Trainer, folder: RunFolder, *, new: bool) -> None:
    """Train; a new run that fails before its first checkpoint leaves no folder.

    So the same command works once the cause is mended. The global random numbers are left as they were.
    """
    devices = [torch.cuda.current_device()] if trainer.device.type == "cuda" else []
    try:
        with left_alone(devices):
            trainer.fit()
    except Exception:
        if new and is_first() and not folder.checkpoint("last").exists():
            folder.discard()
        raise


@contextmanager
def by_itself() -> Generator[None, None, None]:
    """Let one training at a time go on in this process.

    Raises:
        RunError: if another is under way, whose random numbers would mix with these.
    """
    if not _TRAINING.acquire(blocking=False):
        raise RunError("another training is under way in this process; start each in a process of its own.")
    try:
        yield
    finally:
        _TRAINING.release()


def nearest_folder(path: Path) -> Path:
    """Return ``path`` if it is a folder, or else the nearest one above it."""
    return next(parent for parent in (path, *path.resolve().parents) if parent.is_dir())
