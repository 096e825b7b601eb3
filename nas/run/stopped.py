"""Ends that are nobody's mistake in the input."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Interrupted", "Stopped", "is_interruption", "keeping_state"]


class Stopped(RuntimeError):  # noqa: N818 (an end, said of the program)
    """The program cannot usefully go on: candidates or workers fail again and again. What was found is kept.

    The message is for the user, in one line: what happened, and what to do. The command line exits with 1.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM in a stage whose state is on disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder


@contextmanager
def keeping_state(folder: Path) -> Iterator[None]:
    """Within it, an interruption tells where the state is and how to go on."""
    try:
        yield
    except BaseException as error:
        if is_interruption(error) and not isinstance(error, Interrupted):
            raise Interrupted(folder) from error
        raise


def is_interruption(error: BaseException) -> bool:
    """Whether the process was asked to stop; Ray's own SIGTERM handler leaves with that signal's number."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code == signal.SIGTERM)
