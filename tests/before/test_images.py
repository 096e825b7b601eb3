"""A run on images that was made and interrupted before goes on, to the result of one that was not interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.before.going_on import a_retraining_goes_on, a_search_goes_on, a_training_goes_on
from tests.before.workspace import afresh

pytestmark = pytest.mark.usefixtures("workspace")
Expected = dict[str, Any]


@pytest.mark.parametrize("name", ["images", "guided"])
def test_an_interrupted_search_goes_on(name: str, expected: Expected, other: str | None) -> None:
    a_search_goes_on(name, expected, other)


@pytest.mark.parametrize("name", ["images", "guided"])
def test_a_search_goes_on_from_its_journal_alone(name: str, expected: Expected, other: str | None) -> None:
    a_search_goes_on(name, expected, other, kept="journal")


def test_an_interrupted_retraining_goes_on(expected: Expected, other: str | None) -> None:
    run = afresh("images")
    a_retraining_goes_on(run, expected["retrainings"]["images"], other, run / "config.yaml", "--resume")


def test_a_retraining_goes_on_in_another_run_folder(expected: Expected, other: str | None, folder: Path) -> None:
    wanted = expected["retrainings"]["images"]
    old, run = afresh("images"), folder / "elsewhere"
    shutil.copytree(old, run, ignore=shutil.ignore_patterns("retrain"))
    checkpoint = old / "retrain" / wanted["network"] / "checkpoint.pt"
    a_retraining_goes_on(run, wanted, other, old / "config.yaml", "--run-dir", run, "--resume-from", checkpoint)


def test_an_interrupted_training_of_a_supernet_goes_on(expected: Expected, other: str | None) -> None:
    run = afresh("images-begun")
    a_training_goes_on(run, Path("supernet.safetensors"), expected["trainings"]["images-begun"], other)
