"""A configuration is one tree of dataclasses: reading it, overriding it, writing it, explaining it.

``source`` reads text into located values, ``build`` turns those into dataclasses, ``fields`` explains the dataclasses.
None of the three knows what a configuration of this program holds; ``nas.config`` does.
"""

from nas.configuration.build import build, to_plain
from nas.configuration.fields import FieldDoc, field_docs, holds_words
from nas.configuration.source import Located, deep_merge, parse_override, parse_yaml, read_yaml_file

__all__ = [
    "FieldDoc",
    "Located",
    "build",
    "deep_merge",
    "field_docs",
    "holds_words",
    "parse_override",
    "parse_yaml",
    "read_yaml_file",
    "to_plain",
]
