"""Images that are decoded while others of them are used already."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from criinet.data.threads import cores

STEPS_BACK = 5
"""By how much decoding threads are nicer than the others; see ``step_back``."""


def step_back() -> None:
    """Let this thread go behind the others: on Linux each thread has a priority of its own.

    Only a little: one at the lowest priority never runs on a machine that others keep busy, and whoever waits for its
    image, or for a lock that it holds, waits with it.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + STEPS_BACK))


class Decoding(Sequence[Tensor]):
    """Images that threads decode in their order; one that is wanted before its turn is decoded at once by who wants it.

    The first file that cannot be read ends it: from then on every image raises what was wrong, so that nobody finds out
    only when it is that file's turn.

    Args:
        decode: returns the image of an index; threads call it.
        count: how many there are.
    """

    def __init__(self, decode: Callable[[int], Tensor], count: int) -> None:
        self.decode = decode
        self.error: Exception | None = None
        self.ready: dict[int, Tensor] = {}
        self.pool = ThreadPoolExecutor(cores(), initializer=step_back)
        self.coming: list[Future[Tensor]] = [self.pool.submit(self.attempt, i) for i in range(count)]

    def attempt(self, index: int) -> Tensor:
        """Decode one image, unless one before it could not be read."""
        if self.error is not None:
            raise self.error
        try:
            return self.decode(index)
        except Exception as error:
            self.error = error
            raise

    def stop(self) -> None:
        """Begin no other image."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def __len__(self) -> int:
        return len(self.coming)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # No slices: nobody needs them.
        """Return one image.

        Raises:
            Exception: what decoding it, or any image before, raised.
        """
        if self.error is not None:
            raise self.error
        if index not in self.ready:
            future = self.coming[index]
            self.ready[index] = self.attempt(index) if future.cancel() else future.result()
        return self.ready[index]
