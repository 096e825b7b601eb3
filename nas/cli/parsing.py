"""Argument parsing with errors of one line, and configuration overrides such as ``--search.population 40``."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from nas.cli.commands import Command
from search_spaces.errors import InputError

__all__ = ["Parser", "make_parser"]


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose errors are :class:`InputError` and name the nearest option."""

    takes_overrides = False
    lazy_epilog: Callable[[], str] | None = None
    """Text for the end of the help that is costly to make."""

    def format_help(self) -> str:
        text = super().format_help()
        return f"{text}\n{self.lazy_epilog()}\n" if self.lazy_epilog else text

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ``argparse``; ``--section.field value`` goes to ``overrides`` where the command has a configuration."""
        words = list(args or ())
        overrides: list[tuple[str, str]] = []
        if self.takes_overrides and not {"-h", "--help"} & set(words):
            words, overrides = split_overrides(words)
        parsed, unknown = self.parse_known_args(words, namespace)
        if unknown:
            self.error(f"unknown argument {unknown[0]!r}{self._nearest(unknown[0])}")
        parsed.overrides = overrides
        return parsed

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")

    def _nearest(self, word: str) -> str:
        options = [option for action in self._actions for option in action.option_strings]
        near = difflib.get_close_matches(word.partition("=")[0], options, n=1)
        return f"; did you mean {near[0]}?" if near else ""


def make_parser(command: Command, module: ModuleType) -> Parser:
    """The parser of one command; its module's docstring is the description."""
    parser = Parser(
        prog=f"vipnas {command.name}",
        description=module.__doc__,
        epilog=f"example:\n  {command.example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return parser


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Words without the options whose name has a dot, and those as (dotted key, text of the value)."""
    rest: list[str] = []
    overrides: list[tuple[str, str]] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("--") or "." not in name:
            rest.append(word)
            continue
        if not equals:
            if not queue or queue[0].startswith("--"):
                raise InputError(f"{name}: needs a value: {name} VALUE")
            value = queue.pop(0)
        overrides.append((name[2:].replace("-", "_"), value))
    return rest, overrides
