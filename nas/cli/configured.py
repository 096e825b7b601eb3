"""What the commands that take a configuration file share: its arguments, its help, reading it."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.parsing import Parser

if TYPE_CHECKING:
    from nas.config import Config
    from nas.configuration import FieldDoc

__all__ = ["add_config_arguments", "read_config", "show_fields"]


def add_config_arguments(parser: Parser, sections: tuple[str, ...]) -> None:
    """CONFIG, the short options, ``--resume`` and the list of fields.

    Args:
        sections: the parts of the configuration that the command reads; ``--help`` lists their fields.
    """
    parser.takes_overrides = True
    parser.add_argument("config", metavar="CONFIG", type=Path, help="a YAML file; configs/ has examples")
    parser.add_argument("--run-dir", metavar="DIR", help="folder of the run, in place of the file's run_dir")
    parser.add_argument("--seed", metavar="N", help="in place of the file's seed")
    parser.add_argument("--space", metavar="NAME", help="search space: a name (vipnas spaces) or a YAML file")
    parser.add_argument("--minutes", metavar="M", help="time for the whole run; each stage takes its share")
    parser.add_argument("--resume", action="store_true", help="go on from what the run folder holds")
    parser.lazy_epilog = lambda: show_fields(sections)


def read_config(arguments: argparse.Namespace) -> Config:
    """The file with the command line's overrides on top.

    Raises:
        InputError: as :func:`nas.config.load_config`.
    """
    from nas.config import load_config

    short = {name: getattr(arguments, name) for name in ("run_dir", "seed", "space", "minutes")}
    overrides = [(name, text) for name, text in short.items() if text is not None]
    return load_config(arguments.config, [*overrides, *arguments.overrides])


def show_fields(sections: Iterable[str]) -> str:
    """The fields of some sections of the configuration, with types, defaults and explanations."""
    from nas.config import config_docs

    lines = ["fields of CONFIG, each also an option (--section.field VALUE):"]
    for doc in config_docs():
        if doc.dotted.split(".")[0] in sections:
            lines += _entry(doc)
    return "\n".join(lines)


def _entry(doc: FieldDoc) -> Iterator[str]:
    default = "" if doc.required else f", default {doc.default_text}"
    yield f"  {doc.dotted}  ({doc.kind}{default})"
    if doc.text:
        yield textwrap.fill(doc.text, 110, initial_indent=" " * 6, subsequent_indent=" " * 6)
