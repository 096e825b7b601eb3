"""The configuration of a run: one tree, its parts owned by the components that they configure."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from nas.config.help import FieldDoc, field_docs, holds_words
from nas.config.places import absolute, beside_file, is_noted, moved_with_run
from nas.config.reading import build
from nas.config.time_shares import with_shared_time
from nas.config.yaml_source import Keys, Located, deep_merge, parse_override, read_yaml_file
from nas.data.config import DataConfig
from nas.evaluation.config import EvaluationConfig
from nas.export.config import ExportConfig
from nas.finalists.config import FinalistsConfig
from nas.latency.config import LatencyConfig
from nas.run.files import atomic_write_text, to_plain
from nas.run.ranges import NonNegativeInt, Ranged
from nas.search.candidates.config import CandidateConfig
from nas.search.config import SearchConfig
from nas.training.config import RetrainConfig, SupernetTrainingConfig, TemporalTrainingConfig, VideoRetrainConfig
from search_spaces.errors import InputError

__all__ = ["Config", "VideoConfig", "config_docs", "load_config", "note_config", "save_config"]

TIMED = ("train", "search", "finalists", "retrain")
"""The sections with a budget of ``minutes``."""
VIDEO_TIMED = ("video.train", "search", "video.retrain")
"""Those of a run on videos."""
SEEDED = ("train", "finalists", "retrain", "video.train", "video.retrain")
"""The sections with a ``seed`` of their own, which is the run's where they do not give one."""
NAMED = ("space", "architecture", "video.key", "retrain.initialize_from", "video.retrain.initialize_from")
"""Fields of text that may be a path, or RUN:id, or the name of something."""


@dataclass(frozen=True, kw_only=True)
class VideoConfig:
    """The temporal level: with ``frames``, the stages of a run work on video networks and on ``data.video``."""

    frames: int = 0
    """T, the propagated frames after each key frame; 0 is a run on images, and the rest of this section is not read."""
    key: str | None = None
    """The key frame's trained network: an export or retrain folder, a weights file, RUN:id, or a run's folder (its best
    retrained, else exported network); empty: the best of this run's own image networks. The run keeps a copy
    (key.safetensors), by which its later stages go."""
    initialize_from_images: Path | None = None
    """An image supernet of the same space (supernet.safetensors, or its run's folder), with whose weights the frames'
    networks begin."""
    features: tuple[int, ...] | None = None
    """Stages, from 1, after which the previous heatmaps may come in; empty: all whose size fits the heatmaps'."""
    operations: tuple[Literal["add", "mul", "cat"], ...] = ("add", "mul", "cat")
    """How they may come in, besides not at all."""
    ap: Literal["oks", "posetrack"] = "oks"
    """What the search calls `ap`: COCO's over all frames, or PoseTrack's, for which people need head boxes."""
    train: TemporalTrainingConfig = field(default_factory=TemporalTrainingConfig)
    """Training of the temporal supernet, in place of `train`."""
    retrain: VideoRetrainConfig = field(default_factory=VideoRetrainConfig)
    """Training of found video networks, in place of `retrain`."""

    def __post_init__(self) -> None:
        if self.frames < 0:
            raise InputError(f"frames={self.frames}; 1 or more are possible, or 0 for a run on images")


@dataclass(frozen=True, kw_only=True)
class Config(Ranged):
    """What a run is made of. A YAML file gives any part of it; the rest keeps its default."""

    run_dir: Path = Path("runs/default")
    """Folder that the run is kept in; made if it is not there."""
    seed: NonNegativeInt = 0
    """Seed of everything that is random; a section may have one of its own."""
    minutes: float | None = None
    """Time for all stages together: the sections' own minutes are scaled to this sum. Where no section has a budget of
    its own, they share the time, and what is not said of their recipes is the quickstart's."""
    space: str = "resnet-tiny"
    """Search space: a name that `vipnas spaces` lists, or the path of a YAML file."""
    architecture: str | None = None
    """Network to retrain or evaluate: a published name, a JSON file, or RUN:id; empty: those that the run exported."""
    data: DataConfig = field(default_factory=DataConfig)
    train: SupernetTrainingConfig = field(default_factory=SupernetTrainingConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    candidate: CandidateConfig = field(default_factory=CandidateConfig)
    finalists: FinalistsConfig = field(default_factory=FinalistsConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    evaluate: EvaluationConfig = field(default_factory=EvaluationConfig)
    video: VideoConfig = field(default_factory=VideoConfig)

    @property
    def is_video(self) -> bool:
        """Whether the run is on videos."""
        return self.video.frames > 0

    @property
    def timed(self) -> tuple[str, ...]:
        """The dotted names of the sections whose ``minutes`` are the run's."""
        return VIDEO_TIMED if self.is_video else TIMED

    def section(self, dotted: str) -> Any:
        """The section, or the field, of that dotted name."""
        return functools.reduce(getattr, dotted.split("."), self)

    def with_sections(self, changes: Mapping[str, Any]) -> Config:
        """A copy with other sections or fields, by dotted name."""
        config = self
        for dotted, value in changes.items():
            config = _replaced(config, dotted.split("."), value)
        return config

    def check_final_epochs(self) -> None:
        """Not of a part of a configuration, nor of what stages have noted one after the other.

        Raises:
            InputError: the last epochs of retraining are given without what they show, or that without them.
        """
        section, retrain = ("video.retrain", self.video.retrain) if self.is_video else ("retrain", self.retrain)
        epochs, views = retrain.final_epochs, self.data.final_augmentation
        if views is not None and not epochs:
            raise InputError(f"data.final_augmentation: is given, and {section}.final_epochs is 0: it has no effect")
        if epochs and views is None:
            given = f"{section}.final_epochs is {epochs}"
            raise InputError(f"{given}, and data.final_augmentation does not say what these epochs are to show")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minutes is not None and self.minutes <= 0:
            raise InputError(f"minutes={self.minutes:g}; more than 0 are needed")


def load_config(path: Path | str, overrides: Sequence[tuple[str, str]] = ()) -> Config:
    """The configuration in a YAML file, with every stage's seed and minutes worked out.

    Relative paths are relative to the folder of the file that names them (:mod:`nas.config.places`); those of
    ``overrides`` to the current folder.

    Args:
        overrides: dotted key and YAML text (of a path or a name: that itself), as ``("search.population_size", "40")``;
            later ones win.

    Raises:
        InputError: one line with the place, the key, the value and what is allowed.
    """
    source = _read(Path(path), {dotted for dotted, _ in overrides})
    is_written = not is_noted(Path(path), source)
    for dotted, text in overrides:
        source = deep_merge(source, parse_override(dotted, text, holds_words(Config, dotted)))
    source = with_shared_time(source)
    config = _with_seed(build(Config, source), dict(source.walk()), {dotted for dotted, _ in overrides})
    if is_written:
        config.check_final_epochs()
    return config if config.minutes is None else scaled(config, config.minutes)


def _read(path: Path, overridden: Collection[str]) -> Located:
    """What a file says, its paths as they are found from here."""

    def found(layer: Located, file: Path) -> Located:
        if is_noted(file, layer):
            return moved_with_run(layer, Config, NAMED, file.parent)
        return beside_file(layer, Config, NAMED, file.parent, overridden)

    return read_yaml_file(path, found)


def _with_seed(config: Config, given: Collection[Keys], overridden: Collection[str]) -> Config:
    """The run's seed in the sections that have none of their own.

    A seed that was overridden counts for every section whose own was not: a resolved file gives all of them.
    """
    seeds = [f"{name}.seed" for name in SEEDED]
    own = [dotted for dotted in seeds if tuple(dotted.split(".")) in given]
    if "seed" in overridden:
        own = [dotted for dotted in own if dotted in overridden]
    return config.with_sections({dotted: config.seed for dotted in seeds if dotted not in own})


def scaled(config: Config, minutes: float) -> Config:
    """The configuration with its stages' minutes stretched or shrunk to a sum of ``minutes``.

    Raises:
        InputError: no stage has a budget in minutes.
    """
    budgets = {name: config.section(name).minutes for name in config.timed}
    given = {name: budget for name, budget in budgets.items() if budget is not None}
    if not given:
        names = ", ".join(f"{name}.minutes" for name in config.timed)
        raise InputError(
            f"minutes: there is no budget in minutes to scale: give one of {names}; or take the budgets in steps and "
            "epochs out, and the stages share the minutes"
        )
    factor = minutes / sum(given.values())
    if math.isclose(factor, 1.0):  # as in a file that was written by save_config
        return config
    stages = {name: dataclasses.replace(config.section(name), minutes=given[name] * factor) for name in given}
    return config.with_sections({"minutes": minutes, **stages})


def save_config(config: Config, path: Path) -> None:
    """Write every value, defaults included, so that a run can be repeated when the defaults have changed.

    Paths are written as they are found from anywhere.
    """
    text = yaml.safe_dump(to_plain(_with_whole_paths(config)), sort_keys=False, allow_unicode=True, width=120)
    atomic_write_text(path, text)


def note_config(config: Config, path: Path, sections: Collection[str]) -> None:
    """Write what a stage of a run was done with; of a file that is there, only the stage's own sections change.

    Args:
        sections: dotted names of sections and fields. ``minutes`` becomes the sum of all stages' budgets, if it was
            given.

    Raises:
        InputError: the file is there and cannot be read.
    """
    if path.is_file():
        kept = load_config(path)
        merged = kept.with_sections({name: config.section(name) for name in sections if name != "minutes"})
        if kept.minutes is not None or config.minutes is not None:
            budgets = [merged.section(name).minutes for name in merged.timed]
            merged = dataclasses.replace(merged, minutes=sum(budget for budget in budgets if budget is not None))
        config = merged
    save_config(config, path)


def _with_whole_paths(part: Any, prefix: str = "") -> Any:
    """A copy of a section whose paths do not depend on the current folder."""
    changes = {}
    for one in dataclasses.fields(part):
        value, name = getattr(part, one.name), f"{prefix}{one.name}"
        is_section = dataclasses.is_dataclass(value)
        whole = _with_whole_paths(value, f"{name}.") if is_section else absolute(name, value, NAMED)
        if whole != value:
            changes[one.name] = whole
    return dataclasses.replace(part, **changes) if changes else part


def _replaced(config: Any, names: Sequence[str], value: Any) -> Any:
    """A copy of nested dataclasses with one field changed."""
    name, *inner = names
    return dataclasses.replace(config, **{name: _replaced(getattr(config, name), inner, value) if inner else value})


def config_docs() -> Iterable[FieldDoc]:
    """One entry a field, for help texts."""
    return field_docs(Config)
