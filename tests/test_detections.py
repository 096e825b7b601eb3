"""Boxes of a detector: a file of them that does not fit says in which way, and what cannot be used is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data.cache import CropCache
from nas.data.coco import CocoKeypoints, read_coco
from nas.data.codecs import Codec
from nas.data.posetrack import read_posetrack_videos
from nas.predict.boxes import BoxFile, GivenBoxes
from nas.predict.frames import Frame, FrameSource
from search_spaces.errors import InputError
from tests.coco_fixture import edit, write_part
from tests.posetrack_fixture import write_sequence

Boxes = list[dict[str, Any]]
Change = Callable[[Boxes], Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three images of 240 × 200 px with two people each."""
    return write_part(tmp_path, "train", images=3, seed=1)


def boxes_of(file: Path) -> Boxes:
    people = json.loads(file.read_text())["annotations"]
    return [{"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": 0.5} for a in people]


def read(file: Path, boxes: Any, threshold: float = 0.0) -> CocoKeypoints:
    path = file.parent / "detections.json"
    path.write_text(json.dumps(boxes))
    return read_coco(file, file.parent.parent / "images", path, score_threshold=threshold)


def every(**values: Any) -> Change:
    return lambda boxes: [box.update(values) for box in boxes]


def several_others(boxes: Boxes) -> None:
    for number, box in enumerate(boxes):
        box["category_id"] = 2 + number % 2


BAD: dict[str, tuple[Change, float, str]] = {
    "none": (lambda boxes: boxes.clear(), 0, r"detections\.json: holds no boxes; give what a detector found"),
    "category 0": (every(category_id=0), 0, "all 6 boxes have category_id 0, the annotations' person is 1; write"),
    "others": (several_others, 0, "the 6 boxes have the category_ids 2, 3, the annotations' person is 1"),
    "category in words": (every(category_id="1"), 0, "detection 0: category_id '1' is text, the annotations have"),
    "image in words": (every(image_id="1000"), 0, "detection 0: image_id '1000' is text, the annotations have numbers"),
    "image 1.5": (every(image_id=1.5), 0, "detection 0: image_id must be a whole number"),
    "other images": (every(image_id=7), 0, r"no box lies in an image of the annotations: the 6 boxes have image_ids 7"
                     r", the annotations 1000, 1001, 1002; do the two files belong together"),
    "weak": (every(score=0.2), 0.5, r"none of 6 boxes scores 0\.5 or more \(data\.detection_threshold\); the best has"),
    "tiny": (every(bbox=[10, 10, 1e-7, 1e-7]), 0, r"detection 0: the box \[10\.0, .*\] has no extent within its image,"
             " nor has any other of 6"),
    "outside": (every(bbox=[500, 10, 20, 20]), 0, r"detection 0: the box .* has no extent within its image"),
    "not finite": (every(bbox=[float("nan"), 0, 3, 4]), 0, "detection 0: needs image_id, bbox .* all finite"),
    "no list": (lambda boxes: boxes[0].pop("bbox"), 0, "detection 0: needs image_id, bbox"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_boxes_that_do_not_fit_the_annotations_say_in_which_way(file: Path, case: str) -> None:
    change, threshold, message = BAD[case]
    boxes = boxes_of(file)
    assert len(read(file, boxes).instances) == 6
    change(boxes)
    with pytest.raises(InputError, match=message) as caught:
        read(file, boxes, threshold)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "box", [[10, 10, 1e-7, 40], [-50, 10, 40, 40], [239.5, 10, 40, 40], [10, 10, 0, 40], [9, 9, -4, 5]]
)
def test_a_box_that_is_nowhere_in_its_image_is_left_out_with_a_warning(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, box: list[float]
) -> None:
    boxes = boxes_of(file)
    boxes[2]["bbox"] = boxes[4]["bbox"] = box
    people = read(file, boxes)
    assert len(people.instances) == 4
    [told] = [record.getMessage() for record in caplog.records]
    assert "detection 2: the box" in told
    assert "has no extent within its image; 2 such boxes are left out" in told
    for name in ("gaussian", "udp"):
        crops = CropCache.build(tmp_path / "cache", people.instances, Codec.of(name, (64, 48)))
        assert np.isfinite(crops.inverse_warps).all()


def test_boxes_that_look_like_corners_are_told(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    boxes = boxes_of(file)
    for box in boxes:
        x, y, width, height = box["bbox"]
        box["bbox"] = [x, y, x + width, y + height]
    read(file, boxes)
    assert "detection 1: bbox [124.0, 6.0, 236.0, 192.0] looks like corners x1, y1, x2, y2, as do 3 of 6" in caplog.text


def test_boxes_without_a_category_are_people(file: Path) -> None:
    boxes = boxes_of(file)
    for box in boxes:
        del box["category_id"]
    edit(file, lambda c: c["categories"][0].update(id=4))
    edit(file, lambda c: [annotation.update(category_id=4) for annotation in c["annotations"]])
    assert {person.category_id for person in read(file, boxes).instances} == {4}


def test_boxes_of_videos_say_it_likewise(tmp_path: Path) -> None:
    sequence = write_sequence(tmp_path, "val", 1, 4)
    people = json.loads(sequence.read_text())["annotations"]
    boxes = [{"image_id": a["image_id"], "category_id": 0, "bbox": a["bbox"], "score": 0.5} for a in people]
    path = tmp_path / "d.json"
    path.write_text(json.dumps(boxes))
    with pytest.raises(InputError, match="all 8 boxes have category_id 0, the annotations' person is 1"):
        read_posetrack_videos(sequence, detections=path)
    path.write_text("[]")
    with pytest.raises(InputError, match="holds no boxes"):
        read_posetrack_videos(sequence, detections=path)


def test_a_box_of_a_video_without_extent_is_refused(tmp_path: Path) -> None:
    sequence = write_sequence(tmp_path, "val", 1, 4)
    edit(sequence, lambda document: document["annotations"][1].update(bbox=[259.0 - 1e-6, 10, 30, 30]))
    with pytest.raises(InputError, match=r"the box of track 5 in .*000000\.png has no extent inside the image"):
        read_posetrack_videos(sequence)


# Boxes to predict in --------------------------------------------------------------------------------------------


def frame(index: int = 0) -> Frame:
    return Frame(index, f"v/{index:06d}.jpg", index / 25, np.zeros((100, 120, 3), np.uint8))


def video(length: int = 3) -> FrameSource:
    return FrameSource(kind="video", name="v", fps=25, length=length)


def of_frames(*boxes: list[float], **values: Any) -> Boxes:
    return [{"image_id": i, "category_id": 1, "bbox": box, "score": 0.5, **values} for i, box in enumerate(boxes)]


GOOD = [10.0, 10, 30, 40]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no boxes"),
        ({"images": [], "annotations": []}, "holds no boxes"),
        (of_frames(GOOD, score=0.1), r"none of 1 boxes scores 0\.3 or more; the best has 0\.1 \(--box-score\)"),
        (of_frames([1, 2, 1e-8, 3], [1, 2, 0, 3]), "entry 0: the box .* has no extent, nor has any other of 2"),
        (of_frames([1, 2, 3, float("inf")]), "entry 0: bbox must be 4 numbers"),
        (of_frames(GOOD, image_id="one"), r"entry 0: needs image_id \(a whole number\)"),
        (of_frames(GOOD, image_id=1.5), r"entry 0: needs image_id \(a whole number\)"),
        (of_frames(GOOD, category_id="1"), "entry 0: category_id must be a whole number, got '1'"),
        (of_frames(GOOD, image_id=70), r"names no frame of v \(image_ids 70\); do the two belong together"),
        (
            {"images": [{"id": 1}], "annotations": [{"id": 8, "image_id": 1, "bbox": GOOD, "iscrowd": "0"}]},
            "annotation 8: \"iscrowd\" must be 0, 1, true or false, got '0'",
        ),
    ],
)
def test_a_file_of_boxes_without_a_use_says_why(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        BoxFile(path, video(), 0.3)


def test_boxes_of_predict_that_are_nowhere_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "b.json"
    nowhere = of_frames([130, 5, 9, 9], [1, 2, 1e-8, 3], [0, 200, 9, 9])
    path.write_text(json.dumps([*of_frames(GOOD, GOOD, GOOD), *nowhere]))
    boxes = BoxFile(path, video())
    assert [len(boxes(frame(index))) for index in range(3)] == [1, 1, 1]
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
        "entry 4: the box [1.0, 2.0, 1e-08, 3.0] has no extent; 1 such boxes are left out",
        "entry 3: the box [130.0, 5.0, 9.0, 9.0] lies outside the frame v/000000.jpg; such boxes are left out",
    ]


def test_ids_that_count_from_1_are_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "b.json"
    path.write_text(json.dumps([{**box, "image_id": box["image_id"] + 1} for box in of_frames(GOOD, GOOD, GOOD)]))
    BoxFile(path, video())
    expected = "image_ids 1 to 3 are taken for the numbers of 3 frames, from 0; 1 of them name none: do they count from"
    assert expected in caplog.text


def test_a_given_box_lies_in_the_frame() -> None:
    assert len(GivenBoxes([GOOD])(frame())) == 1
    with pytest.raises(InputError, match="width and height must be positive, and of some size"):
        GivenBoxes([[1, 2, 1e-8, 3]])
    with pytest.raises(InputError, match=r"--box: \[130\.0, .*\] lies outside the frame of 120 × 100 px"):
        GivenBoxes([GOOD, [130, 5, 9, 9]])(frame())
