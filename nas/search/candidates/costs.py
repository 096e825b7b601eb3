"""The objectives of a candidate that need no image, and where its latency comes from."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from evaluators import MeasureInputError
from evaluators.latency.fingerprint import Fingerprint, require_same_fingerprint
from nas.latency import LatencyConfig, LatencyMeter, LatencyTable, build_table
from nas.latency.video import VideoLatencyTable, build_video_table, frame_latencies
from nas.run.folder import RunFolder
from nas.search.config import SearchConfig
from nas.search.workers.ray_session import RaySession
from search_spaces import PoseArchitecture, SearchSpace, VideoArchitecture, VideoSearchSpace
from search_spaces.video_costs import count_any

__all__ = ["Costs", "latency_source", "meter_of", "one_at_a_time", "space_table", "table_costs", "table_in"]

_log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Costs:
    """Architecture → macs, params, and latency_ms if there is a source of it; and the latency of each of its networks.

    That of a video is its clip's, and the key frame's network the first.
    """

    table: LatencyTable | None = None
    """Predicts latencies in microseconds."""
    video_table: VideoLatencyTable | None = None
    """Of videos, what ``table`` does not know."""
    latency: LatencyConfig | None = None
    """Without a table: measures every candidate."""
    fingerprint: Fingerprint | None = None
    """What measurements must be made on; None for whatever the worker's machine is."""
    in_slot: bool = False
    """Measurements are made in a latency slot of the cluster, not on the worker's machine."""

    def __call__(self, architecture: PoseArchitecture | VideoArchitecture) -> tuple[dict[str, float], list[float]]:
        cost = count_any(architecture)
        values = {"macs": float(cost.macs), "params": float(cost.parameters)}
        latencies = self._latencies(architecture)
        return ({"latency_ms": sum(latencies), **values} if latencies else values), latencies

    def _latencies(self, architecture: PoseArchitecture | VideoArchitecture) -> list[float]:
        if self.table is not None:
            if isinstance(architecture, PoseArchitecture):
                return [self.table.predict(architecture)]
            assert self.video_table is not None
            return list(self.video_table.predict(architecture, self.table))
        if self.latency is None:
            return []
        if self.in_slot:
            from nas.search.workers.cluster_latency import latencies_in_slot

            return latencies_in_slot(self.latency, self.fingerprint, architecture)
        with one_at_a_time():
            [measured] = frame_latencies(_kept_meter(self.latency, self.fingerprint), [architecture])
        return list(measured.get("latency_by_position", [measured["latency_ms"]]))


def meter_of(latency: LatencyConfig, expected: Fingerprint | None) -> LatencyMeter:
    """A meter of this machine, which must be of the kind that the search began on.

    Raises:
        MeasureInputError: it is another one: its latencies would not belong into the same front.
    """
    meter = LatencyMeter(latency)
    require_same_fingerprint([one for one in (expected, meter.fingerprint) if one is not None], "latency slot")
    return meter


@lru_cache(maxsize=1)
def _kept_meter(latency: LatencyConfig, expected: Fingerprint | None) -> LatencyMeter:
    """Kept in a worker: the next candidate finds the reference network, or the command's device, ready."""
    return meter_of(latency, expected)


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


@contextmanager
def latency_source(search: SearchConfig, latency: LatencyConfig | None) -> Iterator[Fingerprint | None]:
    """What latency is measured on: this machine, or the slots of the cluster, to which it connects for the while."""
    if latency is None:
        yield None
    elif search.ray_address is None:
        yield LatencyMeter(latency).fingerprint
    else:
        from nas.search.workers.cluster_latency import slot_fingerprint

        with RaySession(search.ray_address):
            yield slot_fingerprint(latency)


def table_costs(
    space: SearchSpace | VideoSearchSpace,
    latency: LatencyConfig,
    run: RunFolder,
    fingerprint: Fingerprint,
    in_slot: bool,
    progress: Progress | None = None,
) -> Costs:
    """By the tables in the run's folder, or, where there is none of this kind, by new ones, measured here or in a slot.
    """
    from nas.search.workers.cluster_latency import table_in_slot, video_table_in_slot

    spatial = space.spatial if isinstance(space, VideoSearchSpace) else space
    if in_slot:
        found = table_in(run.latency_table, spatial, latency, fingerprint)
        table = found or table_in_slot(spatial, latency, run.latency_table)
    else:
        table = space_table(spatial, latency, run.latency_table, progress)
    if not isinstance(space, VideoSearchSpace):
        return Costs(table=table)
    of_videos = _video_table_in(run.video_latency_table, space, latency, fingerprint)
    if of_videos is None and in_slot:
        of_videos = video_table_in_slot(space, latency, run.video_latency_table)
    elif of_videos is None:
        of_videos = build_video_table(space, LatencyMeter(latency), run.video_latency_table, progress)
    return Costs(table=table, video_table=of_videos)


def space_table(
    space: SearchSpace, latency: LatencyConfig, path: Path, progress: Progress | None = None
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
    if table.space != space.name:
        raise MeasureInputError(f"{path}: of another space {table.space!r} than {space.name!r}")
    names = [block_name(block) for block in space_blocks(space)]
    lacking = [name for name in names if name not in table.blocks]
    if lacking:
        which = f"{len(lacking)} of the {len(names)} blocks of {space.name} with {space.keypoints} keypoints"
        raise MeasureInputError(f"{path}: lacks {which}, such as {lacking[0]}")


def _video_table_in(
    path: Path, space: VideoSearchSpace, latency: LatencyConfig, fingerprint: Fingerprint
) -> VideoLatencyTable | None:
    """As :func:`table_in`."""
    if not path.is_file():
        return None
    try:
        table = VideoLatencyTable.load(path)
        if (table.fingerprint, table.batch, table.space) != (fingerprint, latency.batch, space.id):
            raise MeasureInputError(f"{path}: of another machine, setting or space")
    except MeasureInputError as error:
        _log.warning("%s; it is measured anew", error)
        return None
    return table
