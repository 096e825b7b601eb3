"""A folder like the one in which the runs were made, for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.before.machine import difference
from tests.before.workspace import lay_out, undisturbed, working_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before")
    lay_out(folder)
    return folder


@pytest.fixture
def workspace(folder: Path) -> Iterator[Path]:
    """The current folder."""
    with working_in(folder):
        yield folder


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What came out where nothing was interrupted."""
    return undisturbed()


@pytest.fixture(scope="module")
def other(expected: dict[str, Any]) -> str | None:
    """In what this machine is another one than that of the figures."""
    return difference(expected["machine"])
