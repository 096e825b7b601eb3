"""What a run folder says, in the few figures that must not change, and comparisons of these."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

__all__ = [
    "assert_same_course",
    "assert_same_curve",
    "assert_same_front",
    "assert_same_weights",
    "course",
    "curve",
    "front",
    "weights",
]

Record = dict[str, Any]
MEASURED = ("mean_oks", "by_position", "oks_by_position")
TIMES = ("elapsed_s", "persons_per_s")
EXACT = ("macs", "params")
DESCRIBED = {"format", "architecture", "space", "sharing", "stride", "keypoints", "codec", "sigma", "padding", "steps"}
"""What a file of weights says of its network."""


# Searches -----------------------------------------------------------------------------------------------------------


def course(run: Path) -> list[Record]:
    """The evaluations in their order."""
    rows = []
    for line in (run / "evaluations.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        row = {name: record[name] for name in ("number", "id", "status", "persons", "objectives")}
        row["promoted"] = record.get("promoted", False)
        row["metrics"] = {name: record["metrics"][name] for name in MEASURED if name in record["metrics"]}
        rows.append(row)
    return rows


def assert_same_course(found: Sequence[Record], expected: Sequence[Record], first: int, other: str | None) -> None:
    """Equal to the last candidate; on another machine only in what cannot depend on how it rounds.

    There, a keypoint between two pixels of a heatmap may be found on either, which changes the AP of few people a
    little, and so may change who is a parent of whom. What must be equal: how many are evaluated, who the ``first``
    are (drawn before anything is known), and what each network costs. If more is not equal, the test is skipped.

    Args:
        other: in what this machine is another one; None if it is not.
    """
    assert [row["number"] for row in found] == [row["number"] for row in expected]
    assert [row["id"] for row in found[:first]] == [row["id"] for row in expected[:first]]
    costs = {row["id"]: _costs(row) for row in expected}
    for row in found:
        assert _costs(row) == costs.get(row["id"], _costs(row)), row["id"]
    same = [_who(row) for row in found] == [_who(row) for row in expected]
    if other is None:
        assert same, _first_difference(found, expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours["objectives"] == pytest.approx(theirs["objectives"], abs=1e-6), ours["id"]
            for name, value in theirs["metrics"].items():
                assert ours["metrics"][name] == pytest.approx(value, abs=1e-6), (ours["id"], name)
        return
    known = {(row["id"], row["status"]): row["objectives"]["ap"] for row in expected}
    pairs = [(row["objectives"]["ap"], known[key]) for row in found if (key := (row["id"], row["status"])) in known]
    assert np.median([abs(ours - theirs) for ours, theirs in pairs]) < 0.01
    if not same:
        pytest.skip(f"another machine ({other}) rounds otherwise: {_first_difference(found, expected)}")


def _costs(row: Record) -> dict[str, float]:
    return {name: row["objectives"][name] for name in EXACT}


def _who(row: Record) -> tuple[Any, ...]:
    return row["id"], row["status"], row["promoted"], row["persons"]


def _first_difference(found: Sequence[Record], expected: Sequence[Record]) -> str:
    pairs = zip(found, expected, strict=True)
    place, ours, theirs = next((i, *map(_who, pair)) for i, pair in enumerate(pairs) if _who(pair[0]) != _who(pair[1]))
    return f"evaluation {place} of {len(expected)} is {ours}, it was {theirs}"


def front(run: Path) -> Record:
    """The front and its hypervolume; not ``evaluations``, which says how many there were when the file was written."""
    content = json.loads((run / "pareto.json").read_text(encoding="utf-8"))
    members = [{name: member[name] for name in ("id", "objectives")} for member in content["front"]]
    kept = {name: content[name] for name in ("format", "objectives", "reference", "hypervolume")}
    return {**kept, "front": members}


def assert_same_front(found: Record, expected: Record) -> None:
    assert [member["id"] for member in found["front"]] == [member["id"] for member in expected["front"]]
    for ours, theirs in zip(found["front"], expected["front"], strict=True):
        assert ours["objectives"] == pytest.approx(theirs["objectives"], abs=1e-6)
    assert {name: found[name] for name in ("format", "objectives")} == {
        name: expected[name] for name in ("format", "objectives")
    }
    for name in ("reference", "hypervolume"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6), name


# Trainings ----------------------------------------------------------------------------------------------------------


def curve(folder: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl, less what the clock says."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in TIMES} for line in lines]


def assert_same_curve(
    found: Sequence[Mapping[str, float]], expected: Sequence[Mapping[str, float]], other: str | None
) -> None:
    """Step by step the same losses, norms of gradients, learning rates and measures: the same views of the same people.

    On another machine only nearly: each step carries on the rounding of those before, and a keypoint that is found one
    heatmap pixel aside moves the AP of some twenty people by up to a few hundredths. (With torch's kernels for SSE in
    place of AVX2, losses differed by 3e-6 of themselves, norms by 9e-5, and no measure at all.)
    """
    assert [(line["step"], "loss" in line) for line in found] == [(line["step"], "loss" in line) for line in expected]
    loss, norm, measure = (1e-5, 1e-3, 1e-6) if other is None else (1e-2, 0.1, 0.1)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() >= theirs.keys()
        for name, value in theirs.items():
            if name in ("step", "fraction", "learning_rate"):
                near = pytest.approx(value, rel=1e-9)
            elif name.startswith("loss"):
                near = pytest.approx(value, rel=loss)
            else:
                near = pytest.approx(value, rel=norm) if name == "gradient_norm" else pytest.approx(value, abs=measure)
            assert ours[name] == near, (ours["step"], name)


def weights(file: Path) -> dict[str, Any]:
    """Of each tensor in a file of weights its shape, mean and norm; and what else the file says."""
    from safetensors import safe_open

    tensors = {}
    with safe_open(str(file), framework="np") as opened:
        said = dict(opened.metadata() or {})
        for name in sorted(opened.keys()):
            values = opened.get_tensor(name).astype(np.float64)
            tensors[name] = [list(values.shape), float(values.mean()), float(np.linalg.norm(values))]
    return {"tensors": tensors, "metadata": said}


def assert_same_weights(found: Record, expected: Record, other: str | None) -> None:
    """The same tensors under the same names, with the same values; and the file says the same of the network.

    Not compared is what else it says of itself, such as how long the training took. The absolute tolerance is for
    biases that cannot matter (those before a softmax): their gradients are nothing but rounding.
    """
    assert {name: tensor[0] for name, tensor in found["tensors"].items()} == {
        name: tensor[0] for name, tensor in expected["tensors"].items()
    }
    assert found["metadata"].keys() >= expected["metadata"].keys()
    for name in DESCRIBED & expected["metadata"].keys():
        ours, theirs = found["metadata"][name], expected["metadata"][name]
        if theirs.startswith("{"):
            ours, theirs = json.loads(ours), json.loads(theirs)
        assert ours == theirs, name
    relative, absolute = (1e-4, 1e-5) if other is None else (2e-2, 1e-3)
    for name, (_, *values) in expected["tensors"].items():
        assert found["tensors"][name][1:] == pytest.approx(values, rel=relative, abs=absolute), name
