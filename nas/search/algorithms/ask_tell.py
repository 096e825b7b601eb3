"""What every search algorithm shares: ``ask()`` for an architecture, ``tell()`` its values.

Any number of questions may be pending, and answers come in any order.

Randomness: one generator is given; two 63-bit numbers are drawn from it once, and the n-th question draws from a stream
of its own made of them and n. What the n-th question is depends therefore only on the answers that came before it, not
on what was asked in between: a run that was killed goes on exactly as it would have gone on, without the position of a
generator being saved after each draw.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Generic

import numpy as np

from nas.search.algorithms.front import ParetoFront
from nas.search.algorithms.objectives import Problem
from nas.search.algorithms.protocols import A, Space
from search_spaces.errors import InputError

__all__ = ["AskTellSearch", "Evaluated", "SearchExhausted"]

SAMPLE_ATTEMPTS = 100
ENUMERABLE = 20_000


class SearchExhausted(Exception):  # noqa: N818 (an end, not an error)
    """``ask()`` found no architecture that was not asked before: the space is used up (pending ones included)."""


@dataclass(frozen=True, slots=True)
class Evaluated(Generic[A]):
    """An architecture with its measured values.

    ``raced`` ones were stopped early, ``screened`` ones were only looked at: both carry estimates.
    """

    number: int
    architecture: A
    values: dict[str, float]
    costs: tuple[float, ...]
    violation: float
    raced: bool = False
    screened: bool = False

    @property
    def is_estimate(self) -> bool:
        return self.raced or self.screened

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "architecture": self.architecture.to_json(),
            "values": self.values,
            "raced": self.raced,
            "screened": self.screened,
        }


@dataclass(frozen=True)
class _Question(Generic[A]):
    """Asked and not answered."""

    number: int
    architecture: A
    promoted: bool = False
    """Whether it is to evaluate in full what was looked at before."""
    interrupted: bool = False
    """Asked by a run that was killed; it is asked again first."""


class AskTellSearch(ABC, Generic[A]):
    """Numbers the questions, keeps what is pending and what was told, and maintains the front.

    No architecture is asked twice, whether its evaluation is pending, complete, raced or failed; but one that was only
    looked at (``screened``) may be promoted, which is a second question: to evaluate it to the end.

    Args:
        space: where architectures come from.
        problem: objectives and constraints.
        rng: the only source of randomness; two numbers are drawn from it, here.
        initial: architectures asked first, in this order (the smallest, the largest, published ones).

    Raises:
        InputError: an initial architecture is not a member of the space.
    """

    def __init__(
        self, space: Space[A], problem: Problem, *, rng: np.random.Generator, initial: Iterable[A] = ()
    ) -> None:
        self.space = space
        self.problem = problem
        self._initial = list({architecture.id: architecture for architecture in initial}.values())
        for architecture in self._initial:
            if not space.contains(architecture):
                raise InputError(f"initial architecture {architecture.id} is not a member of the search space")
        self._root: list[int] = rng.integers(0, 2**63, size=2).tolist()
        self._kind: type[A] = type(space.smallest())
        self._asked = 0
        self._told: set[str] = set()
        self._questions: dict[str, _Question[A]] = {}  # by architecture id, in the order in which they were asked
        self._gaps: list[int] = []  # numbers asked by a run that was killed; which architecture is not known
        self._everything: dict[str, A] | None = None
        self._front: ParetoFront[Evaluated[A]] = ParetoFront(len(problem.objectives))

    # What an algorithm adds -----------------------------------------------------------------------------------------

    @abstractmethod
    def _propose(self, rng: np.random.Generator, number: int) -> A:
        """A new architecture (see :meth:`_is_new`) for question ``number``; raises SearchExhausted."""

    @abstractmethod
    def _absorb(self, evaluated: Evaluated[A]) -> None:
        """Learn from an evaluation that did not fail."""

    def _give_up(self, architecture: A) -> None:
        """A promoted architecture's evaluation failed: what its first look said is all that will be known."""

    # Questions ------------------------------------------------------------------------------------------------------

    @property
    def asked(self) -> int:
        """How many questions were numbered."""
        return self._asked

    @property
    def told(self) -> int:
        """How many were answered, failures included."""
        return len(self._told)

    @property
    def pending(self) -> dict[int, A]:
        """Asked and not answered, by number."""
        return {one.number: one.architecture for one in self._questions.values() if not one.interrupted}

    def number(self, architecture: A) -> int:
        """The number of a pending architecture."""
        return self._questions[architecture.id].number

    def ask(self) -> A:
        """The next architecture to evaluate.

        Raises:
            SearchExhausted: every architecture of the space was asked already.
        """
        interrupted = next(self._interrupted(), None)
        if interrupted is not None:
            return self._repeat(interrupted)
        number = self._gaps[0] if self._gaps else self._asked
        architecture = self._new(number)
        if self._gaps:
            self._gaps.pop(0)
        else:
            self._asked += 1
        self._questions[architecture.id] = _Question(number, architecture, promoted=architecture.id in self._told)
        return architecture

    def _interrupted(self, promoted: bool | None = None) -> Iterator[_Question[A]]:
        """What is to be asked again; of one kind, if one is named."""
        for one in self._questions.values():
            if one.interrupted and promoted in (None, one.promoted):
                yield one

    def _repeat(self, question: _Question[A]) -> A:
        del self._questions[question.architecture.id]  # it is now the last that was asked
        self._questions[question.architecture.id] = replace(question, interrupted=False)
        return question.architecture

    promotes = False
    """Whether what was only looked at can be promoted."""

    def _candidate_for_promotion(self) -> A | None:
        """Of those that were only looked at, the next one to evaluate in full; None where no other is worth it."""
        return None

    @property
    def can_promote(self) -> bool:
        """Whether :meth:`promote` has somebody."""
        interrupted = any(self._interrupted(promoted=True))
        return self.promotes and (interrupted or self._candidate_for_promotion() is not None)

    def promote(self) -> A | None:
        """Asks to evaluate in full one that was only looked at; None where no other is worth it."""
        interrupted = next(self._interrupted(promoted=True), None)
        if interrupted is not None:
            return self._repeat(interrupted)
        chosen = self._candidate_for_promotion()
        if chosen is not None:
            number = self._gaps.pop(0) if self._gaps else self._asked
            self._asked = max(self._asked, number + 1)
            self._questions[chosen.id] = _Question(number, chosen, promoted=True)
        return chosen

    def is_promoted(self, architecture: A) -> bool:
        """Whether an unanswered question is to evaluate in full what was looked at before."""
        question = self._questions.get(architecture.id)
        return question is not None and question.promoted

    @property
    def _in_promotion(self) -> set[str]:
        return {key for key, one in self._questions.items() if one.promoted}

    def _new(self, number: int) -> A:
        if number < len(self._initial) and self._is_new(self._initial[number]):
            return self._initial[number]
        unanswered = sum(not one.promoted for one in self._questions.values())
        if self.told + unanswered >= self.space.size:
            raise SearchExhausted(f"all {self.space.size} architectures of the space were asked")
        return self._propose(np.random.Generator(np.random.PCG64([*self._root, number])), number)

    def _is_new(self, architecture: A) -> bool:
        return architecture.id not in self._told and architecture.id not in self._questions

    def _sample_new(self, rng: np.random.Generator) -> A:
        """A random architecture that was not asked; looks through all of a small space before giving up."""
        for _ in range(SAMPLE_ATTEMPTS):
            architecture = self.space.sample(rng)
            if self._is_new(architecture):
                return architecture
        if math.prod(self.space.gene_sizes) <= ENUMERABLE:
            left = self._unasked()
            if left:
                return left[int(rng.integers(len(left)))]
        raise SearchExhausted(f"no new architecture among {SAMPLE_ATTEMPTS} random ones; {self.told} were evaluated")

    def _unasked(self) -> list[A]:
        if self._everything is None:
            members = (self.space.decode(vector) for vector in product(*map(range, self.space.gene_sizes)))
            self._everything = {architecture.id: architecture for architecture in members}
        self._everything = {key: a for key, a in self._everything.items() if key not in self._told}
        return [architecture for architecture in self._everything.values() if self._is_new(architecture)]

    # Answers --------------------------------------------------------------------------------------------------------

    @property
    def front(self) -> list[Evaluated[A]]:
        """The non-dominated, feasible, completely evaluated architectures, best first objective first."""
        return self._front.items

    def tell(
        self,
        architecture: A,
        values: Mapping[str, float] | None,
        *,
        raced: bool = False,
        screened: bool = False,
        promoted: bool = False,
        number: int | None = None,
    ) -> bool:
        """The measured values of an architecture, or None where its evaluation failed.

        ``raced`` values are estimates of an evaluation that was stopped early, ``screened`` ones of a first look: they
        may become parents and never enter the front. An architecture that was not asked may be told, with its
        ``number`` where it has one and whether it was ``promoted`` (a journal).

        Returns:
            Whether the architecture entered the front.

        Raises:
            ValueError: it was told before, or a value is missing or not finite (then nothing has changed).
        """
        key = architecture.id
        if key in self._told and not (promoted or self.is_promoted(architecture)):
            raise ValueError(f"architecture {key} was told twice")
        fault = None if values is None else self.problem.fault(values)
        if fault:
            raise ValueError(f"architecture {key}: {fault}")
        question = self._questions.pop(key, None)
        number = question.number if question else self._asked if number is None else number
        self._asked = max(self._asked, number + 1)
        again = key in self._told
        self._told.add(key)
        if values is not None:
            return self._enter(self._evaluated(number, architecture, values, raced, screened))
        if again:
            self._give_up(architecture)
        return False

    def _evaluated(
        self, number: int, architecture: A, values: Mapping[str, float], raced: bool, screened: bool
    ) -> Evaluated[A]:
        kept = {name: float(values[name]) for name in self.problem.names}
        costs, violation = self.problem.costs(kept), self.problem.violation(kept)
        return Evaluated(number, architecture, kept, costs, violation, raced, screened)

    def _enter(self, evaluated: Evaluated[A]) -> bool:
        self._absorb(evaluated)
        if evaluated.is_estimate or evaluated.violation > 0:
            return False
        return self._front.add(evaluated.costs, evaluated)

    def settings(self) -> dict[str, Any]:
        """The algorithm, and those of its settings that decide what a state means."""
        return {"algorithm": type(self).__name__}

    # State ----------------------------------------------------------------------------------------------------------

    def state(self, with_told: bool = True) -> dict[str, Any]:
        """Everything that further questions depend on, as JSON values.

        ``with_told=False`` leaves out the ids of what was told, which grow with the run (a journal has them too: give
        them back with :meth:`mark_told`).
        """
        return {
            "root": self._root,
            "asked": self._asked,
            "told": sorted(self._told) if with_told else None,
            "pending": [[one.number, one.architecture.to_json()] for one in self._unanswered()],
            "promoted": sorted(self._in_promotion),
            "gaps": self._gaps,
            "front": [evaluated.to_json() for evaluated in self._front.items],
        }

    def _unanswered(self) -> list[_Question[A]]:
        """In the order in which they would be asked again."""
        return sorted(self._questions.values(), key=lambda one: not one.interrupted)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over :meth:`state`, made by a search of the same space, problem and settings.

        Raises:
            InputError: a part is missing or is not what it should be; the search is then as it was.
        """
        before = self.state()
        try:
            self._restore(state)
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            self._restore(before)
            raise InputError(f"search state: not written by this version ({type(error).__name__}: {error})") from None

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._root = [int(part) for part in state["root"]]
        self._asked = int(state["asked"])
        self._told = set(state["told"] or ())
        promoted = {str(key) for key in state["promoted"]}
        pending = [(int(number), self.architecture(value)) for number, value in state["pending"]]
        self._questions = {a.id: _Question(number, a, promoted=a.id in promoted) for number, a in pending}
        self._gaps = [int(number) for number in state["gaps"]]
        self._front = ParetoFront(len(self.problem.objectives))
        for value in state["front"]:
            member = self._from_json(value)
            self._front.add(member.costs, member)

    def architecture(self, value: Any) -> A:
        """The architecture in a JSON value, of the kind that the space has."""
        return self._kind.from_json(value)

    def _from_json(self, value: Mapping[str, Any]) -> Evaluated[A]:
        architecture = self.architecture(value["architecture"])
        kinds = bool(value["raced"]), bool(value["screened"])
        return self._evaluated(int(value["number"]), architecture, value["values"], *kinds)

    def mark_told(self, architecture_id: str, number: int) -> None:
        """Notes that a journal has this answer, whose effect is already in the state that was restored."""
        self._told.add(architecture_id)
        self._asked = max(self._asked, number + 1)

    def ask_again(self, answered: Iterable[int]) -> None:
        """After a crash: what was asked and is not among the ``answered`` numbers is asked again, under its number."""
        self._questions = {
            one.architecture.id: replace(one, interrupted=True)
            for one in self._unanswered()
            if one.promoted or one.architecture.id not in self._told
        }
        numbers = set(range(self._asked)).difference(answered)
        self._gaps = sorted(numbers.difference(one.number for one in self._questions.values()))
