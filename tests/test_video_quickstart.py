"""The quickstart on videos: its plan, that it goes on as it was begun, and (slowly) all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nas.stages.quickstart as quickstart_module
from nas.config import load_config
from nas.stages.video_quickstart import VIDEO_CONFIG, VideoPlan, plan_video, planned_video, quickstart_video
from nas.weights.files import load_network
from search_spaces import InputError
from tests.coco_fixture import write_folder
from tests.paths import REPO
from tests.posetrack_fixture import write_sequence
from tests.program import call


def test_the_stages_share_the_minutes(tmp_path: Path) -> None:
    plan = plan_video(14, None, tmp_path / "run")
    sections = (plan.images.train, plan.images.search, plan.images.retrain, plan.videos.video.train,
                plan.videos.search, plan.videos.video.retrain)  # fmt: skip
    total = sum(section.minutes or 0 for section in sections)
    assert 7 < total < 10  # the rest is for what does not scale, and for the network that it is compared with
    assert plan.videos.run_dir == tmp_path / "run" / "video"
    assert plan.videos.video.key == str(tmp_path / "run")
    for config in (plan.images, plan.videos):
        assert (config.data.video.folder, config.data.video.layout) == (tmp_path / "run" / "data", "coco")
    assert plan.synthetic is not None
    assert plan.synthetic.videos_train > 0
    assert plan_video(14, tmp_path / "own", tmp_path).synthetic is None
    with pytest.raises(InputError, match="needs 6 minutes at least"):
        plan_video(5, None, tmp_path)


def test_its_stages_alone_are_those_of_the_commands() -> None:
    config = load_config(VIDEO_CONFIG)
    assert config.is_video
    assert config.video.retrain.initialize_from == "inherited"
    assert config.video.key == str(config.run_dir.parent)
    assert config.video.retrain.learn_from_key


def test_an_interrupted_one_goes_on_as_it_was_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart_module, "synthesize", interrupted)
    begun = plan_video(20, None, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        quickstart_video(begun)
    assert planned_video(tmp_path / "run") == begun
    assert planned_video(tmp_path / "none") is None

    given: list[Any] = []
    monkeypatch.setattr(
        "nas.stages.video_quickstart.quickstart_video", lambda *words: given.extend(words) or interrupted()
    )
    done = call("quickstart", "--video", "--run-dir", tmp_path / "run", "--resume")
    assert done.returncode == 130
    assert given[0] == begun


SPACE = """
name: two-stages
family: resnet
input_size: [64, 48]
keypoints: 17
stem: {width: 8}
stages:
  - {width: [8], depth: [1, 2], groups: [1], attention: [false], stride: 1}
  - {width: [8, 16], depth: 1, groups: [1, 4], attention: [false], stride: 2}
head: {width: [8], groups: [1], layers: 1}
"""


def toy_plan(folder: Path) -> VideoPlan:
    """Few steps on a few made-up images and videos, without Ray."""
    write_folder(folder / "data")
    for part in ("train", "val"):
        write_sequence(folder / "data", part, 1 + (part == "val"), 5)
    (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
    common = f"""
space: {folder}/space.yaml
data: {{folder: {folder}/data, video: {{folder: {folder}/data, layout: coco, stills: 0.5}}, cache: {folder}/cache}}
search: {{evaluations: 5, population_size: 4, workers: 0}}
candidate: {{persons: 8, calibration_crops: 6, chunk: 4, precision: float32}}
latency: {{rounds: 1}}
export: {{networks: 1, calibration_crops: 6}}
"""
    training = "batch_size: 4, bf16: false, log_every: 1"
    retraining = f"{{epochs: 1, {training}, initialize_from: inherited, validation: {{flip_test: false}}}}"
    (folder / "images.yaml").write_text(
        f"run_dir: {folder}/run{common}train: {{steps: 2, {training}}}\nretrain: {retraining}\n", encoding="utf-8"
    )
    (folder / "videos.yaml").write_text(
        f"run_dir: {folder}/run/video{common}video:\n  frames: 2\n  train: {{steps: 2, {training}}}\n"
        f"  retrain: {retraining}\n".replace("inherited", "inherited, train_key: true, learn_from_key: true"),
        encoding="utf-8",
    )
    return VideoPlan(load_config(folder / "images.yaml"), load_config(folder / "videos.yaml"), None)


def test_every_stage_and_again(tmp_path: Path) -> None:
    plan = toy_plan(tmp_path)
    result = quickstart_video(plan)
    rows = json.loads((tmp_path / "run" / "video" / "comparison.json").read_text(encoding="utf-8"))
    assert rows == result.comparison
    assert [len(row["ap_by_position"]) for row in rows] == [3] * len(rows)
    own_key = "the same, as the video network trained it on"
    assert {"the key network on every frame", own_key} <= {row["frames"] for row in rows}
    [of_key] = [row["ap_by_position"][0] for row in rows if row["frames"] == own_key]
    assert of_key == rows[0]["ap_by_position"][0]  # in the key frame they are one network
    assert all(row["latency_ms"] > 0 for row in rows)
    assert result.drawn.stat().st_size > 0
    weights = result.run.retrain(result.network.id) / "best.safetensors"
    assert load_network(weights).architecture == result.network
    assert (weights.parent / "evaluation" / "results.json").is_file()
    page = result.report.read_text(encoding="utf-8")
    for title in ("Pareto front", "Latency by frame", "AP by frame", "A clip, frame by frame"):
        assert f"<h2>{title}" in page
    assert (tmp_path / "run" / "report.html").is_file()

    before = weights.stat().st_mtime_ns
    noted = planned_video(tmp_path / "run")
    assert noted is not None
    assert noted.images.retrain.teacher is None, "of the network that it is compared with, not of the run"
    again = quickstart_video(noted)  # everything is there
    assert again.network == result.network
    assert weights.stat().st_mtime_ns == before


@pytest.mark.slow
def test_all_of_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [sys.executable, "-m", "nas", "quickstart", "--video", "--minutes", "6", "--run-dir", str(run)]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, check=False, timeout=2400)
    assert done.returncode == 0, done.stderr
    rows = json.loads((run / "video" / "comparison.json").read_text(encoding="utf-8"))
    assert len(rows) >= 2
    assert all(0 <= row["ap"] <= 1 and row["latency_ms"] > 0 for row in rows)
    assert "<h2>Latency by frame" in (run / "video" / "report.html").read_text(encoding="utf-8")
    assert list((run / "video" / "prediction").glob("*.mp4"))
