"""The report of a run on videos, and the image networks on every frame beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data.config import DataConfig, VideoDataConfig
from nas.data.video_data import VideoData
from nas.evaluation.baselines import evaluate_baselines, read_baselines
from nas.report.bars import Bars
from nas.report.build import write_report
from nas.report.records import read_records
from nas.report.video_body import shown_records
from nas.run.folder import RunFolder
from nas.weights.files import save_network
from search_spaces import FusionChoice, InputError, PropagatedFrame, VideoArchitecture
from supernet import PoseNet, VideoPoseNet
from tests.clip_toys import small_video_space
from tests.posetrack_fixture import write_sequence
from tests.program import assert_one_line, call

SPACE = small_video_space()


def video(seed: int, *fusions: str) -> VideoArchitecture:
    """Frames with these fusions, as ``F1-add`` or ``none``."""
    chosen = SPACE.sample(np.random.default_rng(seed))
    frames = []
    for frame, text in zip(chosen.frames, fusions, strict=True):
        feature, _, operation = text.removeprefix("F").partition("-")
        fusion = FusionChoice(feature=int(feature), operation=operation) if operation else FusionChoice.none()  # type: ignore[arg-type]
        frames.append(PropagatedFrame(architecture=frame.architecture, fusion=fusion))
    return VideoArchitecture(key=chosen.key, frames=tuple(frames))


def record(number: int, ap: float, latencies: list[float], *fusions: str) -> dict[str, Any]:
    architecture = video(number, *fusions)
    return {
        "number": number,
        "id": architecture.id,
        "architecture": architecture.to_json(),
        "objectives": {"ap": ap, "latency_ms": sum(latencies)},
        "measured": {"latency_ms": sum(latencies), "spread_ms": 0.1, "latency_by_position": latencies},
        "metrics": {"mean_oks": ap, "by_position": [ap + 0.1, ap, ap - 0.1], "latency_by_position": latencies},
        "status": "complete",
    }


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Two video networks on the front, of which the second was exported and retrained; an image network, too."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_video_space(SPACE)
    front = [record(0, 0.3, [1.0, 0.25, 0.5], "F1-add", "F2-mul"), record(1, 0.5, [1.0, 0.5, 1.5], "F1-add", "none")]
    run.journal.write_text("".join(json.dumps(one) + "\n" for one in front))
    objectives = {"objectives": {"ap": "max", "latency_ms": "min"}, "reference": {"ap": 0.0, "latency_ms": 9.0}}
    run.front.write_text(json.dumps({**objectives, "front": front}))
    net = VideoPoseNet(video(1, "F1-add", "none"), torch.Generator().manual_seed(0)).eval()
    best = {"AP": 0.66, "AP_frame0": 0.71, "AP_frame1": 0.62, "AP_frame2": 0.6}
    results = {"best": best, "validations": [{"epoch": 1, "AP": 0.66}], "finished": True}
    image = PoseNet(SPACE.key, torch.Generator().manual_seed(0)).eval()
    for key, found, contents in (
        (net.architecture.id, net.architecture, results),
        (image.architecture.id, image.architecture, {"best": {"AP": 0.9999}, "validations": []}),
    ):
        folder = run.retrain(key)
        folder.mkdir(parents=True)
        (folder / "architecture.json").write_text(json.dumps(found.to_json()))
        (folder / "results.json").write_text(json.dumps(contents))
    save_network(run.retrain(net.architecture.id) / "best.safetensors", net)
    save_network(run.retrain(image.architecture.id) / "best.safetensors", image)
    save_network(run.key, image)
    videos = tmp_path / "videos"
    write_sequence(videos, "val", 2, 6)
    config = {"run_dir": str(run.path), "data": {"video": {"folder": str(videos)}, "cache": str(videos / "cache")}}
    run.config.write_text(json.dumps({**config, "video": {"frames": 2}}))
    return run


def part(page: str, begin: str, end: str = "</section>") -> str:
    start = page.index(f"<h2>{begin}")
    return page[start : page.index(end, start)]


def test_a_front_is_read_with_the_latency_of_each_frame(run: RunFolder) -> None:
    assert [len(one["measured"]["latency_by_position"]) for one in run.load_front()] == [3, 3]


def test_what_the_page_says_of_a_run_on_videos(run: RunFolder) -> None:
    done = call("report", run.path)
    assert done.returncode == 0, done.stderr
    page = run.report.read_text(encoding="utf-8")
    fusions = part(page, "Fusions on the front")
    assert re.search(r"<th>F1</th><td[^>]*>2</td>", fusions)  # F1 add, twice
    assert re.search(r"<th>F2</th><td[^>]*>·</td><td[^>]*>1</td>", fusions)  # F2 mul
    assert re.search(r'<th>none</th><td colspan="3"[^>]*>1</td>', fusions)
    assert len(re.findall("<rect ", part(page, "Latency by frame", "legend"))) == 6
    table = part(page, "Networks side by side")
    assert "(key) on every frame" in table
    assert "3.00" in table  # the clip's, of the key network on each of three frames
    assert "0.660" in table
    assert "0.9999" not in page  # the image network's, whose report is another
    clips = part(page, "A clip, frame by frame")
    assert clips.count("data:image/jpeg") == 2 * clips.count('<div class="clip">') > 0
    assert not re.search(r'(src|href)="(?!data:|retrain/)', page)  # whole without other files, to which it may link


def test_without_data_there_are_no_pictures(run: RunFolder) -> None:
    done = call("report", run.path, "--no-pictures", "--data.video.folder", run.path / "none")
    assert done.returncode == 0, done.stderr
    page = run.report.read_text(encoding="utf-8")
    assert "AP by frame" in page
    assert "A clip, frame by frame" not in page


def test_a_front_without_latencies_has_no_bars(run: RunFolder) -> None:
    content = json.loads(run.front.read_text())
    for one in content["front"]:
        one["metrics"].pop("latency_by_position")
        del one["measured"]
    run.front.write_text(json.dumps(content))
    page = write_report(run).read_text(encoding="utf-8")
    assert "<h2>Latency by frame" not in page
    assert "<h2>AP by frame" in page


def test_exported_networks_are_always_shown(run: RunFolder) -> None:
    content = json.loads(run.front.read_text())
    content["front"] += [record(n, 0.5 + n / 100, [1.0, 1.0, n / 10], "none", "none") for n in range(20, 40)]
    run.front.write_text(json.dumps(content))
    records = read_records(run)
    shown = [one["id"] for one in shown_records(records)]
    assert len(shown) == 6
    assert video(1, "F1-add", "none").id in shown


def test_baselines_are_judged_once_and_kept(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    config = json.loads(run.config.read_text())["data"]
    folder = Path(config["video"]["folder"])
    data = VideoData(DataConfig(video=VideoDataConfig(folder=folder), cache=Path(config["cache"])), 2)
    other = run.path.parent / "other.safetensors"
    save_network(other, PoseNet(SPACE.spatial.smallest(), torch.Generator().manual_seed(1)).eval())
    found = evaluate_baselines(run, data, [other], [0.7])
    assert [one.is_key for one in found] == [True, False]
    assert [one.clip_latency_ms for one in found] == pytest.approx([3.0, 2.1])
    assert len(found[0].ap_by_position) == 3
    monkeypatch.setattr("nas.evaluation.prediction.ClipEvaluator.metrics", None)  # nothing is evaluated again
    assert evaluate_baselines(run, data) == found == read_baselines(run)
    with pytest.raises(TypeError, match="not callable"):  # other clips
        evaluate_baselines(run, VideoData(data.config, 1))
    save_network(other, PoseNet(SPACE.spatial.smallest(), torch.Generator().manual_seed(2)).eval())
    with pytest.raises(TypeError, match="not callable"):  # other weights in the same file
        evaluate_baselines(run, data, [other], [0.7])
    (run.path / "baselines.json").write_text("[{}]")
    with pytest.raises(InputError, match=r"baselines\.json: damaged"):
        read_baselines(run)


def test_a_run_that_has_nothing_yet(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_video_space(SPACE)
    run.config.write_text("video: {frames: 2}")
    assert_one_line(call("report", tmp_path, "--no-pictures"), "nothing to report yet")


def test_bars_are_as_high_as_their_values() -> None:
    bars = Bars(y_title="ms", groups=[[1.0, 2.0], [4.0, 0.5]], labels=["a", "b"], notes=["", ""], legend=["k", "f"])
    drawing = bars.svg().split("legend")[0]
    heights = [float(value) for value in re.findall(r'<rect [^>]*height="([\d.]+)"', drawing)]
    assert heights == pytest.approx([heights[0] * factor for factor in (1, 2, 4, 0.5)], rel=0.01)


def test_a_front_s_latencies_are_numbers(run: RunFolder) -> None:
    content = json.loads(run.front.read_text())
    assert len(run.load_front()) == 2
    content["front"][0]["measured"]["latency_by_position"] = [1.0, None, 2.0]
    run.front.write_text(json.dumps(content))
    with pytest.raises(InputError, match="not numbers"):
        run.load_front()
