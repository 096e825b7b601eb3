"""The report and the export tell what a run's folder holds, and where its figures come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas.export.networks import find_records
from nas.report.build import write_report
from nas.report.describe import latency_source
from nas.report.predictions import best_weights
from nas.report.records import read_records
from nas.run.folder import RunFolder
from search_spaces import InputError
from tests.report_fixture import SPACE, record


def searched(path: Path, records: list[dict[str, Any]], front: list[dict[str, Any]], **fields: Any) -> RunFolder:
    run = RunFolder(path)
    run.journal.write_text("".join(json.dumps(one) + "\n" for one in records))
    content = {"objectives": {"ap": "max", "latency_ms": "min"}, "reference": {"ap": 0.0, "latency_ms": 12.0}}
    run.front.write_text(json.dumps({**content, "front": front, **fields}))
    return run


def curve(run: RunFolder) -> str:
    page = write_report(run).read_text(encoding="utf-8")
    return page[page.index("Progress of the search") : page.index("networks evaluated</text>")]


def test_the_progress_leaves_out_what_the_constraints_forbid(tmp_path: Path) -> None:
    records = [record(0, 0.2, 4.0), record(1, 0.6, 11.0), record(2, 0.3, 5.0)]
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    front = [records[0], records[2]]
    bounded = searched(tmp_path / "one", records, front, constraints=["latency_ms <= 10"])
    records[1] |= {"status": "raced"}  # neither is on the front
    raced = searched(tmp_path / "other", records, front)
    assert curve(bounded) == curve(raced)


def test_hidden_folders_are_unfinished_exports(tmp_path: Path) -> None:
    run = searched(tmp_path, [record(0, 0.2, 4.0)], [record(0, 0.2, 4.0)])
    for name in (".partial.x", "whole"):
        folder = run.export(name)
        folder.mkdir(parents=True)
        (folder / "architecture.json").write_text(json.dumps(SPACE.smallest().to_json()))
    assert list(read_records(run).architectures) == ["whole"]


@pytest.mark.parametrize("text", ["{", "[]"])
def test_damaged_results_are_the_users_affair(tmp_path: Path, text: str) -> None:
    run = RunFolder(tmp_path)
    run.retrain("abc").mkdir(parents=True)
    (run.retrain("abc") / "results.json").write_text(text)
    with pytest.raises(InputError, match=r"abc/results\.json: damaged"):
        best_weights(run)


def test_an_id_of_the_front_is_found_as_it_was_measured(tmp_path: Path) -> None:
    plain, other = record(0, 0.2, 4.0), record(1, 0.1, 5.0)
    measured = plain | {"measured": {"latency_ms": 4.4, "spread_ms": 0.1}}
    run = searched(tmp_path, [plain, other], [measured])
    assert find_records(run, [plain["id"][:6], other["id"]]) == [measured, other]


@pytest.mark.parametrize(
    ("fields", "source", "words"),
    [
        ({}, "table", "predicted by the latency table"),
        ({}, "measure", "measured in the search"),
        ({"measured": {"latency_ms": 4.0}}, "table", "measured with the front"),
    ],
)
def test_where_a_latency_comes_from(tmp_path: Path, fields: dict[str, Any], source: str, words: str) -> None:
    one = record(0, 0.2, 4.0, **fields)
    run = searched(tmp_path, [one], [one], fingerprint={"candidate": {"latency": source}})
    assert latency_source(one, run.load_front_file()) == words
    page = write_report(run).read_text(encoding="utf-8")
    assert f"4.00 ms ({words})" in page
