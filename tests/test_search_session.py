"""What a search of image networks checks and decides before its workers start."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from evaluators import MeasureInputError
from nas.latency import LatencyConfig, LatencyMeter, LatencyTable
from nas.latency.blocks import space_blocks
from nas.latency.table import Fit, block_name
from nas.run.folder import RunFolder
from nas.search import checks, session
from nas.search.algorithms.objectives import Problem
from nas.search.candidates import costs
from nas.search.candidates.config import CandidateConfig, Precision
from nas.search.config import SearchConfig
from nas.training.supernet import train_supernet
from search_spaces import InputError, SearchSpace, get_space
from tests.training_fixture import pose_data, quick_config, small_space

SPACE = get_space("resnet-tiny")
LATENCY = LatencyConfig()


def table(space: SearchSpace = SPACE, batch: int = 1) -> LatencyTable:
    return LatencyTable(
        fingerprint=LatencyMeter(LATENCY).fingerprint,
        batch=batch,
        reference_ms=1.0,
        space=space.name,
        fit=Fit(1.0, 0.0),
        blocks={block_name(block): 1.0 for block in space_blocks(space)},
        measured=1,
    )


def other_space(name: str) -> SearchSpace:
    """With one width more than the tiny space has: its ends have the tiny space's blocks, its middle has not."""
    value = SPACE.to_json()
    value["name"] = name
    value["stages"][2]["width"] = [48, 56, 64]
    return SearchSpace.from_json(value)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch sizes of the tables that were measured anew."""
    batches: list[int] = []

    def build(space: SearchSpace, latency: LatencyConfig, path: Path, progress: object = None) -> LatencyTable:
        batches.append(latency.batch)
        return table(space, latency.batch)

    monkeypatch.setattr(costs, "build_table", build)
    return batches


def test_a_table_of_this_space_and_batch_is_used_again(tmp_path: Path, built: list[int]) -> None:
    table().save(tmp_path / "table.json")
    assert costs.space_table(SPACE, LATENCY, tmp_path / "table.json") == table()
    assert not built


@pytest.mark.parametrize(
    ("space", "batch"), [(SPACE, 8), (other_space("resnet-tiny"), 1), (other_space("another"), 1)]
)
def test_a_table_of_another_batch_or_space_is_not(
    tmp_path: Path, built: list[int], space: SearchSpace, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    table().save(tmp_path / "table.json")
    found = costs.space_table(space, LatencyConfig(batch=batch), tmp_path / "table.json")
    assert (found.space, found.batch) == (space.name, batch)
    assert built == [batch]
    assert "it is measured anew" in caplog.text


def test_a_damaged_table_is_measured_anew(
    tmp_path: Path, built: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    table().save(tmp_path / "table.json")
    whole = (tmp_path / "table.json").read_bytes()
    (tmp_path / "table.json").write_bytes(whole[: len(whole) // 2])
    assert costs.space_table(SPACE, LATENCY, tmp_path / "table.json") == table()
    assert built == [1]
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    ("objectives", "constraints", "message"),
    [
        (["ap", "pck:max"], [], "nothing here measures 'pck'"),
        (["ap", "latency_ms:max"], [], "latency_ms:max: less is better"),
        (["ap:min", "macs"], [], "ap:min: more is better"),
        (["ap", "macs"], ["latency_ms >= 5"], "latency_ms >= 5: a race .* candidate.racing to false"),
        (["ap", "macs"], ["ap <= 0.5"], "ap <= 0.5: a race"),
    ],
)
def test_objectives_that_do_not_fit_are_refused(objectives: list[str], constraints: list[str], message: str) -> None:
    problem = Problem.parse(objectives, constraints)
    with pytest.raises(InputError, match=message):
        checks.check_objectives(problem, racing=True)


def test_bounds_from_below_are_possible_without_racing() -> None:
    problem = Problem.parse(["ap", "macs"], ["latency_ms >= 5", "ap >= 0.1", "params <= 1e6"])
    checks.check_objectives(problem, racing=False)
    assert checks.select_minimized(problem) == ("macs", "latency_ms", "params")


def factory(precision: Precision = "auto", device: str = "cpu") -> session.CandidateFactory:
    """What is decided about needs neither a supernet nor crops."""
    nothing: Any = None
    config = CandidateConfig(precision=precision)
    return session.CandidateFactory(
        Path("none"), None, nothing, nothing, nothing, nothing, session.Costs(), (), config, device
    )


def test_the_precision_is_decided_once_for_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.CandidateFactory, "quicker_precision", lambda _: "bfloat16")
    resumed = {"candidate": {"precision": "float32"}}
    assert checks.decide_precision(factory(), {}).precision == "bfloat16"
    assert checks.decide_precision(factory(), resumed).precision == "float32", "as the search to go on with"
    assert checks.decide_precision(factory("bfloat16"), resumed).precision == "bfloat16", "as asked for"
    assert checks.decide_precision(factory(device="cuda"), {}).precision == "float32"


def test_a_gpu_that_is_not_there_is_missed_before_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    checks.check_device("cpu")
    with pytest.raises(InputError, match="gpus_per_worker: torch finds no GPU"):
        factory(device="cuda")()


def test_a_front_is_not_measured_on_another_machine() -> None:
    here = LatencyMeter(LatencyConfig()).fingerprint
    elsewhere = dataclasses.replace(here, cpu="another processor")
    with pytest.raises(MeasureInputError, match="another processor"):
        session.FrontMeasure(LatencyConfig(), elsewhere)()
    assert callable(session.FrontMeasure(LatencyConfig(), here)())


def test_no_objective_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="give one at least, such as ap"):
        SearchConfig(objectives=())


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose supernet was trained for two steps, of coloured discs."""
    folder = tmp_path_factory.mktemp("untrained")
    train_supernet(small_space(), pose_data(folder / "coco"), quick_config(steps=2), folder / "run")
    run = RunFolder(folder / "run")
    run.write_space(small_space())
    return run


def searched(run: RunFolder, objectives: tuple[str, ...] | None, out: Path, *, resume: bool = False) -> Any:
    if not out.is_dir():
        out.mkdir()
        for path in (run.supernet, run.space):
            shutil.copyfile(path, out / path.name)
    count = 5 if resume else 3
    settings = SearchConfig(
        evaluations=count, workers=0, population_size=2, algorithm="evolution", objectives=objectives
    )
    latency, candidate = LatencyConfig(rounds=3), CandidateConfig(persons=8, calibration_crops=4)
    data = pose_data(run.path.parent / "coco")
    return session.search_networks(
        small_space(), data, settings, candidate, latency, RunFolder(out), resume=resume
    )


def test_where_ap_is_near_0_the_search_ranks_by_oks_and_says_so(
    untrained: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = searched(untrained, None, tmp_path / "a")
    assert "too near 0 to rank networks by: the search ranks by mean OKS" in caplog.text
    assert result.warning is not None
    assert "they are ranked by mean OKS" in result.warning
    assert all({"ap", "mean_oks", "latency_ms"} <= record["objectives"].keys() for record in result.front)
    caplog.clear()
    again = searched(untrained, None, tmp_path / "a", resume=True)
    assert again.evaluations == 5
    assert "near 0" not in caplog.text, "what was decided stays"
    front = RunFolder(tmp_path / "a").load_front_file()
    assert front["objectives"] == {"mean_oks": "max", "latency_ms": "min"}


def test_objectives_that_are_asked_for_stay(
    untrained: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    searched(untrained, ("ap", "latency_ms"), tmp_path / "a")
    assert "mean OKS" not in caplog.text
    assert RunFolder(tmp_path / "a").load_front_file()["objectives"] == {"ap": "max", "latency_ms": "min"}
    searched(untrained, None, tmp_path / "a", resume=True)
    assert RunFolder(tmp_path / "a").load_front_file()["objectives"] == {"ap": "max", "latency_ms": "min"}


def test_where_ap_tells_networks_apart_it_is_the_objective(
    untrained: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session, "NEAR_ZERO_AP", 0.0)
    searched(untrained, None, tmp_path / "a")
    assert "mean OKS" not in caplog.text
    assert RunFolder(tmp_path / "a").load_front_file()["objectives"] == {"ap": "max", "latency_ms": "min"}
