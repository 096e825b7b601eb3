"""Where candidates are evaluated: the protocol, and the simplest executor, in this process.

A factory makes the evaluator once a worker, because loading a supernet and its crops takes seconds::

    factory() -> evaluate
    evaluate(architecture) -> {"objectives": {"ap": 0.41, "latency_ms": 3.2, …}, "status": "complete" | "raced",
                               "persons": 400, …}

An evaluator for a guided search may also only look at a candidate, and say so by the status ``screened``: its
objectives are estimates then. It has a second method, ``complete(architecture)``, that evaluates in full
(:meth:`AskTellSearch.promote`).

An evaluator that raises fails that candidate, not the search.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

__all__ = ["Evaluate", "Executor", "Factory", "InProcessExecutor", "Outcome", "evaluate_one"]

logger = logging.getLogger(__name__)

Evaluate = Callable[[Any], Mapping[str, Any]]
Factory = Callable[[], Evaluate]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a candidate: the evaluator's fields, or the reason why there are none."""

    number: int
    architecture: Any
    fields: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    worker: int = 0
    promoted: bool = False
    """It was looked at before, and was now to be evaluated in full."""


class Executor(Protocol):
    """Evaluates candidates, several at a time perhaps, and hands them back in the order in which they finish."""

    def free(self) -> int:
        """How many more candidates it can take now; 0 while its workers start."""

    def submit(self, number: int, architecture: Any, promoted: bool = False) -> None:
        """Takes a candidate, a ``promoted`` one to be evaluated in full; at most :meth:`free` of them."""

    def wait(self, timeout_s: float) -> list[Outcome]:
        """What has finished; waits for at least one of them, but not much longer than ``timeout_s``."""

    def close(self) -> None:
        """Ends the workers; whatever they were doing is lost."""


def evaluate_one(evaluate: Evaluate, architecture: Any, promoted: bool = False) -> dict[str, Any]:
    """The evaluator's fields as JSON values, with the CPU seconds it took; ``{"reason": …}`` if it raised."""
    started = time.process_time()
    try:
        evaluator: Evaluate = cast(Any, evaluate).complete if promoted else evaluate
        fields = dict(evaluator(architecture))
        # Numbers of numpy and torch become Python's; anything that is not JSON is an error here, not in the journal.
        fields = json.loads(json.dumps(fields, default=float))
        if fields.get("status") == "screened" and not hasattr(evaluate, "complete"):
            raise TypeError("the evaluator only looks at candidates: it has no method complete")
    except Exception as error:
        logger.debug("candidate %s", getattr(architecture, "id", architecture), exc_info=True)
        return {"reason": _reason(error), "cpu_s": time.process_time() - started}
    return {"cpu_s": time.process_time() - started} | fields


def _reason(error: Exception) -> str:
    """One line: the error and where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text} ({last.filename.rsplit('/', 1)[-1]}:{last.lineno})"


def outcome(
    number: int, architecture: Any, fields: dict[str, Any], worker: int, promoted: bool = False
) -> Outcome:
    """The outcome of what :func:`evaluate_one` returned."""
    reason = fields.pop("reason", None)
    return Outcome(number, architecture, fields, str(reason) if reason else None, worker, promoted)


class InProcessExecutor:
    """One candidate after another, here: for tests, debuggers, and machines without Ray. It cannot stop a hung one."""

    def __init__(self, factory: Factory) -> None:
        self._evaluate = factory()
        self._waiting: list[tuple[int, Any, bool]] = []

    def free(self) -> int:
        return 1 - len(self._waiting)

    def submit(self, number: int, architecture: Any, promoted: bool = False) -> None:
        self._waiting.append((number, architecture, promoted))

    def wait(self, timeout_s: float) -> list[Outcome]:
        if not self._waiting:
            time.sleep(timeout_s)
            return []
        number, architecture, promoted = self._waiting.pop(0)
        return [outcome(number, architecture, evaluate_one(self._evaluate, architecture, promoted), 0, promoted)]

    def close(self) -> None:
        self._waiting.clear()
