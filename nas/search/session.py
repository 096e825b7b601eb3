"""A search of image networks: what its workers hold, what its candidates cost, and how its front is measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluators import CocoKeypointAP
from evaluators.latency.fingerprint import Fingerprint
from nas.data.cache import CropCache
from nas.data.codecs import Codec
from nas.data.pose_data import PoseData, sigma_identity
from nas.latency import LatencyConfig, LatencyMeter, LatencyTable
from nas.run_folder import RunFolder
from nas.run_lock import RunLock
from search_spaces import InputError, PoseArchitecture, SearchSpace, published, published_names
from search_spaces.complexity import count

from .candidate import CandidateConfig, CandidateEvaluator, precision_dtype
from .candidate_config import Precision
from .config import SearchConfig
from .driver import SEARCHING, SearchResult, run_search
from .executor import Factory
from .loop import SearchProgress
from .node_files import FilesMissing, NodeFiles
from .preparation import (
    candidate_identity,
    check_device,
    check_objectives,
    costs_of,
    decided,
    device_of,
    latency_identity,
    meter_of,
    on_one_thread,
    one_at_a_time,
    space_table,
    table_in,
)
from .ray_session import RaySession
from .resume import recorded_identity

__all__ = ["CandidateFactory", "Costs", "FrontMeasure", "search_images"]

@dataclass(frozen=True)
class Costs:
    """The objectives of an architecture that need no image: macs, params, and latency_ms if there is a source of it."""

    table: LatencyTable | None = None
    """Predicts latency_ms in microseconds."""
    latency: LatencyConfig | None = None
    """Without a table: measures latency_ms of every candidate."""
    fingerprint: Fingerprint | None = None
    """What measurements must be made on; None for whatever the worker's machine is."""
    in_slot: bool = False
    """Measurements are made in a latency slot of the cluster, not on the worker's machine."""

    def __call__(self, architecture: PoseArchitecture) -> dict[str, float]:
        cost = count(architecture)
        values = {"macs": float(cost.macs), "params": float(cost.parameters)}
        if self.table is not None:
            return {"latency_ms": self.table.predict(architecture), **values}
        if self.latency is not None and self.in_slot:
            from .cluster_latency import latency_in_slot

            return {"latency_ms": latency_in_slot(self.latency, self.fingerprint, architecture), **values}
        if self.latency is not None:
            with one_at_a_time():
                meter = meter_of(self.latency, self.fingerprint)
                return {"latency_ms": meter.measure([architecture])[0].latency_ms, **values}
        return values


@dataclass(frozen=True)
class CandidateFactory:
    """Travels to a worker and makes its evaluator there; crops are mapped from their file, not copied."""

    supernet: Path
    calibration: CropCache
    crops: CropCache
    ground_truth: Mapping[str, Any]
    codec: Codec
    sigmas: NDArray[np.float64]
    costs: Costs
    race_on: tuple[str, ...]
    config: CandidateConfig
    device: str = "cpu"

    def quicker_precision(self) -> Precision:
        """In which the networks run faster on this machine's CPU."""
        import torch

        from supernet import Supernet

        with on_one_thread():
            dtype = precision_dtype("auto", Supernet.load(self.supernet), self.calibration.tensor(slice(0, 16)))
        return "bfloat16" if dtype == torch.bfloat16 else "float32"

    def __call__(self) -> CandidateEvaluator:
        import torch

        from supernet import Supernet

        check_device(self.device)
        torch.set_num_threads(1)
        return CandidateEvaluator(
            Supernet.load(self.supernet),
            self.calibration.tensor(),
            self.crops,
            CocoKeypointAP(self.ground_truth, self.sigmas),
            self.codec,
            self.sigmas,
            self.costs,
            self.race_on,
            self.config,
            self.device,
        )


    def portable(self) -> tuple[Factory, dict[str, Path]]:
        """For workers that may not see this machine's files: see :mod:`nas.search.node_files`."""
        supernet = NodeFiles.of(self.supernet.parent, [self.supernet.name])
        caches = [NodeFiles.of(cache.path, CropCache.FILES) for cache in (self.calibration, self.crops)]
        nothing: Any = None
        bare = replace(self, supernet=nothing, calibration=nothing, crops=nothing)
        files = (supernet, *caches)
        return _PortableFactory(bare, *files), {digest: path for one in files for digest, path in one.paths.items()}


@dataclass(frozen=True)
class _PortableFactory:
    """A :class:`CandidateFactory` whose files are found, or laid down, on the node where it is called."""

    factory: CandidateFactory
    supernet: NodeFiles
    calibration: NodeFiles
    crops: NodeFiles

    def __call__(self) -> CandidateEvaluator:
        missing, folders = [], []
        for files in (self.supernet, self.calibration, self.crops):
            try:
                folders.append(files.here())
            except FilesMissing as error:
                missing += error.digests
        if missing:
            raise FilesMissing(missing)
        [name] = self.supernet.digests
        calibration, crops = CropCache(folders[1]), CropCache(folders[2])
        return replace(self.factory, supernet=folders[0] / name, calibration=calibration, crops=crops)()


@dataclass(frozen=True)
class FrontMeasure:
    """Measures the front's members end to end, in the latency slot."""

    latency: LatencyConfig
    fingerprint: Fingerprint | None = None
    """What they must be measured on."""

    def __call__(self) -> Callable[[Sequence[PoseArchitecture]], list[dict[str, float]]]:
        meter = meter_of(self.latency, self.fingerprint)

        def measure(architectures: Sequence[PoseArchitecture]) -> list[dict[str, float]]:
            measured = meter.measure(architectures)
            return [{"latency_ms": one.latency_ms, "spread_ms": one.spread_ms} for one in measured]

        return measure


def search_images(
    space: SearchSpace,
    data: PoseData,
    search: SearchConfig,
    candidate: CandidateConfig,
    latency: LatencyConfig,
    run: RunFolder,
    *,
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[SearchProgress], None] | None = None,
    table_progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Search the space of the supernet that lies in the run's folder.

    Raises:
        InputError: the folder is in use; it has no supernet of this space, or a search and ``resume`` is not set; the
            data cannot be used; an objective has no source.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved.
    """
    problem = search.problem()
    needs_latency = "latency_ms" in problem.names
    check_objectives(problem, candidate.racing)
    _check_supernet(run, space, data)
    with (
        RunLock(run.path, SEARCHING) as lock,  # a second search should not measure blocks meanwhile
        _latency_source(search, latency if needs_latency else None) as fingerprint,
    ):
        if search.algorithm != "guided" or "ap" not in problem.names:
            candidate = replace(candidate, first_look=0)
        costs = Costs()
        if fingerprint is not None:
            costs = _latency_costs(space, search, candidate, latency, run.latency_table, fingerprint, table_progress)
        factory = _factory(space, data, candidate, run, costs, costs_of(problem), device_of(search))
        known = recorded_identity(run.path) if resume else None
        factory = replace(factory, config=decided(factory, known or {}))
        members = [published(name) for name in published_names()]
        initial = [space.smallest(), space.largest(), *(member for member in members if space.contains(member))]
        return run_search(
            space,
            factory,
            search,
            run.path,
            rng=np.random.default_rng(seed),
            resume=resume,
            initial=initial,
            identity={**_identity(factory, run, latency, fingerprint), **sigma_identity(data.config)},
            measure=FrontMeasure(latency, fingerprint) if needs_latency else None,
            progress=progress,
            lock=lock,
        )


@contextmanager
def _latency_source(search: SearchConfig, latency: LatencyConfig | None) -> Iterator[Fingerprint | None]:
    """What latency is measured on: this machine, or the slots of the cluster, to which it connects for the while."""
    if latency is None:
        yield None
    elif search.ray_address is None:
        yield LatencyMeter(latency).fingerprint
    else:
        from .cluster_latency import slot_fingerprint

        with RaySession(search.ray_address):
            yield slot_fingerprint(latency)


def _latency_costs(
    space: SearchSpace,
    search: SearchConfig,
    candidate: CandidateConfig,
    latency: LatencyConfig,
    table: Path,
    fingerprint: Fingerprint,
    progress: Callable[[int, int], None] | None,
) -> Costs:
    """Where a candidate's latency comes from: a table, made if ``table`` is not one of this kind, or measurements."""
    if candidate.latency == "measure":
        return Costs(latency=latency, fingerprint=fingerprint, in_slot=search.ray_address is not None)
    if search.ray_address is None:
        return Costs(table=space_table(space, latency, table, progress))
    from .cluster_latency import table_in_slot

    found = table_in(table, space, latency, fingerprint)
    return Costs(table=found or table_in_slot(space, latency, table))


def _check_supernet(run: RunFolder, space: SearchSpace, data: PoseData) -> None:
    """Before workers start: the supernet is there, of this space, and of the data's keypoints in their order."""
    from nas.weights_order import require_keypoints
    from supernet import Supernet

    if not run.supernet.is_file():
        raise InputError(f"{run.supernet}: no such file; run `vipnas train-supernet` first")
    Supernet.load(run.supernet, space)
    data.read()
    require_keypoints(run.supernet, data.val.keypoint_names)
    data.tell_of_keypoints("val", mirrors=False, judges=True)


def _factory(
    space: SearchSpace,
    data: PoseData,
    candidate: CandidateConfig,
    run: RunFolder,
    costs: Costs,
    race_on: tuple[str, ...],
    device: str,
) -> CandidateFactory:
    if data.config.detections is not None:
        raise InputError("data.detections: a search judges people by their ground-truth boxes; leave detections out")
    people = data.val.sample(candidate.persons, data.config.sample_seed)
    people.require_somebody(f"{data.val_files[0]} (candidate.persons {candidate.persons})")
    codec = data.codec(space.input_size)
    return CandidateFactory(
        supernet=run.supernet.resolve(),
        calibration=data.calibration_crops(space.input_size, candidate.calibration_crops),
        crops=CropCache.build(data.cache_folder, people.instances, codec, padding=data.config.padding),
        ground_truth=people.ground_truth,
        codec=codec,
        sigmas=people.sigmas,
        costs=costs,
        race_on=race_on,
        config=candidate,
        device=device,
    )


def _identity(
    factory: CandidateFactory, run: RunFolder, latency: LatencyConfig, fingerprint: Fingerprint | None
) -> dict[str, Any]:
    """What makes two evaluations comparable; a resumed search must have the same."""
    return {
        "supernet": hashlib.sha256(run.supernet.read_bytes()).hexdigest()[:16],
        "validation": factory.crops.path.name,
        "calibration": factory.calibration.path.name,
        "codec": factory.codec.name,
        "candidate": candidate_identity(factory.config),
        "device": factory.device,
        "latency": latency_identity(latency, fingerprint),
    }
