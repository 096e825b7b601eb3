"""Where the repository and the optional real data lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("VIPNAS_SHARED", REPO.parent / "shared"))


def shared(relative: str) -> Path:
    """The path of optional real data; skips the calling test where it is absent."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"optional real data are absent: {relative} (set VIPNAS_SHARED to the folder that holds them)")
    return path
