"""The stage between a search and retraining: networks of the front, and their neighbours, trained as far as it pays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evaluators.latency.fingerprint import Fingerprint
from nas.data.pose_data import PoseData
from nas.latency import LatencyConfig, LatencyMeter
from nas.latency.published import measure_published
from nas.run.files import atomic_write_json, to_plain
from nas.run.folder import RunFolder, is_measure, read_json_lines
from nas.run.lock import RunLock
from nas.search.driver import terminated_as_interrupted
from nas.search.record.front import cost_of
from nas.search.record.journal import latest
from nas.search.workers.latency_slot import measure_in_slot
from nas.search.workers.ray_session import RaySession
from nas.training.teacher import require_teacher_of_all
from nas.weights.order import require_keypoints
from search_spaces import InputError, PoseArchitecture
from supernet import Supernet

from .choosing import choose_finalists
from .climb import Climb, climb_here
from .config import FinalistsConfig
from .ladder import Ladder
from .outcome import outcome
from .trainer import FinalistTrainer

__all__ = ["PLAN", "train_finalists"]

PLAN = "plan.json"
"""In RUN/finalists: the networks, their latencies, and what they are trained with."""
PLAN_FORMAT = "vipnas-finalists-plan/1"
NOT_OF_THE_PLAN = (
    "minutes", "workers", "gpus_per_network", "ray_address", "budgets_ms", "device", "threads", "checkpoint_every",
    "log_every", "teacher", "processes",
)  # fmt: skip
"""Settings that may change when a stage goes on; a teacher's weights may not, which the checkpoints see to."""


def train_finalists(
    run: RunFolder,
    data: PoseData,
    config: FinalistsConfig,
    latency: LatencyConfig,
    *,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train networks of a run's front, and near it, from inherited weights; what ``finalists.json`` holds.

    Each network's weights and results are in ``RUN/finalists/ID``, as retraining writes them.

    Args:
        resume: go on with the stage that the folder holds, whose networks and latencies stay; otherwise one that is
            there is an error.
        progress: called with the rungs that are done (or will not be trained), and all of them.

    Raises:
        InputError: there is no search or no supernet, another process trains finalists, the data or the settings cannot
            be used, or are others than those of the stage to go on with.
        FinalistsFailed: not one network could be trained.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is trained is kept.
    """
    plan_file = run.finalists / PLAN
    if plan_file.is_file() and not resume:
        raise InputError(f"{run.finalists}: finalists are there; go on with --resume, or move that folder away")
    _check(run, data, config)
    with ExitStack() as stack:
        stack.enter_context(RunLock(run.finalists, "finalists"))
        identity = _identity(run, config)
        session = None
        if plan_file.is_file():
            plan = _read_plan(plan_file, identity)
            planned = [PoseArchitecture.from_json(one["architecture"]) for one in plan["networks"]]
            require_teacher_of_all(config.teacher, planned)
        else:
            session = stack.enter_context(_ray(config)) if config.workers else None
            plan = _make_plan(run, config, latency, session, identity)
            atomic_write_json(plan_file, plan)
        climb = _climb(run, plan, config, progress)
        trainer = FinalistTrainer(
            folder=run.finalists.resolve(),
            supernet=run.supernet.resolve(),
            data_config=data.config,
            keypoints=climb.architectures[0].keypoints,
            config=config.training(),
            rung_ends=config.rung_ends,
            resamples=config.resamples,
        )
        if climb.recall(trainer.folder) and config.workers:
            from .tune import climb_on_tune

            if session is None:
                stack.enter_context(_ray(config))
            stack.enter_context(terminated_as_interrupted())  # after Ray has set its own handler
            climb_on_tune(climb, trainer, cpus=config.threads or 1, gpus=config.gpus_per_network)
        else:
            climb_here(climb, trainer)
        found = outcome(climb, plan, config.budgets_ms)
        atomic_write_json(run.finalists_file, found)
    return found


def _check(run: RunFolder, data: PoseData, config: FinalistsConfig) -> None:
    """Before anything is written: there is something to train, by which it can be evaluated."""
    if run.is_video:
        raise InputError(f"{run.path}: is a run on videos, and finalists are image networks; retrain its networks")
    if not run.load_front():
        raise InputError(f"{run.front}: the front is empty; search longer, or loosen its constraints")
    if not run.supernet.is_file():
        raise InputError(f"{run.supernet}: no such file; run `vipnas train-supernet` first")
    if data.config.detections is not None:
        raise InputError("data.detections: finalists are evaluated by ground-truth boxes; leave detections out")
    if config.gpus_per_network and config.ray_address is None:
        import torch

        if not torch.cuda.is_available():
            raise InputError("finalists.gpus_per_network: torch finds no GPU on this machine; set it to 0")
    data.read()
    require_keypoints(run.supernet, data.val.keypoint_names)
    data.tell_of_keypoints("train", mirrors=data.config.augmentation.flip_probability > 0, evaluates=False)
    data.tell_of_keypoints("val", mirrors=config.validation.flip_test, evaluates=True)


def _identity(run: RunFolder, config: FinalistsConfig) -> dict[str, Any]:
    """What must be the same for a stage to go on."""
    settings = {name: value for name, value in to_plain(config).items() if name not in NOT_OF_THE_PLAN}
    return {"supernet": hashlib.sha256(run.supernet.read_bytes()).hexdigest()[:16], **settings}


def _ray(config: FinalistsConfig) -> RaySession:
    return RaySession(config.ray_address, cpus=config.workers * (config.threads or 1))


def _climb(
    run: RunFolder,
    plan: Mapping[str, Any],
    config: FinalistsConfig,
    progress: Callable[[int, int], None] | None,
) -> Climb:
    networks = plan["networks"]
    return Climb(
        architectures=[PoseArchitecture.from_json(one["architecture"]) for one in networks],
        ladder=Ladder([one["latency_ms"] for one in networks], config.rungs, config.noise),
        rung_ends=config.rung_ends,
        is_given=[one["near"] is None for one in networks],
        minutes=config.minutes,
        clock=run.finalists / "clock.json",
        progress=progress,
    )


def _make_plan(
    run: RunFolder,
    config: FinalistsConfig,
    latency: LatencyConfig,
    session: RaySession | None,
    identity: Mapping[str, Any],
) -> dict[str, Any]:
    """Choose the networks and measure them all side by side, before any of them is trained."""
    front_file, space = run.load_front_file(), run.load_space()
    cost = cost_of(front_file["objectives"])
    if not {"ap", "mean_oks"} & front_file["objectives"].keys() or cost is None:
        raise InputError(f"{run.front}: finalists are spread over a front of AP or OKS, and a cost such as latency_ms")
    chosen = choose_finalists(
        front_file["front"],
        latest(read_json_lines(run.journal)),
        space,
        networks=config.networks,
        neighbours=config.neighbours,
        cost=cost,
    )
    architectures = [PoseArchitecture.from_json(one.record["architecture"]) for one in chosen]
    require_teacher_of_all(config.teacher, architectures)  # before any is measured, and long before it is trained
    Supernet.load(run.supernet, space)  # it is of this space
    measured = _measured(latency, session, architectures)
    fingerprint = Fingerprint.from_json(measured[0]["fingerprint"])
    measure_published(run, space, fingerprint, latency.batch, partial(_measured, latency, session))
    networks = [
        {
            "id": architecture.id,
            "architecture": architecture.to_json(),
            "near": one.near,
            "inherited": {**one.record["objectives"], **(one.record.get("metrics") or {})},
            "latency_ms": values["latency_ms"],
            "spread_ms": values["spread_ms"],
        }
        for one, architecture, values in zip(chosen, architectures, measured, strict=True)
    ]
    return {
        "format": PLAN_FORMAT,
        "identity": dict(identity),
        "fingerprint": measured[0]["fingerprint"],
        "batch": latency.batch,
        "noise": config.noise,
        "resamples": config.resamples,
        "networks": sorted(networks, key=lambda one: (one["latency_ms"], one["id"])),
    }


@dataclass(frozen=True)
class _Measure:
    """Travels to the latency slot, and measures there."""

    latency: LatencyConfig

    def __call__(self) -> Callable[[Sequence[Any]], list[dict[str, Any]]]:
        from nas.latency.video import frame_latencies

        meter = LatencyMeter(self.latency)
        fingerprint = meter.fingerprint.to_json()
        return lambda architectures: [
            {**values, "fingerprint": fingerprint} for values in frame_latencies(meter, list(architectures))
        ]


def _measured(
    latency: LatencyConfig, session: RaySession | None, architectures: Sequence[PoseArchitecture]
) -> list[dict[str, Any]]:
    if session is None:
        return _Measure(latency)()(architectures)
    found: list[dict[str, Any]] = list(measure_in_slot(_Measure(latency), session, architectures))
    return found


def _read_plan(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of the stage to go on with.

    Raises:
        InputError: it is damaged, or of another stage: the message names what differs.
    """
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        if plan["format"] != PLAN_FORMAT:
            raise ValueError(f"format is {plan['format']!r}")
        for one in plan["networks"]:
            if PoseArchitecture.from_json(one["architecture"]).id != one["id"] or not is_measure(one["latency_ms"]):
                raise ValueError(f"{one['id']} is not the network or has no latency")
        found = dict(plan["identity"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: damaged ({reason}); move {path.parent} away and start again") from None
    for key in (*identity, *(key for key in found if key not in identity)):
        if found.get(key) != identity.get(key):
            raise InputError(
                f"{path}: is of other finalists: {key} was {found.get(key)!r} and is now {identity.get(key)!r}; resume "
                f"with the same, or move {path.parent} away"
            )
    return dict(plan)
