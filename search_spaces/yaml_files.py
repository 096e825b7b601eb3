"""Small YAML files from users, without what YAML offers and no file of ours needs: aliases, which grow without bound
when nested, and great depths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml  # the one foreign package: a space file is the user's, and YAML is what users write

from .errors import InputError
from .fields import read_text

__all__ = ["is_file_name", "read_yaml", "refuse_traps"]

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


def is_file_name(name: str | Path) -> bool:
    """Whether it names a YAML or JSON file, rather than something that comes with the package."""
    return Path(name).suffix.lower() in (".yaml", ".yml", ".json")


def read_yaml(path: Path) -> Any:
    """What a small YAML file holds.

    Raises:
        InputError: no such file, too large, or broken.
    """
    text = read_text(path, "YAML")
    try:
        refuse_traps(text, str(path))
        return yaml.safe_load(text)
    except RecursionError:
        raise InputError(f"{path}: not a readable YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{path}: broken YAML{place}: {getattr(error, 'problem', None) or 'not readable'}") from None
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError) as error:  # of YAML's own tags: !!int x, 2024-13-45, !!bool z
        raise InputError(f"{path}: a value is not what its tag says: {' '.join(str(error).split())[:80]}") from None
