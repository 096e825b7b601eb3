"""Progress on the terminal: a bar, or now and then a line where stderr is a file or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from nas.processes.rank import is_first_process

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from nas.search.loop import SearchProgress

__all__ = ["Progress", "counting", "frames", "searching", "training"]

Follow = Callable[[float, str], None]
"""Takes the fraction done, and a note to show beside it."""


class Progress:
    """A :class:`nas.stages.narrator.Narrator` of a command with one stage: its progress, and nothing said before it."""

    def stage(self, text: str) -> None:
        pass

    def counting(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]:
        return counting(what)

    def training(self, what: str) -> AbstractContextManager[Callable[[float, float, float], None]]:
        return training(what)

    def searching(self) -> AbstractContextManager[Callable[[SearchProgress], None]]:
        return searching()


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields the function that takes (done, in all)."""
    with _display() as add:
        follow = add(what)
        yield lambda done, total: follow(done / max(total, 1), f"{done} of {total}")


@contextmanager
def frames(what: str) -> Iterator[Callable[[int, int | None, float], None]]:
    """Yields the function that takes (frames done, frames in all or None, frames a second)."""
    with _display() as add:
        follow = add(what)

        def note(done: int, total: int | None, per_second: float) -> None:
            of_total = f" of {total}" if total else ""
            follow(done / total if total else 0.0, f"frame {done}{of_total}, {per_second:.1f} a second")

        yield note


@contextmanager
def training(what: str) -> Iterator[Callable[[float, float, float], None]]:
    """Yields the function that takes (fraction done, loss, seconds left)."""
    with _display() as add:
        follow = add(what)
        yield lambda fraction, loss, seconds_left: follow(fraction, f"loss {loss:.5f}, {_duration(seconds_left)} left")


@contextmanager
def searching() -> Iterator[Callable[[SearchProgress], None]]:
    """Yields the function that takes a search's progress."""

    def note(now: SearchProgress) -> str:
        failed = f", {now.failed} failed" if now.failed else ""
        rate = f"{now.candidates_a_minute:.0f} a minute"
        evaluated = f", {now.complete} evaluated in full" if now.screened else ""
        return f"{now.evaluations} of {now.budget}{failed}{evaluated}, front {now.front_size}, {rate}"

    told: set[str] = set()
    with _display() as add:
        follow = add("searching")

        def show(now: SearchProgress) -> None:
            follow(now.evaluations / now.budget, now.doing or note(now))
            if now.doing and now.doing not in told and is_first_process() and not sys.stderr.isatty():
                print(f"searching: {now.doing}", file=sys.stderr, flush=True)  # a line of its own, not at a tenth alone
            told.add(now.doing)

        yield show


@contextmanager
def _display() -> Iterator[Callable[[str], Follow]]:
    """Yields the function that adds a bar, or in a pipe a line every tenth; silent in all processes but the first."""
    if not is_first_process():
        yield lambda what: lambda fraction, note: None
    elif not sys.stderr.isatty():
        yield _Lines
    elif _shown:  # rich draws one display at a time: an inner one adds its bars to the outer one
        yield _adder(_shown[-1])
    else:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = [TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.percentage:>3.0f} %")]
        note_column = TextColumn("{task.fields[note]}")
        with Bars(*columns, TimeElapsedColumn(), note_column, console=Console(stderr=True)) as bars:
            _shown.append(bars)
            try:
                yield _adder(bars)
            finally:
                _shown.pop()


_shown: list[Bars] = []


def _adder(bars: Bars) -> Callable[[str], Follow]:
    def add(what: str) -> Follow:
        task = bars.add_task(what, total=1.0, note="", visible=False)

        def follow(fraction: float, note: str) -> None:
            bars.update(task, completed=min(fraction, 1.0), note=note, visible=True)

        return follow

    return add


class _Lines:
    """A line on stderr for every tenth done."""

    def __init__(self, what: str) -> None:
        self.what, self.tenths = what, 0

    def __call__(self, fraction: float, note: str) -> None:
        if int(fraction * 10) > self.tenths:
            self.tenths = int(fraction * 10)
            print(f"{self.what}: {self.tenths * 10} %, {note}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """``1:02:03``, ``2:03``."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
