"""Tiny tasks, networks and training steps that the tests of methods share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from criinet.labels import IGNORE
from criinet.methods import Method, methods, parse_method
from criinet.networks import Backbone, Network, build_network, parse_network
from criinet.types import CutMix, LabeledBatch, UnlabeledBatch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute in one thread: these tensors are too small for more, and sums keep their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Task:
    """Images of boxes, each class of a gray of its own, on a dark noisy ground.

    sides: unequal, so that a swapped axis shows.
    """

    dims: int = 2
    classes: int = 2
    in_channels: int = 1
    sides: tuple[int, ...] = (20, 28)
    labeled: int = 2
    unlabeled: int = 3
    settings: dict[str, Any] = field(default_factory=lambda: {"channels": [4, 8], "dropout": []})

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return images (count, C, ...) in [0, 1] and their targets."""
        generator = torch.Generator().manual_seed(seed)
        target = torch.zeros(count, *self.sides, dtype=torch.long)
        for image in target:
            for c in range(1, self.classes):
                box = []
                for axis, side in enumerate(self.sides):
                    parts = self.classes - 1 if axis == len(self.sides) - 1 else 1
                    room = side // parts
                    start = int(torch.randint(1, max(2, room // 3), (), generator=generator))
                    box.append(
                        slice((c - 1) * room * (parts > 1) + start, (c - 1) * room * (parts > 1) + start + room // 2)
                    )
                image[tuple(box)] = c
        gray = 0.2 + 0.6 * target / (self.classes - 1)
        noise = torch.randn(count, self.in_channels, *self.sides, generator=generator)
        return (gray.unsqueeze(1) + 0.05 * noise).clamp(0, 1), target

    def labeled_batch(self, seed: int = 0) -> LabeledBatch:
        """Return the labeled images; each case has its own number."""
        image, target = self.draw(self.labeled, seed)
        return LabeledBatch(image, target, torch.arange(self.labeled))

    def unlabeled_batch(self, views: tuple[str, ...], seed: int = 100) -> UnlabeledBatch:
        """Return the views asked for, as in a later round, with a pseudo-label that is right.

        Strong views are brighter, noisy, and have a box of the next image.
        """
        if not views:
            return UnlabeledBatch({}, {})
        weak, pseudo_label = self.draw(self.unlabeled, seed)
        made, mixes = {}, {}
        for i, name in enumerate(views):
            if name == "weak":
                made[name] = weak
                continue
            box = torch.zeros(self.unlabeled, 1, *self.sides, dtype=torch.bool)
            box[(..., *(slice(side // 4, side // 2) for side in self.sides))] = True
            mixes[name] = CutMix(torch.arange(self.unlabeled).roll(1), box)
            noise = torch.randn(weak.shape, generator=torch.Generator().manual_seed(seed + i))
            made[name] = mixes[name].apply((weak * 1.2 + 0.05 * noise).clamp(0, 1))
        return UnlabeledBatch(made, mixes, pseudo_label)

    def method(self, name: str, *, seed: int = 0, **settings: Any) -> Method:
        """Return the method on a small U-Net, in training mode."""
        config = parse_network("unet", self.settings)
        network = build_network(
            "unet", config, in_channels=self.in_channels, classes=self.classes, dims=self.dims, seed=seed
        )
        torch.manual_seed(seed)
        return methods.get(name)(network, parse_method(name, settings)).train()


TASKS = {
    "binary": Task(),
    "four-class": Task(classes=4, in_channels=3, sides=(20, 36)),
    "volume": Task(dims=3, sides=(6, 8, 12)),
}


@pytest.fixture(params=TASKS.values(), ids=TASKS.keys())
def task(request: pytest.FixtureRequest) -> Task:
    """Each task in turn: 2D gray binary, 2D colour with four classes, 3D binary."""
    return request.param


@pytest.fixture
def tasks() -> Callable[..., Task]:
    """Make a task of one's own."""
    return Task


@pytest.fixture
def train() -> Callable[..., list[dict[str, float]]]:
    """Take steps as the trainer does and return the unweighted losses of each."""

    def steps(
        method: Method,
        optimizer: torch.optim.Optimizer,
        task: Task,
        count: int,
        *,
        start: int = 0,
        of: int = 100,
    ) -> list[dict[str, float]]:
        labeled, unlabeled = task.labeled_batch(), task.unlabeled_batch(method.views)
        history = []
        for step in range(start, start + count):
            torch.manual_seed(step)
            terms = method.losses(labeled, unlabeled, step / of)
            weights = method.config.weights_at(step / of)
            optimizer.zero_grad()
            torch.stack([weights[name] * term for name, term in terms.items()]).sum().backward()
            optimizer.step()
            method.after_step()
            history.append({name: term.item() for name, term in terms.items()})
        return history

    return steps


@pytest.fixture
def adam() -> Callable[..., torch.optim.Optimizer]:
    """Make an optimizer of what learns."""

    def make(method: Method, rate: float = 1e-2) -> torch.optim.Optimizer:
        return torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=rate)

    return make


class Glass(Backbone):
    """A backbone that lets the image through, so that losses can be worked out by hand."""

    def __init__(self, classes: int, dims: int) -> None:
        super().__init__()
        self.dims, self.in_channels, self.multiple = dims, classes, 1
        self.scale_channels = self.pyramid_channels = (classes,)
        self.encoder = self.decoder = nn.Identity()

    def normalise(self, image: Tensor) -> Tensor:
        return image

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        return (image,)


@pytest.fixture
def glass() -> Callable[..., Method]:
    """Make a method on a network whose logits are the channels of the image, one for each class."""

    def network(classes: int, dims: int) -> Network:
        made = Network(Glass(classes, dims), classes)
        with torch.no_grad():
            made.head.weight.copy_(torch.eye(classes).view_as(made.head.weight))
            nn.init.zeros_(made.head.bias)
        made.rebuild = lambda **_: network(classes, dims)
        return made

    def make(name: str, *, classes: int = 2, dims: int = 2, **settings: Any) -> Method:
        return methods.get(name)(network(classes, dims), parse_method(name, settings)).train()

    return make


@pytest.fixture
def see() -> Callable[..., Tensor]:
    """Make images (B, 2, ...) that a glass network sees as these probabilities of the foreground, or (B, K, ...)."""

    def image(*foreground: Any, classes: int = 2) -> Tensor:
        p = torch.tensor(foreground, dtype=torch.float32)
        probs = torch.stack([1 - p, p], dim=1) if classes == 2 else p
        return probs.clamp(min=1e-6).log()

    return image


@pytest.fixture
def hide() -> Callable[[LabeledBatch, float], LabeledBatch]:
    """Return a labeled batch of which a share of the pixels is IGNORE."""

    def ignore(batch: LabeledBatch, share: float) -> LabeledBatch:
        hidden = torch.rand(batch.target.shape, generator=torch.Generator().manual_seed(0)) < share
        return LabeledBatch(batch.image, torch.where(hidden, IGNORE, batch.target), batch.case)

    return ignore
