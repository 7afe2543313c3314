"""The one training loop, for every method."""

import math
import time
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from criinet.engine.batch_statistics import measure_statistics
from criinet.engine.batches import Batches
from criinet.engine.checkpoint import load_checkpoint, save_checkpoint
from criinet.engine.cuda_graph import CudaGraph
from criinet.engine.distributed import anyone, launch
from criinet.engine.divergence import Break, Vitals
from criinet.engine.folder import RunFolder
from criinet.engine.interrupts import stop_on_interrupt
from criinet.engine.machine import peak_memory
from criinet.engine.method_calls import named, predict, weighted_sum
from criinet.engine.monitor import Monitor
from criinet.engine.plain_state import PlainState
from criinet.engine.pools import Pools
from criinet.engine.predictor import Predictor
from criinet.engine.self_training import PseudoLabels, pseudo_label
from criinet.engine.settings import RunConfig, TrainerConfig
from criinet.engine.shift import SHIFTS, choose_shift, dice_by_shift, dice_of_images
from criinet.errors import OVERWRITE, RESUME, CheckpointError, DivergedError, InterruptedRunError
from criinet.methods import InRounds, Method
from criinet.records import Record, TrainRecord, ValidationRecord

EXPLODED = 1e4
LOG_EVERY = 10


class Watcher(Protocol):
    """Whoever wants to follow: called after every logged step with the records just written."""

    def __call__(self, step: int, records: Sequence[Record], /) -> None: ...


def parameter_groups(method: Method, config: TrainerConfig, device: torch.device) -> list[dict[str, Any]]:
    """Return two groups: pretrained encoders at their own rate, and everything else that learns.

    On a GPU the rates are tensors there, so that a recorded step reads the present ones.
    """
    backbones = [network.backbone for network in method.networks if network.backbone.pretrained]
    encoders = {id(p) for backbone in backbones for p in backbone.encoder.parameters()}
    learning = [p for p in method.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if id(p) not in encoders], "scale": 1.0},
        {"params": [p for p in learning if id(p) in encoders], "scale": config.encoder_rate},
    ]
    if device.type == "cuda":
        groups = [{**group, "lr": torch.zeros((), device=device), "capturable": True} for group in groups]
    return groups


class Trainer:
    """Trains one method: ask for its losses, weigh them, step, log, check, save.

    Several processes share each batch evenly and end up with the same weights; the first of them writes and watches.

    Args:
        fabric: device, precision and the other processes; None is this CPU alone.
        folder: where checkpoints and metrics go; None trains without a trace, for one's own loop.
        watch: called with what was logged.

    Raises:
        ConfigError: if a batch cannot be shared evenly by the processes.
    """

    def __init__(
        self,
        method: Method,
        pools: Pools,
        config: RunConfig,
        classes: tuple[str, ...],
        *,
        fabric: Fabric | None = None,
        folder: RunFolder | None = None,
        watch: Watcher | None = None,
    ) -> None:
        self.config, self.settings, self.pools, self.classes = config, config.trainer, pools, classes
        self.fabric = fabric or launch("cpu", self.settings.precision)
        first = self.fabric.is_global_zero
        self.folder, self.watch = (folder, watch) if first else (None, None)
        self.device = self.fabric.device
        self.near = pools.near(self.device)
        self.batches = Batches(self.near, config, method.views, self.fabric)
        self.method = method.to(self.device)
        optimizer = torch.optim.AdamW(
            parameter_groups(method, self.settings, self.device),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
            fused=True,
        )
        self.unwrapped = optimizer
        self.trained, self.optimizer = self.fabric.setup(self.method, optimizer)
        self.trained.mark_forward_method("losses")
        self.graph = CudaGraph(self.advance, self.batches.generator) if self.replays_steps else None
        self.monitor = Monitor.of(pools, classes, self.device) if method.views else None
        self.vitals = Vitals(tuple(method.config.weights), self.device)
        self.step = 0
        self.seconds = 0.0
        self.memory = 0.0
        self.best = -1.0
        self.shift = 0.0

    @property
    def replays_steps(self) -> bool:
        """Whether a step is recorded once and replayed: on one GPU, for methods whose steps are all alike."""
        alone = self.device.type == "cuda" and self.fabric.world_size == 1
        return alone and self.settings.cuda_graph and self.method.recordable

    @property
    def round_length(self) -> int:
        """Steps of a round; the last one may be shorter."""
        rounds = self.method.rounds if isinstance(self.method, InRounds) else 1
        return -(-self.settings.iterations // rounds)

    @property
    def progress(self) -> float:
        """The fraction of the round that is done, in [0, 1)."""
        begun = self.step // self.round_length * self.round_length
        return (self.step - begun) / min(self.round_length, self.settings.iterations - begun)

    def fit(self) -> None:
        """Train until the last step.

        Raises:
            DivergedError: if a loss became NaN or exploded; the last good checkpoint, if there is one, stays.
            MethodError: if the method makes a mistake, or keeps what changes where no checkpoint holds it.
            InterruptedRunError: on Ctrl-C, after the step is done and saved.
        """
        self.method.train()
        kept = PlainState(self.method)
        started = time.monotonic() - self.seconds
        with stop_on_interrupt() as interrupted:
            while self.step < self.settings.iterations:
                if self.step > 0 and self.step % self.round_length == 0:
                    self.begin_round()
                progress = self.progress
                terms, norm = self.train_step(progress)
                self.step += 1
                self.seconds = time.monotonic() - started
                stop, done = anyone(interrupted(), self.fabric), self.step == self.settings.iterations
                ends = done or self.step % self.round_length == 0
                due = ends or self.step % self.settings.interval == 0
                if due or stop or self.step % LOG_EVERY == 0:
                    self.log_step(terms, norm, progress)  # Before saving: NaN weights must not replace good ones.
                if due or self.step == LOG_EVERY:
                    kept.require_unchanged()
                if ends:
                    measure_statistics(self.method, self.near.unlabeled, self.settings.statistics, self.device)
                    self.method.train()
                if due:
                    self.check()
                if stop:
                    self.save("last")
                    raise InterruptedRunError(f"stopped after step {self.step}; {RESUME} goes on from there.")

    def train_step(self, progress: float) -> tuple[dict[str, Tensor], Tensor]:
        """Take one optimizer step; return the unweighted losses and the gradient's norm."""
        for group in self.optimizer.param_groups:
            rate = self.settings.learning_rate * group["scale"] * self.settings.rate(progress)
            group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate
        weights = torch.tensor(list(self.method.config.weights_at(progress).values()))
        inputs = [*self.batches.draw(self.step), weights.to(self.device, non_blocking=True)]
        self.batches.seed(self.step)
        return self.advance(inputs, progress) if self.graph is None else self.graph(inputs)

    def advance(self, inputs: Sequence[Tensor], progress: float = 0.0) -> tuple[dict[str, Tensor], Tensor]:
        """Do what a step does on the device: views, losses, gradient, and the optimizer's step.

        Args:
            inputs: what ``Batches.draw`` returns, then the weight of each loss term, in the order of the settings.
            progress: for methods that look at it, none of which is recorded.

        Raises:
            MethodError: if the method fails, or its losses are not what they should be.
        """
        *drawn, weights = inputs
        labeled, unlabeled = self.batches.views_of(drawn)
        with named(self.method):
            with self.fabric.autocast():
                returned = self.trained.losses(labeled, unlabeled, progress)
            terms, loss = weighted_sum(self.method, returned, weights)
            self.optimizer.zero_grad()
            self.fabric.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.method.parameters(), self.settings.clip)
        self.vitals.note(tuple(terms.values()), norm)
        self.optimizer.step()
        with named(self.method):
            self.method.after_step()
        return {name: term.detach() for name, term in terms.items()}, norm

    def begin_round(self) -> None:
        """Label the unlabeled images with what was learned so far, and start anew with a fresh optimizer."""
        assert isinstance(self.method, InRounds)
        number = self.step // self.round_length
        data, device = self.config.data, str(self.device)
        found = pseudo_label(self.method, number, self.pools.unlabeled, data, self.classes, device)
        if self.folder is not None:
            found.save(self.folder.pseudo_labels(number))
        self.batches.pseudo_labeled = found.store(self.near.unlabeled)
        self.unwrapped.state.clear()
        self.method.train()

    def log_step(self, terms: dict[str, Tensor], norm: Tensor, progress: float) -> None:
        """Log the losses of the last step.

        Raises:
            DivergedError: if one of them is not finite or huge, or the gradient is not finite.
        """
        means = cast(Tensor, self.fabric.all_reduce(torch.stack([term.detach() for term in terms.values()])))
        values = dict(zip(terms, means.tolist(), strict=True))
        self.require_sound(values, float(norm.detach()))
        weights = self.method.config.weights_at(progress)
        images = self.settings.labeled_batch + (self.settings.unlabeled_batch if self.method.views else 0)
        record = TrainRecord(
            step=self.step,
            progress=self.step / self.settings.iterations,
            seconds=round(self.seconds, 3),
            learning_rate=self.settings.learning_rate * self.settings.rate(progress),
            loss=sum(weights[name] * value for name, value in values.items()),
            terms=values,
            weights={name: weights[name] for name in values},
            images_per_second=images * self.step / max(self.seconds, 1e-9),
        )
        self.log([record])

    def require_sound(self, values: dict[str, float], norm: float) -> None:
        """Refuse to go on from losses that are not finite or huge, or from a gradient that is not finite.

        Raises:
            DivergedError: if they are so; it says which term broke first, and when.
        """
        huge = {name: value for name, value in values.items() if value > EXPLODED}
        if not huge and all(map(math.isfinite, [*values.values(), norm])):
            return
        found = self.vitals.broken(self.fabric) or Break(self.step, huge, self.vitals.grew(self.vitals.latest))
        rate = min(self.settings.learning_rate, TrainerConfig().learning_rate) / 3
        saved = self.folder is not None and self.folder.checkpoint("last").exists()
        raise DivergedError(found.sentence(rate, saved=saved))

    def log(self, records: Sequence[Record]) -> None:
        """Write records down and tell whoever watches."""
        if self.folder is not None:
            self.folder.log(records)
        if self.watch is not None:
            self.watch(self.step, records)

    def check(self) -> None:
        """Validate, look at the targets, and save; nothing here changes what the next step does."""
        if not self.fabric.is_global_zero:
            return
        self.method.eval()
        validation = self.validate()
        records: list[Record] = [] if validation is None else [validation]
        if self.monitor is not None:
            records += self.monitor.look(self.method, self.step, self.step / self.settings.iterations)
        self.method.train()
        self.log(records)
        self.pools.unlabeled.require_all()  # A file that cannot be read ends a run before its first checkpoint.
        if validation is not None and validation.dice > self.best:
            self.best = validation.dice
            self.save("best")
        self.save("last")

    @torch.no_grad()
    def validate(self) -> ValidationRecord | None:
        """Choose the shift, and return the record of the Dice over the validation cases without it; None without any.

        Dice is at training size, each case counted once; with the shift that they chose it would flatter. The mean is
        over cases, then classes: that of the classes beside it, and it only tells the steps of one run apart. What
        people compare is :func:`criinet.metrics.case_dice`, at each case's own size.
        """
        if len(self.pools.val) == 0:
            return None
        data = self.config.data
        if data.kind == "images" and data.window == "whole":
            dice = dice_of_images(self.near.val, lambda image: predict(self.method, image).probs, self.device)
        else:
            dice = torch.cat(self.validate_in_windows())
        self.shift = choose_shift(dice) if self.settings.shift else 0.0
        by_class = dice[:, SHIFTS.index(0)].nanmean(0)
        scores = {name: float(value) for name, value in zip(self.classes[1:], by_class, strict=True)}
        return ValidationRecord(self.step, float(by_class.nanmean()), scores, self.shift)

    def validate_in_windows(self) -> list[Tensor]:
        """Return the Dice (1, S, K - 1) of every validation case larger than what the network sees at once, whole.

        A single window of an image of small objects often holds none, and says nothing of where the next pixel becomes
        one.
        """
        predictor = Predictor(self.method, self.config.data, self.classes, device=str(self.device), tta=False)
        val = self.pools.val
        return [
            dice_by_shift(predictor.on_grid(image)[None], mask.long()[None])
            for image, mask in zip(val.images, val.masks, strict=True)
        ]

    def save(self, name: str) -> None:
        """Write the checkpoint called ``name``: all that resuming needs."""
        if self.folder is None:
            return
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "memory": max(self.memory, peak_memory(self.device.type)),
            "best": self.best,
            "shift": self.shift,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "monitor": None if self.monitor is None else self.monitor.state(),
        }
        save_checkpoint(self.folder.checkpoint(name), state)

    def resume(self, folder: RunFolder) -> None:
        """Go back to the last checkpoint in ``folder``; a run that has none yet starts at its beginning.

        A checkpoint does not depend on the number of processes.

        Raises:
            CheckpointError: if the checkpoint is truncated, newer, or does not fit the method.
        """
        path = folder.checkpoint("last")
        if not path.exists():
            if self.folder is not None:
                self.folder.forget_after(0)
            return
        state = load_checkpoint(path, str(self.device))
        try:
            self.method.load_state_dict(state["method"])
            present = [{key: group[key] for key in ("lr", "capturable")} for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(state["optimizer"])
            for group, kept in zip(self.optimizer.param_groups, present, strict=True):
                group.update(kept)  # They belong to the device, which may be another one now.
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"checkpoint {path} does not fit this run's method; train anew with {OVERWRITE}."
            ) from error
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self.memory, self.shift = state["memory"], state.get("shift", 0.0)
        self.vitals.begun = self.step
        if self.monitor is not None and state.get("monitor") is not None:
            self.monitor.restore(state["monitor"])
        number, into_round = divmod(self.step, self.round_length)
        if number > 0 and into_round > 0 and self.step < self.settings.iterations:
            labels = PseudoLabels.read(folder.pseudo_labels(number))
            self.batches.pseudo_labeled = labels.store(self.near.unlabeled)
        if self.folder is not None:
            self.folder.forget_after(self.step)
