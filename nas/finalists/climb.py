"""Who climbs the ladder next, and when the time is up: the part that training here and training on Ray Tune share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.run.files import atomic_write_json
from nas.run.placing import read_object
from nas.run.stopped import Stopped
from search_spaces import InputError, PoseArchitecture

from .ladder import Decision, Ladder
from .trainer import FinalistTrainer, read_rung, score_of

__all__ = ["Climb", "FinalistsFailed", "climb_here"]

_log = logging.getLogger(__name__)


class FinalistsFailed(Stopped):
    """No finalist could be trained; the message says why the first could not."""


@dataclass
class Climb:
    """The finalists on their ladder, and the clock of the stage."""

    architectures: Sequence[PoseArchitecture]
    ladder: Ladder
    rung_ends: Sequence[float]
    is_given: Sequence[bool]
    """Whether a network's first rung is trained however late it is: the front's are."""
    minutes: float | None
    clock: Path
    """Where the seconds are kept that the stage has taken, for one that goes on with it."""
    progress: Callable[[int, int], None] | None = None
    reasons: dict[int, str] = field(default_factory=dict)
    """Why a network failed."""

    def __post_init__(self) -> None:
        self.rungs: list[list[dict[str, Any]]] = [[] for _ in self.architectures]
        """What each network has reported, rung by rung."""
        self._only_input = True
        before = read_object(self.clock).get("elapsed_s")
        self._before = float(before) if isinstance(before, (int, float)) else 0.0
        self._began = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds of the stage, those of earlier sessions included."""
        return self._before + time.monotonic() - self._began

    def recall(self, folder: Path) -> bool:
        """Take up what the networks' folders in ``folder`` hold; whether anybody is left to be trained.

        Raises:
            InputError: a file there is damaged.
        """
        for network, architecture in enumerate(self.architectures):
            for rung in range(len(self.rung_ends)):
                found = read_rung(folder / architecture.id, rung)
                if found is None:
                    break
                self.ladder.report(network, score_of(found))
                self.rungs[network].append(found)
        self.tell()
        return any(self.ladder.decide(network) == "train" for network in range(len(self.architectures)))

    def report(self, network: int, rung: dict[str, Any]) -> None:
        """A network has come to the end of its next rung."""
        self.ladder.report(network, score_of(rung))
        self.rungs[network].append(rung)
        self._after_report()

    def fail(self, network: int, reason: str, *, by_input: bool = False) -> None:
        """A network's training has ended by an error; ``by_input``: by one that the user can mend."""
        _log.warning("%s: its training failed: %s", self.architectures[network].id, reason)
        self.reasons[network] = reason
        self._only_input = self._only_input and by_input
        self.ladder.fail(network)
        self._after_report()

    def decide(self, network: int) -> Decision:
        """As the ladder says, unless there is no time left for the network's next rung."""
        found = self.ladder.decide(network)
        if found == "train" and self._is_too_late(network):
            self.ladder.end(network)
            return "out of time"
        return found

    def next_up(self, waiting: Sequence[int]) -> int | None:
        """Who of these is to be trained next; None where nobody can be yet."""
        return self.ladder.next_up([network for network in waiting if self.decide(network) == "train"])

    def require_any(self) -> None:
        """Raise where no network has come to the end of a rung.

        Raises:
            InputError: it is the user's input that is at fault.
            FinalistsFailed: it is not, or not alone.
        """
        if not any(self.ladder.scores(network) for network in range(len(self.architectures))):
            text = f"no finalist could be trained: {next(iter(self.reasons.values()), 'the time was up')}"
            raise InputError(text) if self.reasons and self._only_input else FinalistsFailed(text)

    def tell(self) -> None:
        """Call ``progress`` with the rungs that are done, or will not be trained, and all of them."""
        if self.progress is None:
            return
        rungs, done = len(self.rung_ends), 0
        for network in range(len(self.architectures)):
            is_over = self.ladder.decide(network) not in ("train", "wait")
            done += rungs if is_over else len(self.ladder.scores(network))
        self.progress(done, rungs * len(self.architectures))

    def _after_report(self) -> None:
        atomic_write_json(self.clock, {"elapsed_s": round(self.elapsed_s, 1)})
        self.tell()

    def _is_too_late(self, network: int) -> bool:
        if self.minutes is None:
            return False
        left_s, reached = self.minutes * 60 - self.elapsed_s, len(self.ladder.scores(network))
        if not reached:
            return left_s <= 0 and not self.is_given[network]
        ends = (0.0, *self.rung_ends)
        last, following = ends[reached] - ends[reached - 1], ends[reached + 1] - ends[reached]
        return float(self.rungs[network][-1]["seconds"]) * following / last > left_s


def climb_here(climb: Climb, trainer: FinalistTrainer) -> None:
    """Train one network after another in this process, until all have stopped or are trained.

    Raises:
        InputError, FinalistsFailed: none could be trained.
        OSError: the disk is full, for example.
        KeyboardInterrupt: the state is saved.
    """
    everybody = range(len(climb.architectures))
    while (network := climb.next_up(everybody)) is not None:
        rung = len(climb.ladder.scores(network))
        try:
            climb.report(network, trainer.train(climb.architectures[network], rung))
        except (InputError, RuntimeError) as error:
            climb.fail(network, " ".join(str(error).split()), by_input=isinstance(error, InputError))
    climb.require_any()
