"""Ends that are nobody's mistake in the input."""

from __future__ import annotations

__all__ = ["Stopped"]


class Stopped(RuntimeError):  # noqa: N818 (an end, said of the program)
    """The program cannot usefully go on: candidates or workers fail again and again. What was found is kept.

    The message is for the user, in one line: what happened, and what to do. The command line exits with 1.
    """
