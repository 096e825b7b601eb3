"""What the commands that take a configuration file share: its arguments, its help, reading it."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.parsing import Parser

if TYPE_CHECKING:
    from nas.config import Config, FieldDoc
    from nas.run.folder import RunFolder
    from nas.stages.context import StageContext

__all__ = [
    "add_config_arguments", "add_override", "add_run_arguments", "read_config", "read_context", "read_run",
    "show_fields",
]  # fmt: skip

_SHORT = (
    ("seed", "N", "seed of everything that is random"),
    ("space", "NAME", "search space: a name (vipnas spaces) or a YAML file"),
    ("architecture", "ARCH", "network: a published name, a JSON file, or RUN:id"),
    ("minutes", "M", "time for all stages of a run together; each takes its share"),
)


def add_config_arguments(parser: Parser, sections: tuple[str, ...], *, resumable: bool = True) -> None:
    """CONFIG, the short options and the list of fields.

    Args:
        sections: the parts of the configuration that the command reads; ``--help`` lists their fields.
        resumable: whether the command takes ``--resume``.
    """
    text = "a YAML file (paths in it are relative to it); examples/ and configs/ have some"
    parser.add_argument("config", metavar="CONFIG", type=Path, help=text)
    add_override(parser, "run_dir", "--run-dir", "--work-dir", metavar="DIR", help="folder of the run")
    for name, metavar, text in _SHORT:
        if name in sections:
            add_override(parser, name, f"--{name}", metavar=metavar, help=text)
    if "video.frames" in sections or "video" in sections:
        text = "T, the propagated frames after each key frame: work on video networks (0: on image networks)"
        add_override(parser, "video.frames", "--frames", metavar="T", help=text)
    if "data" in sections:
        text = "the people's category in COCO files: a name or an id"
        add_override(parser, "data.category", "--category", metavar="NAME", help=text)
    if resumable:
        parser.add_argument("--resume", action="store_true", help="go on from what the run folder holds")
    parser.set_defaults(notes_config=resumable)
    _take_overrides(parser, sections, "CONFIG")


def add_run_arguments(
    parser: Parser, sections: tuple[str, ...], *, metavar: str = "RUN", help: str = "folder of a run"
) -> None:
    """RUN, whose ``config.yaml`` is the configuration, and the list of fields."""
    parser.add_argument("run", metavar=metavar, type=Path, help=help)
    _take_overrides(parser, sections, "RUN/config.yaml")


def _take_overrides(parser: Parser, sections: tuple[str, ...], where: str) -> None:
    parser.takes_overrides = True
    parser.set_defaults(short_overrides=[])
    parser.lazy_epilog = lambda: show_fields(sections, where)


def add_override(parser: argparse.ArgumentParser, dotted: str, *names: str, **options: Any) -> None:
    """An option that stands for ``--dotted VALUE``; with ``const``, for that value."""
    action = "append_const" if "const" in options else "append"
    if "const" in options:
        options["const"] = (dotted, options["const"])
    else:
        options["type"] = lambda text: (dotted, text)
    parser.add_argument(*names, action=action, dest="short_overrides", **options)


def read_config(arguments: argparse.Namespace) -> Config:
    """The file with the command line's overrides on top.

    Raises:
        InputError: as :func:`nas.config.load_config`; or the run's folder has a configuration that somebody has
            written by hand, and the command would note its own over it.
    """
    from nas.config import load_config
    from nas.run.overwriting import refuse_foreign_config

    config = load_config(arguments.config, [*arguments.short_overrides, *arguments.overrides])
    if arguments.notes_config:
        refuse_foreign_config(config.run_dir)
    return config


def read_context(arguments: argparse.Namespace) -> StageContext:
    """What a stage works on: the configuration as :func:`read_config` reads it, and ``--resume``."""
    config = read_config(arguments)
    from nas.cli.progress import Progress
    from nas.stages.context import StageContext

    return StageContext(config, getattr(arguments, "resume", False), Progress())


def read_run(arguments: argparse.Namespace) -> tuple[RunFolder, Config]:
    """The run's folder, and its configuration with the command line's overrides on top.

    Raises:
        InputError: there is no run, or as :func:`nas.config.load_config`.
    """
    from nas.config import load_config
    from nas.run.folder import RunFolder

    run = RunFolder.existing(arguments.run)
    overrides = [("run_dir", str(arguments.run)), *arguments.short_overrides, *arguments.overrides]
    return run, load_config(run.config, overrides)


def show_fields(sections: Iterable[str], where: str = "CONFIG") -> str:
    """The fields of some sections of the configuration, with types, defaults and explanations."""
    from nas.config import config_docs

    lines = [f"fields of {where}, each also an option (--section.field VALUE):"]
    for doc in config_docs():
        if any(doc.dotted == name or doc.dotted.startswith(f"{name}.") for name in sections):
            lines += _entry(doc)
    return "\n".join(lines)


def _entry(doc: FieldDoc) -> Iterator[str]:
    yield f"  {doc.dotted}  ({doc.kind}, default {doc.default_text})"
    if doc.text:
        yield textwrap.fill(doc.text, 110, initial_indent=" " * 6, subsequent_indent=" " * 6)
