"""Every training and evaluation on a device that is not the CPU: to the CPU's figures, without mixing the two."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.paths import REPO

CASES = {
    "supernet, resnet, adam": (1350, 1),
    "supernet, resnet, muon": (1800, 1),
    "supernet, mobilenetv3, adam": (3950, 1),
    "retraining, adam": (450, 1),
    "retraining, muon": (600, 1),
    "evaluation": None,
    "finalist": None,
    "candidate": None,
    "video candidate": None,
    "temporal supernet": (1350, 1),
    "temporal supernet and key": (1450, 1),
    "video retraining": None,
    "video retraining through time": None,
}
"""Operations that a step may launch at most, and how often its host may wait or copy: as it is, and not more."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each case came to, all of them in one process."""
    if not torch.__version__.startswith("2.13"):
        pytest.skip(f"the device is built on an experimental interface of torch 2.13, and this is {torch.__version__}")
    words = [sys.executable, "-m", "tests.on_other_device", str(tmp_path_factory.mktemp("cases"))]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {one.pop("case"): one for one in map(json.loads, done.stdout.splitlines())}


def test_all_of_them_ran(found: dict[str, dict[str, Any]]) -> None:
    assert found.keys() == CASES.keys()


@pytest.mark.parametrize("case", CASES)
def test_it_comes_to_what_the_cpu_comes_to(case: str, found: dict[str, dict[str, Any]]) -> None:
    assert "failed" not in found[case], "\n".join(found[case]["failed"])
    assert found[case]["difference"] <= 1e-4


@pytest.mark.parametrize("case", [case for case, bounds in CASES.items() if bounds])
def test_a_step_launches_and_waits_no_more_than_it_did(case: str, found: dict[str, dict[str, Any]]) -> None:
    bounds = CASES[case]
    assert bounds is not None
    assert 0 < found[case]["launches"] <= bounds[0]
    assert found[case]["waits"] <= bounds[1], found[case]["where"]
