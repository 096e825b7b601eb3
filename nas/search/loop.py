"""Ask, have it evaluated, journal, tell: until a budget is used up."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from nas.run.stopped import Stopped
from nas.search.algorithms.ask_tell import SearchExhausted
from nas.search.record.journal import Record
from nas.search.record.run_log import RunLog
from nas.search.workers.executor import Executor, Outcome
from search_spaces.errors import InputError

from .config import SearchConfig

__all__ = [
    "Ended",
    "FailureLimit",
    "SearchLoop",
    "SearchProgress",
    "TooManyFailures",
    "check_measures",
    "progress_of",
    "undisturbed",
]

logger = logging.getLogger(__name__)

Ended = Literal["evaluations", "minutes", "exhausted"]
FAILED_SHARE = 0.2
DRAIN_S = 10.0


class TooManyFailures(Stopped):
    """So many candidates failed that something other than the candidates must be wrong. The state is saved."""


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """What a progress bar shows."""

    evaluations: int
    budget: int
    complete: int
    raced: int
    screened: int
    failed: int
    in_flight: int
    front_size: int
    elapsed_s: float
    candidates_a_minute: float
    doing: str = ""
    """What it does when it asks for no new candidates; empty while it does."""


def progress_of(log: RunLog[Any], config: SearchConfig, in_flight: int, doing: str = "") -> SearchProgress:
    """Where a search is now."""
    return SearchProgress(
        evaluations=log.evaluations,
        budget=config.evaluations,
        complete=log.counts["complete"],
        raced=log.counts["raced"],
        screened=log.counts["screened"],
        failed=log.counts["failed"],
        in_flight=in_flight,
        front_size=len(log.front),
        elapsed_s=log.elapsed_s,
        candidates_a_minute=log.candidates_a_minute,
        doing=doing,
    )


def check_measures(log: RunLog[Any], outcome: Outcome) -> None:
    """The first answer of a search has every measure that the objectives and constraints name.

    Raises:
        InputError: it has not; a name is misspelt, as a rule. Nothing is written yet.
    """
    values = outcome.fields.get("objectives", {})
    missing = [name for name in log.search.problem.names if name not in values]
    if log.evaluations == 0 and outcome.reason is None and missing:
        raise InputError(f"objectives and constraints: {missing[0]!r} is not measured; {', '.join(values)} are")


class FailureLimit:
    """Stops a search whose candidates fail one after another; only failures of this session count."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._failed = 0
        self._all = 0

    def count(self, record: Record) -> None:
        """Notes one evaluation.

        Raises:
            TooManyFailures: more than the limit, and more than a fifth of all, have failed.
        """
        self._all += 1
        reason = record["reason"]
        if reason is None:
            return
        self._failed += 1
        logger.warning("candidate %d (%s) failed: %s", record["number"], record["id"], reason)
        if self._failed > max(self._most, FAILED_SHARE * self._all):
            raise TooManyFailures(
                f"{self._failed} of {self._all} candidates failed, the last one because: {reason}; "
                "the state is kept: mend the cause and go on with --resume"
            )


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block is left: an evaluation is in the journal and counted, or neither."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda caught_now, frame: caught.append(caught_now)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if caught:
            signal.raise_signal(caught[0])


class SearchLoop:
    """One session of a search: keeps the executor busy until a budget is used up."""

    def __init__(
        self,
        log: RunLog[Any],
        executor: Executor,
        config: SearchConfig,
        progress: Callable[[SearchProgress], None] | None = None,
    ) -> None:
        self._log, self._executor, self._config = log, executor, config
        self._progress = progress
        self._failures = FailureLimit(config.max_failures)
        self._in_flight = 0
        self._promoted_in_flight = 0
        self._exhausted = False
        self._saved = time.monotonic()

    def run(self) -> Ended:
        """Searches; whatever ends it, the state is saved."""
        try:
            while not self._executor.free():
                self._executor.wait(1.0)
            self._log.start_clock()
            self._tell_of_an_end()
            while not self._finished():
                self._fill()
                if self._in_flight or not self._executor.free():  # nobody is free while the last worker is replaced
                    self._take(self._wait_s())
            self._log.stop_clock()
        finally:
            self._log.save()
        if self._log.evaluations >= self._config.evaluations:
            return "evaluations"
        return "exhausted" if self._exhausted else "minutes"

    def _tell_of_an_end(self) -> None:
        """Of a search that goes on after its budget is used up: it is silent otherwise until it measures the front."""
        if not self._progress or not self._log.evaluations or self._is_asking():
            return
        used = "search.minutes" if self._open() > 0 else "search.evaluations"
        more = "evaluating in full what was looked at and is worth it" if self._log.search.can_promote else ""
        doing = f"{used} are used up: no new candidates{', ' if more else ''}{more}"
        self._progress(progress_of(self._log, self._config, self._in_flight, doing))

    def _finished(self) -> bool:
        """Nothing more to ask and nothing to wait for; at the end of the minutes nobody waits long for candidates.

        Those that are evaluated in full at the end are waited for: without them there is no front.
        """
        if self._promoted_in_flight or self._is_asking() or self._log.search.can_promote:
            return False
        return self._in_flight == 0 or self._seconds_left() < -DRAIN_S

    def _is_asking(self) -> bool:
        return not self._exhausted and not self._out_of_time() and self._open() > 0

    def _open(self) -> int:
        return self._config.evaluations - self._log.evaluations - (self._in_flight - self._promoted_in_flight)

    def _seconds_left(self) -> float:
        minutes = self._config.minutes
        return float("inf") if minutes is None else minutes * 60 - self._log.elapsed_s

    def _out_of_time(self) -> bool:
        return self._seconds_left() <= 0

    def _wait_s(self) -> float:
        left = self._seconds_left()
        until = [1.0, self._saved + self._config.snapshot_s - time.monotonic()]
        until += [end for end in (left, left + DRAIN_S) if end > 0]
        return max(0.0, min(until))

    def _fill(self) -> None:
        """Gives every free place a candidate."""
        for _ in range(self._executor.free()):
            architecture = self._next()
            if architecture is None:
                return
            promoted = self._log.search.is_promoted(architecture)
            self._executor.submit(self._log.search.number(architecture), architecture, promoted)
            self._in_flight += 1
            self._promoted_in_flight += promoted

    def _next(self) -> Any:
        """A new candidate; when there is no more to ask, what was only looked at and is worth more."""
        if self._is_asking():
            try:
                return self._log.search.ask()
            except SearchExhausted as end:
                logger.info("%s", end)
                self._exhausted = True
        return self._log.search.promote()

    def _take(self, timeout_s: float) -> None:
        outcomes = self._executor.wait(timeout_s)
        for outcome in outcomes:
            check_measures(self._log, outcome)
            with undisturbed():
                record = self._log.add(outcome)
            self._in_flight -= 1
            self._promoted_in_flight -= outcome.promoted
            self._failures.count(record)
        if outcomes and self._progress:
            self._progress(progress_of(self._log, self._config, self._in_flight))
        if time.monotonic() - self._saved >= self._config.snapshot_s:
            self._log.save()
            self._saved = time.monotonic()
