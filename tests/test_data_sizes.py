"""An image of another size than its annotations say is noticed by whatever decodes it, and by what is in a cache."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from nas.data.cache import CropCache
from nas.data.coco import CocoKeypoints, read_coco
from nas.data.coco_check import check_annotations
from nas.data.codecs import Codec
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.loader import CropTrainingSet, ViewSettings
from nas.data.video_data import VideoData
from nas.predict.boxes import BoxFile
from nas.predict.frames import open_frames
from search_spaces.errors import InputError
from tests.coco_fixture import edit, write_part
from tests.posetrack_fixture import write_sequence
from tests.program import assert_one_line, call
from tests.trained_fixture import trained_weights, write_people

CODEC = Codec.of("gaussian", (64, 48))


def turned(image_bgr: NDArray[np.uint8], orientation: int) -> bytes:
    """A photograph that says how it is to be shown: a JPEG with EXIF's orientation."""
    jpeg: bytes = cv2.imencode(".jpg", image_bgr)[1].tobytes()
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + struct.pack(">HH", orientation, 0)
    exif = b"Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two images of 240 × 200 px with two people each."""
    return write_part(tmp_path / "coco", "train", images=2, seed=1)


def read(file: Path) -> CocoKeypoints:
    return read_coco(file, file.parent.parent / "images")


def build_crops(file: Path, cache: Path) -> None:
    CropCache.build(cache, read(file).instances, CODEC)


def build_pictures(file: Path, cache: Path) -> None:
    people = read(file)
    settings = ViewSettings(keypoint_set=people.keypoint_set, codec=CODEC, cache_folder=cache)
    CropTrainingSet(people.instances, settings)


def decode_in_every_epoch(file: Path, cache: Path) -> None:
    people = read(file)
    everybody = CropTrainingSet(people.instances, ViewSettings(keypoint_set=people.keypoint_set, codec=CODEC))
    everybody.batch(np.arange(len(everybody)), np.random.default_rng(0))


STAGES: tuple[Callable[[Path, Path], None], ...] = (build_crops, build_pictures, decode_in_every_epoch)


def resize(document: dict[str, Any]) -> None:
    document["images"][1].update(width=300, height=220)


@pytest.mark.parametrize("stage", STAGES)
def test_whatever_decodes_an_image_of_another_size_refuses_it(
    file: Path, tmp_path: Path, stage: Callable[[Path, Path], None]
) -> None:
    stage(file, tmp_path / "cache")
    (tmp_path / "cache").rename(tmp_path / "old") if (tmp_path / "cache").exists() else None
    edit(file, resize)
    message = r"train_001\.png: is 240 × 200 px, the annotations say 300 × 220; correct either"
    with pytest.raises(InputError, match=message):
        stage(file, tmp_path / "cache")
    assert {path.name for path in (tmp_path / "cache").glob("*")} <= {".lock"}
    assert any("is 240 × 200 px" in str(problem) for problem in check_annotations(file, file.parent.parent / "images"))


@pytest.mark.parametrize("stage", STAGES)
def test_crops_that_are_kept_from_before_do_not_hide_it(
    file: Path, tmp_path: Path, stage: Callable[[Path, Path], None]
) -> None:
    stage(file, tmp_path / "cache")
    edit(file, resize)  # no box is clipped otherwise than before: the crops are the same
    with pytest.raises(InputError, match="the annotations say 300 × 220"):
        stage(file, tmp_path / "cache")
    edit(file, lambda document: document["images"][1].update(width=240, height=200))
    stage(file, tmp_path / "cache")


def test_caches_of_before_sizes_were_kept_are_still_used(file: Path, tmp_path: Path) -> None:
    people = read(file).instances
    cache = CropCache.build(tmp_path / "cache", people, CODEC)
    with np.load(cache.path / "instances.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != "image_sizes"}
    assert cache.image_sizes is not None
    assert cache.image_sizes.tolist() == [[200, 240]] * 4
    np.savez(cache.path / "instances.npz", **kept)
    assert CropCache(cache.path).image_sizes is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_that_is_to_be_turned_is_told_from_one_that_is_not(
    file: Path, tmp_path: Path, orientation: int
) -> None:
    picture = file.parent.parent / "images" / "train_000.png"
    stored = cv2.imread(str(picture))
    assert stored is not None
    (picture.parent / "photo.jpg").write_bytes(turned(stored, orientation))
    edit(file, lambda document: document["images"][0].update(file_name="photo.jpg"))
    if orientation >= 5:  # it lies on its side
        message = r"photo\.jpg: is 200 × 240 px, the annotations say 240 × 200; its EXIF orientation turns it: write"
        with pytest.raises(InputError, match=message):
            build_crops(file, tmp_path / "cache")
        edit(file, lambda document: document["images"][0].update(width=200, height=240))
    build_crops(file, tmp_path / "cache")


def test_exchanged_sides_of_an_image_that_is_not_turned_are_called_so(file: Path, tmp_path: Path) -> None:
    edit(file, lambda document: document["images"][0].update(width=200, height=240))
    with pytest.raises(InputError, match="width and height are exchanged; correct the annotations"):
        build_crops(file, tmp_path / "cache")


def test_the_commands_refuse_it_in_one_line(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "people")
    edit(folder / "annotations/person_keypoints_val.json", lambda c: c["images"][3].update(width=160, height=240))
    weights = trained_weights(tmp_path / "w.safetensors")
    (tmp_path / "c.yaml").write_text(f"run_dir: {tmp_path / 'run'}\ndata: {{folder: {folder}, codec: udp}}\n")
    arguments = ("evaluate", tmp_path / "c.yaml", "--weights", weights, "--out", tmp_path / "out")
    done = call(*arguments, "--data.cache", tmp_path / "cache")
    assert_one_line(done, "003.png: is 240 × 160 px, the annotations say 160 × 240")
    assert not (tmp_path / "out").exists()


# Videos ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for part, number in (("train", 1), ("val", 2)):
        write_sequence(tmp_path / "videos", part, number, 6)
    return tmp_path / "videos"


def clips_of(folder: Path, cache: Path) -> VideoData:
    return VideoData(DataConfig(video=VideoDataConfig(folder=folder), cache=cache), 2)


def shrink(path: Path) -> None:
    image = cv2.imread(str(path))
    assert image is not None
    cv2.imwrite(str(path), image[:-20])


@pytest.mark.parametrize(("part", "make"), [("val", "validation_clips"), ("train", "training_set")])
def test_a_frame_of_another_size_than_the_first_is_refused(
    videos: Path, tmp_path: Path, part: str, make: str
) -> None:
    getattr(clips_of(videos, tmp_path / "cache"), make)((64, 48))
    shrink(next((videos / "images" / part).glob("*/000003.png")))
    with pytest.raises(InputError, match=r"000003\.png: is 260 × 120 px, the first frame of the video is 260 × 140"):
        getattr(clips_of(videos, tmp_path / "cache"), make)((64, 48))


def test_frames_are_held_to_the_sizes_that_a_file_states(videos: Path, tmp_path: Path) -> None:
    file = next((videos / "annotations" / "val").glob("*.json"))
    edit(file, lambda document: [image.update(width=520, height=280) for image in document["images"]])
    with pytest.raises(InputError, match=r"\.png: is 260 × 140 px, the annotations say 520 × 280"):
        clips_of(videos, tmp_path / "cache").validation_clips((64, 48))


def test_boxes_for_another_size_of_the_picture_are_refused_by_predict(file: Path, tmp_path: Path) -> None:
    images = file.parent.parent / "images"
    boxes, frames = BoxFile(file, open_frames(str(images))), list(open_frames(str(images)))
    assert [len(boxes(frame)) for frame in frames] == [2, 2]
    edit(file, resize)
    boxes = BoxFile(file, open_frames(str(images)))
    assert len(boxes(frames[0])) == 2
    with pytest.raises(InputError, match=r"train_001\.png: is 240 × 200 px, the file of boxes says 300 × 220"):
        boxes(frames[1])
    assert json.loads(file.read_text())["images"][1]["width"] == 300
