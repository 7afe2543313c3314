"""The model behind the page: planes of one image for the canvas, and in the background its doubt about every image."""

import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from criinet.data.dataset import Case
from criinet.data.files import write_atomically
from criinet.data.images import BadFileError, Pixels, read_image
from criinet.data.predictions import as_gray
from criinet.engine.acquisition import Doubt, benefits, look_at_images, spread_order
from criinet.engine.predictor import CasePrediction, Predictor

MOST_BYTES = 256 * 2**20
"""Planes are kept in memory up to this size, the latest used ones."""
AT_A_TIME = 4
"""Images whose doubt is measured before anyone who waits for one image's planes has a turn."""


@dataclass(frozen=True)
class Planes:
    """What the model says of one image, at the image's own size; every plane is (H, W) uint8.

    refined, coarse: class indices; coarse is None where the method has one opinion.
    uncertainty: entropy, 0 to 255. disagreement: of both opinions, 0 to 255, or None.
    probability: (K, H, W) probabilities, 0 to 255.
    """

    refined: Pixels
    coarse: Pixels | None
    uncertainty: Pixels
    disagreement: Pixels | None
    probability: Pixels

    @classmethod
    def of(cls, predicted: CasePrediction) -> "Planes":
        """Take what the canvas shows of a prediction."""
        disagreement = predicted.disagreement
        return cls(
            refined=predicted.mask,
            coarse=predicted.coarse_mask,
            uncertainty=as_gray(predicted.entropy),
            disagreement=None if disagreement is None else as_gray(disagreement),
            probability=as_gray(predicted.probs.cpu().numpy()),
        )

    def named(self) -> dict[str, Pixels]:
        """Return the planes by the names that the page asks for; "probability-K" for class K."""
        found = {"refined": self.refined, "uncertainty": self.uncertainty}
        found |= {} if self.coarse is None else {"coarse": self.coarse}
        found |= {} if self.disagreement is None else {"disagreement": self.disagreement}
        return found | {f"probability-{k}": plane for k, plane in enumerate(self.probability)}

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return sum(plane.nbytes for plane in self.named().values())


@dataclass(frozen=True)
class Looks:
    """The doubt about some images, and their embeddings (N, E) float32, in the same order."""

    names: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    embeddings: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write them whole or not at all."""
        table = np.array([(d.expected_dice, d.entropy, d.disagreement, d.boundary) for d in self.doubts], np.float64)

        def write(file: IO[bytes]) -> None:
            np.savez(file, allow_pickle=False, names=np.array(self.names), doubts=table, embeddings=self.embeddings)

        write_atomically(path, write)

    @classmethod
    def read(cls, path: Path) -> "Looks | None":
        """Read what ``save`` wrote; None if there is nothing, or it is damaged: then it is measured again."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                names, table, embeddings = saved["names"], saved["doubts"], saved["embeddings"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return cls(tuple(str(name) for name in names), tuple(Doubt(*map(float, row)) for row in table), embeddings)


class ReviewModel:
    """One round's model: predicts single images on demand, and looks at all of them in a thread of its own.

    Args:
        predictor: of the round.
        cases: every case that can be reviewed.
        memory: file that keeps the looks between sessions.
        ranked: called when every image was looked at.
    """

    def __init__(
        self, predictor: Predictor, cases: Sequence[Case], memory: Path, ranked: Callable[[], None] | None = None
    ) -> None:
        self.predictor, self.cases, self.memory, self.ranked = predictor, cases, memory, ranked
        self.looked = 0
        self.unreadable: dict[str, str] = {}
        self._busy = threading.Lock()
        self._kept: OrderedDict[str, Planes] = OrderedDict()
        self._looks: dict[str, tuple[Doubt, NDArray[np.float32]]] = {}
        self._stop = threading.Event()
        known = Looks.read(memory)
        if known is not None:
            looks = zip(known.doubts, known.embeddings, strict=True)
            self._looks = dict(zip(known.names, looks, strict=True))
        self._thread = threading.Thread(target=self._look_at_all, daemon=True)

    def start(self) -> None:
        """Begin to look at the images that were not looked at yet."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the images in hand."""
        self._stop.set()

    def wait(self) -> None:
        """Wait until every image was looked at."""
        self._thread.join()

    @property
    def ready(self) -> bool:
        """Whether every image was looked at."""
        return self.looked == len(self.cases)

    def planes(self, case: Case) -> Planes:
        """Return what the model says of one image; kept for the next call.

        Raises:
            BadFileError: if the image cannot be read.
        """
        with self._busy:
            if case.name in self._kept:
                self._kept.move_to_end(case.name)
                return self._kept[case.name]
            predicted = self.predictor.predict(read_image(case.image))
            assert isinstance(predicted, CasePrediction)
            planes = Planes.of(predicted)
            self._kept[case.name] = planes
            while len(self._kept) > 1 and sum(p.bytes for p in self._kept.values()) > MOST_BYTES:
                self._kept.popitem(last=False)
            return planes

    def doubt(self, name: str) -> Doubt | None:
        """Return the doubt about an image, None if it was not looked at yet."""
        found = self._looks.get(name)
        return None if found is None else found[0]

    def order(self, names: Sequence[str], known: Sequence[str]) -> tuple[list[str], dict[str, float]]:
        """Order images by expected benefit, lookalikes apart; those not looked at yet come last, by name.

        Args:
            known: the images that have a mask.

        Returns:
            The names in order, and the benefit in [0, 1] of those that were looked at.
        """
        looks = dict(self._looks)
        seen = [name for name in names if name in looks]
        benefit = benefits([looks[name][0] for name in seen])
        order: list[int] = []
        if seen:
            masked = [looks[name][1] for name in known if name in looks]
            embeddings = np.stack([looks[name][1] for name in seen])
            order = spread_order(benefit, embeddings, np.array(masked).reshape(len(masked), embeddings.shape[1]))
        unseen = sorted(name for name in names if name not in looks)
        return [*(seen[i] for i in order), *unseen], dict(zip(seen, map(float, benefit), strict=True))

    def _look_at_all(self) -> None:
        """Look at every image, a few at a time; those that cannot be read are named in ``unreadable``."""
        left = [case for case in self.cases if case.name not in self._looks]
        self.looked = len(self.cases) - len(left)
        for start in range(0, len(left), AT_A_TIME):
            if self._stop.is_set():
                return
            some = left[start : start + AT_A_TIME]
            images = {case.name: image for case in some if (image := self._read(case)) is not None}
            with self._busy:
                found = list(look_at_images(self.predictor, images.values()))
            self._looks.update(zip(images, found, strict=True))
            self.looked += len(some)
        if left and self._looks:
            self._remember()
        if self.ranked is not None:
            self.ranked()

    def _read(self, case: Case) -> Pixels | None:
        try:
            return read_image(case.image)
        except BadFileError as error:
            self.unreadable[case.name] = str(error)
            return None

    def _remember(self) -> None:
        names = tuple(self._looks)
        found = [self._looks[name] for name in names]
        Looks(names, tuple(d for d, _ in found), np.stack([e for _, e in found])).save(self.memory)
