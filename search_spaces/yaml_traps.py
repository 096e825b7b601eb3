"""What YAML offers and no file of ours needs: aliases, which grow without bound when nested, and great depths."""

from __future__ import annotations

import yaml

from .errors import InputError

__all__ = ["refuse_traps"]

MAXIMUM_DEPTH = 50


def refuse_traps(text: str, name: str) -> None:
    """Before anything is built: aliases, and depths at which the YAML library takes minutes or overflows.

    Raises:
        InputError: the text has one of them; ``name`` says where it came from.
        yaml.YAMLError: it is not YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{name}:{event.start_mark.line + 1}" if event.start_mark else name
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAXIMUM_DEPTH:
            raise InputError(f"{where}: nested more than {MAXIMUM_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"{where}: aliases (*{event.anchor}) are not allowed; repeat the value, or use 'extends'")
