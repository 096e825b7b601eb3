"""Videos as clips: reading PoseTrack18, tracks through gaps, windows, training batches, the cache."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data.augmentation import NO_AUGMENTATION, Augmentation
from nas.data.batches import Batches
from nas.data.clip_cache import ClipCache
from nas.data.clips import training_clips, validation_clips
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.geometry import apply_affine
from nas.data.pose_data import PoseData
from nas.data.posetrack import PoseTrackVideos, read_posetrack_videos
from nas.data.posetrack_check import check_posetrack
from nas.data.tensors import to_tensor
from nas.data.track_boxes import interpolated, segments
from nas.data.video_data import VideoData
from search_spaces.errors import InputError
from tests.coco_fixture import disc_center, edit, write_folder
from tests.paths import shared
from tests.posetrack_fixture import STEP_PX, write_sequence

SIZE = (128, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training: 9 frames. Validation: 11, the fourth unlabelled, the walker without labels in 6 of the others."""
    folder = tmp_path_factory.mktemp("videos")
    write_sequence(folder, "train", 1, 9)
    write_sequence(folder, "val", 2, 11, unlabelled=(3,), absent=(4, 5, 6, 7, 8))
    write_sequence(folder, "val", 3, 6)
    return folder


def data_of(folder: Path, frames: int = 3, cache: Path | None = None, **video: Any) -> VideoData:
    config = DataConfig(video=VideoDataConfig(folder=folder, **video), cache=cache or folder / "cache")
    return VideoData(config, frames)


def videos_of(folder: Path, part: str = "val", **options: Any) -> PoseTrackVideos:
    return read_posetrack_videos(folder / "annotations" / part, **options)


def test_tracks_go_on_through_short_gaps_and_end_at_long_ones(folder: Path) -> None:
    first = videos_of(folder).sequences[0]
    assert [(track.track_id, track.first, len(track)) for track in first.tracks] == [(0, 0, 11), (5, 0, 3), (5, 9, 2)]
    standing = first.tracks[0].people
    assert [person.annotation_id >= 0 for person in standing] == [place != 3 for place in range(11)]
    between = np.mean([standing[2].bbox_xywh, standing[4].bbox_xywh], axis=0)
    assert standing[3].bbox_xywh == pytest.approx(between.tolist())
    assert standing[3].visibility.max() == 0
    longer = videos_of(folder, longest_gap=6).sequences[0]
    assert [len(track) for track in longer.tracks] == [11, 11]


def test_labels_are_those_of_the_file(folder: Path) -> None:
    videos = videos_of(folder, "train")
    written = json.loads((folder / "annotations/train/000001_made.json").read_text())["annotations"]
    assert len(videos.people.instances) == len(videos.people.ground_truth["annotations"]) == len(written) == 18
    of_image = {(a["image_id"], a["track_id"]): np.reshape(a["keypoints"], (-1, 3)) for a in written}
    for track in videos.sequences[0].tracks:
        for person in track.people:
            expected = of_image[person.image_id, track.track_id]
            np.testing.assert_allclose(person.keypoints_px, expected[:, :2], rtol=1e-6)
            np.testing.assert_array_equal(person.visibility > 0, expected[:, 2] > 0)
            assert person.visibility[0] == (1 if expected[0, 2] else 0)  # the nose is listed as hidden
    in_coco = videos_of(folder, "train", layout="coco")
    assert in_coco.keypoint_set.names[1] == "left_eye"
    assert all(person.visibility[1:3].max() == 0 for person in in_coco.people.instances)


Change = Callable[[dict[str, Any]], None]


def drop_frame(content: dict[str, Any]) -> None:
    gone = content["images"].pop(4)["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != gone]


def set_field(key: str, value: Any) -> Change:
    return lambda content: content["annotations"][0].update({key: value})


BAD: list[tuple[Change, str]] = [
    (drop_frame, r"000001_made.json: frames are missing between images/train/000001_made/000003.png and 000005.png"),
    (lambda content: content["images"].reverse(), "not in the order of their numbers"),
    (lambda content: content["images"][2].update(file_name="images/train/other/000002.png"), "no such frame, but"),
    (set_field("track_id", 5), "track_id 5 stands twice in images/train/000001_made/000000.png"),
    (set_field("bbox", [500, 20, 30, 30]), "no extent inside the image"),
    (set_field("keypoints", [1, 2]), "keypoints has shape"),
    (lambda content: content["annotations"].clear(), "no frame has an annotated person"),
    (lambda content: content["images"].clear(), "an annotation has image_id"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_sequences_are_one_clear_line(tmp_path: Path, change: Change, message: str) -> None:
    edit(write_sequence(tmp_path, "train", 1, 7), change)
    with pytest.raises(InputError, match=message) as caught:
        videos_of(tmp_path, "train")
    assert "\n" not in str(caught.value)
    if "no frame has" not in message:
        assert any(p.severity == "error" for p in check_posetrack(tmp_path / "annotations/train"))


def test_unreadable_json_ids_used_twice_and_missing_folders(tmp_path: Path) -> None:
    path = write_sequence(tmp_path, "val", 1, 3)
    (path.parent / "000009_copy.json").write_text(path.read_text())
    with pytest.raises(InputError, match=r"is used in 000001_made.json, too"):
        videos_of(tmp_path)
    path.write_text('{"images": [')
    with pytest.raises(InputError, match=r"000001_made.json: is not JSON"):
        videos_of(tmp_path)
    with pytest.raises(InputError, match=r"annotations/train: no .json file there"):
        _ = data_of(tmp_path).train
    with pytest.raises(InputError, match="name a PoseTrack18 folder"):
        _ = VideoData(DataConfig(), 3).train
    write_sequence(tmp_path, "train", 4, 3)
    with pytest.raises(InputError, match="17 keypoints, the network predicts 12"):
        _ = VideoData(DataConfig(folder=tmp_path), 3, keypoints=12).train


def test_more_frames_than_any_track_has(folder: Path) -> None:
    with pytest.raises(InputError, match=r"--frames 9: the longest track of .*train has 9 consecutive .* most 8"):
        _ = data_of(folder, 9).train_clips
    with pytest.raises(InputError, match=r"--frames 3 with frame_step 4: .* choose at most 2"):
        _ = data_of(folder, 3, frame_step=4).val_clips
    with pytest.raises(InputError, match="at least 1 propagated frame"):
        _ = data_of(folder, 0).train_clips
    assert len(data_of(folder, 8).train_clips) == 2


@pytest.mark.parametrize(("frames", "step", "stride", "expected"), [(3, 1, 1, 12), (3, 1, 2, 6), (2, 2, 1, 10)])
def test_training_clips_are_all_whole_windows(folder: Path, frames: int, step: int, stride: int, expected: int) -> None:
    clips = training_clips(videos_of(folder, "train"), frames, frame_step=step, stride=stride)
    assert len(clips) == expected
    for clip in clips:
        assert len(clip) == frames + 1
        ids = np.array([person.image_id for person in clip.people])
        assert (np.diff(ids) == step).all()
        assert ids[0] % 10000 == clip.first_frame


@pytest.mark.parametrize(("frames", "step"), [(1, 1), (3, 1), (4, 1), (10, 1), (2, 2), (1, 3)])
def test_every_labelled_person_of_every_frame_is_in_one_validation_clip(folder: Path, frames: int, step: int) -> None:
    videos = videos_of(folder)
    clips = validation_clips(videos, frames, frame_step=step)
    shown = [person.annotation_id for clip in clips for person in clip.people if person.annotation_id >= 0]
    assert sorted(shown) == sorted(a["id"] for a in videos.people.ground_truth["annotations"])
    assert all(clip.people[-1].annotation_id >= 0 and len(clip) <= frames + 1 for clip in clips)


def test_detected_boxes_are_linked_to_the_tracks_they_overlap(folder: Path, tmp_path: Path) -> None:
    truth = videos_of(folder).people
    boxes = [
        {"image_id": p.image_id, "category_id": 1, "bbox": [p.bbox_xywh[0] + 4, *p.bbox_xywh[1:]], "score": 0.7}
        for p in truth.instances
        if p.image_id != truth.instances[1].image_id  # both people of this frame are missed
    ]
    boxes.append({"image_id": boxes[0]["image_id"], "category_id": 1, "bbox": [200, 90, 20, 20], "score": 0.9})
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(boxes))
    videos = videos_of(folder, detections=path)
    standing = videos.sequences[0].tracks[0].people
    own = {p.annotation_id: p for p in truth.instances}
    assert [p.score for p in standing] == pytest.approx([0.7] * len(standing))
    for person in standing:
        if person.annotation_id >= 0 and person.image_id != truth.instances[1].image_id:
            assert person.bbox_xywh[0] == pytest.approx(own[person.annotation_id].bbox_xywh[0] + 4)
    assert standing[1].annotation_id >= 0  # missed, followed through the gap, and evaluated
    path.write_text(json.dumps([boxes[-1]]))
    with pytest.raises(InputError, match="no box overlaps an annotated person"):
        videos_of(folder, detections=path)


def test_areas_to_which_no_prediction_is_near_enough_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_sequence(tmp_path, "val", 1, 4)
    edit(file, lambda document: [annotation.update(area=0.25) for annotation in document["annotations"]])
    expected = "000000.png: track 0: area is 0.25: no prediction can count by COCO's AP"
    read_posetrack_videos(file)
    [told] = [record.getMessage() for record in caplog.records]
    assert expected in told
    assert told.endswith("(the first of 8 such; `vipnas data check` lists them)")
    assert sum("area is 0.25" in str(problem) for problem in check_posetrack(file)) == 8
    edit(file, lambda document: [annotation.update(area=0) for annotation in document["annotations"]])
    assert all(a["area"] > 1000 for a in read_posetrack_videos(file).people.ground_truth["annotations"])


def test_boxes_through_gaps() -> None:
    boxes = {0: ((0.0, 0.0, 10.0, 10.0), 1.0), 4: ((8.0, 4.0, 10.0, 14.0), 0.5), 9: ((0.0, 0.0, 1.0, 1.0), 1.0)}
    filled = interpolated(boxes, 3)
    assert sorted(filled) == [0, 1, 2, 3, 4, 9]
    assert filled[1] == ((2.0, 1.0, 10.0, 11.0), 0.875)
    assert [(first, len(run)) for first, run in segments(filled)] == [(0, 5), (9, 1)]


@pytest.mark.parametrize("codec", ["gaussian", "udp"])
def test_a_batch_shows_every_keypoint_where_it_says(folder: Path, codec: Any) -> None:
    config = DataConfig(
        video=VideoDataConfig(folder=folder, box_jitter=0.05), cache=folder / "cache", codec=codec,
        augmentation=Augmentation(rotation_probability=1, shift_probability=1),
    )  # fmt: skip
    data = VideoData(config, 3)
    dataset = data.training_set(SIZE)
    batch = Batches(dataset, 12, seed=1).batch(0)
    found = 0
    flip = dataset.settings.keypoint_set.flip_indices
    mirrored = np.linalg.det(batch.previous_from_current[..., :2]) > 0
    assert mirrored.all()  # two mirrored frames: no mirror between them
    for clip, frame, joint in np.argwhere(batch.visibility > 0).tolist():
        place = batch.keypoints_px[clip, frame, joint]
        if not (8 < place[0] < SIZE[1] - 8 and 8 < place[1] < SIZE[0] - 8):
            continue
        centers = [disc_center(batch.pixels[clip, frame], color, place) for color in (joint, int(flip[joint]))]
        distances = [np.linalg.norm(center - place) for center in centers if center is not None]
        found += bool(distances) and min(distances) < 2.5
    assert found > 0.9 * (batch.visibility > 0).sum() * 0.8


def test_the_map_to_the_frame_before_takes_places_there(folder: Path) -> None:
    """Places that do not move in the video: those of the standing person, whatever the crops do."""
    data = data_of(folder, box_jitter=0.1)
    clips = training_clips(data.train, 3)
    batch = data.training_set(SIZE).batch(np.arange(len(clips)), np.random.default_rng(3))
    for index, clip in enumerate(clips):
        move = STEP_PX if clip.track_id == 5 else np.zeros(2)
        for frame in range(1, 4):
            in_previous = apply_affine(batch.previous_from_current[index, frame], batch.keypoints_px[index, frame])
            labelled = batch.visibility[index, frame] > 0
            away = in_previous[labelled] - batch.keypoints_px[index, frame - 1][labelled]
            if move.any():  # everything moves alike
                assert np.abs(away - away.mean(axis=0)).max() < 0.02
                assert np.linalg.norm(away.mean(axis=0)) > 1
            else:
                assert np.abs(away).max() < 0.02
    np.testing.assert_array_equal(batch.previous_from_current[:, 0], np.broadcast_to(np.eye(2, 3), (len(clips), 2, 3)))


def test_one_augmentation_a_clip_and_a_jitter_a_frame(folder: Path) -> None:
    data = data_of(folder, box_jitter=0.0)
    still = data.training_set(SIZE)
    rows = still.rows[:6]
    views = still._views(rows, np.random.default_rng(0), still.settings.augmentation)
    turns = views.rotations_deg.reshape(rows.shape)
    np.testing.assert_array_equal(turns, np.repeat(turns[:, :1], rows.shape[1], axis=1))
    assert len(np.unique(turns[:, 0])) > 1
    boxes = still.people.bbox_xywh[rows]
    shift = (views.centers.reshape(*rows.shape, 2) - boxes[..., :2] - boxes[..., 2:] / 2) / boxes[..., 2:]
    np.testing.assert_allclose(shift, np.repeat(shift[:, :1], rows.shape[1], axis=1), atol=1e-9)
    shaken = data_of(folder, box_jitter=0.1).training_set(SIZE)
    jittered = shaken._views(rows, np.random.default_rng(0), still.settings.augmentation)
    moved = (jittered.centers - views.centers).reshape(*rows.shape, 2) / boxes[..., 2:]
    assert 0 < np.abs(moved).max() <= 0.1 * 1.25
    assert np.abs(np.diff(moved, axis=1)).max() > 0.01


@pytest.fixture(scope="module")
def with_stills(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> VideoData:
    """Clips of which three quarters show still people."""
    video = VideoDataConfig(folder=folder, layout="coco", stills=0.75, still_motion=0.05, box_jitter=0)
    images = write_folder(tmp_path_factory.mktemp("stills"))
    return VideoData(
        DataConfig(folder=images, cache=folder / "cache", augmentation=NO_AUGMENTATION, video=video), frames=3
    )


def test_people_of_still_images_move_and_nothing_knows_of_it(with_stills: VideoData) -> None:
    dataset = with_stills.training_set(SIZE)
    of_videos = len(dataset.rows)
    assert len(dataset) == 4 * of_videos
    batch = dataset.batch(np.arange(len(dataset)), np.random.default_rng(0))
    assert (batch.visibility[of_videos:] == batch.visibility[of_videos:, :1]).all()  # one person in all frames
    identity = np.broadcast_to(np.eye(2, 3), batch.previous_from_current[of_videos:].shape)
    np.testing.assert_allclose(batch.previous_from_current[of_videos:], identity, atol=1e-4)
    shown = batch.visibility[of_videos:, 0] > 0
    steps = np.diff(batch.keypoints_px[of_videos:], axis=1).swapaxes(1, 2)[shown].reshape(-1, 2)
    for axis, size in enumerate(reversed(SIZE)):
        assert 0.045 < steps[:, axis].std() / size < 0.1  # 0.05, and what turns and changes of size add
    found = []
    for clip, frame, joint in np.argwhere(batch.visibility > 0).tolist():
        place = batch.keypoints_px[clip, frame, joint]
        if clip >= of_videos and 8 < place[0] < SIZE[1] - 8 and 8 < place[1] < SIZE[0] - 8:
            center = disc_center(batch.pixels[clip, frame], joint, place)
            found.append(center is not None and bool(np.linalg.norm(center - place) < 2.5))
    assert np.mean(found) > 0.7  # others are covered


def test_stills_are_drawn_anew_and_the_same_for_all_processes(with_stills: VideoData) -> None:
    dataset = with_stills.training_set(SIZE)
    indices = np.arange(len(dataset.rows), len(dataset))
    first, second = (dataset.batch(indices, np.random.default_rng(seed)) for seed in (0, 1))
    assert not np.array_equal(first.visibility, second.visibility)
    half = dataset.batch(indices, np.random.default_rng(0), slice(5, 9))
    np.testing.assert_array_equal(half.pixels, first.pixels[5:9])
    np.testing.assert_array_equal(half.previous_from_current, first.previous_from_current[5:9])


def test_stills_need_the_keypoints_of_the_videos(with_stills: VideoData) -> None:
    video = replace(with_stills.config.video, layout="posetrack")
    with pytest.raises(InputError, match=r"data\.video\.stills: .* choose data\.video\.layout"):
        VideoData(replace(with_stills.config, video=video), 3).training_set(SIZE)
    with pytest.raises(InputError, match=r"stills=1\.0 is not possible; it must be at least 0 and under 1"):
        VideoDataConfig(stills=1.0)


def test_tensors_have_the_shapes_of_the_contract(folder: Path) -> None:
    batch = Batches(data_of(folder).training_set(SIZE), 3).batch(5)
    tensors = batch.tensors()
    assert tensors._fields == ("images", "targets", "weights", "previous_from_current")
    assert tensors.images.shape == (3, 4, 3, 128, 96)
    assert tensors.targets.shape == (3, 4, 17, 32, 24)
    assert tensors.weights.shape == (3, 4, 17)
    assert tensors.previous_from_current.shape == (3, 4, 2, 3)
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    assert torch.equal(tensors.images[1, 2], to_tensor(batch.pixels[1, 2:3])[0])
    assert tensors.images[:, 0].flatten(0, 0)[0].stride(0) == 1  # channels last
    assert tensors.weights[..., 3:5].sum() == 0  # ears


def test_batches_depend_on_seed_and_step_alone(folder: Path) -> None:
    dataset = data_of(folder).training_set(SIZE)
    whole = Batches(dataset, 4, seed=2)
    streamed = list(whole.batches(1, 4))
    assert [batch.step for batch in streamed] == [1, 2, 3]
    for batch in streamed:
        parts = [Batches(dataset, 2, seed=2, rank=rank, world_size=2).batch(batch.step) for rank in (0, 1)]
        for name in ("pixels", "keypoints_px", "visibility", "previous_from_current"):
            shared_out = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(getattr(batch, name), shared_out)
    assert not np.array_equal(Batches(dataset, 4, seed=3).batch(1).pixels, streamed[0].pixels)


def test_the_cache_holds_every_frame_once_and_masks_ended_clips(folder: Path) -> None:
    data = data_of(folder)
    cache = data.validation_clips(SIZE)
    assert cache.frames == 3
    lengths = [len(clip) for clip in data.val_clips]
    np.testing.assert_array_equal(cache.present.sum(axis=1), lengths)
    assert min(lengths) < 4
    assert cache.evaluated.sum() == len(data.val.people.instances)
    assert len(cache.crops) == sum(lengths)
    short = int(np.argmin(lengths))
    images = cache.images([short])
    assert images.shape == (1, 4, 128, 96, 3)
    assert images[0, lengths[short] :].max() == 0
    assert cache.visibility([short])[0, lengths[short] :].max() == 0
    for clip, frame in np.argwhere(cache.evaluated)[:20].tolist():
        person = data.val_clips[clip].people[frame]
        assert cache.instances.annotation_ids[cache.rows[clip, frame]] == person.annotation_id
        joint = int(np.flatnonzero(person.visibility)[0])
        place = cache.keypoints_input_px([clip])[0, frame, joint]
        center = disc_center(cache.images([clip])[0, frame], joint, place)
        assert center is None or np.linalg.norm(center - place) < 2.5
    again = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(again.images(slice(2)), cache.images(slice(2)))
    assert len(pickle.dumps(cache)) < 5000
    assert cache.subset([1]).tensor().shape == (1, 4, 3, 128, 96)
    other, another = (data_of(folder, frames).validation_clips(SIZE) for frames in (2, 4))
    assert other.crops.path == another.crops.path  # one file serves every T that has no unlabelled end
    assert len(data.calibration_clips(SIZE, 5)) == 5


def test_without_augmentation_a_training_clip_is_the_cached_one(folder: Path) -> None:
    config = DataConfig(
        video=VideoDataConfig(folder=folder, box_jitter=0), cache=folder / "cache", augmentation=NO_AUGMENTATION
    )
    data = VideoData(config, 3)
    cache = ClipCache.build(folder / "cache", data.train_clips, data.codec(SIZE), frames=3)
    batch = data.training_set(SIZE).batch(np.arange(4), np.random.default_rng(0))
    np.testing.assert_allclose(batch.keypoints_px, cache.keypoints_input_px(slice(4)), atol=1e-3)
    np.testing.assert_allclose(batch.previous_from_current, cache.previous_from_current(slice(4)), atol=1e-5)
    assert np.abs(batch.pixels.astype(int) - cache.images(slice(4))).mean() < 1


def test_cached_pictures_reach_as_far_as_jittered_boxes(folder: Path) -> None:
    batches = []
    for gigabytes in (0.0, 1.0):
        config = DataConfig(
            video=VideoDataConfig(folder=folder, box_jitter=0.3), cache=folder / "cache", augmentation=NO_AUGMENTATION,
            padding=0.6, picture_cache_gb=gigabytes,
        )  # fmt: skip
        clips = VideoData(config, 3).training_set(SIZE)
        batches.append(clips.batch(np.arange(len(clips)), np.random.default_rng(0)).pixels.astype(int))
    assert np.abs(batches[0] - batches[1]).max() <= 2


def test_the_frames_of_videos_as_still_images(folder: Path) -> None:
    parts = {f"{part}_annotations": folder / "annotations" / part for part in ("train", "val")}
    data = PoseData(DataConfig(**parts, cache=folder / "cache", val_limit=3), keypoints=17)
    batch = data.training_set(SIZE).batch(np.arange(18), np.random.default_rng(0))
    assert batch.pixels.shape == (18, 1, 128, 96, 3)
    assert len(data.train.instances) == 18
    assert data.train.images == folder
    assert [len(data.val.ground_truth[key]) for key in ("images", "annotations")] == [2, len(data.val.instances)]
    assert len(data.validation_crops(SIZE)) == len(data.val.instances)


def test_limits_take_whole_videos(folder: Path) -> None:
    some = data_of(folder, 2, val_limit=1).val
    assert len(some.sequences) == 1
    names = {image["file_name"].split("/")[2] for image in some.people.ground_truth["images"]}
    assert names == {some.sequences[0].name}


def test_the_check_lists_every_problem(tmp_path: Path) -> None:
    path = write_sequence(tmp_path, "val", 1, 4)

    def spoil(content: dict[str, Any]) -> None:
        del content["annotations"][0]["bbox_head"], content["annotations"][1]["bbox"]
        content["annotations"][2]["bbox"] = [300, 0, 10, 10]
        content["annotations"][4]["track_id"] = 5

    assert check_posetrack(path.parent) == []
    edit(path, spoil)
    (tmp_path / "images/val/000001_made/000003.png").write_bytes(b"no image")
    found = [str(problem) for problem in check_posetrack(path.parent)]
    for text in ("have no bbox_head", "has no bbox;", "no extent", "track_id 5 stands twice", "does not decode"):
        assert sum(text in problem for problem in found) == 1, (text, found)


def test_a_real_video() -> None:
    root = shared("data/posetrack_real_mini")
    videos = read_posetrack_videos(root / "annotations/val")
    assert [len(track) for track in videos.sequences[0].tracks] == [41] * 4
    assert len(validation_clips(videos, 3)) == 44
    videos.require_head_boxes()
    assert check_posetrack(root / "annotations/val", decode_images=False) == []
