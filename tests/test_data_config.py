"""From the configuration's section to people, crops and batches."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from nas.config import field_docs
from nas.data.config import DataConfig
from nas.data.pose_data import PoseData
from search_spaces.errors import InputError
from tests.coco_fixture import write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "coco", train_images=6, val_images=4)


def test_a_folder_is_all_that_is_needed(folder: Path, tmp_path: Path) -> None:
    data = PoseData(DataConfig(folder=folder, cache=tmp_path), keypoints=17)
    assert len(data.training_set((128, 96))) == 12
    crops = data.validation_crops((128, 96))
    assert len(crops) == 8
    assert [i.annotation_id for i in data.val.instances] == crops.instances.annotation_ids.tolist()
    calibration = data.calibration_crops((128, 96), 5)
    assert len(calibration) == 5
    assert set(calibration.instances.annotation_ids) <= {i.annotation_id for i in data.train.instances}
    assert len(data.calibration_crops((128, 96), count=7)) == 7
    assert len(data.calibration_crops((128, 96), count=1000)) == 12  # as many as there are


def test_the_same_configuration_gives_the_same_people_and_limits_hold(folder: Path, tmp_path: Path) -> None:
    config = DataConfig(folder=folder, cache=tmp_path, train_limit=3, val_limit=3, sample_seed=4)
    first, second = PoseData(config), PoseData(config)
    assert first.calibration_crops((64, 48), 5).path == second.calibration_crops((64, 48), 5).path
    assert len(first.train.instances) == len(first.val.instances) == 4  # whole images of two people
    assert first.validation_crops((64, 48)).path == second.validation_crops((64, 48)).path


def test_files_can_be_named_one_by_one(folder: Path, tmp_path: Path) -> None:
    annotations = folder / "annotations"
    val, train = annotations / "person_keypoints_val.json", annotations / "person_keypoints_train.json"
    swapped = PoseData(DataConfig(train_annotations=val, val_annotations=train, cache=tmp_path))
    assert (len(swapped.train.instances), len(swapped.val.instances)) == (8, 12)
    over = PoseData(DataConfig(folder=folder, val_annotations=train, val_images=folder / "images", cache=tmp_path))
    assert (len(over.train.instances), len(over.val.instances)) == (12, 12)


def test_detector_boxes(folder: Path, tmp_path: Path) -> None:
    detections = tmp_path / "detections.json"
    boxes = [{"image_id": 2000, "category_id": 1, "bbox": [10, 10, 50, 90], "score": s} for s in (0.9, 0.2)]
    detections.write_text(json.dumps(boxes))
    data = PoseData(DataConfig(folder=folder, cache=tmp_path, detections=detections, detection_threshold=0.5))
    assert data.validation_crops((64, 48)).instances.scores.tolist() == [0.9]
    assert len(data.val.ground_truth["images"]) == 4  # images without a box still count


def test_bad_settings_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a folder"):
        _ = PoseData(DataConfig()).train
    with pytest.raises(InputError, match=r"lost\.json: no such file"):
        _ = PoseData(DataConfig(folder=folder, train_annotations=tmp_path / "lost.json")).train
    with pytest.raises(InputError, match="have 17 keypoints, the network predicts 15"):
        _ = PoseData(DataConfig(folder=folder), keypoints=15).val
    for bad in ({"val_limit": 0}, {"padding": 0}, {"sigma": -1.0}, {"picture_cache_gb": -1}):
        with pytest.raises(InputError, match=next(iter(bad))):
            DataConfig(**bad)  # type: ignore[arg-type]


def test_without_a_picture_cache_images_are_decoded(folder: Path, tmp_path: Path) -> None:
    data = PoseData(DataConfig(folder=folder, cache=tmp_path, picture_cache_gb=0))
    batch = data.training_set((64, 48)).batch(np.arange(3), np.random.default_rng(0))
    assert batch.pixels.shape == (3, 1, 64, 48, 3)
    assert not list(tmp_path.iterdir())


def test_where_the_pictures_take_too_much_disk_every_epoch_decodes_and_that_is_said(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = PoseData(DataConfig(folder=folder, cache=tmp_path, picture_cache_gb=1e-6))
    assert len(data.training_set((64, 48)).batch(np.arange(3), np.random.default_rng(0)).pixels) == 3
    assert not list(tmp_path.iterdir())
    [message] = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "more than data.picture_cache_gb 1e-06" in message


def test_every_field_is_documented() -> None:
    docs = list(field_docs(DataConfig))
    assert [doc.dotted for doc in docs if not doc.text] == []
    assert {doc.dotted.split(".")[0] for doc in docs} == {field.name for field in dataclasses.fields(DataConfig)}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "coco")
    annotations = next((tmp_path / "coco" / "annotations").glob("*val*.json"))
    data = PoseData(DataConfig(folder=tmp_path / "nowhere", val_annotations=annotations))
    with pytest.raises(InputError, match="nowhere: no such folder"):
        _ = data.val


def test_judging_needs_no_training_files(tmp_path: Path) -> None:
    write_folder(tmp_path / "coco")
    annotations = next((tmp_path / "coco" / "annotations").glob("*val*.json"))
    assert PoseData(DataConfig(val_annotations=annotations)).val.instances
