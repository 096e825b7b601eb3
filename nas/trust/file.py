"""``trust.json`` read back."""

from __future__ import annotations

import json
from pathlib import Path

from search_spaces.errors import InputError

from .assessment import TrustReport

__all__ = ["load_trust"]


def load_trust(path: Path) -> TrustReport:
    """What ``vipnas trust`` has written.

    Raises:
        InputError: the file is damaged.
    """
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(TrustReport).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: damaged ({reason}); `vipnas trust` writes it again") from None
