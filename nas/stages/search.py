"""The stage that searches the space of the run's supernet."""

from __future__ import annotations

from dataclasses import replace

from nas.run.folder import RunFolder
from nas.search.candidates.costs import Costs
from nas.search.candidates.evaluator import CandidateEvaluator
from nas.search.checks import decide_precision, device_of, select_minimized
from nas.search.driver import SearchResult
from nas.search.record.resume import recorded_identity, recorded_objectives
from nas.search.session import candidate_factory, check_files, search_networks
from nas.stages import sections
from nas.stages.context import StageContext
from nas.stages.train import video_space
from search_spaces import InputError, SearchSpace, VideoSearchSpace

__all__ = ["evaluator_of_run", "search_stage"]


def search_stage(context: StageContext) -> SearchResult:
    """Search for accuracy against measured latency, of image networks or, with ``video.frames``, of video networks.

    Raises:
        InputError: as ``nas.search.session.search_networks``; there is no supernet, or one of another space.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved.
    """
    config, run = context.config, RunFolder.existing(context.config.run_dir)
    space = _searched_space(context, run)
    data = context.data(space.keypoints)
    data.read()  # now: nothing is written for data that cannot be used
    if not config.is_video and not run.supernet.is_file():
        raise InputError(f"{run.supernet}: no such file; run `vipnas train-supernet` first")
    if run.journal.is_file() and run.journal.stat().st_size:
        context.refuse_to_overwrite(run.journal, "a search")
    if isinstance(space, SearchSpace):
        run.write_space(space)
    context.narrator.stage("measuring latencies on this machine, then searching for accuracy and latency")
    with (
        context.narrator.counting("measuring blocks") as table_progress,
        context.narrator.searching() as show,
        context.recording(sections.SEARCH_VIDEOS if config.is_video else sections.SEARCH, show) as progress,
    ):
        return search_networks(
            space,
            data,
            config.search,
            config.candidate,
            config.latency,
            run,
            ap=config.video.ap,
            seed=config.seed,
            resume=context.resume,
            progress=progress,
            table_progress=table_progress,
        )


def _searched_space(context: StageContext, run: RunFolder) -> SearchSpace | VideoSearchSpace:
    """The configured space; of videos it has to be the run's, which says the key frame's network."""
    config = context.config
    if not config.is_video:
        return context.space()
    if not run.is_video or not run.temporal.is_file():
        raise InputError(f"{run.temporal}: no such file; run `vipnas train-supernet` first")
    space = run.load_video_space()
    if space.length != config.video.frames:
        raise InputError(
            f"{run.path}: the temporal supernet is of {space.length} propagated frames, video.frames is "
            f"{config.video.frames}; choose the same, or another run_dir"
        )
    wanted = video_space(config, space.key)
    if wanted.id != space.id:
        raise InputError(
            f"{run.path}: holds a run on the space {space.name!r} ({space.id}), not on {wanted.name!r} ({wanted.id}); "
            "choose another run_dir"
        )
    return space


def evaluator_of_run(context: StageContext) -> CandidateEvaluator:
    """What a worker of the search evaluates candidates with, for use in this process. Latency is not among its costs.

    Raises:
        InputError: there is no supernet; the data cannot be used.
    """
    config, run = context.config, RunFolder.existing(context.config.run_dir)
    space = run.load_video_space() if config.is_video else run.load_space()
    data = context.data(space.keypoints)
    check_files(run, space, data)
    search, candidate = config.search, config.candidate
    if search.objectives is None:
        search = replace(search, objectives=recorded_objectives(run.path))
    problem = search.problem()
    # Nobody predicts latency here: networks race against those that are smaller in every way.
    race_on = tuple(name for name in select_minimized(problem) if name != "latency_ms") or ("macs", "params")
    if run.is_video:
        candidate = replace(candidate, first_look=0)
    device = device_of(config.search)
    factory = candidate_factory(space, data, candidate, run, Costs(), race_on, device, config.video.ap)
    decided = decide_precision(factory, recorded_identity(run.path) or {})
    return replace(factory, config=decided, with_oks="mean_oks" in problem.names)()
