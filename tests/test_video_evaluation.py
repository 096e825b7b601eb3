"""Measures of clips: OKS and AP over all frames and by position, PoseTrack's AP and MOTA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators import CocoKeypointAP, read_posetrack
from nas.data.clip_cache import ClipCache
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.video_data import VideoData
from nas.evaluation.clips import ClipMeasure, posetrack_measures, summary, write_posetrack_predictions
from nas.evaluation.config import EvaluationConfig
from search_spaces.errors import InputError
from tests.coco_fixture import edit
from tests.paths import shared
from tests.posetrack_fixture import write_sequence

SIZE = (128, 96)


def data_of(folder: Path, frames: int = 3, cache: Path | None = None, **video: Any) -> VideoData:
    config = DataConfig(video=VideoDataConfig(folder=folder, **video), cache=cache or folder / "cache")
    return VideoData(config, frames)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> VideoData:
    folder = tmp_path_factory.mktemp("videos")
    write_sequence(folder, "val", 2, 11, unlabelled=(3,), absent=(6,))
    write_sequence(folder, "val", 3, 6)
    return data_of(folder)


@pytest.fixture(scope="module")
def clips(data: VideoData) -> ClipCache:
    return data.validation_clips(SIZE)


def perfect(clips: ClipCache) -> tuple[np.ndarray, np.ndarray]:
    keypoints = clips.keypoints_input_px()
    return keypoints, np.where(clips.visibility() > 0, 0.9, 0.05)


def test_perfect_keypoints_have_every_measure_1(data: VideoData, clips: ClipCache) -> None:
    evaluated = ClipMeasure(clips, data.val.people).evaluate(*perfect(clips))
    assert evaluated.ap == evaluated.metrics["AR"] == pytest.approx(1)
    assert evaluated.ap_by_position == pytest.approx((1.0,) * 4)
    assert evaluated.mean_oks == pytest.approx(1)
    assert json.loads(json.dumps(summary(evaluated), allow_nan=False))["oks_by_position"] == pytest.approx([1.0] * 4)


def test_a_fault_shows_at_its_position(data: VideoData, clips: ClipCache) -> None:
    keypoints, scores = perfect(clips)
    keypoints[:, 2] += 60
    measure = ClipMeasure(clips, data.val.people)
    evaluated = measure.evaluate(keypoints, scores)
    assert evaluated.ap_by_position[2] < 0.01
    assert [evaluated.ap_by_position[place] for place in (0, 1, 3)] == pytest.approx([1.0] * 3)
    assert 0 < evaluated.ap < 1
    right = clips.evaluated.sum() - clips.evaluated[:, 2].sum()
    assert evaluated.mean_oks == pytest.approx(right / clips.evaluated.sum(), abs=0.01)
    per_person = measure.oks(keypoints[3:5], slice(3, 5))
    np.testing.assert_array_equal(np.isnan(per_person), ~clips.evaluated[3:5])
    assert (per_person[:, :2][clips.evaluated[3:5, :2]] > 0.999).all()


def test_the_ap_is_that_of_the_frames_as_images(data: VideoData, clips: ClipCache) -> None:
    keypoints, scores = perfect(clips)
    generator = np.random.default_rng(0)
    keypoints += generator.normal(0, 3, keypoints.shape)
    scores = generator.uniform(0.3, 1, scores.shape)
    config = EvaluationConfig(score="keypoint", oks_nms="none")
    measure = ClipMeasure(clips, data.val.people, config)
    evaluated = measure.evaluate(keypoints, scores)
    places = measure.image_px(keypoints)
    results = [
        {
            "image_id": int(clips.instances.image_ids[clips.rows[clip, frame]]),
            "category_id": 1,
            "keypoints": np.append(places[clip, frame], np.ones((17, 1)), axis=1).ravel().tolist(),
            "score": float(scores[clip, frame].mean()),
        }
        for clip, frame in np.argwhere(clips.evaluated).tolist()
    ]
    ap = CocoKeypointAP(data.val.people.ground_truth, data.val.keypoint_set.sigmas)
    assert evaluated.metrics == pytest.approx(ap.evaluate(results))
    assert 0.05 < evaluated.ap < 0.95


def test_a_missed_person_counts_in_all_frames_alone(data: VideoData, tmp_path: Path) -> None:
    boxes = [
        {"image_id": person.image_id, "category_id": 1, "bbox": list(person.bbox_xywh), "score": 1.0}
        for person in data.val.sequences[0].tracks[0].people
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(boxes))
    assert data.config.video.folder is not None
    missing = data_of(data.config.video.folder, val_detections=path)
    clips = missing.validation_clips(SIZE)
    evaluated = ClipMeasure(clips, missing.val.people).evaluate(*perfect(clips))
    assert evaluated.ap_by_position == pytest.approx((1.0,) * 4)
    assert evaluated.metrics["AR"] == pytest.approx(10 / len(missing.val.people.ground_truth["annotations"]), abs=1e-9)


@pytest.mark.parametrize("layout", ["posetrack", "coco"])
def test_posetrack_measures_of_perfect_keypoints(data: VideoData, layout: Any, tmp_path: Path) -> None:
    assert data.config.video.folder is not None
    own = data_of(data.config.video.folder, layout=layout)
    clips = own.validation_clips(SIZE)
    measured = posetrack_measures(own.val, clips, *perfect(clips))
    parts = ("Shou", "Elb", "Wri", "Hip", "Knee", "Ankl")
    assert [measured["AP"][part] for part in parts] == pytest.approx([100.0] * 6)
    assert [measured["recall"][part] for part in parts] == pytest.approx([100.0] * 6)
    write_posetrack_predictions(tmp_path, own.val, clips, *perfect(clips))
    frames = read_posetrack(tmp_path / "000002_made.json")
    # The fourth frame is unlabelled and ends the first clips; in the seventh the walker is not labelled.
    assert [len(frame.track_ids) for frame in frames] == [2, 2, 2, 0, 2, 2, 1, 2, 2, 2, 2]
    assert len({int(number) for frame in frames for number in frame.track_ids}) == 2


def test_posetrack_measures_need_head_boxes(tmp_path: Path) -> None:
    edit(write_sequence(tmp_path, "val", 1, 5), lambda content: content["annotations"][3].pop("bbox_head"))
    data = data_of(tmp_path)
    clips = data.validation_clips(SIZE)
    assert ClipMeasure(clips, data.val.people).evaluate(*perfect(clips)).ap == pytest.approx(1)
    with pytest.raises(InputError, match=r"000001_made.json: 1 people have no bbox_head, the first in .*000001.png"):
        posetrack_measures(data.val, clips, *perfect(clips))


def test_a_real_video(tmp_path: Path) -> None:
    data = data_of(shared("data/posetrack_real_mini"), cache=tmp_path)
    clips = data.validation_clips(SIZE)
    keypoints, scores = perfect(clips)
    assert ClipMeasure(clips, data.val.people).evaluate(keypoints, scores).ap == pytest.approx(1)
    measured = posetrack_measures(data.val, clips, keypoints, scores)
    assert measured["AP"]["Ankl"] == pytest.approx(100)
    assert measured["MOTA"]["Ankl"] == pytest.approx(100)
