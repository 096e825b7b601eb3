"""Damaged videos and folders: what can be read is read, numbers and times stay, and what is missing is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from nas.predict.containers import read_container
from nas.predict.frame_clock import FrameClock
from nas.predict.frames import open_frames
from nas.predict.pictures_out import VideoFile
from search_spaces import InputError
from tests.paths import REPO
from tests.predict_fixture import frame_of, write_detections, write_network, write_video
from tests.program import assert_one_line, call
from tests.video_fixture import NO_JPEG, grey, jpeg_of, level_of, write_matroska, write_mp4

EVEN_MS = [40 * number for number in range(25)]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "dots.onnx", {"codec": "gaussian", "keypoints": "nose,left_hip,right_ankle"})


def write_damaged(path: Path, broken: set[int], times_ms: list[int] | None = None) -> Path:
    """25 pictures of which some are none; the form goes by the suffix."""
    pictures = [NO_JPEG if number in broken else jpeg_of(number) for number in range(25)]
    if path.suffix == ".mkv":
        return write_matroska(path, pictures, times_ms or EVEN_MS, 25)
    if path.suffix == ".mp4":
        return write_mp4(path, pictures, times_ms or EVEN_MS)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(25):
        writer.write(grey(8 * number))
    writer.release()
    data = bytearray(path.read_bytes())
    starts = [place for place in range(len(data)) if data.startswith(b"\xff\xd8\xff", place)]
    assert len(starts) == 25
    for number in broken:
        end = data.index(b"\xff\xd9", starts[number])  # the head of the next piece of the file stays
        data[starts[number] : end] = bytes(end - starts[number])
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({8}, "25 frames announced, 24 decoded; frame 8 does not decode"),
        ({0}, "25 frames announced, 24 decoded; frame 0 does not decode"),
        ({3, 4, 5, 20}, "25 frames announced, 21 decoded; frames 3, 4, 5 and 20 do not decode"),
        ({*range(1, 9)}, "25 frames announced, 17 decoded; frames 1, 2, 3, 4, 5 and 3 others do not decode"),
    ],
)
def test_after_a_broken_frame_it_goes_on_with_the_numbers(
    tmp_path: Path, suffix: str, broken: set[int], told: str
) -> None:
    source = open_frames(str(write_damaged(tmp_path / f"v{suffix}", broken)))
    video = VideoFile(tmp_path / "drawn.mp4", source.drawing_fps())
    found = {}
    for frame in source:
        found[frame.index] = level_of(frame.image_bgr), round(frame.time_s, 3)
        video.add(frame.image_bgr, frame.name, frame.time_s)
    assert found == {number: (number, 0.04 * number) for number in range(25) if number not in broken}
    assert source.missing() == f"v{suffix}: {told}"
    video.finish()
    drawn = [level_of(frame.image_bgr) for frame in open_frames(str(tmp_path / "drawn.mp4"))]
    assert len(drawn) == 25  # the frame before stands in for one that is missing
    assert drawn == [max((n for n in range(number + 1) if n not in broken), default=1) for number in range(25)]


def test_in_a_video_of_uneven_times_a_failure_is_one_frame(tmp_path: Path) -> None:
    times = [*EVEN_MS[:10], *(t + 3000 for t in EVEN_MS[10:])]
    source = open_frames(str(write_damaged(tmp_path / "v.mkv", {15}, times)))
    frames = list(source)
    assert [frame.index for frame in frames] == [n for n in range(25) if n != 15]
    assert frames[15].time_s == pytest.approx(times[16] / 1000)
    assert source.missing() == "v.mkv: 24 frames decoded; frame 15 does not decode"


@pytest.mark.parametrize(
    ("suffix", "told"),
    [
        (".avi", "25 frames announced, 15 decoded; nothing comes after frame 14"),
        (".mp4", "25 frames announced, 15 decoded; nothing comes after frame 14"),
        (".mkv", "25 frames announced, 15 decoded; nothing comes after frame 14, the file is cut off"),
    ],
)
def test_a_video_that_is_cut_off_says_so(tmp_path: Path, suffix: str, told: str) -> None:
    path = write_damaged(tmp_path / f"v{suffix}", set())
    data = path.read_bytes()
    starts = [place for place in range(len(data)) if data.startswith(b"\xff\xd8\xff", place)]
    path.write_bytes(data[: starts[15] + 4])
    source = open_frames(str(path))
    assert [frame.index for frame in source] == list(range(15))
    assert source.missing() == f"v{suffix}: {told}"


def test_frames_that_were_trimmed_away_are_not_missing(tmp_path: Path) -> None:
    pictures = [jpeg_of(number) for number in range(25)]
    source = open_frames(str(write_mp4(tmp_path / "v.mp4", pictures, EVEN_MS, shown_ms=400)))
    assert [level_of(frame.image_bgr) for frame in source] == list(range(10))
    assert source.missing() == ""
    pictures[7] = NO_JPEG
    source = open_frames(str(write_mp4(tmp_path / "v.mp4", pictures, EVEN_MS, shown_ms=400)))
    assert [frame.index for frame in source] == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert source.missing() == "v.mp4: 10 frames announced, 9 decoded; frame 7 does not decode"


def test_predict_tells_what_is_missing_and_ends_well(
    network: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video, out = write_damaged(tmp_path / "v.avi", {8}), tmp_path / "out"
    words = ("predict", video, "--model", network, "--whole-frame", "--lost-score", -1, "--out", out)
    done = call(*words)
    assert done.returncode == 0, done.stderr
    told = "v.avi: 25 frames announced, 24 decoded; frame 8 does not decode"
    assert [record.getMessage() for record in caplog.records] == [told]
    assert told in done.stdout.splitlines()
    assert "24 frames, " in done.stdout
    entries = json.loads((out / "v_poses.keypoints.results.json").read_text())
    assert [entry["image_id"] for entry in entries] == [n for n in range(25) if n != 8]
    caplog.clear()
    assert call(*words, "--max-frames", 8).returncode == 0  # the frame that is missing was not asked for
    assert caplog.records == []
    assert call(*words, "--max-frames", 9).returncode == 0
    assert [record.getMessage() for record in caplog.records] == ["v.avi: 9 frames decoded; frame 8 does not decode"]


def test_boxes_stay_with_their_frames(network: Path, tmp_path: Path) -> None:
    middles = [(40.0 + 4 * number, 60.0) for number in range(25)]
    pictures = [cv2.imencode(".jpg", frame_of(middle))[1].tobytes() for middle in middles]
    pictures[5] = NO_JPEG
    video = write_matroska(tmp_path / "v.mkv", pictures, EVEN_MS, 25)
    boxes = write_detections(tmp_path / "boxes.json", [[middle] for middle in middles])
    done = call("predict", video, "--model", network, "--boxes", boxes, "--out", tmp_path, "--no-video")
    assert done.returncode == 0, done.stderr
    for entry in json.loads((tmp_path / "v_poses.keypoints.results.json").read_text()):
        assert entry["keypoints"][0] == pytest.approx(middles[entry["image_id"]][0], abs=3)


def test_libraries_print_nothing_while_they_decode(tmp_path: Path) -> None:
    video = write_damaged(tmp_path / "v.avi", {8})
    code = f"from nas.predict.frames import open_frames; print(len(list(open_frames({str(video)!r}))))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("24", "")


def test_a_video_of_which_nothing_can_be_read_is_refused(network: Path, tmp_path: Path) -> None:
    whole = write_mp4(tmp_path / "whole.mp4", [jpeg_of(1)] * 3, [0, 40, 80]).read_bytes()
    index, pictures = whole.index(b"moov") - 4, whole.index(b"mdat") - 4
    (tmp_path / "no_index.mp4").write_bytes(whole[:index] + whole[pictures:])
    write_mp4(tmp_path / "no_frame.mp4", [NO_JPEG] * 3, [0, 40, 80])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    for name, expected in {
        "no_index": "has no index (moov): it is cut off, or was never finished; copy it again",
        "no_frame": "no frame of it decodes (codec MJPG); give a decodable video",
        "empty": "cannot be read as a video; give a decodable video",
        "text": "cannot be read as a video; give a decodable video",
    }.items():
        path = tmp_path / f"{name}.mp4"
        done = call("predict", path, "--model", network, "--whole-frame", "--out", tmp_path / "out")
        assert_one_line(done, f"{path}: {expected}")
    assert not list(tmp_path.glob("out/*"))


def test_the_numbers_follow_the_times_of_a_constant_rate() -> None:
    # The decoder says too late that frame 3, from which frame 2 was predicted, is missing.
    clock = FrameClock(10)
    assert [clock.tick(said, fails)[0] for said, fails in [(0, 0), (0.1, 0), (0.2, 1), (0.4, 0)]] == [0, 1, 2, 4]
    # It passes over a frame in silence: told by the time, where that cannot vary.
    avi, other = FrameClock(10, last_number=5, times_are_numbers=True), FrameClock(10, last_number=5)
    said = [0, 0.1, 0.3, 0.4]
    assert [avi.tick(time_s)[0] for time_s in said] == [0, 1, 3, 4]
    assert [other.tick(time_s)[0] for time_s in said] == [0, 1, 2, 3]
    # A time that cannot be: no number beyond the last.
    clock = FrameClock(10, last_number=5)
    assert [clock.tick(time_s, 1)[0] for time_s in (0, 99.0)] == [0, 5]


def test_what_containers_say_of_themselves(tmp_path: Path) -> None:
    mkv = write_matroska(tmp_path / "v.mkv", [jpeg_of(1)] * 3, [0, 40, 80])
    assert (read_container(mkv).counts_frames, read_container(mkv).is_cut) == (False, False)
    data = mkv.read_bytes()
    mkv.write_bytes(data[:-1])
    assert read_container(mkv).is_cut
    place = data.index(bytes.fromhex("18538067")) + 4  # a live recording does not know where it will end
    mkv.write_bytes(data[:place] + b"\x01" + b"\xff" * 7 + data[place + 8 : -9])
    assert not read_container(mkv).is_cut
    mp4 = write_video(tmp_path / "v.mp4", [grey(0)])
    assert (read_container(mp4).counts_frames, read_container(mp4).lacks_index) == (True, False)
    for content in (b"", b"\x1aE\xdf\xa3", b"\x1aE\xdf\xa3\xff", b"\0\0\0\1ftyp", bytes(4) + b"ftyp" + bytes(9)):
        mkv.write_bytes(content)
        read_container(mkv)  # whatever it says, it ends


# Folders ----------------------------------------------------------------------------------------------------------


def write_folder(folder: Path, broken: tuple[int, ...] = (), count: int = 5) -> Path:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), frame_of((60 + 5 * number, 60)))
        if number in broken:
            data = (folder / f"{number}.png").read_bytes()
            (folder / f"{number}.png").write_bytes(data[: len(data) // 3])
    return folder


@pytest.mark.parametrize("broken", [(2,), (0,), (4,), (0, 1, 4)])
def test_a_broken_image_in_a_folder_is_left_out_with_a_warning(
    network: Path, tmp_path: Path, broken: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    folder, out = write_folder(tmp_path / "frames", broken), tmp_path / "out"
    words = ("predict", folder, "--model", network, "--whole-frame", "--lost-score", -1, "--out", out)
    done = call(*words)
    assert done.returncode == 0, done.stderr
    kept = [number for number in range(5) if number not in broken]
    entries = json.loads((out / "frames_poses.keypoints.results.json").read_text())
    assert [entry["image_id"] for entry in entries] == kept
    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith(f"frames: 5 images, {len(broken)} left out; file")
    assert all(f"{number}.png" in told for number in broken)
    assert told in done.stdout.splitlines()
    drawn = list(open_frames(str(out / "frames_poses.mp4")))
    assert len(drawn) == max(kept) + 1
    assert call(*words, "--images").returncode == 0
    assert sorted(path.stem for path in (out / "frames_poses").iterdir()) == [str(number) for number in kept]


def test_a_folder_or_image_that_is_all_broken_is_refused(network: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames", (0, 1, 2), count=3)
    for given, expected in ((folder, "none of its 3 images decodes"), (folder / "1.png", "the image does not decode")):
        done = call("predict", given, "--model", network, "--whole-frame", "--out", tmp_path / "out")
        assert_one_line(done, f"{given}: {expected}")


def test_pictures_that_are_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path / "frames", count=2)
    (folder / "notes.txt").write_text("no picture")
    (folder / "boxes.json").write_text("{}")
    (folder / "more.png").mkdir()
    cv2.imwrite(str(folder / "9.ppm"), frame_of((60, 60)))
    assert [frame.name for frame in open_frames(str(folder))] == ["frames/0.png", "frames/1.png", "frames/9.ppm"]
    assert caplog.records == []
    for name in ("a.HEIC", "b.heic", ".hidden.heic"):
        (folder / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    assert len(list(open_frames(str(folder)))) == 3
    told = "2 files are left out: .heic is not read here; convert them to JPEG or PNG"
    assert [record.getMessage() for record in caplog.records] == [f"{folder}: {told}"]
    (folder / "anim.gif").write_bytes(b"GIF89a")
    open_frames(str(folder))
    assert "3 files are left out: .heic, .gif are not read here" in caplog.text
    for file in (*folder.glob("*.p*m"), *folder.glob("?.png")):
        file.unlink()
    told = r"holds no images .*; 3 files are left out: \.heic, \.gif.*; folders in it are not looked into: give one"
    with pytest.raises(InputError, match=told):
        open_frames(str(folder))
    with pytest.raises(InputError, match=r"a\.HEIC: \.heic is not read here; convert it to JPEG or PNG"):
        open_frames(str(folder / "a.HEIC"))


# What is read is not written over ---------------------------------------------------------------------------------


def test_results_are_not_written_over_the_boxes_they_come_from(network: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", [frame_of((60, 60))] * 3)
    out = tmp_path / "out"
    first = call("predict", video, "--model", network, "--whole-frame", "--lost-score", -1, "--out", out)
    assert first.returncode == 0, first.stderr
    boxes = out / "v_poses.keypoints.results.json"
    before = boxes.read_bytes()
    done = call("predict", video, "--model", network, "--boxes", boxes, "--out", out)
    assert_one_line(done, f"{boxes}: is read, and {boxes} would be written over it; give another --out")
    assert boxes.read_bytes() == before


def test_images_are_not_drawn_over_those_of_the_input(network: Path, tmp_path: Path) -> None:
    folder, out = write_folder(tmp_path / "frames"), tmp_path / "out"
    out.mkdir()
    (out / "frames_poses").symlink_to(folder)
    done = call("predict", folder, "--model", network, "--whole-frame", "--out", out, "--images")
    assert_one_line(done, f"{folder}: is read, and {out / 'frames_poses'} would be written over it")
