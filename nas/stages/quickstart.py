"""The whole path in one call: people, supernet, search, export, retraining, evaluation, report."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.config import Config, load_config, save_config
from nas.data.pose_data import PoseData
from nas.data.synthetic import SyntheticConfig, synthesize
from nas.processes.cores import available_cores
from nas.run.files import atomic_write_json
from nas.run.folder import RunFolder
from nas.stages.context import StageContext
from nas.stages.narrator import Narrator, SilentNarrator
from search_spaces import InputError, PoseArchitecture, VideoArchitecture

__all__ = [
    "CONFIG",
    "ChosenNetwork",
    "QuickstartResult",
    "TrainedNetwork",
    "accuracy",
    "cores_to_take",
    "has_exports",
    "latest_run_folder",
    "most_accurate",
    "networks_to_train",
    "new_run_folder",
    "note_people",
    "plan",
    "planned",
    "quickstart",
    "read_people",
    "shared_by_processes",
    "train_network",
]

CONFIG = Path(__file__).with_name("quickstart.yaml")

FIXED_S = 55.0
"""Seconds, about, that do not scale: starting Ray, measuring the latency table, exporting, evaluating, the report."""
SECONDS_AN_IMAGE = 0.02
IMAGES_A_MINUTE = 420
MOST_IMAGES = 10_000
SHARES = {"train": 0.45, "search": 0.04, "retrain": 0.51}
NETWORKS = 3
"""To train; ``retrain`` is their time together."""
LEAST_MINUTES = 2.0
LONG_MINUTES = 30.0
"""From here on people are seen often enough that turned and tinted views of them pay."""
LONG_SPACE = "resnet-tiny"
"""In so much time its larger networks, too, see people often enough to be worth their milliseconds."""
LONG_AUGMENTATION = [("rotation_probability", "0.3"), ("rotation_deg", "30"), ("scale", "0.2"), ("color", "0.2")]
BATCH = 48
"""People a step, over all processes."""
MOST_PROCESSES = 4
TRAINS = "quickstart.json"
"""In the run's folder: that several networks share the time of the retraining."""
PEOPLE = "synthetic_people.json"
"""In the run's folder: what is to be drawn."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A network of the front, trained by itself."""

    architecture: PoseArchitecture
    latency_ms: float
    """Measured, with all of the front side by side."""
    inherited_ap: float
    ap: float
    """After retraining."""


@dataclass(frozen=True)
class QuickstartResult:
    """What came out, and where it lies."""

    run: RunFolder
    report: Path
    networks: list[TrainedNetwork]
    """Quickest first."""
    untrained_ap: float
    """Of the slowest of them before any training, on the same people: what the figures are to be compared with."""
    evaluated: int
    candidates_a_minute: float


def plan(minutes: float, data: Path | None, run_dir: Path) -> tuple[Config, SyntheticConfig | None]:
    """The configuration of a quickstart of about so many minutes, and the data to make (None: the user's are used).

    Raises:
        InputError: fewer minutes than the path needs.
    """
    if not minutes >= LEAST_MINUTES:
        raise InputError(f"--minutes {minutes:g}: the whole path needs {LEAST_MINUTES:g} minutes at least")
    images = int(min(MOST_IMAGES, max(400, IMAGES_A_MINUTE * minutes)))
    making_s = SECONDS_AN_IMAGE * images if data is None else 0.0
    rest = max(60 * minutes - FIXED_S - making_s, 20 * minutes) / 60
    overrides = [("minutes", "null")]
    cores = cores_to_take()
    overrides += shared_by_processes(("train", "retrain"), BATCH, cores)
    overrides += [("search.workers", str(cores))]
    if minutes >= LONG_MINUTES:
        overrides += [("space", LONG_SPACE)]
        overrides += [(f"data.augmentation.{name}", value) for name, value in LONG_AUGMENTATION]
    minutes_of = {stage: share * rest for stage, share in SHARES.items()}
    minutes_of["retrain"] /= NETWORKS
    overrides += [(f"{stage}.minutes", str(round(value, 4))) for stage, value in minutes_of.items()]
    overrides += [("export.networks", str(NETWORKS))]
    overrides += [("run_dir", str(run_dir)), ("data.folder", str(data or run_dir / "data"))]
    config = load_config(CONFIG, overrides)
    synthetic = None
    if data is None:
        synthetic = SyntheticConfig(train_images=images, val_images=400, videos_train=0, videos_val=0, seed=config.seed)
    return config, synthetic


def cores_to_take() -> int:
    """Cores of this machine that the quickstart takes."""
    return min(MOST_PROCESSES, available_cores())


def shared_by_processes(trainings: Sequence[str], batch: int, cores: int) -> list[tuple[str, str]]:
    """Overrides by which each training has this batch: shared by a process a core, or whole on a GPU."""
    from nas.processes.distributed import chosen_device

    processes = cores if chosen_device("auto").type == "cpu" else 1
    return [
        override
        for name in trainings
        for override in ((f"{name}.processes", str(processes)), (f"{name}.batch_size", str(batch // processes)))
    ]


def planned(run_dir: Path) -> tuple[Config, SyntheticConfig | None] | None:
    """What the quickstart in a folder was begun with; None where it had not got as far as to write it.

    Raises:
        InputError: the folder's configuration cannot be read.
    """
    path, people = RunFolder(run_dir).config, run_dir / PEOPLE
    if not path.is_file():
        return None
    config = _without_processes_on_a_gpu(load_config(path, [("run_dir", str(run_dir))]))
    if not people.is_file():
        return config, None
    try:
        content = json.loads(people.read_text(encoding="utf-8"))
        return config, SyntheticConfig(**{**content, "image_size": tuple(content["image_size"])})
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{people}: damaged; remove it to go on with the data as they are") from None


def _without_processes_on_a_gpu(config: Config) -> Config:
    """A quickstart that was begun with processes on a GPU, where they were not heeded, goes on without them."""
    from nas.processes.distributed import chosen_device

    if chosen_device("auto").type == "cpu":
        return config
    train, retrain = config.train.replace(processes=1), config.retrain.replace(processes=1)
    return dataclasses.replace(config, train=train, retrain=retrain)


def new_run_folder(folder: Path) -> Path:
    """``folder``, or with a number behind it where that holds a run already."""
    return next(candidate for candidate in _numbered(folder) if not _is_used(candidate))


def latest_run_folder(folder: Path) -> Path:
    """What :func:`new_run_folder` gave last; ``folder`` if it never did."""
    return ([folder, *itertools.takewhile(_is_used, _numbered(folder))])[-1]


def _numbered(folder: Path) -> Iterator[Path]:
    yield folder
    for number in itertools.count(2):
        yield folder.with_name(f"{folder.name}-{number}")


def _is_used(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def quickstart(config: Config, synthetic: SyntheticConfig | None, narrator: Narrator | None = None) -> QuickstartResult:
    """Run every stage that the run's folder does not have yet: calling it again goes on where it was stopped.

    Raises:
        InputError: the data cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is done is kept.
    """
    context = StageContext(config, resume=True, narrator=narrator or SilentNarrator())
    run = context.run
    if not run.config.is_file():
        atomic_write_json(run.path / TRAINS, {"networks": NETWORKS})
    note_people(run, synthetic)  # before the drawing, which may be interrupted too
    save_config(config, run.config)
    data = read_people(context, synthetic)
    exported, rate = networks_to_train(context)
    if not (run.path / TRAINS).is_file():  # begun when one network was trained, in all the time of its stage
        exported = [most_accurate(exported)]
    trained = [
        TrainedNetwork(one.architecture, one.latency_ms, one.inherited_ap, train_network(given, one.architecture))
        for one, given in zip(exported, _sharing_the_time(context, exported), strict=True)
    ]
    from nas.search.record.journal import latest, read_journal
    from nas.stages.report import report_stage

    report = report_stage(context)
    evaluated = len(latest(read_journal(run.journal)))
    untrained = _untrained_ap(trained[-1].architecture, data, config.candidate.calibration_crops)
    return QuickstartResult(run, report, trained, untrained, evaluated, rate)


def note_people(run: RunFolder, synthetic: SyntheticConfig | None) -> None:
    """What is to be drawn, for whoever goes on with the run."""
    if synthetic is not None:
        content = {name: value for name, value in dataclasses.asdict(synthetic).items() if name != "workers"}
        atomic_write_json(run.path / PEOPLE, content)


def read_people(context: StageContext, synthetic: SyntheticConfig | None) -> PoseData:
    """Make the synthetic people if they are wanted, read the annotations, and decode everybody once."""
    config, narrator = context.config, context.narrator
    if synthetic is not None:
        assert config.data.folder is not None
        total = synthetic.train_images + synthetic.val_images
        videos = synthetic.videos_train + synthetic.videos_val
        of_videos = f" and {videos} videos" if videos else ""
        narrator.stage(f"drawing {total} images{of_videos} of moving people")
        with narrator.counting("images") as progress:
            synthesize(config.data.folder, synthetic, progress)
    narrator.stage(f"reading {config.data.folder} and decoding its people once")
    space = context.space()
    data = context.images(space.keypoints)
    data.read()
    mirrors = config.data.augmentation.flip_probability > 0 or config.retrain.validation.flip_test
    data.tell_of_keypoints("val", mirrors=mirrors, evaluates=True)
    data.training_set(space.input_size)
    for size in space.sizes:
        data.validation_crops(size)
    return data


@dataclass(frozen=True)
class ChosenNetwork:
    """A network of the front that is to be trained."""

    architecture: PoseArchitecture
    latency_ms: float
    inherited_ap: float
    """Of all validation people."""
    searched: float
    """What the search ranked it by: AP, or mean OKS."""


def networks_to_train(context: StageContext) -> tuple[list[ChosenNetwork], float]:
    """Supernet, search and export, as far as the run does not have them yet.

    Returns:
        The exported networks of the front, quickest first; candidates a minute.
    """
    from nas.export.networks import choose
    from nas.stages.export import export_stage
    from nas.stages.search import search_stage
    from nas.stages.train import train_stage

    run, rate = context.run, 0.0
    if not run.supernet.is_file():
        train_stage(context)
    if not has_exports(run):
        rate = search_stage(context).candidates_a_minute
    # Not whatever else was exported since: what goes on with a run must choose as it was begun.
    chosen = choose(run.load_front_file(), context.config.export.networks)
    missing = [record["id"] for record in chosen if not (run.export(record["id"]) / "facts.json").is_file()]
    if missing or not chosen:
        export_stage(context, missing)
    found = []
    for record in chosen:
        facts = json.loads((run.export(record["id"]) / "facts.json").read_text(encoding="utf-8"))
        found.append(
            ChosenNetwork(
                architecture=PoseArchitecture.from_json(record["architecture"]),
                latency_ms=record.get("measured", record["objectives"])["latency_ms"],
                inherited_ap=facts["inherited"]["AP"],
                searched=accuracy(facts["evaluation"]),
            )
        )
    return sorted(found, key=lambda one: one.latency_ms), rate


def most_accurate(networks: Sequence[ChosenNetwork]) -> ChosenNetwork:
    """As the search has ranked them; of equals that with the higher inherited AP."""
    return max(networks, key=lambda one: (one.searched, one.inherited_ap, one.architecture.id))


def _sharing_the_time(context: StageContext, networks: Sequence[ChosenNetwork]) -> list[StageContext]:
    """``retrain.minutes`` is what a network has on average: slower ones get more, so that all see about as many people.
    """
    minutes, in_all = context.config.retrain.minutes, sum(one.latency_ms for one in networks)
    if minutes is None or len(networks) == 1:
        return [context] * len(networks)
    shares = [len(networks) * one.latency_ms / in_all for one in networks]
    return [
        context.beside(
            dataclasses.replace(context.config, retrain=context.config.retrain.replace(minutes=minutes * share))
        )
        for share in shares
    ]


def accuracy(record: Mapping[str, Any]) -> float:
    """What a search has ranked an evaluation by, beside its cost: AP, or mean OKS."""
    return float(record["objectives"].get("mean_oks", record["objectives"]["ap"]))


def has_exports(run: RunFolder) -> bool:
    return any((run.path / "export").glob("[!.]*/architecture.json"))


def train_network(context: StageContext, network: PoseArchitecture | VideoArchitecture) -> float:
    """Train an exported network on, as far as it is not yet, and export it; its AP.

    Raises:
        InputError: as ``nas.stages.retrain.retrain_stage``; or it could not be exported.
    """
    from nas.stages.retrain import retrain_stage

    retrained = retrain_stage(context, [network])[0]
    if retrained.failure:
        raise InputError(retrained.failure)
    return retrained.result.best_ap


def _untrained_ap(network: PoseArchitecture, data: PoseData, calibration_crops: int) -> float:
    """With random weights, calibrated as everything else is."""
    import torch

    from nas.evaluation.config import EvaluationConfig
    from nas.evaluation.crops import evaluate_network
    from supernet import PoseNet, UncalibratedSubnet, calibrate

    size = network.input_size
    crops = data.calibration_crops(size, calibration_crops)
    net = calibrate(UncalibratedSubnet(PoseNet(network, torch.Generator().manual_seed(0))), [crops.tensor()])
    settings = dataclasses.replace(EvaluationConfig(), flip_test=False)
    return evaluate_network(net, data.validation_crops(size), data.val, data.codec(size), settings).metrics["AP"]
