"""Times and rates of videos: frames keep their own times, and the drawn video is as long as its input."""

from __future__ import annotations

import json
import math
import threading
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from nas.predict.frame_clock import FrameClock
from nas.predict.frames import Frame, FrameSource, open_frames
from nas.predict.pictures_out import VideoFile
from nas.predict.video_rate import fps_without_loss, mp4_fps, slots_of
from search_spaces import InputError
from tests.predict_fixture import frame_of, write_network, write_video
from tests.program import assert_one_line, call
from tests.video_fixture import grey, jpeg_of, level_of, write_matroska, write_mp4

BURSTS_MS = [0, 33, 67, 100, 133, 167, 200, 1200, 1233, 1267]
"""30 frames a second, a pause of a second, and again."""
WALL_MS = [0, 40, 95, 120, 300, 310, 333, 800, 1500, 1505]
"""As a phone in poor light, or a stream of a bad line, has them."""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "dots.onnx", {"codec": "gaussian", "keypoints": "nose,left_hip,right_ankle"})


def pictures(count: int) -> list[bytes]:
    return [jpeg_of(number) for number in range(count)]


def shown(video: Path) -> tuple[list[int], float]:
    """The numbers of the pictures that a drawn video of grey ones shows, and its rate."""
    capture = cv2.VideoCapture(str(video))
    numbers = []
    while True:
        decoded, image = capture.read()
        if not decoded:
            return numbers, float(capture.get(cv2.CAP_PROP_FPS))
        numbers.append(level_of(image))


def draw(source: FrameSource, path: Path) -> tuple[list[int], float]:
    video = VideoFile(path, source.drawing_fps())
    for frame in source:
        video.add(frame.image_bgr, frame.name, frame.time_s)
    assert video.finish() == path
    return shown(path)


# Times of frames --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times_ms", [BURSTS_MS, WALL_MS])
@pytest.mark.parametrize("form", ["mkv", "mkv that says its rate", "mp4"])
def test_frames_have_their_own_times(tmp_path: Path, form: str, times_ms: list[int]) -> None:
    if form == "mp4":
        video = write_mp4(tmp_path / "v.mp4", pictures(10), times_ms)
    else:
        video = write_matroska(tmp_path / "v.mkv", pictures(10), times_ms, 30 if "rate" in form else None)
    source = open_frames(str(video))
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(10))
    assert [frame.time_s for frame in frames] == pytest.approx([t / 1000 for t in times_ms], abs=1e-6)
    assert source.missing() == ""


@pytest.mark.parametrize("times_ms", [BURSTS_MS, WALL_MS])
@pytest.mark.parametrize("form", ["mkv", "mp4"])
def test_a_drawn_video_is_as_long_as_its_input_and_shows_every_frame(
    tmp_path: Path, form: str, times_ms: list[int]
) -> None:
    write = write_mp4 if form == "mp4" else write_matroska
    source = open_frames(str(write(tmp_path / f"v.{form}", pictures(10), times_ms)))
    numbers, fps = draw(source, tmp_path / "drawn.mp4")
    assert sorted(set(numbers)) == list(range(10))
    assert numbers == sorted(numbers)
    for number, time_ms in enumerate(times_ms):  # each from its time on, to a frame
        assert numbers.index(number) / fps == pytest.approx(time_ms / 1000, abs=max(1.01 / fps, 0.034))
    assert len(numbers) / fps == pytest.approx(times_ms[-1] / 1000, abs=2.01 / fps)


def test_the_nominal_rate_is_kept_where_it_serves(tmp_path: Path) -> None:
    even = [round(1000 * i / 24) for i in range(20)]
    source = open_frames(str(write_matroska(tmp_path / "even.mkv", pictures(20), even, 24)))
    assert draw(source, tmp_path / "even.mp4") == (list(range(20)), 24)
    # The mean rate of this one is 7.8 frames a second, at which the people of the bursts would crawl.
    bursts = open_frames(str(write_mp4(tmp_path / "bursts.mov", pictures(10), BURSTS_MS)))
    assert bursts.fps < 9
    assert bursts.drawing_fps() == 30


def test_predict_writes_a_video_of_the_input_s_length(network: Path, tmp_path: Path) -> None:
    video = write_matroska(tmp_path / "v.mkv", pictures(10), BURSTS_MS, 30)
    out = tmp_path / "out"
    done = call("predict", video, "--model", network, "--whole-frame", "--lost-score", -1, "--out", out)
    assert done.returncode == 0, done.stderr
    numbers, fps = shown(out / "v_poses.mp4")
    assert (len(numbers), fps) == (39, 30)
    entries = json.loads((out / "v_poses.keypoints.results.json").read_text())
    assert [entry["image_id"] for entry in entries] == list(range(10))
    assert [entry["time_s"] for entry in entries] == pytest.approx([t / 1000 for t in BURSTS_MS])


def test_fps_gives_all_frames_the_same_time(network: Path, tmp_path: Path) -> None:
    video = write_matroska(tmp_path / "v.mkv", pictures(10), BURSTS_MS, 30)
    out = tmp_path / "out"
    done = call("predict", video, "--model", network, "--whole-frame", "--fps", 12.5, "--out", out)
    assert done.returncode == 0, done.stderr
    numbers, fps = shown(out / "v_poses.mp4")
    assert (len(numbers), fps) == (10, 12.5)


def test_a_folder_is_drawn_at_its_rate(tmp_path: Path) -> None:
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), grey(8 * number))
    assert draw(open_frames(str(tmp_path), 4.0), tmp_path / "drawn.mp4") == (list(range(5)), 4)


# The clock --------------------------------------------------------------------------------------------------------


def times_of(said_ms: list[float], fps: float = 25) -> list[float]:
    clock = FrameClock(fps)
    return [round(1000 * clock.tick(said / 1000)[1], 3) for said in said_ms]


def test_frames_without_a_time_follow_at_the_nominal_rate() -> None:
    assert times_of([0, 40, 80, 0, 0]) == [0, 40, 80, 120, 160]  # those that the decoder held back to the end
    assert times_of([0, 0, 0, 0]) == [0, 40, 80, 120]  # a raw stream
    assert times_of([math.nan, math.nan]) == [0, 40]


def test_time_begins_at_0_and_always_rises() -> None:
    assert times_of([33, 73, 113]) == [0, 40, 80]
    assert times_of([-80, 40, 80]) == [0, 40, 80]  # the decoding time of the first frame, in place of its own
    assert times_of([0, 40, 120, 80, 160, 160, 200]) == [0, 40, 120, 124, 160, 164, 200]
    joined = times_of([0, 5000, 9000, 0.1, 40, 80])  # a second recording behind the first
    assert joined == pytest.approx([0, 5000, 9000, 9040, 9079.9, 9119.9])
    for said in ([0, 1e12, 40, 80], [0, -1e9, 3, math.inf], [9e15, 0, 0]):
        assert all(after > before for before, after in pairwise(times_of(said)))


# Rates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fps", "written"),
    [
        *((66.667, 66.67), (196.263, 196.26), (211.22, 211.22), (29.97003, 29.97), (23.976024, 23.976)),
        *((59.94006, 59.94), (119.88012, 119.88), (1000, 1000), (65535, 65535), (0.5, 0.5), (1 / 3, 0.333)),
        *((1e-3, 2e-3), (0.0012, 0.002), (65.5361, 65.54), (7.14159, 7.142)),
    ],
)
def test_rates_are_rounded_to_what_mp4_can_have(tmp_path: Path, fps: float, written: float) -> None:
    assert mp4_fps(fps) == pytest.approx(written, rel=1e-9)
    video = VideoFile(tmp_path / "v.mp4", fps)
    for number in range(3):
        video.add(grey(8 * number), "x", number / fps)
    video.finish()
    numbers, found = shown(tmp_path / "v.mp4")
    assert found == pytest.approx(written, rel=1e-6)
    assert len(numbers) / found == pytest.approx(3 / fps, abs=1.01 / found)


@pytest.mark.parametrize("fps", [math.nan, math.inf, -1.0, 0.0, 1e-9, 65536.0, 9e4, 1e6])
def test_rates_that_no_mp4_has_are_refused_by_name(tmp_path: Path, fps: float) -> None:
    with pytest.raises(InputError, match=r"frames a second: an mp4 video has from 0.001 to 65535; say a rate with"):
        VideoFile(tmp_path / "v.mp4", fps)


def test_a_rate_given_that_cannot_be_written_is_one_line(network: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", [frame_of((60, 60))] * 3)
    words = ("predict", video, "--model", network, "--whole-frame", "--out", tmp_path / "out")
    assert_one_line(call(*words, "--fps", "1e6"), "1e+06 frames a second", "--fps")
    for fps in ("nan", "inf", "0"):
        assert_one_line(call(*words, "--fps", fps), "--fps: must be positive")
    assert not (tmp_path / "out").exists()


def test_an_odd_rate_is_written_without_a_word_on_stderr(
    network: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 66.667, (64, 48))
    for number in range(20):
        writer.write(grey(8 * number))
    writer.release()
    out = tmp_path / "out"
    done = call("predict", video, "--model", network, "--whole-frame", "--out", out)
    assert done.returncode == 0, done.stderr
    assert capfd.readouterr().err == ""  # what FFmpeg and OpenCV would print past Python
    numbers, fps = shown(out / "v_poses.mp4")
    assert (len(numbers), fps) == (20, 66.67)


def test_a_rate_that_cannot_be_true_is_told_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(5):
        writer.write(grey(8 * number))
    writer.release()
    data = bytearray(video.read_bytes())
    place = data.index(b"strh") + 28  # dwScale and dwRate
    data[place : place + 8] = (1).to_bytes(4, "little") + (1_000_000).to_bytes(4, "little")
    video.write_bytes(data)
    source = open_frames(str(video))
    assert draw(source, tmp_path / "drawn.mp4") == (list(range(5)), 25)
    assert "frames a second, cannot be true; 25 are taken, say others with --fps" in caplog.text
    assert open_frames(str(video), 8.0).drawing_fps() == 8


def test_the_drawing_rate_comes_from_the_distances() -> None:
    even = np.arange(50) / 30
    assert fps_without_loss(even, 30.0) == 30
    assert fps_without_loss(np.round(even, 3), 30000 / 1001) == pytest.approx(29.97, abs=0.01)
    assert fps_without_loss(even, 1000.0) == 30  # the ticks of the clock: every frame would be written 33 times
    assert fps_without_loss(np.round(even, 3), 90000.0) == 30
    assert fps_without_loss(np.zeros(1), 24.0) == 24
    assert fps_without_loss(np.arange(9) * 10.0, 0.1) == 0.1


def test_every_slot_is_taken_once() -> None:
    assert slots_of([0, 0.2, 0.4, 3.3, 3.4, 9]).tolist() == [0, 1, 2, 3, 4, 9]


# The drawn video --------------------------------------------------------------------------------------------------


def test_frames_that_come_too_quickly_are_left_out_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = VideoFile(tmp_path / "v.mp4", 10)
    for number in range(20):
        video.add(grey(8 * number), "x", number / 100)
    video.add(grey(8 * 20), "x", 1.0)
    video.finish()
    numbers, _ = shown(tmp_path / "v.mp4")
    assert len(numbers) == 11
    assert numbers[-1] == 20
    assert "frames follow others more quickly than a video of 10 frames a second shows" in caplog.text


def test_a_mistake_in_the_times_does_not_fill_the_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.predict.pictures_out.LONGEST_PAUSE", 20)
    video = VideoFile(tmp_path / "v.mp4", 10)
    for number, time_s in enumerate((0.0, 0.1, 95443.7, 95443.8)):
        video.add(grey(8 * number), "x", time_s)
    video.finish()
    assert shown(tmp_path / "v.mp4")[0] == [0, *[1] * 21, 2, 3]
    assert "95442 s of pauses between frames are left out" in caplog.text


def test_images_larger_than_mpeg_4_are_shrunk(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "v.mp4", 25)
    video.add(np.full((20, 9001, 3), 200, np.uint8), "x", 0.0)
    video.finish()
    (frame,) = open_frames(str(tmp_path / "v.mp4"))
    assert frame.image_bgr.shape == (18, 8190, 3)
    assert frame.image_bgr.mean() == pytest.approx(200, abs=10)


def test_a_camera_s_video_lasts_as_long_as_it_was_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Camera:
        """Gives three frames, a tenth of a second apart."""

        frames = 0

        def get(self, what: int) -> float:
            return 30.0

        def read(self) -> tuple[bool, np.ndarray]:
            self.frames += 1
            threading.Event().wait(0.1)
            return self.frames <= 3, grey(8 * self.frames)

        def release(self) -> None:
            pass

    monkeypatch.setattr("nas.predict.frames.open_capture", lambda number: Camera())
    source = open_frames("camera:7")
    frames: list[Frame] = list(source)
    assert [frame.index for frame in frames][-1] == 2
    video = VideoFile(tmp_path / "v.mp4", source.drawing_fps())
    for frame in frames:
        video.add(frame.image_bgr, frame.name, frame.time_s - frames[0].time_s)
    video.finish()
    numbers, fps = shown(tmp_path / "v.mp4")
    assert len(numbers) / fps == pytest.approx(frames[-1].time_s - frames[0].time_s, abs=0.07)
