"""The configuration of a run: one tree, its parts owned by the components that they configure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from nas.configuration import FieldDoc, build, deep_merge, field_docs, parse_override, read_yaml_file, to_plain
from nas.data.config import DataConfig
from nas.files import atomic_write_text

__all__ = ["Config", "config_docs", "load_config", "save_config"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a run is made of. A YAML file gives any part of it; the rest keeps its default."""

    run_dir: Path = Path("runs/default")
    """Folder that the run is kept in; made if it is not there."""
    seed: int = 0
    """Seed of everything that is random."""
    space: str = "resnet-tiny"
    """Search space: a name that `vipnas spaces` lists, or the path of a YAML file."""
    data: DataConfig = field(default_factory=DataConfig)


def load_config(path: Path, overrides: Sequence[tuple[str, str]] = ()) -> Config:
    """The configuration in a YAML file.

    Args:
        overrides: dotted key and YAML text, as ``("search.population", "40")``; later ones win.

    Raises:
        InputError: one line with the place, the key, the value and what is allowed.
    """
    source = read_yaml_file(path)
    for dotted, text in overrides:
        source = deep_merge(source, parse_override(dotted, text))
    config: Config = build(Config, source)
    return config


def save_config(config: Config, path: Path) -> None:
    """Write every value, defaults included, so that a run can be repeated when the defaults have changed."""
    text = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True, width=120)
    atomic_write_text(path, text)


def config_docs() -> Iterable[FieldDoc]:
    """One entry a field, for help texts."""
    return field_docs(Config)
