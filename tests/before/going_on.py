"""Commands on runs that were made and interrupted before, and what they come to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.before.results import (
    assert_same_course,
    assert_same_curve,
    assert_same_front,
    assert_same_weights,
    course,
    curve,
    front,
    weights,
)
from tests.before.searches import FIRST
from tests.before.workspace import afresh
from tests.program import call

__all__ = ["a_retraining_goes_on", "a_search_goes_on", "a_training_goes_on", "give"]

Expected = dict[str, Any]


def give(*words: str | Path) -> None:
    done = call(*words)
    assert done.returncode == 0, done.stderr


def a_search_goes_on(name: str, expected: Expected, other: str | None, kept: str = "all") -> None:
    """To the journal and the front of a search that was not interrupted.

    Another machine, whose crops differ in the last bit, is refused: evaluations are comparable on the same crops alone.
    The ``journal`` alone does not remember what it was made with.
    """
    run = afresh(name)
    before = (run / "evaluations.jsonl").read_text(encoding="utf-8")
    wanted = expected["searches"][name]
    assert FIRST[name] < before.count("\n") < len(wanted)
    if kept == "journal":
        for file in ("search_state.json", "pareto.json"):
            (run / file).unlink()
    done = call("search", run / "config.yaml", "--resume")
    if other is not None and "its evaluations were made with" in done.stderr:
        pytest.skip(f"refused on another machine ({other}): {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert (run / "evaluations.jsonl").read_text(encoding="utf-8").startswith(before)
    assert (run / "search_state.json").is_file()
    assert_same_course(course(run), wanted, before.count("\n"), other)
    if other is None:
        assert_same_front(front(run), expected["fronts"][name])


def a_retraining_goes_on(run: Path, expected: Expected, other: str | None, *words: str | Path) -> None:
    """To the measures, losses and weights of a retraining that was not interrupted."""
    folder = run / "retrain" / expected["network"]
    give("retrain", *words)
    assert_same_curve(curve(folder), expected["curve"], other)
    assert_same_weights(weights(folder / "best.safetensors"), expected["weights"], other)
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    measured = [line for line in expected["curve"] if "AP" in line]
    assert results["finished"] is True
    assert [entry["step"] for entry in results["validations"]] == [line["step"] for line in measured]
    assert results["best"]["AP"] == max(entry["AP"] for entry in results["validations"])
    assert json.loads((folder / "architecture.json").read_text(encoding="utf-8"))


def a_training_goes_on(run: Path, saved: Path, expected: Expected, other: str | None) -> None:
    """To the losses and weights of a supernet's training that was not interrupted."""
    folder = run / saved.stem
    before = len(curve(folder))
    assert 0 < before < len(expected["curve"])
    give("train-supernet", run / "config.yaml", "--resume")
    assert_same_curve(curve(folder), expected["curve"], other)
    assert_same_weights(weights(run / saved), expected["weights"], other)
