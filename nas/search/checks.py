"""What a search checks and decides before its workers start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, Protocol

from evaluators.latency.fingerprint import Fingerprint
from nas.latency import LatencyConfig
from nas.search.algorithms.objectives import KNOWN_OBJECTIVES, Problem
from nas.search.candidates.config import CandidateConfig, Precision
from search_spaces import InputError

from .config import SearchConfig

__all__ = [
    "candidate_identity",
    "check_device",
    "check_objectives",
    "decide_precision",
    "device_of",
    "latency_identity",
    "on_one_thread",
    "select_minimized",
]


def check_objectives(problem: Problem, racing: bool) -> None:
    for name in problem.names:
        if name not in KNOWN_OBJECTIVES:
            known = ", ".join(KNOWN_OBJECTIVES)
            raise InputError(f"search.objectives: nothing here measures {name!r}; choose from {known}")
    for objective in problem.objectives:
        if objective.direction != KNOWN_OBJECTIVES[objective.name]:
            wanted = "less" if objective.direction == "max" else "more"
            raise InputError(f"search.objectives: {objective}: {wanted} is better; write {objective.name} alone")
    for bound in problem.constraints:
        if racing and (bound.operator == ">=") != (KNOWN_OBJECTIVES[bound.name] == "max"):
            raise InputError(
                f"search.constraints: {bound}: a race against better networks would drop those that keep it; "
                "set candidate.racing to false"
            )


def candidate_identity(config: CandidateConfig) -> dict[str, Any]:
    """Of the settings, those that decide what an evaluation says."""
    ours = {name: value for name, value in asdict(config).items() if name != "cache_mb"}
    if not config.first_look:  # runs of before there were first looks go on
        del ours["first_look"]
    return ours


def check_device(device: str) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("search.gpus_per_worker: torch finds no GPU on this machine; set it to 0")


def device_of(search: SearchConfig) -> str:
    """Where the workers run networks; on a cluster each of them checks its own machine."""
    device = "cuda" if search.gpus_per_worker else "cpu"
    if search.ray_address is None:
        check_device(device)
    return device


def select_minimized(problem: Problem) -> tuple[str, ...]:
    """What a candidate has to be no worse in to race another one out: all that less is wanted of."""
    return tuple(name for name in problem.names if KNOWN_OBJECTIVES[name] == "min")


class _Factory(Protocol):
    @property
    def config(self) -> CandidateConfig: ...

    @property
    def device(self) -> str: ...

    def quicker_precision(self) -> Precision: ...


def decide_precision(factory: _Factory, known: Mapping[str, Any]) -> CandidateConfig:
    """``auto`` becomes one precision for all workers: that of the search to go on with, else what is quicker here."""
    if factory.config.precision != "auto":
        return factory.config
    precision = dict(known.get("candidate") or {}).get("precision")
    if precision not in ("float32", "bfloat16"):
        precision = "float32" if factory.device == "cuda" else factory.quicker_precision()
    return replace(factory.config, precision=precision)


@contextmanager
def on_one_thread() -> Iterator[None]:
    """As the workers run."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def latency_identity(latency: LatencyConfig, fingerprint: Fingerprint | None) -> dict[str, Any] | None:
    """What makes two latencies comparable; None where none is measured."""
    return None if fingerprint is None else {**fingerprint.to_json(), "batch": latency.batch}
