"""The configuration of a run, one tree of dataclasses: reading it, overriding it, writing it, explaining it.

``tree`` is what a configuration of this program holds. The others know nothing of that: ``yaml_source`` reads text into
located values, ``reading`` turns those into dataclasses by pydantic, ``help`` explains the dataclasses.
"""

from nas.config.help import FieldDoc, field_docs, holds_words
from nas.config.reading import build
from nas.config.tree import Config, VideoConfig, config_docs, load_config, note_config, save_config
from nas.config.yaml_source import Located, deep_merge, parse_override, parse_yaml, read_yaml_file
from nas.run.files import to_plain

__all__ = [
    "Config",
    "FieldDoc",
    "Located",
    "VideoConfig",
    "build",
    "config_docs",
    "deep_merge",
    "field_docs",
    "holds_words",
    "load_config",
    "note_config",
    "parse_override",
    "parse_yaml",
    "read_yaml_file",
    "save_config",
    "to_plain",
]
