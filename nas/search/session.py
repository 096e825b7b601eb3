"""A search of image or video networks: what its workers hold, what its candidates cost, how its front is measured."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evaluators import CocoKeypointAP
from evaluators.latency.fingerprint import Fingerprint
from nas.data.build_once import content_key
from nas.data.cache import CropCache
from nas.data.clip_cache import ClipCache
from nas.data.coco import CocoKeypoints
from nas.data.codecs import Codec
from nas.data.pose_data import PoseData, sigma_identity
from nas.data.posetrack import PoseTrackVideos
from nas.data.video_data import VideoData
from nas.evaluation.clips import people_shown
from nas.latency import LatencyConfig
from nas.latency.published import measure_published
from nas.latency.video import frame_latencies
from nas.run.folder import RunFolder
from nas.run.lock import RunLock
from nas.search.candidates.config import CandidateConfig, Precision
from nas.search.candidates.costs import Costs, latency_source, meter_of, table_costs
from nas.search.candidates.evaluator import CandidateEvaluator, precision_dtype
from nas.search.candidates.people import ClipPeople, CropPeople, People, Shown
from nas.search.candidates.sized_crops import SizedCrops
from nas.search.record.resume import check_identity, recorded_identity, recorded_objectives
from nas.search.verdict import NEAR_ZERO_AP
from nas.search.workers.executor import Factory
from nas.search.workers.latency_slot import Measure
from nas.search.workers.node_files import FilesMissing, NodeFiles
from search_spaces import (
    InputError,
    PoseArchitecture,
    PropagatedFrame,
    SearchSpace,
    VideoArchitecture,
    VideoSearchSpace,
    published,
    published_names,
)
from search_spaces.layers import Size

from .checks import (
    candidate_identity,
    check_device,
    check_objectives,
    decide_precision,
    device_of,
    latency_identity,
    on_one_thread,
    select_minimized,
)
from .config import DEFAULT_OBJECTIVES, SearchConfig
from .driver import SEARCHING, SearchResult, run_search
from .loop import SearchProgress

__all__ = [
    "ApKind", "CandidateFactory", "FrontMeasure", "candidate_factory", "check_files", "search_networks",
    "with_algorithm",
]  # fmt: skip

_log = logging.getLogger(__name__)

PEOPLE_TO_SEE_AP = 200
"""On so many it is seen whether the largest network's is that low."""
ApKind = Literal["oks", "posetrack"]
Space = SearchSpace | VideoSearchSpace
Architecture = PoseArchitecture | VideoArchitecture


@dataclass(frozen=True)
class CandidateFactory:
    """Travels to a worker and makes its evaluator there; crops are mapped from their file, not copied."""

    supernet: Path
    key: Path | None
    """The key frame's network; None for a search of image networks."""
    calibration: CropCache | ClipCache
    """As ``crops``, of the space's largest input size."""
    crops: CropCache | ClipCache
    truth: CocoKeypoints
    """Of exactly the people that the crops show."""
    codec: Codec
    costs: Costs
    race_on: tuple[str, ...]
    config: CandidateConfig
    device: str = "cpu"
    with_oks: bool = False
    """Whether mean OKS is an objective."""
    videos: PoseTrackVideos | None = None
    """Where AP is PoseTrack's: the whole videos that the clips are of."""
    others: tuple[SizedCrops, ...] = ()
    """Of images: the same people at the space's other input sizes."""

    def quicker_precision(self) -> Precision:
        """In which the networks run faster on this machine's CPU."""
        import torch

        from supernet import Supernet

        with on_one_thread():
            images = self.calibration.tensor(slice(0, 16))
            space = Supernet.load(self.supernet).space
            dtype = precision_dtype("auto", space, images if self.key is None else images[:, 0])
        return "bfloat16" if dtype == torch.bfloat16 else "float32"

    def __call__(self) -> CandidateEvaluator:
        import torch

        from nas.weights.files import load_network
        from supernet import Supernet

        check_device(self.device)
        torch.set_num_threads(1)
        images, maps, people = self.calibration.tensor(), None, self._people()
        if isinstance(self.calibration, ClipCache):
            maps = torch.from_numpy(self.calibration.previous_from_current())
        others: dict[Size, Callable[[], Shown]] = {}
        if isinstance(people, CropPeople):
            others = {one.codec.input_size: partial(one.shown, people) for one in self.others}
        return CandidateEvaluator(
            Supernet.load(self.supernet),
            Shown((images[:, None] if maps is None else images, maps), people, self.codec),
            self.costs,
            self.race_on,
            self.config,
            self.device,
            () if self.key is None else (load_network(self.key, PoseArchitecture),),
            self.with_oks,
            others,
        )

    def _people(self) -> People:
        if isinstance(self.crops, ClipCache):
            return ClipPeople(self.crops, self.truth, self.videos)
        return CropPeople(self.crops, CocoKeypointAP(self.truth.ground_truth, self.truth.sigmas), self.truth.sigmas)

    @property
    def _caches(self) -> list[CropCache | ClipCache]:
        """Pairs, of the largest input size first: to calibrate on, and to evaluate on."""
        pairs = ((self.calibration, self.crops), *((one.calibration, one.crops) for one in self.others))
        return [cache for pair in pairs for cache in pair]

    def portable(self) -> tuple[Factory, dict[str, Path]]:
        """For workers that may not see this machine's files: see :mod:`nas.search.workers.node_files`."""
        weights = tuple(NodeFiles.of(path.parent, [path.name]) for path in (self.supernet, self.key) if path)
        caches = tuple(NodeFiles.of(_crops(cache).path, CropCache.FILES) for cache in self._caches)
        labels = [sequence.file for sequence in self.videos.sequences] if self.videos else []
        truth = tuple(NodeFiles.of(path.parent, [path.name]) for path in labels)
        nothing: Any = None
        rows = tuple(cache.rows if isinstance(cache, ClipCache) else None for cache in (self.calibration, self.crops))
        others = tuple(replace(one, calibration=nothing, crops=nothing) for one in self.others)
        bare = replace(self, supernet=nothing, key=nothing, calibration=nothing, crops=nothing, others=others)
        found = _PortableFactory(bare, weights, caches, rows, truth)
        return found, {digest: path for one in found.files for digest, path in one.paths.items()}


@dataclass(frozen=True)
class _PortableFactory:
    """A :class:`CandidateFactory` whose files are found, or laid down, on the node where it is called."""

    factory: CandidateFactory
    weights: tuple[NodeFiles, ...]
    """Of the supernet, and of a key frame's network."""
    caches: tuple[NodeFiles, ...]
    """Of the calibration crops and of those to evaluate on; then of both at other input sizes."""
    rows: tuple[Any, ...]
    """Of the first two, what makes clips of their crops; None for images."""
    truth: tuple[NodeFiles, ...]
    """The files of the videos' labels, one each."""

    @property
    def files(self) -> tuple[NodeFiles, ...]:
        return (*self.weights, *self.caches, *self.truth)

    def __call__(self) -> CandidateEvaluator:
        missing: list[str] = []
        folders: list[Path] = []
        for files in self.files:
            try:
                folders.append(files.here())
            except FilesMissing as error:
                missing += error.digests
        if missing:
            raise FilesMissing(missing)
        named = [folder / next(iter(files.digests)) for files, folder in zip(self.files, folders, strict=True)]
        first = len(self.weights)
        labels = first + len(self.caches)
        calibration, crops = (
            CropCache(folder) if rows is None else ClipCache(CropCache(folder), rows)
            for folder, rows in zip(folders[first : first + 2], self.rows, strict=True)
        )
        further = [CropCache(folder) for folder in folders[first + 2 : labels]]
        pairs = zip(self.factory.others, further[::2], further[1::2], strict=True)
        others = tuple(replace(one, calibration=its, crops=people) for one, its, people in pairs)
        videos = self.factory.videos
        if videos is not None:
            moved = zip(videos.sequences, named[labels:], strict=True)
            videos = replace(videos, sequences=tuple(replace(sequence, file=file) for sequence, file in moved))
        key = named[1] if first == 2 else None
        factory = replace(
            self.factory, supernet=named[0], key=key, calibration=calibration, crops=crops, videos=videos, others=others
        )
        return factory()


@dataclass(frozen=True)
class FrontMeasure:
    """Measures the front's members end to end, a video's frame by frame, in the latency slot."""

    latency: LatencyConfig
    fingerprint: Fingerprint | None = None
    """What they must be measured on."""

    def __call__(self) -> Callable[[Sequence[Architecture]], list[dict[str, Any]]]:
        meter = meter_of(self.latency, self.fingerprint)
        return lambda architectures: frame_latencies(meter, list(architectures))


def search_networks(
    space: Space,
    data: PoseData | VideoData,
    search: SearchConfig,
    candidate: CandidateConfig,
    latency: LatencyConfig,
    run: RunFolder,
    *,
    ap: ApKind = "oks",
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[SearchProgress], None] | None = None,
    table_progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Search the space of the supernet that lies in the run's folder: of image networks, or of video networks.

    Args:
        data: of the kind that goes with the space.
        ap: of videos, what the objective ``ap`` is: COCO's AP over all frames, or PoseTrack's.

    Raises:
        InputError: the folder is in use; it has no supernet of this space, or a search and ``resume`` is not set; the
            data cannot be used; an objective has no source.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved.
    """
    recorded = recorded_objectives(run.path) if resume else None
    if search.objectives is None and recorded is not None:
        search = replace(search, objectives=recorded)
    problem = search.problem()
    needs_latency = "latency_ms" in problem.names
    check_objectives(problem, candidate.racing)
    search = with_algorithm(search, space, run, resume)
    check_files(run, space, data)
    _check_data(data, ap)
    with (
        RunLock(run.path, SEARCHING) as lock,  # a second search should not measure blocks meanwhile
        latency_source(search, latency if needs_latency else None) as fingerprint,
    ):
        if resume:  # before a table is measured on another device, in place of the one that was
            check_identity(run.path, {"latency": latency_identity(latency, fingerprint)}, ["latency"])
        if search.objectives is None:
            search = replace(search, objectives=_default_objectives(space, data, candidate, run, ap))
            problem = search.problem()
        if search.algorithm != "guided" or not {"ap", "mean_oks"} & set(problem.names):
            candidate = replace(candidate, first_look=0)
        costs = Costs()
        if fingerprint is not None and candidate.latency == "measure":
            costs = Costs(latency=latency, fingerprint=fingerprint, in_slot=search.ray_address is not None)
        elif fingerprint is not None:
            costs = table_costs(space, latency, run, fingerprint, search.ray_address is not None, table_progress)
        race_on, device = select_minimized(problem), device_of(search)
        factory = candidate_factory(space, data, candidate, run, costs, race_on, device, ap)
        known = recorded_identity(run.path) if resume else None
        decided = decide_precision(factory, known or {})
        factory = replace(factory, config=decided, with_oks="mean_oks" in problem.names)
        return run_search(
            space,
            factory,
            search,
            run.path,
            rng=np.random.default_rng(seed),
            resume=resume,
            initial=_initial(space),
            identity={**_identity(factory, latency, fingerprint, ap), **sigma_identity(data.config)},
            measure=FrontMeasure(latency, fingerprint) if needs_latency else None,
            measured=_measuring_published(run, space, latency, fingerprint),
            progress=progress,
            lock=lock,
        )


def _measuring_published(
    run: RunFolder, space: Space, latency: LatencyConfig, fingerprint: Fingerprint | None
) -> Callable[[Measure], None] | None:
    """Measures the published networks beside a front of image networks; there are none of videos."""
    if fingerprint is None or isinstance(space, VideoSearchSpace):
        return None
    return lambda measure: measure_published(run, space, fingerprint, latency.batch, measure)


def with_algorithm(search: SearchConfig, space: Space, run: RunFolder, resume: bool) -> SearchConfig:
    """The settings with an algorithm, where they leave it to us: guided for image networks, evolution for videos'.

    Raises:
        InputError: they ask for a guided search of video networks, and do not go on with one of before.
    """
    if not isinstance(space, VideoSearchSpace):
        return replace(search, algorithm=search.algorithm or "guided")
    if search.algorithm != "guided":
        return replace(search, algorithm=search.algorithm or "evolution")
    if not (resume and run.journal.is_file() and run.journal.stat().st_size):
        raise InputError(
            "search.algorithm: guided is for image networks, its first looks are not of clips; leave it out, or choose "
            "evolution or random"
        )
    _log.warning("%s: its search.algorithm guided meant evolution of video networks: it goes on as evolution", run.path)
    return replace(search, algorithm="evolution")


def _default_objectives(
    space: Space, data: PoseData | VideoData, candidate: CandidateConfig, run: RunFolder, ap: ApKind
) -> tuple[str, ...]:
    """AP and latency; mean OKS and latency where even the largest network inherits next to no AP, which is said."""
    few = min(candidate.persons, PEOPLE_TO_SEE_AP)
    whole = replace(candidate, persons=few, first_look=0, racing=False, cache_mb=0)
    factory = candidate_factory(space, data, whole, run, Costs(), (), "cpu", ap)
    with on_one_thread():
        found = float(factory().complete(space.largest())["objectives"]["ap"])
    if not 0 <= found < NEAR_ZERO_AP:  # -1: nobody counts, which the search will say
        return DEFAULT_OBJECTIVES
    _log.warning(
        "the largest network inherits an AP of %.4f, too near 0 to rank networks by: the search ranks by mean OKS "
        "(search.objectives [mean_oks, latency_ms]); a supernet that is trained longer ranks better",
        found,
    )
    return tuple("mean_oks" if name == "ap" else name for name in DEFAULT_OBJECTIVES)


def _initial(space: Space) -> list[Any]:
    """The extremes, and what a user would run without a search: published networks; the key frame's on every frame."""
    members: list[Any] = [published(name) for name in published_names()]
    if isinstance(space, VideoSearchSpace):
        alone = PropagatedFrame(architecture=space.key)
        members = [VideoArchitecture(key=space.key, frames=(alone,) * space.length)]
    ends: list[Any] = [space.smallest(), space.largest()]
    return [*ends, *(member for member in members if space.contains(member) and member not in ends)]


def check_files(run: RunFolder, space: Space, data: PoseData | VideoData) -> None:
    """Before workers start: the supernet is there and of this space, and a key frame's network, too; they predict the
    data's keypoints in their order."""
    from nas.weights.files import load_network
    from nas.weights.order import require_keypoints
    from supernet import Supernet

    files = [run.temporal, run.key] if isinstance(space, VideoSearchSpace) else [run.supernet]
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: no such file; run `vipnas train-supernet` first")
    Supernet.load(files[0], space)
    if isinstance(space, VideoSearchSpace):
        load_network(run.key, space.key)
    data.read()
    for path in files:
        require_keypoints(path, data.val.keypoint_set.names)
    data.tell_of_keypoints("val", mirrors=False, evaluates=True)


def _check_data(data: PoseData | VideoData, ap: ApKind) -> None:
    """Before anything is measured: people can be evaluated as the configuration says."""
    if isinstance(data, PoseData):
        if data.config.detections is not None:
            raise InputError(
                "data.detections: a search evaluates people by their ground-truth boxes; leave detections out"
            )
        return
    if data.config.video.val_detections is not None:
        raise InputError("data.video.val_detections: a search takes people's ground-truth boxes; leave it out")
    if ap == "posetrack":
        data.val.require_head_boxes()


def candidate_factory(
    space: Space,
    data: PoseData | VideoData,
    candidate: CandidateConfig,
    run: RunFolder,
    costs: Costs,
    race_on: tuple[str, ...],
    device: str,
    ap: ApKind = "oks",
) -> CandidateFactory:
    """What makes the evaluator of the run's supernet, here or on a worker: crops are cut and kept now.

    Args:
        race_on: see :class:`CandidateEvaluator`.
    """
    size, videos = space.input_size, None
    networks = space.of_each_head() if isinstance(space, SearchSpace) else (space.key,)
    codec, *_ = [data.codec_of(network) for network in networks]  # of all: one may be refused
    crops: CropCache | ClipCache
    calibration: CropCache | ClipCache
    others: tuple[SizedCrops, ...] = ()
    if isinstance(data, PoseData):
        truth = data.val.sample(candidate.persons, data.config.sample_seed)
        truth.require_somebody(f"{data.val_files[0]} (candidate.persons {candidate.persons})")
        crops = CropCache.build(data.cache_folder, truth.instances, codec, padding=data.config.padding)
        calibration = data.calibration_crops(size, candidate.calibration_crops)
        assert isinstance(space, SearchSpace)
        others = tuple(
            SizedCrops.of(networks[0].replace(input_size=one), data, truth, candidate.calibration_crops)
            for one in space.sizes
            if one != size
        )
        truth = replace(truth, instances=())
    else:
        if ap == "posetrack":  # counts whoever is missed in a frame, so it needs whole videos
            videos = data.val.sample(candidate.persons, data.config.sample_seed)
            crops, truth = data.clips_of(videos, size), videos.people
        else:
            crops, truth = data.sampled_clips(size, candidate.persons), data.val.people
        calibration = data.calibration_clips(size, candidate.calibration_crops)
        truth = people_shown(truth, crops)
        truth.require_somebody(f"{data.val.annotations} (candidate.persons {candidate.persons})")
    of_videos = isinstance(space, VideoSearchSpace)
    return CandidateFactory(
        supernet=(run.temporal if of_videos else run.supernet).resolve(),
        key=run.key.resolve() if of_videos else None,
        calibration=calibration,
        crops=crops,
        truth=truth,
        codec=codec,
        costs=costs,
        race_on=race_on,
        config=candidate,
        device=device,
        videos=videos,
        others=others,
    )



def _identity(
    factory: CandidateFactory, latency: LatencyConfig, fingerprint: Fingerprint | None, ap: ApKind
) -> dict[str, Any]:
    """What makes two evaluations comparable; a resumed search must have the same."""

    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    return {
        "supernet": digest(factory.supernet),
        **({} if factory.key is None else {"key": digest(factory.key)}),
        "validation": _crops_identity(factory.crops),
        "calibration": _crops_identity(factory.calibration),
        **({} if not factory.others else {"other_sizes": [_crops_identity(one.crops) for one in factory.others]}),
        "codec": factory.codec.label,
        **({} if factory.key is None else {"ap": ap}),
        "candidate": candidate_identity(factory.config),
        "device": factory.device,
        "latency": latency_identity(latency, fingerprint),
    }


def _crops(cache: CropCache | ClipCache) -> CropCache:
    return cache.crops if isinstance(cache, ClipCache) else cache


def _crops_identity(cache: CropCache | ClipCache) -> str:
    name = _crops(cache).path.name
    return content_key(name, cache.rows) if isinstance(cache, ClipCache) else name
