"""A search of video networks: its algorithm, its files on other nodes, and what goes on from before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data.augment import NO_AUGMENTATION
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.video_data import VideoData
from nas.latency import LatencyConfig, LatencyMeter
from nas.latency.video import VideoLatencyTable
from nas.run.folder import RunFolder
from nas.search import session
from nas.search.candidates import costs
from nas.search.candidates.config import CandidateConfig
from nas.search.config import SearchConfig
from nas.search.workers.node_files import FilesMissing, fetching
from nas.weights.files import save_network
from search_spaces import InputError, get_space
from supernet import PoseNet, Supernet
from tests.clip_toys import small_video_space
from tests.posetrack_fixture import write_sequence

SPACE = small_video_space()
SEARCH = SearchConfig(evaluations=4, objectives=("ap", "macs"), population_size=3, workers=0)
CANDIDATE = CandidateConfig(persons=4, calibration_crops=2, chunk=2, precision="float32")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path / "run")
    Supernet(SPACE).save(found.temporal)
    save_network(found.key, PoseNet(SPACE.key))
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> VideoData:
    folder = tmp_path_factory.mktemp("videos")
    write_sequence(folder, "train", 1, 4)
    write_sequence(folder, "val", 2, 4)
    video = VideoDataConfig(folder=folder)
    return VideoData(DataConfig(video=video, cache=folder / "cache", augmentation=NO_AUGMENTATION), 2, 17)


def search(run: RunFolder, data: Any, resume: bool = False, **settings: Any) -> None:
    config = replace(SEARCH, **settings)
    session.search_networks(SPACE, data, config, CANDIDATE, LatencyConfig(), run, resume=resume)


def evaluations(run: RunFolder) -> list[tuple[str, Any]]:
    lines = [json.loads(line) for line in run.journal.read_text().splitlines()]
    return [(line["id"], line["objectives"]) for line in lines]


def test_where_nothing_is_said_images_are_guided_and_videos_evolve(run: RunFolder) -> None:
    chosen = [session.with_algorithm(SEARCH, space, run, False) for space in (get_space("resnet-tiny"), SPACE)]
    assert [one.algorithm for one in chosen] == ["guided", "evolution"]
    by_chance = session.with_algorithm(replace(SEARCH, algorithm="random"), SPACE, run, False)
    assert by_chance.algorithm == "random"


@pytest.mark.parametrize("resume", [False, True])
def test_a_guided_search_of_videos_is_refused_before_anything_is_read(run: RunFolder, resume: bool) -> None:
    before = sorted(run.path.iterdir())
    with pytest.raises(InputError, match=r"search.algorithm: guided is for image networks.*evolution or random"):
        search(run, None, resume, algorithm="guided")
    assert sorted(run.path.iterdir()) == before


def test_a_search_from_when_guided_meant_evolution_goes_on(
    run: RunFolder, data: VideoData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    search(run, data)
    search(run, data, resume=True, algorithm="guided", evaluations=8)
    assert caplog.text.count("it goes on as evolution") == 1
    whole = RunFolder(tmp_path / "whole")
    whole.path.mkdir()
    for path in (run.temporal, run.key):
        (whole.path / path.name).write_bytes(path.read_bytes())
    search(whole, data, evaluations=8)
    assert evaluations(run) == evaluations(whole)


@pytest.mark.parametrize("ap", ["oks", "posetrack"])
def test_a_candidate_is_judged_the_same_from_files_that_were_fetched(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ap: session.ApKind
) -> None:
    import ray

    monkeypatch.setenv("VIPNAS_CACHE", str(tmp_path / "node"))
    monkeypatch.setattr(ray, "get", lambda path: np.fromfile(path, dtype=np.uint8))
    for number, part in enumerate(("train", "val"), 1):
        write_sequence(tmp_path, part, number, 4)
    config = DataConfig(
        video=VideoDataConfig(folder=tmp_path), cache=tmp_path / "cache", augmentation=NO_AUGMENTATION
    )
    factory = session.candidate_factory(
        SPACE, VideoData(config, 2, 17), CANDIDATE, run, session.Costs(), ("macs",), "cpu", ap
    )
    expected = factory()(SPACE.largest())
    moved, files = factory.portable()
    kept = {}
    for digest, path in files.items():
        kept[digest] = (tmp_path / "driver" / digest).with_suffix(path.suffix)
        kept[digest].parent.mkdir(exist_ok=True)
        path.rename(kept[digest])
    with pytest.raises(FilesMissing) as missing:
        moved()
    assert set(missing.value.digests) == kept.keys()
    with fetching(kept):
        evaluate: Any = moved()
    found = evaluate(SPACE.largest())
    assert evaluate.people.crops.path.is_relative_to(tmp_path / "node")
    assert (found["objectives"], found["metrics"]) == (expected["objectives"], expected["metrics"])


def test_on_a_cluster_the_tables_and_the_candidates_are_measured_in_a_slot(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nas.search.workers import cluster_latency
    from tests.test_search_session import table

    asked: list[str] = []
    fingerprint = LatencyMeter(LatencyConfig()).fingerprint

    def answers(tasks: list[Any], timeout_s: float) -> list[Any]:
        asked.append(tasks[0].__name__)
        return [table(SPACE.spatial) if tasks[0].__name__ == "build_table" else of_videos]

    class Task:
        def __init__(self, function: Any) -> None:
            self.function = function

        def remote(self, *arguments: Any) -> Any:
            return self.function

    of_videos = VideoLatencyTable(
        fingerprint=fingerprint, batch=1, space=SPACE.id, key=SPACE.key.id, key_ms=1.0, fusions={}
    )
    monkeypatch.setattr(cluster_latency, "_task", Task)
    monkeypatch.setattr(cluster_latency, "_answers", answers)
    for _ in range(2):  # the second time they are in the run's folder
        made = costs.table_costs(SPACE, LatencyConfig(), run, fingerprint, in_slot=True)
        assert made.video_table == of_videos
    assert asked == ["build_table", "_build_video_table"]
    monkeypatch.setattr(cluster_latency, "latencies_in_slot", lambda *_: [1.0, 2.0, 4.0])
    measured = costs.Costs(latency=LatencyConfig(), fingerprint=fingerprint, in_slot=True)
    values, by_position = measured(SPACE.largest())
    assert (values["latency_ms"], by_position) == (7.0, [1.0, 2.0, 4.0])
