"""A run on videos that was made and interrupted before goes on, to the result of one that was not interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.before.going_on import a_retraining_goes_on, a_search_goes_on, a_training_goes_on
from tests.before.workspace import afresh

pytestmark = pytest.mark.usefixtures("workspace")
Expected = dict[str, Any]


def test_an_interrupted_search_goes_on(expected: Expected, other: str | None) -> None:
    a_search_goes_on("videos", expected, other)


def test_a_search_goes_on_from_its_journal_alone(expected: Expected, other: str | None) -> None:
    a_search_goes_on("videos", expected, other, kept="journal")


def test_an_interrupted_retraining_goes_on(expected: Expected, other: str | None) -> None:
    run = afresh("videos")
    a_retraining_goes_on(run, expected["retrainings"]["videos"], other, run / "config.yaml", "--resume")


def test_an_interrupted_training_of_a_temporal_supernet_goes_on(expected: Expected, other: str | None) -> None:
    run = afresh("videos-begun")
    a_training_goes_on(run, Path("temporal.safetensors"), expected["trainings"]["videos-begun"], other)
