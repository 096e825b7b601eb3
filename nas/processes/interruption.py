"""Ctrl-C and SIGTERM (a cluster's preemption) end a training after the step in hand, not in its middle."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["Interruption", "noticing_interruption"]


class Interruption:
    """Whether the user or the cluster asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def requested(self) -> bool:
        return self.signal is not None

    def notice(self, number: int, frame: FrameType | None) -> None:
        """The signal handler. The second Ctrl-C does not wait.

        A second SIGTERM says nothing new: Slurm signals every process of a step, and torchrun passes it on once more.
        """
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


@contextlib.contextmanager
def noticing_interruption() -> Iterator[Interruption]:
    """Inside the block both signals only set a flag; one that the process ignores stays ignored.

    Outside the main thread Python allows no handlers: no effect.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, interruption.notice) for number in numbers}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
