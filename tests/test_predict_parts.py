"""The parts of online use: frames, boxes, detectors, following, smoothing, drawing, result files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from evaluators import POSETRACK_KEYPOINTS
from nas.data.bones import skeleton_of
from nas.data.codecs import Codec
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES, COCO_KEYPOINT_SET
from nas.data.tensors import to_tensor
from nas.predict.boxes import BoxFile, GivenBoxes
from nas.predict.crops import Cropper
from nas.predict.detector import OnnxPersonDetector
from nas.predict.drawing import PoseDrawer, track_color
from nas.predict.frames import Frame, FrameSource, natural_order, open_frames
from nas.predict.people import DetectedPeople, FollowedPeople, next_box
from nas.predict.pictures_out import VideoFile
from nas.predict.result_files import FramePoses, posetrack_keypoints, write_results
from nas.predict.smoothing import OneEuroFilter
from search_spaces import InputError
from tests.predict_fixture import frame_of, write_detector, write_video


def images_of(*names: str) -> FrameSource:
    return FrameSource(kind="images", name="x", fps=25, files=tuple(Path(n) for n in names), length=len(names))


def frame(index: int = 0, size: tuple[int, int] = (100, 100)) -> Frame:
    return Frame(index, f"x/{index}", index / 25, np.zeros((*size, 3), np.uint8))


# Frames ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        cv2.imwrite(str(tmp_path / f"f{number}.png"), np.full((4, 4, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    found = [int(f.image_bgr[0, 0, 0]) for f in open_frames(str(tmp_path))]
    assert found == [1, 9, 10]


def test_natural_order_of_mixed_names() -> None:
    names = ["b2", "a10", "a9b", "2", "10", "a"]
    assert sorted(names, key=natural_order) == ["2", "10", "a", "a9b", "a10", "b2"]


def test_a_video_gives_all_frames_in_order(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", [np.full((32, 32, 3), 10 * i, np.uint8) for i in range(12)])
    source = open_frames(str(video))
    assert (source.length, source.fps) == (12, 10)
    found = list(source)
    assert [round(float(f.image_bgr.mean()) / 10) for f in found] == list(range(12))
    assert found[3].time_s == pytest.approx(0.3)


def test_leaving_the_frames_early_stops_the_thread(tmp_path: Path) -> None:
    import threading

    video = write_video(tmp_path / "v.mp4", [np.zeros((32, 32, 3), np.uint8)] * 30)
    frames = iter(open_frames(str(video)))
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert not any(thread.name == "decode" and thread.is_alive() for thread in threading.enumerate())


# Crops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels_last", [True, False])
def test_crops_are_those_of_training_to_the_bit(channels_last: bool) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    cropper = Cropper(Codec.of("udp", (64, 48)), channels_last=channels_last)
    matrices = cropper.matrices(np.array([[10.0, 20, 30, 60], [50, 5, 60, 40]]))
    crops = cropper.crops(image, matrices)
    for crop, matrix in zip(crops, matrices, strict=True):
        expected = to_tensor(cv2.cvtColor(cv2.warpAffine(image, matrix, (48, 64)), cv2.COLOR_BGR2RGB)[None])
        np.testing.assert_array_equal(crop, expected[0].numpy())
    assert (crops.transpose(0, 2, 3, 1).flags.c_contiguous) == channels_last


# Boxes -----------------------------------------------------------------------------------------------------------


def truth(path: Path, names: list[str]) -> Path:
    images = [{"id": 100 + i, "file_name": name} for i, name in enumerate(names)]
    annotations = [{"id": i, "image_id": 100 + i, "category_id": 1, "bbox": [i, 0, 10, 20]} for i in range(len(names))]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    return path


def test_boxes_of_annotations_go_by_file_name_and_folder(tmp_path: Path) -> None:
    file = truth(tmp_path / "t.json", ["images/a/0.jpg", "images/a/1.jpg", "images/b/0.jpg", "images/b/1.jpg"])
    source = images_of("/data/images/b/0.jpg", "/data/images/b/1.jpg", "/data/images/b/2.jpg")
    boxes = BoxFile(file, source)
    assert [boxes(frame(i)).bbox_xywh[:, 0].tolist() for i in range(3)] == [[2], [3], []]
    assert [boxes.image_id(frame(i)) for i in range(2)] == [102, 103]
    assert boxes.image_id(frame(2)) not in (100, 101, 102, 103)


def test_boxes_of_annotations_go_by_order_for_a_video(tmp_path: Path) -> None:
    file = truth(tmp_path / "t.json", ["a/7.jpg", "a/8.jpg"])
    boxes = BoxFile(file, FrameSource(kind="video", name="v", fps=25, length=5))
    assert [len(boxes(frame(i))) for i in range(3)] == [1, 1, 0]
    several = truth(tmp_path / "s.json", ["a/7.jpg", "b/8.jpg"])
    with pytest.raises(InputError, match="2 sequences"):
        BoxFile(several, FrameSource(kind="video", name="v", fps=25, length=5))


def test_detections_go_by_the_number_in_the_name_or_by_the_frame(tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    entries = [{"image_id": 139, "category_id": 1, "bbox": [1, 2, 3, 4], "score": s} for s in (0.9, 0.2)]
    entries.append({"image_id": 139, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.9})
    file.write_text(json.dumps(entries))
    boxes = BoxFile(file, images_of("000000000139.jpg"), min_score=0.3)
    assert boxes(frame(0)).scores.tolist() == [0.9]
    file.write_text(json.dumps([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9}]))
    boxes = BoxFile(file, images_of("x.jpg", "y.jpg"))
    assert [len(boxes(frame(i))) for i in range(2)] == [0, 1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[", "broken JSON"),
        ("{}", "no list of images"),
        ("3", "holds no boxes"),
        ('[{"image_id": 0}]', "entry 0: needs image_id"),
        ('[{"image_id": 0, "bbox": [1, 2, 3], "score": 1}]', "bbox must be 4 numbers"),
        ('[{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 1}]', "names no frame"),
        ('[{"image_id": 1e999, "bbox": [1, 2, 3, 4], "score": 1}]', "entry 0: needs image_id"),
        ('{"images": [{"id": "first", "file_name": "x.jpg"}], "annotations": []}', "no list of images with ids"),
        ('{"images": [{"id": null, "file_name": "x.jpg"}], "annotations": []}', "no list of images with ids"),
    ],
)
def test_a_bad_boxes_file_is_named(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "b.json"
    file.write_text(content)
    with pytest.raises(InputError, match=expected):
        BoxFile(file, images_of("x.jpg"))


# Detectors -------------------------------------------------------------------------------------------------------

# The detector's input is 64 × 64; the frame of 128 × 256 pixels is shrunk to a quarter.
CORNERS = np.array([[4, 4, 14, 24], [30, 2, 50, 30]], np.float32)
EXPECTED = np.array([[120, 8, 80, 112], [16, 16, 40, 80]])  # the surer one first


def yolo(corners: np.ndarray) -> np.ndarray:
    """(1, 4 + 3 classes, 12 anchors): both boxes, a double of the second, and something that is no person."""
    table = np.zeros((1, 7, 12), np.float32)
    for column, (box, score) in enumerate([(corners[0], 0.6), (corners[1], 0.9), (corners[1] + 1, 0.8)]):
        table[0, :4, column] = [*((box[:2] + box[2:]) / 2), *(box[2:] - box[:2])]
        table[0, 4, column] = score
    table[0, :4, 5], table[0, 5, 5] = [40, 10, 10, 10], 0.95
    return table


SCORES = np.array([0.6, 0.9], np.float32)
LAYOUTS = {
    "rows": {"boxes": np.concatenate([CORNERS, SCORES[:, None]], axis=1)},
    "rows with classes": {
        "boxes": np.concatenate(
            [np.concatenate([CORNERS, SCORES[:, None], np.zeros((2, 1), np.float32)], axis=1),
             np.array([[1, 1, 9, 9, 0.9, 2]], np.float32)]
        )[None]
    },
    "rows, labels": {
        "dets": np.concatenate([CORNERS, SCORES[:, None]], axis=1)[None], "labels": np.zeros((1, 2), np.int64)
    },
    "boxes, labels, scores": {"boxes": CORNERS, "labels": np.ones(2, np.int64), "scores": SCORES},
    "yolo": {"output0": yolo(CORNERS)},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layouts_of_detectors(tmp_path: Path, layout: str) -> None:
    detector = OnnxPersonDetector(write_detector(tmp_path / "d.onnx", **LAYOUTS[layout]))
    boxes, scores = detector(np.zeros((128, 256, 3), np.uint8))
    np.testing.assert_allclose(boxes, EXPECTED, atol=1e-4)
    np.testing.assert_allclose(scores, [0.9, 0.6])


def test_weak_boxes_and_other_classes_are_left_out(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "d.onnx", **LAYOUTS["rows, labels"])
    assert len(OnnxPersonDetector(path, min_score=0.7)(np.zeros((64, 64, 3), np.uint8))[0]) == 1
    assert len(OnnxPersonDetector(path, person_class=3)(np.zeros((64, 64, 3), np.uint8))[0]) == 0


@pytest.mark.parametrize(
    "outputs",
    [
        {"logits": np.zeros((1, 1000), np.float32)},
        {"a": np.zeros((1, 100, 85), np.float32)},
        {"dets": np.zeros((1, 3, 5), np.float32), "masks": np.zeros((1, 3, 28, 28), np.float32)},
    ],
)
def test_other_outputs_are_refused_by_name(tmp_path: Path, outputs: dict[str, np.ndarray]) -> None:
    path = write_detector(tmp_path / "d.onnx", **outputs)
    with pytest.raises(InputError, match=f"unknown layout: {next(iter(outputs))} "):
        OnnxPersonDetector(path)


# Following -------------------------------------------------------------------------------------------------------

POSE = np.array([[40.0, 20, 1], [30, 50, 1], [50, 80, 1]])
SIGMAS = np.full(3, 0.05)


def test_a_followed_box_moves_with_the_keypoints() -> None:
    people = FollowedPeople(GivenBoxes([[20, 10, 40, 80]]), SIGMAS)
    for step in range(6):
        seen = people.look(frame(step, (300, 300)))
        assert len(seen.boxes) == 1
        assert seen.previous.tolist() == [-1 if step == 0 else 0]
        pose = POSE + np.array([8.0 * step, 3.0 * step, 0])
        assert people.identify(pose[None]).track_ids.tolist() == [0]
        box = seen.boxes.bbox_xywh[0]
        # Every keypoint lies in the crop (the box enlarged by a quarter), also after many frames of motion.
        assert (pose[:, :2] > box[:2] - box[2:] / 8).all()
        assert (pose[:, :2] < box[:2] + box[2:] * 9 / 8).all()


def test_of_a_half_hidden_person_the_box_keeps_its_size() -> None:
    box = np.array([20.0, 10, 40, 80])
    hidden = POSE * [1, 1, 0]
    assert next_box(box, hidden, 0.2).tolist() == box.tolist()
    hidden[0] = [70, 20, 1]  # alone, and beyond the box
    moved = next_box(box, hidden, 0.2)
    assert moved[2:].tolist() == [40, 80]
    assert moved[0] + moved[2] == pytest.approx(70)


def test_a_lost_person_restarts_and_is_given_up_in_the_end() -> None:
    people = FollowedPeople(GivenBoxes([[20, 10, 40, 80]]), SIGMAS)
    people.look(frame())
    people.identify(POSE[None])
    weak = POSE * [1, 1, 0.01]
    for _ in range(5):
        assert len(people.look(frame()).boxes) == 1
        found = people.identify(weak[None])
        assert found.track_ids.tolist() == [-1]
        assert found.restart.tolist() == [0]
    again = people.look(frame())  # given up: the boxes are asked for anew, and it is a new track
    assert again.previous.tolist() == [-1]
    assert people.identify(POSE[None]).track_ids.tolist() == [1]


def test_every_box_above_the_asked_score_may_be_somebody_new(tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    file.write_text(json.dumps([{"image_id": 0, "bbox": [1, 2, 30, 40], "score": 0.05}]))
    points = np.ones((1, 17, 3))
    for start_score, expected in ((0.0, [0]), (0.05, [0]), (0.4, [-1])):
        people = DetectedPeople(BoxFile(file, images_of("x.jpg")), np.full(17, 0.1), start_score=start_score)
        people.look(frame(0))
        assert people.identify(points).track_ids.tolist() == expected


def test_two_followed_people_who_became_one_are_one() -> None:
    people = FollowedPeople(GivenBoxes([[20, 10, 40, 80], [25, 10, 40, 80]]), SIGMAS)
    people.look(frame())
    assert people.identify(np.stack([POSE, POSE + np.array([0.5, 0, 0])])).track_ids.tolist() == [0, -1]
    assert len(people.look(frame()).boxes) == 1


# Smoothing -------------------------------------------------------------------------------------------------------


def test_smoothing_calms_a_still_joint_and_hardly_delays_a_moving_one() -> None:
    noise = np.random.default_rng(0).normal(0, 1.5, (200, 1, 2))
    calm = OneEuroFilter()
    still = np.array([calm(0, 50 + noise[i], 100.0, i / 25) for i in range(200)])
    assert still[50:].std() < 0.6 * noise[50:].std()
    quick = OneEuroFilter()
    path = np.arange(50.0)[:, None, None] * np.array([8.0, 0.0])  # two person sizes a second
    moving = np.array([quick(0, path[i], 100.0, i / 25) for i in range(50)])
    assert np.abs(moving[20:] - path[20:]).max() < 4.0  # half a frame behind


def test_tracks_are_smoothed_apart() -> None:
    smooth = OneEuroFilter()
    smooth(0, np.zeros((1, 2)), 100, 0.0)
    first = np.full((1, 2), 90.0)
    assert smooth(1, first, 100, 0.04).tolist() == first.tolist()


def test_people_who_have_left_are_forgotten() -> None:
    smooth, here = OneEuroFilter(), np.zeros((1, 2))
    for track_id in range(500):
        smooth(track_id, here, 100, track_id * 1.0)
        smooth(-1, here, 100, track_id * 1.0)  # one who stays
    assert len(smooth._states) < 20
    assert -1 in smooth._states


# Drawing and files -----------------------------------------------------------------------------------------------


def test_skeletons_of_the_known_sets_reach_every_keypoint() -> None:
    for names in (COCO_KEYPOINT_NAMES, POSETRACK_KEYPOINTS):
        assert {place for bone in skeleton_of(names) for place in bone} == set(range(17))
    assert skeleton_of(["a", "b"]) == ()


def test_people_are_drawn_where_they_are_in_their_tracks_color() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    drawer = PoseDrawer(["left_hip", "left_knee", "left_ankle"], 0.2)
    pose = np.array([[[50.0, 50, 1], [50, 100, 1], [1e9, -1e9, 0.1]]])
    drawer.draw(image, pose, np.array([[30.0, 30, 60, 120]]), np.array([3]), np.array([0.5]))
    np.testing.assert_allclose(image[75, 50], track_color(3), atol=20)
    assert not image[100:, 120:].any()
    assert len({track_color(number) for number in range(12)}) == 12


def test_frames_of_other_sizes_are_fitted_into_the_video(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "v.mp4", 25)
    for index, size in enumerate(((40, 60), (80, 60), (20, 20))):
        video.add(np.full((*size, 3), 200, np.uint8), "x", index / 25)
    assert video.finish() == tmp_path / "v.mp4"
    shapes = [f.image_bgr.shape for f in open_frames(str(tmp_path / "v.mp4"))]
    assert shapes == [(40, 60, 3)] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


def test_a_discarded_video_leaves_nothing(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "v.mp4", 25)
    video.add(frame_of((50, 50)), "x", 0.0)
    video.discard()
    assert list(tmp_path.iterdir()) == []


def test_posetrack_needs_its_joints_but_not_the_ears() -> None:
    points = np.random.default_rng(0).random((2, 15, 3))
    without_ears = [name for name in POSETRACK_KEYPOINTS if not name.endswith("_ear")]
    found = posetrack_keypoints(points, without_ears)
    assert found is not None
    np.testing.assert_array_equal(found[:, [0, 1, 2]], points[:, :3])
    assert not found[:, 3:5].any()
    assert posetrack_keypoints(points[:, :14], without_ears[:14]) is None


def test_more_tracks_than_posetrack_has_cost_that_file_alone(tmp_path: Path) -> None:
    def found(track_id: int) -> FramePoses:
        return FramePoses(0, "v/0.jpg", np.ones((1, 17, 3)), np.array([track_id]), np.ones(1), np.ones((1, 4)))

    assert len(write_results(tmp_path / "few", [found(9999)], COCO_KEYPOINT_SET)) == 2
    (coco,) = write_results(tmp_path / "many", [found(3), found(10000)], COCO_KEYPOINT_SET)
    assert [entry["track_id"] for entry in json.loads(coco.read_text())] == [3, 10000]
