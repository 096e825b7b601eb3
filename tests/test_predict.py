"""`vipnas predict` as a user calls it: each kind of input and of boxes, what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from evaluators import read_posetrack
from nas.cli.predict import why_nobody
from nas.predict.frames import open_frames
from nas.predict.model import find_model_file, load_pose_model
from nas.predict.predict import Prediction
from nas.stages.predict import PredictSettings
from nas.weights.files import pose_metadata, save_network
from search_spaces import InputError, get_space
from supernet import PoseNet
from tests.paths import REPO, shared
from tests.predict_fixture import (
    BOX,
    dots_px,
    frame_of,
    write_detections,
    write_detector,
    write_network,
    write_video,
)
from tests.program import assert_one_line, call

PATH_A = [(40.0 + 3 * i, 60.0) for i in range(8)]
PATH_B = [(190.0 - i, 58.0) for i in range(8)]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "dots.onnx", {"codec": "gaussian", "keypoints": "nose,left_hip,right_ankle"})


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "walk.mp4", [frame_of(a, b) for a, b in zip(PATH_A, PATH_B, strict=True)])


def both(tmp_path: Path) -> Path:
    return write_detections(tmp_path / "boxes.json", [[a, b] for a, b in zip(PATH_A, PATH_B, strict=True)])


def results(out: Path, name: str = "walk") -> list[dict]:
    return json.loads((out / f"{name}_poses.keypoints.results.json").read_text())


def assert_found(entries: list[dict], truth: list[tuple[float, float]], tolerance: float = 1.5) -> None:
    """The dots of one person, frame by frame. A heatmap pixel is about 4 px of the frame."""
    assert [entry["image_id"] for entry in entries] == list(range(len(truth)))
    for entry, middle in zip(entries, truth, strict=True):
        found = np.reshape(entry["keypoints"], (3, 3))
        assert np.abs(found[:, :2] - dots_px(middle)).max() < tolerance, entry
        assert found[:, 2].min() > 0.5


def test_a_video_with_boxes(network: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call("predict", video, "--model", network, "--boxes", both(tmp_path), "--out", out)
    assert done.returncode == 0, done.stderr
    assert "8 frames" in done.stdout
    assert "16 poses of 2 tracks" in done.stdout
    assert all(part in done.stdout for part in ("decode", "detect", "crop", "network", "draw", "total"))
    assert "no PoseTrack18 file" in done.stdout  # these three keypoints are not its 15
    assert sorted(path.name for path in out.iterdir()) == ["walk_poses.keypoints.results.json", "walk_poses.mp4"]
    for track, path in enumerate((PATH_A, PATH_B)):
        assert_found([entry for entry in results(out) if entry["track_id"] == track], path)
    drawn = list(open_frames(str(out / "walk_poses.mp4")))
    assert len(drawn) == 8
    assert drawn[0].image_bgr.shape == (120, 240, 3)
    assert np.abs(drawn[4].image_bgr.astype(int) - frame_of(PATH_A[4], PATH_B[4])).mean() > 2  # something is drawn


@pytest.mark.parametrize("given", ["file", "numbers"])
def test_boxes_are_given_once_and_followed(network: Path, video: Path, tmp_path: Path, given: str) -> None:
    out = tmp_path / "out"
    if given == "file":
        options = ["--boxes", str(write_detections(tmp_path / "first.json", [[PATH_A[0]]])), "--follow"]
    else:
        options = ["--box", str(PATH_A[0][0] - BOX[0] / 2), str(PATH_A[0][1] - BOX[1] / 2), *map(str, BOX)]
    done = call("predict", video, "--model", network, *options, "--out", out, "--no-video")
    assert done.returncode == 0, done.stderr
    assert_found(results(out), PATH_A, tolerance=2.5)
    assert {entry["track_id"] for entry in results(out)} == {0}
    assert not list(out.glob("*.mp4"))


def test_a_detector(network: Path, video: Path, tmp_path: Path) -> None:
    corners = np.array([[[8, 4, 50, 44, 0.9]]], np.float32)  # in 64 × 64; the frame is shrunk to 64 × 32
    detector = write_detector(tmp_path / "people.onnx", dets=corners, labels=np.zeros((1, 1), np.int64))
    out = tmp_path / "out"
    done = call("predict", video, "--model", network, "--detector", detector, "--out", out, "--max-frames", 3)
    assert done.returncode == 0, done.stderr
    assert [entry["bbox"] for entry in results(out)] == [[30, 15, 157.5, 105]] * 3


def test_one_image_of_one_person(network: Path, tmp_path: Path) -> None:
    image = tmp_path / "one.png"
    cv2.imwrite(str(image), frame_of((60, 60), size=(120, 120)))
    done = call("predict", image, "--model", network, "--whole-frame", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert_found(results(tmp_path, "one"), [(60, 60)], tolerance=2.5)
    assert cv2.imread(str(tmp_path / "one_poses.png")).shape == (120, 120, 3)
    assert np.array_equal(cv2.imread(str(image)), frame_of((60, 60), size=(120, 120)))  # the input is as it was


def test_a_folder_as_drawn_images_and_smoothed(network: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, middle in enumerate(PATH_A):
        cv2.imwrite(str(folder / f"{index + 6}.png"), frame_of(middle))  # 9 comes before 10
    (tmp_path / "boxes").mkdir()
    boxes = tmp_path / "boxes.json"
    images = [{"id": i, "file_name": f"{i + 6}.png"} for i in range(8)]
    people = [
        {"image_id": i, "category_id": 1, "bbox": [x - BOX[0] / 2, y - BOX[1] / 2, *BOX]}
        for i, (x, y) in enumerate(PATH_A)
    ]
    boxes.write_text(json.dumps({"images": images, "annotations": people, "categories": []}))
    out = tmp_path / "out"
    done = call(
        "predict", folder, "--model", network, "--boxes", boxes, "--out", out, "--images", "--smooth", "--fps", 25
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (out / "frames_poses").iterdir()} == {f"{i + 6}.jpg" for i in range(8)}
    assert_found(results(out, "frames"), PATH_A, tolerance=4)


# Models ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an exported network of 17 keypoints, its weights alone."""
    from nas.data.codecs import Codec
    from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES

    run = tmp_path_factory.mktemp("run")
    architecture = get_space("resnet-tiny").smallest()
    net = PoseNet(architecture, torch.Generator().manual_seed(0)).eval()
    facts = pose_metadata(Codec.of("dark", architecture.input_size, 1.5), COCO_KEYPOINT_NAMES)
    save_network(run / "export" / architecture.id / "weights.safetensors", net, facts)
    return run


def test_both_runtimes_give_the_same_heatmaps(run_folder: Path) -> None:
    (folder,) = (run_folder / "export").iterdir()
    torch_model = load_pose_model(str(folder))
    onnx_model = load_pose_model(f"{run_folder}:{folder.name[:4]}", "onnxruntime")
    assert (torch_model.runtime, onnx_model.runtime) == ("torch", "onnxruntime")
    assert torch_model.codec == onnx_model.codec
    assert (torch_model.codec.name, torch_model.codec.sigma) == ("dark", 1.5)
    generator = np.random.default_rng(0)
    for people in (1, 2, 2, 2, 2, 1):  # traced from the third time on
        crops = generator.normal(size=(people, 3, *torch_model.codec.input_size)).astype(np.float32)
        expected = onnx_model.step.step(crops)
        assert expected.shape == (people, 17, *torch_model.codec.heatmap_size)
        # The untrained network's heatmaps are almost flat: a float32 step is more than 1e-3 of their deviation.
        np.testing.assert_allclose(torch_model.step.step(crops), expected, rtol=1e-6, atol=1e-3 * expected.std())


def test_coco_keypoints_give_a_posetrack_file(run_folder: Path, video: Path, tmp_path: Path) -> None:
    (folder,) = (run_folder / "export").iterdir()
    out = tmp_path / "out"
    done = call("predict", video, "--model", folder, "--boxes", both(tmp_path), "--out", out, "--no-video")
    assert done.returncode == 0, done.stderr
    frames = read_posetrack(out / "walk_poses.posetrack18.json")
    assert [frame.track_ids.tolist() for frame in frames] == [[0, 1]] * 8
    assert frames[3].file_name == "walk/000003.jpg"


def test_models_that_are_none(run_folder: Path, tmp_path: Path) -> None:
    (folder,) = (run_folder / "export").iterdir()
    (tmp_path / "bad.onnx").write_bytes(b"no")
    (tmp_path / "bad.pth").write_bytes(b"no")
    two = write_network(tmp_path / "two.onnx", outputs=2)
    detector = write_detector(tmp_path / "d.onnx", boxes=np.zeros((3, 5), np.float32))
    for model, expected in {
        str(run_folder): "is a run; name a network in it",
        str(tmp_path): "holds no network",
        f"{run_folder}:ffff": "no exported or retrained network begins with 'ffff'",
        str(tmp_path / "bad.pth"): "not a network",
        str(tmp_path / "bad.onnx"): "onnxruntime cannot load it",
        str(two): "not an image network.*heatmaps.*more",
        str(detector): "gives no heatmaps.*boxes",
        "nowhere": "no such file or folder",
    }.items():
        with pytest.raises(InputError, match=expected):
            load_pose_model(model)
    with pytest.raises(InputError, match="torch cannot run an ONNX file"):
        load_pose_model(str(write_network(tmp_path / "n.onnx")), "torch")
    assert find_model_file(str(folder)).name == "weights.safetensors"


# Bad input -------------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line_and_leaves_nothing(network: Path, video: Path, tmp_path: Path) -> None:
    out, empty, damaged = tmp_path / "out", tmp_path / "empty", tmp_path / "damaged.png"
    empty.mkdir()
    damaged.write_bytes(b"no image")
    (tmp_path / "text.mp4").write_text("no video")
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps([{"image_id": 99, "bbox": [1, 2, 3, 4], "score": 1}]))
    logits = write_detector(tmp_path / "logits.onnx", logits=np.zeros((1, 1000), np.float32))
    one = ("--whole-frame",)
    cases: list[tuple[tuple[str | Path, ...], str]] = [
        ((tmp_path / "none.mp4", *one), "no such file or folder"),
        ((tmp_path / "text.mp4", *one), "cannot be read as a video"),
        ((empty, *one), "holds no images"),
        ((damaged, *one), "damaged.png: the image does not decode"),
        (("camera:97", *one), "no such camera"),
        ((video, "--boxes", elsewhere), "names no frame of walk"),
        ((video, "--detector", logits), "unknown layout: logits (1, 1000)"),
        ((video,), "one of --boxes, --detector, --box, --whole-frame; got none"),
        ((video, *one, "--follow"), "nothing to follow"),
        ((video, *one, "--keypoints", "coco"), "3 heatmaps, and 17 keypoints are named"),
        ((video, *one, "--fps", "-1"), "--fps: must be positive"),
        ((video, *one, "--person-class", "0"), "--person-class: is of a --detector, and none is given"),
    ]
    for words, expected in cases:
        done = call("predict", *words, "--model", network, "--out", out)
        assert_one_line_after_progress(done, expected)
        assert not out.exists() or not list(out.iterdir()), words
    done = call("predict", video, *one, "--model", network)
    assert_one_line(done, "give --out DIR for the results, or --show")


def assert_one_line_after_progress(done: subprocess.CompletedProcess[str], expected: str) -> None:
    lines = [line for line in done.stderr.splitlines() if not line.startswith("predicting: ")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("vipnas: error: ")
    assert expected in lines[0]


def test_show_without_a_display(network: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    done = call("predict", video, "--model", network, "--whole-frame", "--show", "--out", tmp_path / "out")
    assert_one_line(done, "--show: there is no display here")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_complete_video(network: Path, tmp_path: Path, number: signal.Signals) -> None:
    video = write_video(tmp_path / "long.mp4", [frame_of((60, 60))] * 3000)
    out = tmp_path / "out"
    words = ["predict", str(video), "--model", str(network), "--whole-frame", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", *words], env=environment, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(out.glob(".*.mp4")):
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    printed, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert b"vipnas: interrupted" in error
    drawn = len(list(open_frames(str(out / "long_poses.mp4"))))
    assert 0 < drawn < 3000
    assert f"{drawn} frames".encode() in printed
    assert len(results(out, "long")) == drawn
    assert not list(out.glob(".*"))


def test_the_real_video_with_its_boxes(run_folder: Path, tmp_path: Path) -> None:
    folder = shared("data/posetrack_real_mini/images/val/060470979_bonn")
    truth = shared("data/posetrack_real_mini/annotations/val/060470979_bonn.json")
    (model,) = (run_folder / "export").iterdir()
    done = call("predict", folder, "--model", model, "--boxes", truth, "--out", tmp_path, "--no-video")
    assert done.returncode == 0, done.stderr
    assert "164 poses of 4 tracks" in done.stdout
    frames = read_posetrack(tmp_path / "060470979_bonn_poses.posetrack18.json")
    for found, true in zip(frames, read_posetrack(truth), strict=True):
        assert found.image_id == true.image_id
        assert Path(found.file_name).name == Path(true.file_name).name


def test_nobody_at_all_is_explained(network: Path, video: Path, tmp_path: Path) -> None:
    box = [str(PATH_A[0][0] - BOX[0] / 2), str(PATH_A[0][1] - BOX[1] / 2), *map(str, BOX)]
    out = tmp_path / "out"
    done = call("predict", video, "--model", network, "--box", *box, "--lost-score", "9", "--out", out, "--no-video")
    assert done.returncode == 0, done.stderr
    assert "0 poses of 0 tracks" in done.stdout
    assert "boxes were looked at, and left out: their mean keypoint scores, " in done.stdout
    assert "are below --lost-score 9; lower it" in done.stdout
    empty = Prediction(times=None)  # type: ignore[arg-type]
    assert why_nobody(empty, PredictSettings(model="m", boxes=Path("b.json"))) == "no person's box in any frame"
    assert "--box-score" in why_nobody(empty, PredictSettings(model="m", detector="people.onnx"))
