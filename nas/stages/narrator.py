"""Who is told what a stage does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

__all__ = ["Narrator", "SilentNarrator"]


class Narrator(Protocol):
    """Tells the user what happens. Each method but the first is a context that yields a progress callback."""

    def stage(self, text: str) -> None:
        """A stage begins."""

    def counting(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """Takes (done, in all)."""

    def training(self, what: str) -> AbstractContextManager[Callable[[float, float, float], None]]:
        """Takes (fraction done, loss, seconds left)."""

    def searching(self) -> AbstractContextManager[Callable[[Any], None]]:
        """Takes a :class:`nas.search.loop.SearchProgress`."""


class SilentNarrator:
    """For callers that do not watch."""

    def stage(self, text: str) -> None:
        pass

    @contextmanager
    def counting(self, what: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: None

    @contextmanager
    def training(self, what: str) -> Iterator[Callable[[float, float, float], None]]:
        yield lambda fraction, loss, seconds_left: None

    @contextmanager
    def searching(self) -> Iterator[Callable[[Any], None]]:
        yield lambda progress: None
