"""The quickstart on videos: its plan, that it goes on as it was begun, and (slowly) all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nas.quickstart as quickstart_module
from nas.config import load_config
from nas.video_quickstart import VIDEO_CONFIG, plan_video, planned_video, quickstart_video
from search_spaces import InputError
from tests.paths import REPO
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
    monkeypatch.setattr("nas.video_quickstart.quickstart_video", lambda *words: given.extend(words) or interrupted())
    done = call("quickstart", "--video", "--run-dir", tmp_path / "run", "--resume")
    assert done.returncode == 130
    assert given[0] == begun


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
