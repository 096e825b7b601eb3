"""The synthetic data set: labels agree with what is drawn, files are complete, the same seed gives the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from nas.data.synthetic import SyntheticConfig, SyntheticSummary, dataset, synthesize
from nas.data.synthetic.backgrounds import Grade, Occluder
from nas.data.synthetic.frame import render_frame
from nas.data.synthetic.labels import PersonLabel
from nas.data.synthetic.motion import Motion, sample_motion
from nas.data.synthetic.render import Camera
from nas.data.synthetic.scene import Actor, Scene, sample_scene
from nas.data.synthetic.skeleton import ANGLE_COUNT, Angle, Joint, forward, sample_proportions
from nas.data.synthetic.writer import COCO_KEYPOINTS, POSETRACK_KEYPOINTS
from search_spaces.errors import InputError

from .paths import shared

SMALL = SyntheticConfig(
    train_images=6, val_images=3, videos_train=2, videos_val=1, frames=4, image_size=(96, 128), seed=5, workers=1
)
CLEAN = Grade((1.0, 1.0, 1.0), 1.0, 0.0, 0.0, 0.0, 1.0, 95)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSummary:
    return synthesize(tmp_path_factory.mktemp("synthetic") / "data", SMALL)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _scene(angles: dict[Angle, float], heading: float, seed: int = 3) -> Scene:
    """One grown-up in a still pose (degrees), in the middle of a plain image, seen from the height of the chest."""
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng, (256, 192), 1.0, video=False, frame_interval_s=0.08)
    vector = np.zeros(ANGLE_COUNT)
    for place in (Angle.LEFT_SHOULDER_ABDUCT, Angle.RIGHT_SHOULDER_ABDUCT):
        vector[place] = math.radians(12)
    for place, degrees in angles.items():
        vector[place] = math.radians(degrees)
    motion = Motion(1.0, np.tile(vector, (62, 1)), np.full(62, heading), np.zeros((62, 2)), np.zeros(62))
    first = scene.actors[0]
    outfit = replace(first.outfit, backpack=False, skirt_length=0.0, hair_length=0.0, torso_bulk=1.0)
    body = replace(sample_proportions(np.random.default_rng(1)), build=1.0)
    axes = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])
    return replace(
        scene,
        camera=Camera(axes, np.array([0.0, 1.0, 0.0]), 500.0, (96.0, 128.0)),
        actors=(Actor(body, outfit, motion, np.array([0.0, -4.5])),),
        background=np.full((256, 192, 3), 90, np.uint8),
        occluders=(),
        grade=CLEAN,
        shutter_s=0.0,
        shadows=False,
    )


def _label(scene: Scene) -> PersonLabel:
    _, labels = render_frame(scene, 0.5, np.random.default_rng(0))
    assert len(labels) == 1
    return labels[0]


def test_facing_the_camera_the_left_side_is_on_the_image_right() -> None:
    front, back = _label(_scene({}, 0.0)), _label(_scene({}, math.pi))
    for left in (Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_EAR):
        assert front.keypoints_px[left, 0] > front.keypoints_px[left + 1, 0]
        assert back.keypoints_px[left, 0] < back.keypoints_px[left + 1, 0]
    assert front.visibility[Joint.NOSE] == 2
    assert front.visibility[Joint.LEFT_EYE] == 2
    assert back.visibility[Joint.NOSE] == 1
    assert back.visibility[Joint.RIGHT_EYE] == 1


def test_turned_to_the_left_the_nose_points_to_the_image_right_and_the_right_side_is_seen() -> None:
    label = _label(_scene({}, math.pi / 2))
    assert label.keypoints_px[Joint.NOSE, 0] > label.keypoints_px[Joint.HEAD_TOP, 0] + 2
    for right in (Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW, Joint.RIGHT_KNEE):
        assert label.visibility[right] == 2
        assert label.visibility[right - 1] == 1


def test_an_arm_behind_the_back_is_hidden_from_the_front_only() -> None:
    pose = {Angle.LEFT_SHOULDER_FLEX: -30.0, Angle.LEFT_SHOULDER_TWIST: 75.0, Angle.LEFT_ELBOW: 70.0}
    assert _label(_scene(pose, 0.0)).visibility[Joint.LEFT_WRIST] == 1
    assert _label(_scene(pose, math.pi)).visibility[Joint.LEFT_WRIST] == 2


@pytest.mark.parametrize("heading", [0.0, 0.7, 2.5, math.pi, 5.5])
def test_the_labelled_wrists_lie_on_the_drawn_forearms(heading: float) -> None:
    scene = _scene({Angle.LEFT_SHOULDER_ABDUCT: 60.0, Angle.RIGHT_SHOULDER_ABDUCT: 45.0}, heading)
    outfit = scene.actors[0].outfit
    red, blue = np.full((2, 2, 3), (0, 0, 255), np.float32), np.full((2, 2, 3), (255, 0, 0), np.float32)
    textures = {**outfit.textures, "left_forearm": red, "left_hand": red, "right_forearm": blue, "right_hand": blue}
    actor = replace(scene.actors[0], outfit=replace(outfit, textures=textures))
    image, (label,) = render_frame(replace(scene, actors=(actor,)), 0.5, np.random.default_rng(0))
    for joint, channel, other in ((Joint.LEFT_WRIST, 2, 0), (Joint.RIGHT_WRIST, 0, 2)):
        x, y = label.keypoints_px[joint]
        pixel = image[round(y), round(x)].astype(int)
        assert label.visibility[joint] == 2
        assert pixel[channel] > pixel[other] + 60


def test_things_in_front_hide_and_outside_is_not_labelled() -> None:
    scene = _scene({}, 0.0)
    wall = Occluder(np.zeros((300, 300, 3), np.float32), np.ones((300, 300), np.float32), (-20.0, 128.0), (0.0, 0.0))
    label = _label(replace(scene, occluders=((2.0, wall),)))
    assert label.visibility[Joint.LEFT_KNEE] == 1
    assert label.visibility[Joint.LEFT_SHOULDER] == 2
    behind = _label(replace(scene, occluders=((9.0, wall),)))
    assert behind.visibility[Joint.LEFT_KNEE] == 2
    near = replace(scene.camera, focal_px=1000.0)
    cut = _label(replace(scene, camera=near))
    assert cut.visibility[Joint.LEFT_ANKLE] == 0
    assert cut.bbox_xywh[1] + cut.bbox_xywh[3] == 256


def test_someone_hidden_by_another_person_is_taken_out() -> None:
    scene = _scene({}, 0.0)
    far = replace(scene.actors[0], origin_m=np.array([0.0, -6.5]))
    both = replace(scene, actors=(far, scene.actors[0]))
    _, labels = render_frame(both, 0.5, np.random.default_rng(0))
    assert [label.seen > 0.5 for label in labels] == [False, True]
    _, labels = render_frame(both, 0.5, np.random.default_rng(0), fewest_seen=0.5)
    assert [label.actor for label in labels] == [1]


def test_labels_of_random_scenes_are_consistent() -> None:
    shape, hidden, total = (128, 160), 0, 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng, shape, 1.0, video=False, frame_interval_s=0.08)
        image, labels = render_frame(scene, 0.5, rng, fewest_seen=0.35)
        assert image.shape == (*shape, 3)
        assert image.dtype == np.uint8
        assert labels
        for label in labels:
            x, y, width, height = label.bbox_xywh
            assert 0 <= x < x + width <= shape[1]
            assert 0 <= y < y + height <= shape[0]
            assert 0.08 * width * height < label.area <= width * height
            inside = label.keypoints_px[label.visibility > 0]
            assert (inside >= 0).all()
            assert (inside <= (shape[1] - 1, shape[0] - 1)).all()
            seen = label.keypoints_px[label.visibility == 2]
            assert (seen >= np.array([x, y]) - 3).all()
            assert (seen <= np.array([x + width, y + height]) + 3).all()
            assert all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in label.polygons)
            hidden += int((label.visibility == 1).sum())
            total += int((label.visibility > 0).sum())
    assert 0.15 < hidden / total < 0.55  # limbs hide, and not all of them


def test_bones_keep_their_length_and_motion_is_smooth() -> None:
    bones = (
        (Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW),
        (Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE),
        (Joint.LEFT_HIP, Joint.LEFT_KNEE),
    )
    for seed in range(40):
        rng = np.random.default_rng(seed)
        proportions, motion = sample_proportions(rng), sample_motion(rng, 1.0)
        states = [motion.at(time) for time in np.arange(0.1, 0.9, 1 / 120)]
        points = np.array([forward(proportions, state.angles, state.heading).points_m for state in states])
        lengths = np.array([np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in bones])
        assert np.ptp(lengths, axis=1).max() < 1e-9
        steps = np.linalg.norm(np.diff(points[:, :17], axis=0), axis=2)  # (T − 1, 17), metres in 1/120 s
        assert steps.max() * 120 < 22  # the fastest hands move at 20 m/s
        ground = np.array([state.position_m for state in states])
        assert np.linalg.norm(np.diff(ground, axis=0), axis=1).max() * 120 < 7


def test_people_turn_all_the_way_round() -> None:
    headings = [sample_motion(np.random.default_rng(seed), 0.5).at(0.2).heading for seed in range(200)]
    quarters = np.histogram(np.mod(headings, 2 * np.pi), bins=4, range=(0, 2 * np.pi))[0]
    assert quarters.min() > 25


def test_coco_files(made: SyntheticSummary) -> None:
    names: set[str] = set()
    for path, count in ((made.train_annotations, 6), (made.val_annotations, 3)):
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(path))
        assert len(coco.imgs) == count
        assert coco.loadCats([1])[0]["keypoints"] == list(COCO_KEYPOINTS)
        for image in coco.imgs.values():
            assert image["file_name"] not in names
            names.add(image["file_name"])
            pixels = cv2.imread(str(made.images / image["file_name"]))
            assert pixels is not None
            assert pixels.shape == (96, 128, 3)
        for annotation in coco.anns.values():
            flags = annotation["keypoints"][2::3]
            assert len(flags) == 17
            assert annotation["num_keypoints"] == sum(flag > 0 for flag in flags)
            outline = coco.annToMask(annotation)
            assert outline.sum() == pytest.approx(annotation["area"], rel=0.35, abs=40)
    assert len(names) == 9
    assert made.train_persons + made.val_persons >= 9


def test_posetrack_files(made: SyntheticSummary) -> None:
    paths = sorted((made.posetrack / "annotations").rglob("*.json"))
    assert [path.parent.name for path in paths] == ["train", "train", "val"]
    image_ids: set[int] = set()
    for path in paths:
        video = json.loads(path.read_text(encoding="utf-8"))
        assert video["categories"][0]["keypoints"] == list(POSETRACK_KEYPOINTS)
        assert len(video["images"]) == 4
        for image in video["images"]:
            assert image["nframes"] == 4
            assert image["is_labeled"]
            assert (made.posetrack / image["file_name"]).is_file()
            image_ids.add(image["id"])
        _check_tracks(video)
    assert len(image_ids) == 12


def test_posetrack_files_have_the_fields_of_a_real_one(made: SyntheticSummary) -> None:
    real = json.loads(
        shared("data/posetrack_real_mini/annotations/val/060470979_bonn.json").read_text(encoding="utf-8")
    )
    path = next((made.posetrack / "annotations" / "val").glob("*.json"))
    ours = json.loads(path.read_text(encoding="utf-8"))
    assert ours["categories"] == real["categories"]
    for key in ("images", "annotations"):
        wanted = set(real[key][0]) - {"bbox_head_derived"}  # added by whoever prepared the sample
        assert wanted <= set(ours[key][0])
        for field in wanted:
            assert isinstance(ours[key][0][field], type(real[key][0][field])), field


def _check_tracks(video: dict[str, Any]) -> None:
    frame_of = {image["id"]: place for place, image in enumerate(video["images"])}
    tracks: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)
    for person in video["annotations"]:
        assert len(person["keypoints"]) == 51
        assert set(person["keypoints"][2::3]) <= {0.0, 1.0}
        assert person["bbox_head"][2] > 1
        assert person["bbox_head"][3] > 1
        frame = frame_of[person["image_id"]]
        assert frame not in tracks[person["track_id"]]
        tracks[person["track_id"]][frame] = person
        nose, head = np.array(person["keypoints"][:3]), np.array(person["bbox_head"])
        if nose[2]:
            assert (nose[:2] >= head[:2] - 3).all()
            assert (nose[:2] <= head[:2] + head[2:] + 3).all()
    for track in tracks.values():
        for frame, person in track.items():
            if frame + 1 in track:
                now, then = (np.array(one["keypoints"]).reshape(17, 3) for one in (person, track[frame + 1]))
                both = (now[:, 2] > 0) & (then[:, 2] > 0)
                moved = np.linalg.norm(now[both, :2] - then[both, :2], axis=1)
                assert np.median(moved) < 15 if both.any() else True


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_workers(made: SyntheticSummary, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    synthesize(tmp_path / "again", replace(SMALL, workers=2), lambda done, total: reports.append((done, total)))
    assert _digests(tmp_path / "again") == _digests(made.folder)
    assert reports[-1] == (21, 21)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_another_seed_gives_other_images(made: SyntheticSummary, tmp_path: Path) -> None:
    few = replace(SMALL, train_images=2, val_images=2, videos_train=0, videos_val=0)
    other = synthesize(tmp_path / "a", replace(few, seed=6))
    same = synthesize(tmp_path / "b", few)  # images do not depend on how many there are
    for name in ("train_000001.jpg", "val_000001.jpg"):
        assert (same.images / name).read_bytes() == (made.images / name).read_bytes()
        assert (other.images / name).read_bytes() != (made.images / name).read_bytes()
    assert (same.images / "train_000000.jpg").read_bytes() != (same.images / "val_000000.jpg").read_bytes()


def test_an_existing_data_set_is_reused_and_never_overwritten(made: SyntheticSummary, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*")}
    again = synthesize(made.folder, replace(SMALL, workers=None))
    assert again == replace(made, reused=True)
    with pytest.raises(InputError, match="seed=5, but 6 is asked for"):
        synthesize(made.folder, replace(SMALL, seed=6))
    assert {path: path.stat().st_mtime_ns for path in made.folder.rglob("*")} == before

    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no synthetic data set"):
        synthesize(tmp_path, SMALL)
    with pytest.raises(InputError, match="is a file"):
        synthesize(tmp_path / "notes.txt", SMALL)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def stop(done: int, total: int) -> None:
        raise error

    with pytest.raises(type(error)):
        synthesize(tmp_path / "data", SMALL, stop)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(dataset, "write_annotations", lambda *arguments: stop(0, 0))
    with pytest.raises(type(error)):
        synthesize(tmp_path / "data", replace(SMALL, workers=2, videos_train=0, videos_val=0))
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_a_worker_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(folder: Path, config: SyntheticConfig) -> list[Any]:
        return [replace(task, folder=folder / "missing") for task in tasks(folder, config)]

    tasks = dataset._tasks
    monkeypatch.setattr(dataset, "_tasks", elsewhere)
    with pytest.raises(FileNotFoundError):
        synthesize(tmp_path / "data", replace(SMALL, workers=2, videos_train=0, videos_val=0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train_images", -1),
        ("val_images", 2.5),
        ("videos_train", True),
        ("frames", 1),
        ("image_size", (32, 320)),
        ("image_size", (256,)),
        ("workers", 0),
        ("seed", -3),
    ],
)
def test_bad_values_are_named(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=field) as caught:
        SyntheticConfig(**{field: value})
    assert "\n" not in str(caught.value)


def test_nothing_asked_for_is_an_error() -> None:
    with pytest.raises(InputError, match="no images and no videos"):
        SyntheticConfig(train_images=0, val_images=0, videos_train=0, videos_val=0)
