"""Latency on a cluster: measured on the nodes with a latency slot alone, whatever the driver and the workers run on.

Each measurement is a Ray task that holds a slot, so that there is never another one on that node, and a slot is free
again when the task ends: nodes with a slot may join and leave.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from evaluators.errors import MeasureInputError
from evaluators.latency.fingerprint import Fingerprint, require_same_fingerprint
from nas.latency import LatencyConfig, LatencyMeter, LatencyTable, build_table
from nas.latency.video import VideoLatencyTable, build_video_table, frame_latencies
from nas.search.workers.ray_session import LATENCY_SLOT
from search_spaces import InputError, PoseArchitecture, SearchSpace, VideoArchitecture, VideoSearchSpace

__all__ = ["latencies_in_slot", "slot_fingerprint", "table_in_slot", "video_table_in_slot"]

ANSWER_S = 600.0
"""So long a free slot is waited for, before the search begins."""
TABLE_S = 4 * 3600.0


def slot_fingerprint(latency: LatencyConfig) -> Fingerprint:
    """What the cluster's slots measure on.

    Raises:
        InputError: no node has a slot; two of them are not of one kind; or all are taken for ten minutes.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get(LATENCY_SLOT)]
    if not nodes:
        raise InputError(
            "no node of the cluster has a latency slot; start one with ray start --num-cpus 0 "
            f"--resources '{{\"{LATENCY_SLOT}\": 1}}' (docs/cluster.md), or search without latency_ms"
        )
    places = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    tasks = [_task(_fingerprint).options(scheduling_strategy=place).remote(latency) for place in places]
    found = _answers(tasks, ANSWER_S)
    try:
        require_same_fingerprint(found, "latency slots")
    except MeasureInputError as error:
        raise InputError(f"{error}; give slots to nodes of one kind only") from None
    return found[0]


def table_in_slot(space: SearchSpace, latency: LatencyConfig, path: Path) -> LatencyTable:
    """A latency table of the space, measured in a slot and written to ``path`` here."""
    [table] = _answers([_task(build_table).remote(space, latency)], TABLE_S)
    table.save(path)
    return table


def video_table_in_slot(space: VideoSearchSpace, latency: LatencyConfig, path: Path) -> VideoLatencyTable:
    """What a video space needs beside that table, measured in a slot and written to ``path`` here."""
    [table] = _answers([_task(_build_video_table).remote(space, latency)], TABLE_S)
    table.save(path)
    return table


def latencies_in_slot(
    latency: LatencyConfig, expected: Fingerprint | None, architecture: PoseArchitecture | VideoArchitecture
) -> list[float]:
    """Milliseconds of each network of one architecture; called by a worker, on any node.

    Raises:
        MeasureInputError: the slot's machine is not of the kind that the search began on.
    """
    import ray

    milliseconds: list[float] = ray.get(_task(_measure).remote(latency, expected, architecture))
    return milliseconds


@cache
def _task(function: Callable[..., Any]) -> Any:
    """The function as a task that holds a slot; made once a process, because Ray sends it to the cluster each time."""
    import ray

    return ray.remote(num_cpus=0, resources={LATENCY_SLOT: 1}, max_retries=3)(function)


def _answers(tasks: list[Any], timeout_s: float) -> list[Any]:
    import ray

    try:
        return list(ray.get(tasks, timeout=timeout_s))
    except ray.exceptions.GetTimeoutError:
        raise InputError(
            f"no latency slot of the cluster answered within {timeout_s:g} s; another search may hold it"
        ) from None
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (InputError, MeasureInputError)):
            raise InputError(str(error.cause)) from None
        raise


@cache
def _meter(latency: LatencyConfig) -> LatencyMeter:
    """Kept in the slot's process: the next measurement finds its reference network ready."""
    return LatencyMeter(latency)


def _fingerprint(latency: LatencyConfig) -> Fingerprint:
    return _meter(latency).fingerprint


def _build_video_table(space: VideoSearchSpace, latency: LatencyConfig) -> VideoLatencyTable:
    return build_video_table(space, _meter(latency))


def _measure(
    latency: LatencyConfig, expected: Fingerprint | None, architecture: PoseArchitecture | VideoArchitecture
) -> list[float]:
    meter = _meter(latency)
    require_same_fingerprint([one for one in (expected, meter.fingerprint) if one is not None], "latency slot")
    [measured] = frame_latencies(meter, [architecture])
    return list(measured.get("latency_by_position", [measured["latency_ms"]]))
