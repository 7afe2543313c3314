"""The model behind the page: planes of one case for the canvas, and in the background how sure it is of every case."""

import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from criinet.data.bad_files import BadFileError
from criinet.data.dataset import Case, Dataset
from criinet.data.files import write_npz
from criinet.data.images import Pixels
from criinet.data.predictions import as_gray
from criinet.data.scans import Scan
from criinet.data.settings import DataConfig
from criinet.engine.acquisition import benefits, look_at_scans, spread_order
from criinet.engine.predictor import Predicted, Predictor
from criinet.engine.uncertainty import Uncertainty
from criinet.errors import StorageError
from criinet.review.disk import stamp
from criinet.review.slices import Slices, gray_values

MOST_BYTES = 256 * 2**20
"""Planes are kept in memory up to this size, the latest used ones."""
AT_A_TIME = 4
"""Images that are looked at before anyone who waits for one image's planes has a turn; of volumes it is one."""

TURN = 0.005
"""Seconds in between, in which whoever waits gets that turn."""

INTERVAL = 60.0
"""Seconds of looking, after which what was found is written and ranked: on CPUs a look at all volumes takes hours."""


@dataclass(frozen=True)
class Planes:
    """One case and what the model says of it, at its own size; every plane is (D, H, W) uint8 in slices as shown.

    image: gray, or (1, H, W, 3).
    refined, coarse: class indices; coarse is None where the method has one opinion.
    uncertainty: entropy, 0 to 255. disagreement: of both opinions, 0 to 255, or None.
    probability: of each class, 0 to 255.
    """

    image: Pixels
    refined: Pixels
    coarse: Pixels | None
    uncertainty: Pixels
    disagreement: Pixels | None
    probability: tuple[Pixels, ...]

    @classmethod
    def of(cls, scan: Scan, predicted: Predicted, config: DataConfig) -> "Planes":
        """Take what the canvas shows of a case and its prediction; that of a volume must hold its probabilities."""
        shown, maps = Slices.of(scan).shown, predicted.uncertainty_maps()
        coarse, disagreement = predicted.coarse_mask, maps.get("disagreement")
        return cls(
            image=shown(gray_values(scan, config)),
            refined=shown(predicted.mask),
            coarse=None if coarse is None else shown(coarse),
            uncertainty=shown(maps["entropy"]),
            disagreement=None if disagreement is None else shown(disagreement),
            probability=tuple(shown(as_gray(one)) for one in predicted.probs.cpu().numpy()),
        )

    @property
    def least_sure(self) -> int:
        """The slice with the largest sum of uncertainty."""
        return int(self.uncertainty.sum(axis=(1, 2), dtype=np.int64).argmax())

    def named(self) -> dict[str, Pixels]:
        """Return the model's planes by the names that the page asks for; "probability-K" for class K."""
        found = {"refined": self.refined, "uncertainty": self.uncertainty}
        found |= {} if self.coarse is None else {"coarse": self.coarse}
        found |= {} if self.disagreement is None else {"disagreement": self.disagreement}
        return found | {f"probability-{k}": plane for k, plane in enumerate(self.probability)}

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return self.image.nbytes + sum(plane.nbytes for plane in self.named().values())


@dataclass(frozen=True)
class Looks:
    """The uncertainty about some images, and their embeddings (N, E) float32, in the same order."""

    names: tuple[str, ...]
    uncertainties: tuple[Uncertainty, ...]
    embeddings: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write them whole or not at all."""
        rows = [(one.expected_dice, one.entropy, one.disagreement, one.boundary) for one in self.uncertainties]
        table = np.array(rows, np.float64)
        arrays = {"names": np.array(self.names), "doubts": table, "embeddings": self.embeddings}
        write_npz(path, arrays, compressed=False)

    @classmethod
    def read(cls, path: Path) -> "Looks | None":
        """Read what ``save`` wrote; None if there is nothing, or it is damaged: then it is measured again."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                names, table, embeddings = saved["names"], saved["doubts"], saved["embeddings"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        uncertainties = tuple(Uncertainty(*map(float, row)) for row in table)
        return cls(tuple(str(name) for name in names), uncertainties, embeddings)


class ReviewModel:
    """One round's model: predicts single cases on demand, and looks at all of them in a thread of its own.

    Args:
        number: of the round.
        predictor: of the round; it keeps the probabilities of volumes.
        cases: every case of the dataset that can be reviewed.
        memory: file that keeps the looks between sessions.
        ranked: called now and then while the cases are looked at, and when every one was.
    """

    def __init__(
        self,
        number: int,
        predictor: Predictor,
        dataset: Dataset,
        cases: Sequence[Case],
        memory: Path,
        ranked: Callable[[], None] | None = None,
    ) -> None:
        self.number, self.predictor, self.dataset = number, predictor, dataset
        self.cases, self.memory, self.ranked = cases, memory, ranked
        self.looked = 0
        self.unreadable: dict[str, str] = {}
        self._busy, self._keeping, self._writing = threading.Lock(), threading.Lock(), threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Planes] = OrderedDict()
        self._looks: dict[str, tuple[Uncertainty, NDArray[np.float32]]] = {}
        self._stop = threading.Event()
        known = Looks.read(memory)
        if known is not None:
            looks = zip(known.uncertainties, known.embeddings, strict=True)
            self._looks = dict(zip(known.names, looks, strict=True))
        self._remembered = len(self._looks)
        self._thread = threading.Thread(target=self._look_at_all, daemon=True)

    def start(self) -> None:
        """Begin to look at the cases that were not looked at yet."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the cases in hand; those before them are remembered now."""
        self._stop.set()
        self._remember()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until every case was looked at, or the thread has ended for another reason, or seconds have passed."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    @property
    def ready(self) -> bool:
        """Whether every case was looked at."""
        return self.looked == len(self.cases)

    def planes(self, case: Case) -> Planes:
        """Return what the model says of one case; kept for the next call, as long as its image stays as it is.

        Raises:
            BadFileError: if the image or volume cannot be read.
        """
        which = case.name, stamp(case.image)
        kept = self._kept_planes(which)
        if kept is not None:
            return kept
        with self._busy:
            kept = self._kept_planes(which)
            if kept is not None:
                return kept
            scan = self.dataset.read_scan(case)
            planes = Planes.of(scan, self.predictor.predict(scan), self.predictor.data)
            with self._keeping:
                self._kept[which] = planes
                while len(self._kept) > 1 and sum(p.bytes for p in self._kept.values()) > MOST_BYTES:
                    self._kept.popitem(last=False)
            return planes

    def _kept_planes(self, which: tuple[str, str]) -> Planes | None:
        """Return planes that were kept of a case and a stamp, without waiting for a prediction of others."""
        with self._keeping:
            if which in self._kept:
                self._kept.move_to_end(which)
            return self._kept.get(which)

    def uncertainty(self, name: str) -> Uncertainty | None:
        """Return the uncertainty about a case, None if it was not looked at yet."""
        found = self._looks.get(name)
        return None if found is None else found[0]

    def order(self, names: Sequence[str], known: Sequence[str]) -> tuple[list[str], dict[str, float]]:
        """Order cases by expected benefit, lookalikes apart; those not looked at yet come last, by name.

        Args:
            known: the cases that have a mask.

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
        """Look at every case, a few images or one volume at a time; ``unreadable`` names those that cannot be read."""
        left = [case for case in self.cases if case.name not in self._looks]
        self.looked = len(self.cases) - len(left)
        at_a_time = AT_A_TIME if self.dataset.dims == 2 else 1
        due = time.monotonic() + INTERVAL
        for start in range(0, len(left), at_a_time):
            if self._stop.is_set():
                return
            some = left[start : start + at_a_time]
            self._looks.update(self._look_at(some))
            self.looked += len(some)
            if time.monotonic() >= due:
                self._take_stock()
                due = time.monotonic() + INTERVAL
            self._stop.wait(TURN)
        self._take_stock()

    def _take_stock(self) -> None:
        """Remember and rank what was looked at until now; whoever stopped the thread has remembered it."""
        if not self._stop.is_set():
            self._remember()
            if self.ranked is not None:
                self.ranked()

    def _look_at(self, cases: Sequence[Case]) -> dict[str, tuple[Uncertainty, NDArray[np.float32]]]:
        with self._busy:
            scans = {case.name: scan for case in cases if (scan := self._read(case)) is not None}
            return dict(zip(scans, look_at_scans(self.predictor, scans.values()), strict=True))

    def _read(self, case: Case) -> Scan | None:
        try:
            return self.dataset.read_scan(case)
        except BadFileError as error:
            self.unreadable[case.name] = str(error)
            return None

    def _remember(self) -> None:
        """Write the looks if there are new ones; those that cannot be written are repeated by the next session."""
        with self._writing, suppress(StorageError):
            looks = dict(self._looks)
            if len(looks) > self._remembered:
                uncertainties, embeddings = zip(*looks.values(), strict=True)
                Looks(tuple(looks), uncertainties, np.stack(embeddings)).save(self.memory)
                self._remembered = len(looks)
