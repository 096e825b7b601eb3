"""What searches of images and of videos check, decide and measure before their workers start."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from evaluators import MeasureInputError
from evaluators.latency.fingerprint import Fingerprint, require_same_fingerprint
from nas.latency import LatencyConfig, LatencyMeter, LatencyTable, build_table
from search_spaces import InputError, SearchSpace

from .candidate_config import CandidateConfig, Precision
from .config import SearchConfig
from .objectives import KNOWN_OBJECTIVES, Problem

__all__ = [
    "candidate_identity",
    "check_device",
    "check_objectives",
    "costs_of",
    "decided",
    "device_of",
    "latency_identity",
    "meter_of",
    "on_one_thread",
    "one_at_a_time",
    "space_table",
    "table_in",
]

_log = logging.getLogger(__name__)


def meter_of(latency: LatencyConfig, expected: Fingerprint | None) -> LatencyMeter:
    """A meter of this machine, which must be of the kind that the search began on.

    Raises:
        MeasureInputError: it is another one: its latencies would not belong into the same front.
    """
    meter = LatencyMeter(latency)
    require_same_fingerprint([one for one in (expected, meter.fingerprint) if one is not None], "latency slot")
    return meter


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """No two workers of a machine measure latency at once."""
    import fcntl

    path = Path(tempfile.gettempdir()) / f"vipnas-latency-{os.getuid()}.lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)  # others write there too
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def space_table(
    space: SearchSpace, latency: LatencyConfig, path: Path, progress: Callable[[int, int], None] | None = None
) -> LatencyTable:
    """The table in ``path`` if it was measured here, on this setting and for this space; else a new one."""
    found = table_in(path, space, latency, LatencyMeter(latency).fingerprint)
    return found or build_table(space, latency, path, progress=progress)


def table_in(path: Path, space: SearchSpace, latency: LatencyConfig, fingerprint: Fingerprint) -> LatencyTable | None:
    """The table in ``path``; None where there is none that can be used, which is then said."""
    if not path.is_file():
        return None
    try:
        table = LatencyTable.load(path, fingerprint)
        _check_table(table, path, space, latency)
    except MeasureInputError as error:
        _log.warning("%s; it is measured anew", error)
        return None
    return table


def _check_table(table: LatencyTable, path: Path, space: SearchSpace, latency: LatencyConfig) -> None:
    """The table is of this batch size, and has every block of this space, however the space is called."""
    from nas.latency.blocks import space_blocks
    from nas.latency.table import block_name

    if table.batch != latency.batch:
        raise MeasureInputError(f"{path}: measured with batch {table.batch}, not {latency.batch}")
    if table.space != space.name or any(block_name(block) not in table.blocks for block in space_blocks(space)):
        raise MeasureInputError(f"{path}: of another space {table.space!r} than {space.name!r}")


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


def costs_of(problem: Problem) -> tuple[str, ...]:
    """What a candidate has to be no worse in to race another one out: all that less is wanted of."""
    return tuple(name for name in problem.names if KNOWN_OBJECTIVES[name] == "min")


class _Factory(Protocol):
    @property
    def config(self) -> CandidateConfig: ...

    @property
    def device(self) -> str: ...

    def quicker_precision(self) -> Precision: ...


def decided(factory: _Factory, known: Mapping[str, Any]) -> CandidateConfig:
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
