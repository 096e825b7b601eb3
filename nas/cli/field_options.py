"""The fields of a configuration dataclass as options: ``train_images`` is ``--train-images N``."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import Any

from nas.config import Located, build, deep_merge, field_docs, holds_words, parse_override

__all__ = ["add_field_options", "from_field_options"]


def add_field_options(parser: argparse.ArgumentParser, cls: type, leave_out: Collection[str] = ()) -> None:
    """One option a field; its help is the text under the field, with the default."""
    for doc in field_docs(cls):
        if doc.dotted in leave_out:
            continue
        option = "--" + doc.dotted.replace("_", "-")
        choices = doc.kind.removeprefix("one of ") if doc.kind.startswith("one of ") else ""
        text = f"{doc.text} {f'One of {choices}. ' if choices else ''}Default: {doc.default_text}.".replace("%", "%%")
        parser.add_argument(option, dest=doc.dotted, metavar="VALUE", help=text)


def from_field_options(cls: type, arguments: argparse.Namespace) -> Any:
    """The dataclass with what was given; the other fields keep their defaults.

    Raises:
        InputError: a value is of another type, or the dataclass refuses it.
    """
    source = Located({}, "command line")
    for doc in field_docs(cls):
        text = getattr(arguments, doc.dotted, None)
        if text is None:
            continue
        if isinstance(doc.default, tuple) and not text.lstrip().startswith("["):
            text = f"[{text}]"  # 256,320
        source = deep_merge(source, parse_override(doc.dotted, text, holds_words(cls, doc.dotted)))
    return build(cls, source)
