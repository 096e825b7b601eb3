"""The configuration of a run: one tree, its parts owned by the components that they configure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from nas.configuration import (
    FieldDoc,
    Located,
    build,
    deep_merge,
    field_docs,
    holds_words,
    parse_override,
    read_yaml_file,
    to_plain,
)
from nas.data.config import DataConfig
from nas.evaluation_config import EvaluationConfig
from nas.export.config import ExportConfig
from nas.files import atomic_write_text
from nas.latency.config import LatencyConfig
from nas.search.candidate_config import CandidateConfig
from nas.search.config import SearchConfig
from nas.training.config import RetrainConfig, SupernetTrainingConfig
from search_spaces.errors import InputError

__all__ = ["Config", "config_docs", "load_config", "note_config", "save_config"]

TIMED = ("train", "search", "retrain")
"""The sections with a budget of ``minutes``."""
SEEDED = ("train", "retrain")
"""The sections with a ``seed`` of their own, which is the run's where they do not give one."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a run is made of. A YAML file gives any part of it; the rest keeps its default."""

    run_dir: Path = Path("runs/default")
    """Folder that the run is kept in; made if it is not there."""
    seed: int = 0
    """Seed of everything that is random; a section may have one of its own."""
    minutes: float | None = None
    """Time for all stages together: the sections' own minutes are scaled to this sum."""
    space: str = "resnet-tiny"
    """Search space: a name that `vipnas spaces` lists, or the path of a YAML file."""
    architecture: str | None = None
    """Network to retrain or evaluate: a published name, a JSON file, or RUN:id; empty: those that the run exported."""
    data: DataConfig = field(default_factory=DataConfig)
    train: SupernetTrainingConfig = field(default_factory=SupernetTrainingConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    candidate: CandidateConfig = field(default_factory=CandidateConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    evaluate: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed={self.seed}; 0 or more are possible")
        if self.minutes is not None and self.minutes <= 0:
            raise InputError(f"minutes={self.minutes:g}; more than 0 are needed")


def load_config(path: Path, overrides: Sequence[tuple[str, str]] = ()) -> Config:
    """The configuration in a YAML file, with every stage's seed and minutes worked out.

    Args:
        overrides: dotted key and YAML text (of a path or a name: that itself), as ``("search.population_size", "40")``;
            later ones win.

    Raises:
        InputError: one line with the place, the key, the value and what is allowed.
    """
    source = read_yaml_file(path)
    for dotted, text in overrides:
        source = deep_merge(source, parse_override(dotted, text, holds_words(Config, dotted)))
    config: Config = build(Config, _with_seed(source, {dotted for dotted, _ in overrides}))
    return config if config.minutes is None else scaled(config, config.minutes)


def scaled(config: Config, minutes: float) -> Config:
    """The configuration with its stages' minutes stretched or shrunk to a sum of ``minutes``.

    Raises:
        InputError: no stage has a budget in minutes.
    """
    budgets = {name: getattr(config, name).minutes for name in TIMED}
    given = {name: budget for name, budget in budgets.items() if budget is not None}
    if not given:
        names = ", ".join(f"{name}.minutes" for name in TIMED)
        raise InputError(f"minutes: there is no budget to scale; give one of {names} in the configuration")
    factor = minutes / sum(given.values())
    if math.isclose(factor, 1.0):  # as in a file that was written by save_config
        return config
    stages = {name: dataclasses.replace(getattr(config, name), minutes=given[name] * factor) for name in given}
    return dataclasses.replace(config, minutes=minutes, **stages)


def save_config(config: Config, path: Path) -> None:
    """Write every value, defaults included, so that a run can be repeated when the defaults have changed."""
    text = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True, width=120)
    atomic_write_text(path, text)


def note_config(config: Config, path: Path, sections: Collection[str]) -> None:
    """Write what a stage of a run was done with; of a file that is there, only the stage's own sections change.

    Args:
        sections: names of top-level fields. ``minutes`` becomes the sum of all stages' budgets, if it was given.

    Raises:
        InputError: the file is there and cannot be read.
    """
    if path.is_file():
        kept = load_config(path)
        merged = dataclasses.replace(kept, **{name: getattr(config, name) for name in sections if name != "minutes"})
        if kept.minutes is not None or config.minutes is not None:
            budgets = [getattr(merged, name).minutes for name in TIMED]
            merged = dataclasses.replace(merged, minutes=sum(budget for budget in budgets if budget is not None))
        config = merged
    save_config(config, path)


def config_docs() -> Iterable[FieldDoc]:
    """One entry a field, for help texts."""
    return field_docs(Config)


def _with_seed(source: Located, overridden: Collection[str]) -> Located:
    """The run's seed laid under the sections that have none of their own.

    A seed that was overridden counts for every section whose own was not: a resolved file gives all of them.
    """
    if not isinstance(source.value, dict) or "seed" not in source.value:
        return source
    seed = source.value["seed"]
    build(int, seed, "seed")  # an error names what the user wrote, not a section
    for name in SEEDED:
        laid = Located({name: Located({"seed": seed}, seed.where)}, seed.where)
        wins = "seed" in overridden and f"{name}.seed" not in overridden
        source = deep_merge(source, laid) if wins else deep_merge(laid, source)
    return source
