"""The architectures that were published, by name, and the spaces that come with the package."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import families
from .architecture import PoseArchitecture
from .errors import InputError
from .serialization import MAX_FILE_BYTES
from .space import SearchSpace

__all__ = ["get_space", "is_file_name", "published", "published_names", "read_yaml", "space_names"]


def published_names() -> tuple[str, ...]:
    return tuple(sorted(_all_published()))


def published(name: str) -> PoseArchitecture:
    """A published architecture, such as ``s-vipnas-res50``.

    Raises:
        InputError: there is none of that name.
    """
    return _lookup("published architecture", name, _all_published())


def space_names() -> tuple[str, ...]:
    return tuple(sorted(_all_spaces()))


def get_space(name: str | Path) -> SearchSpace:
    """A space that comes with the package (``resnet``, ``resnet-tiny``, …), or the one in a YAML or JSON file.

    Raises:
        InputError: there is none of that name, or the file is not a space.
    """
    if is_file_name(name):
        return SearchSpace.from_json(read_yaml(Path(name)), where=str(name))
    return _lookup("search space", str(name), _all_spaces(), hint="or give the path of a .yaml file")


def is_file_name(name: str | Path) -> bool:
    """Whether it names a YAML or JSON file, rather than something that comes with the package."""
    return Path(name).suffix.lower() in (".yaml", ".yml", ".json")


def _all_published() -> dict[str, PoseArchitecture]:
    return {k: v for name in families.family_names() for k, v in families.family(name).published().items()}


def _all_spaces() -> dict[str, SearchSpace]:
    return {k: v for name in families.family_names() for k, v in families.family(name).spaces().items()}


def _lookup(kind: str, name: str, known: Mapping[str, Any], hint: str = "") -> Any:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
    raise InputError(f"no {kind} {name!r}; {advice}{' ' + hint if hint else ''}")


def read_yaml(path: Path) -> Any:
    """What a small YAML file holds.

    Raises:
        InputError: no such file, too large, or broken.
    """
    import yaml  # the one room-external import: a space file is the user's, and YAML is what users write

    from .yaml_traps import refuse_traps

    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: {path.stat().st_size} bytes are too many for a search space")
        text = path.read_text(encoding="utf-8")
        refuse_traps(text, str(path))
        return yaml.safe_load(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, expected a YAML file") from None
    except (UnicodeDecodeError, RecursionError):
        raise InputError(f"{path}: not a readable YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{path}: broken YAML{place}: {getattr(error, 'problem', None) or 'not readable'}") from None
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError) as error:  # of YAML's own tags: !!int x, 2024-13-45, !!bool z
        raise InputError(f"{path}: a value is not what its tag says: {' '.join(str(error).split())[:80]}") from None
