"""The three ways to name an architecture on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nas.stages.architectures import resolve_architecture
from search_spaces import InputError, PoseArchitecture, get_space, published


@pytest.fixture
def members() -> list[PoseArchitecture]:
    rng = np.random.default_rng(0)
    return [get_space("resnet-tiny").sample(rng) for _ in range(40)]


@pytest.fixture
def run(tmp_path: Path, members: list[PoseArchitecture]) -> Path:
    records = [
        {"number": i, "id": a.id, "architecture": a.to_json(), "objectives": {"ap": 0.1}, "status": "complete"}
        for i, a in enumerate(members[:-1])
    ]
    text = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "evaluations.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_published_name() -> None:
    assert resolve_architecture("s-vipnas-res50") == published("s-vipnas-res50")


def test_a_json_file(tmp_path: Path, members: list[PoseArchitecture]) -> None:
    path = tmp_path / "network.json"
    path.write_text(json.dumps(members[0].to_json()), encoding="utf-8")
    assert resolve_architecture(str(path)) == members[0]


def test_the_id_of_a_run(run: Path, members: list[PoseArchitecture]) -> None:
    assert resolve_architecture(f"{run}:{members[3].id}") == members[3]
    assert resolve_architecture(f"{run}:{members[3].id[:8]}") == members[3]


def test_an_exported_network_is_found_without_the_journal(run: Path, members: list[PoseArchitecture]) -> None:
    folder = run / "export" / members[-1].id
    folder.mkdir(parents=True)
    (folder / "architecture.json").write_text(json.dumps(members[-1].to_json()), encoding="utf-8")
    assert resolve_architecture(f"{run}:{members[-1].id}") == members[-1]
    (run / "evaluations.jsonl").unlink()
    assert resolve_architecture(f"{run}:{members[-1].id}") == members[-1]


def test_what_cannot_be_resolved_says_why(run: Path, members: list[PoseArchitecture]) -> None:
    (run / "broken.json").write_text('{"family": ', encoding="utf-8")
    (run / "other.json").write_text('{"hello": 1}', encoding="utf-8")
    for text, expected in {
        "s-vipnas-res5O": "did you mean 's-vipnas-res50'",
        "nothing-like-it": "or give a JSON file, or RUN:id",
        f"{run}/absent.json": "no such file",
        f"{run}/broken.json": "broken JSON",
        f"{run}/other.json": "hello",
        str(run): "name a network in it",
        f"{run}:": "write the id",
        f"{run}:*": "write the id of a network after the colon",
        f"{run}:zzz": "no network whose id begins with 'zzz'",
        f"{run}/absent:ab": "no such run folder",
    }.items():
        with pytest.raises(InputError, match=expected.replace("(", r"\(")) as caught:
            resolve_architecture(text)
        assert "\n" not in str(caught.value)


def test_a_beginning_that_fits_several_is_refused(run: Path, members: list[PoseArchitecture]) -> None:
    first = [a.id[0] for a in members[:-1]]
    digit = max(set(first), key=first.count)
    assert first.count(digit) > 1
    with pytest.raises(InputError, match=f"{first.count(digit)} networks have an id that begins with '{digit}'"):
        resolve_architecture(f"{run}:{digit}")
