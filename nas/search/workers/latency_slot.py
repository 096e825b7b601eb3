"""The one place where latency is measured: never two measurements at a time on a machine.

A local Ray has one ``latency_slot``. On a cluster the nodes on which latency is to be measured are started with one
each (``ray start --resources '{"latency_slot": 1}'``), so that it is measured on one kind of CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluators.errors import MeasureInputError
from nas.search.workers.pool import EvaluationPool, WorkersFailed
from nas.search.workers.ray_session import LATENCY_SLOT, RaySession
from search_spaces.errors import InputError

__all__ = ["Measure", "MeasureFactory", "measure_in_slot"]

Measure = Callable[[Sequence[Any]], Sequence[Mapping[str, float]]]
"""Architectures in, one mapping each out; all at once, so that their rounds can be interleaved."""
MeasureFactory = Callable[[], Measure]


def measure_in_slot(
    factory: MeasureFactory, session: RaySession, architectures: Sequence[Any], *, timeout_s: float = 3600.0
) -> list[dict[str, float]]:
    """Measures ``architectures`` in an actor that holds the latency slot, and gives the slot back.

    Raises:
        WorkersFailed: the measurement raised, hung or died, or no node has a latency slot.
        InputError: the factory or the measurement found the user's input wrong.
    """
    pool = EvaluationPool(
        _SlotFactory(factory), session, workers=1, timeout_s=timeout_s, cpus=0, resources={LATENCY_SLOT: 1}
    )
    try:
        while not pool.free():
            pool.wait(1.0)
        pool.submit(0, _Batch(list(architectures)))
        done = pool.wait(1.0)
        while not done:
            done = pool.wait(1.0)
    finally:
        pool.close()
    if done[0].reason:
        raise WorkersFailed(f"latency was not measured: {done[0].reason}")
    if "refused" in done[0].fields:
        raise InputError(done[0].fields["refused"])
    return list(done[0].fields["measured"])


class _Batch(list[Any]):
    """Architectures that go to the slot as one candidate."""

    @property
    def id(self) -> str:
        return f"batch of {len(self)}"


class _SlotFactory:
    """Makes a measurement look like an evaluator."""

    def __init__(self, factory: MeasureFactory) -> None:
        self._factory = factory

    def __call__(self) -> Any:
        measure = self._factory()

        def evaluate(architectures: Sequence[Any]) -> Mapping[str, Any]:
            try:
                measured = [dict(values) for values in measure(architectures)]
            except (InputError, MeasureInputError) as error:
                return {"refused": str(error)}
            if len(measured) != len(architectures):
                raise ValueError(f"{len(measured)} measurements of {len(architectures)} architectures")
            return {"measured": measured}

        return evaluate
