"""Ctrl-C and a system's request to end, while steps are taken that must not be cut in half."""

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def stop_on_interrupt() -> Generator[Callable[[], bool], None, None]:
    """Turn Ctrl-C, or a system's request to end, into a flag while the block runs: no step is cut in half.

    At a terminal the first one says what happens, and the second one does what it always does, for who cannot wait.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(*_: object) -> None:
        asked.set()
        if os.isatty(2):
            restore()
            # Not print, which may be cut in half by a signal.
            os.write(2, b"\nstopping after this step, to save it; once more ends at once\n")

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        restore()
