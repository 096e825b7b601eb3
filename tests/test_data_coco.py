"""Reading COCO keypoints: layouts of folders, boxes, and every kind of bad input, each named in one line."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators import COCO_SIGMAS, CocoKeypointAP
from nas.data.coco import check_coco, find_coco_folder, read_coco
from nas.data.coco_check import check_annotations
from nas.data.coco_folder import first_file_name
from nas.data.keypoint_sets import COCO_KEYPOINT_SET, DEFAULT_SIGMA, KeypointSet
from search_spaces.errors import InputError
from tests.coco_fixture import edit, write_folder, write_part
from tests.paths import shared

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "coco", train_images=3, val_images=2)


def read_train(folder: Path) -> Any:
    found = find_coco_folder(folder)
    return read_coco(found.train_annotations, found.train_images)


def test_people_are_read_as_they_were_written(folder: Path) -> None:
    people = read_train(folder)
    written = json.loads((folder / "annotations/person_keypoints_train.json").read_text())["annotations"]
    assert len(people.instances) == len(written) == 6
    for instance, annotation in zip(people.instances, written, strict=True):
        triplets = np.array(annotation["keypoints"]).reshape(-1, 3)
        assert instance.annotation_id == annotation["id"]
        assert instance.bbox_xywh == pytest.approx(annotation["bbox"])
        np.testing.assert_allclose(instance.keypoints_px, triplets[:, :2], rtol=1e-6)
        np.testing.assert_array_equal(instance.visibility, triplets[:, 2])
        assert instance.file.is_file()
    assert people.skeleton == ((15, 13), (5, 6))


def test_the_set_of_keypoints_follows_from_the_names() -> None:
    np.testing.assert_array_equal(COCO_KEYPOINT_SET.sigmas, COCO_SIGMAS)
    assert COCO_KEYPOINT_SET.flip_pairs == tuple((i, i + 1) for i in range(1, 17, 2))
    assert COCO_KEYPOINT_SET.is_lower_body.tolist() == [False] * 11 + [True] * 6
    other = KeypointSet.of(["right_knee", "tail", "left_knee", "left_horn"])
    assert other.flip_pairs == ((2, 0),)
    assert other.flip_indices.tolist() == [2, 1, 0, 3]
    assert other.sigmas.tolist() == [0.087, DEFAULT_SIGMA, 0.087, DEFAULT_SIGMA]
    with pytest.raises(InputError, match="differ"):
        KeypointSet.of(["nose", "nose"])


def test_crowds_and_people_without_labels_are_left_out_but_stay_in_the_ground_truth(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["iscrowd"] = 1
        content["annotations"][1].update(keypoints=[0] * 51, num_keypoints=0)

    edit(folder / "annotations/person_keypoints_train.json", change)
    people = read_train(folder)
    assert len(people.instances) == 4
    assert len(people.ground_truth["annotations"]) == 6


def test_a_box_partly_outside_is_clipped_as_the_official_code_clips(folder: Path) -> None:
    edit(
        folder / "annotations/person_keypoints_train.json",
        lambda content: content["annotations"][0].update(bbox=[-10.0, 20.0, 500.0, 60.0]),
    )
    assert read_train(folder).instances[0].bbox_xywh == (0.0, 20.0, 239.0, 60.0)  # the image is 240 px wide


def test_fields_left_out_are_filled_in(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            for key in ("area", "iscrowd", "num_keypoints"):
                del annotation[key]

    path = folder / "annotations/person_keypoints_train.json"
    before = read_train(folder)
    edit(path, change)
    after = read_train(folder)
    assert [i.area for i in after.instances] == pytest.approx([i.area for i in before.instances])
    perfect = np.concatenate(
        [np.stack([i.keypoints_px for i in after.instances]), np.ones((6, 17, 1), np.float32)], axis=-1
    )
    result = CocoKeypointAP(after.ground_truth).evaluate_arrays(
        np.array([i.image_id for i in after.instances]), perfect, np.ones(6)
    )
    assert result["AP"] == pytest.approx(1.0)


def test_detections_replace_the_boxes(folder: Path, tmp_path: Path) -> None:
    image_id = 1000
    boxes = [
        {"image_id": image_id, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.9},
        {"image_id": image_id, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.1},
        {"image_id": image_id, "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.9},
        {"image_id": 77, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.9},
    ]
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(boxes))
    found = find_coco_folder(folder)
    people = read_coco(found.train_annotations, found.train_images, path, score_threshold=0.5)
    (instance,) = people.instances
    assert (instance.image_id, instance.bbox_xywh, instance.score) == (image_id, (1.0, 2.0, 30.0, 40.0), 0.9)
    assert not instance.visibility.any()
    path.write_text(json.dumps(boxes[3:]))
    with pytest.raises(InputError, match="belong together"):
        read_coco(found.train_annotations, found.train_images, path)
    path.write_text('[{"image_id": 1000}]')
    with pytest.raises(InputError, match="detection 0"):
        read_coco(found.train_annotations, found.train_images, path)


def test_a_sample_is_whole_images_with_their_ground_truth_and_repeats(folder: Path) -> None:
    people = read_train(folder)
    part = people.sample(3, seed=5)
    assert len(part.instances) == 4  # two people an image
    ids = {i.image_id for i in part.instances}
    assert {image["id"] for image in part.ground_truth["images"]} == ids
    assert {a["image_id"] for a in part.ground_truth["annotations"]} == ids
    again = people.sample(3, seed=5)
    assert [i.annotation_id for i in again.instances] == [i.annotation_id for i in part.instances]
    assert len(people.sample(None).instances) == 6
    assert people.sample(None).ground_truth == people.ground_truth
    chosen = {tuple(i.annotation_id for i in people.sample(2, seed).instances) for seed in range(20)}
    assert len(chosen) == 3


@pytest.mark.parametrize("images", ["images", "images/train2017", "train2017", "."])
def test_images_are_found_in_the_usual_places(folder: Path, images: str) -> None:
    moved = folder / "moved"
    (folder / "images").rename(moved)
    (folder / images).mkdir(parents=True, exist_ok=True)
    for path in moved.iterdir():
        path.rename(folder / images / path.name)
    assert all(i.file.is_file() for i in read_train(folder).instances)


def with_slashes(content: dict[str, Any]) -> str:
    return json.dumps(content).replace("/", "\\/")


def images_last(content: dict[str, Any]) -> str:
    annotations = [{**annotation, "file_name": "of a mask.png"} for annotation in content["annotations"]]
    info = {"file_name": "of the data set.png", "images": [{"file_name": "none.png"}]}
    return json.dumps({"info": info, "annotations": annotations, "images": content["images"],
                       "categories": content["categories"]}, indent=2)  # fmt: skip


WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "plain": json.dumps,
    "letters as they are": lambda content: json.dumps(content, ensure_ascii=False),
    "escaped slashes": with_slashes,
    "escaped letters": lambda content: json.dumps(content).replace("train_", "tr\\u0061in_"),
    "spaces": lambda content: json.dumps(content, indent=3, separators=(" , ", " :\t")),
    "a mark of the byte order": lambda content: "\ufeff" + json.dumps(content),
    "images last": images_last,
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("place", "prefix"), [("images", ""), (".", "images/"), (".", "pictures/été/")])
def test_names_of_files_are_read_as_json_means_them(folder: Path, writer: str, place: str, prefix: str) -> None:
    (folder / "images").rename(folder / "before")
    (folder / place / prefix).mkdir(parents=True, exist_ok=True)
    for part in ("train", "val"):
        path = folder / f"annotations/person_keypoints_{part}.json"
        content = json.loads(path.read_text())
        for image in content["images"]:
            name = f"{prefix}{image['file_name']}"
            (folder / "before" / image["file_name"]).rename(folder / place / name)
            image["file_name"] = name
        path.write_text(WRITERS[writer](content), encoding="utf-8")
    assert len(read_train(folder).instances) == 6
    assert check_coco(folder) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"images": [{"id": 1, "file_name": "a\\\\b.png"}]}', "a\\b.png"),
        ('{"images": [{"file_name": "a.png"}, {"file_name": "b.png"', "a.png"),
        ('{"images": [{"id": 1}, {"file_name": "b.png"}]}', None),
        ('{"info": "\\"images\\": [", "images": [{"file_name": "a.png"}]}', "a.png"),
        ('[{"images": [{"file_name": "a.png"}]}]', None),
        ('{"images": [{"file_name": 5}]}', None),
        ('{"images": {"file_name": "a.png"}}', None),
        ('{"images": [{"file_name": "a', None),
        ('{"images": ' + "[" * 100_000, None),
        ("", None),
    ],
)
def test_the_first_name_is_that_of_the_first_image_and_of_nothing_else(
    tmp_path: Path, text: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text(text)
    assert first_file_name(tmp_path / "a.json") == expected
    monkeypatch.setattr("nas.data.coco_folder.HEAD", 8)  # as if the images came late
    if text.endswith("}") or expected is None:
        assert first_file_name(tmp_path / "a.json") == expected


def test_annotation_files_are_chosen_by_their_usual_names(folder: Path) -> None:
    annotations = folder / "annotations"
    text = (annotations / "person_keypoints_train.json").read_text()
    for name in ("train2017", "train_b", "train_a"):
        (annotations / f"person_keypoints_{name}.json").write_text(text)
    assert find_coco_folder(folder).train_annotations.name == "person_keypoints_train.json"
    (annotations / "person_keypoints_train.json").unlink()
    assert find_coco_folder(folder).train_annotations.name == "person_keypoints_train2017.json"
    (annotations / "person_keypoints_train2017.json").unlink()
    with pytest.raises(InputError, match=r"person_keypoints_train_a\.json, person_keypoints_train_b\.json"):
        find_coco_folder(folder)
    (annotations / "person_keypoints_train_a.json").unlink()
    assert find_coco_folder(folder).train_annotations.name == "person_keypoints_train_b.json"
    (annotations / "person_keypoints_train_b.json").unlink()
    with pytest.raises(InputError, match="no such file"):
        find_coco_folder(folder)
    with pytest.raises(InputError, match="no such folder"):
        find_coco_folder(folder / "nowhere")


def first(**values: Any) -> Change:
    return lambda content: content["annotations"][0].update(values)


def without(key: str) -> Change:
    return lambda content: content["annotations"][0].pop(key)


BAD: dict[str, tuple[Change, str]] = {
    "no keypoints": (without("keypoints"), r"annotation 10000: has no keypoints; add"),
    "keypoints cut off": (first(keypoints=[1.0] * 50), r"annotation 10000: has 50 keypoint values, not 51"),
    "keypoints no list": (first(keypoints="none"), r"annotation 10000: has 'none' keypoint values"),
    "keypoint not finite": (first(keypoints=[float("nan")] * 51), r"annotation 10000: .*not a finite number"),
    "visibility 3": (first(keypoints=[3.0] * 51), r"annotation 10000: a visibility is not 0"),
    "box outside": (first(bbox=[300, 10, 20, 20]), r"annotation 10000: the box .* lies outside its image \(240 × 200"),
    "box above": (first(bbox=[10, -30, 20, 20]), r"annotation 10000: the box .* lies outside"),
    "box of no width": (first(bbox=[10, 10, 0, 20]), r"annotation 10000: the box .* has no extent"),
    "no box": (without("bbox"), r"annotation 10000: \"bbox\" must be four finite numbers"),
    "unknown image": (first(image_id=5), r"annotation 10000: no image has the image_id 5"),
    "image id no number": (first(image_id=[5]), r"annotation 10000: no image has the image_id \[5\]"),
    "id twice": (first(id=10001), r"annotation 10001: the id is used twice"),
    "image twice": (lambda c: c["images"].append(c["images"][0]), r"image 1000: the id is used twice"),
    "image without size": (lambda c: c["images"][0].pop("width"), r"image 1000: \"width\" must be"),
    "image without name": (lambda c: c["images"][0].pop("file_name"), r"image 1000: \"file_name\" is missing"),
    "no images": (lambda c: c.pop("images"), r"needs a list of objects \"images\""),
    "no keypoint names": (lambda c: c["categories"][0].pop("keypoints"), r"list of keypoint names"),
    "no person": (lambda c: c["categories"][0].update(id=9), r"no annotation has category_id 9"),
    "image missing": (lambda c: c["images"][0].update(file_name="lost.png"), r"lost\.png: no such image"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_in_one_line_and_data_check_finds_it_too(folder: Path, case: str) -> None:
    change, message = BAD[case]
    edit(folder / "annotations/person_keypoints_train.json", change)
    with pytest.raises(InputError, match=message) as caught:
        read_train(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    errors = [str(problem) for problem in check_coco(folder) if problem.severity == "error"]
    assert any(re.search(message, error) for error in errors)


JUNK: list[Any] = [None, -1, 0, 1, 1.5, 10**30, float("inf"), "x", "", True, [], [1], {}, {"id": 1}]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document, keypoint values left out but for the first."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in places(item, (*path, key)))]


@given(st.data())
def test_junk_anywhere_is_an_input_error_or_harmless_and_both_readers_agree(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        path = write_part(Path(temporary), "train", images=1, seed=3)
        content = json.loads(path.read_text())
        place = data.draw(st.sampled_from(places(content)))
        junk = data.draw(st.sampled_from(JUNK))
        parent: Any = {"root": content}
        for key in ("root", *place)[:-1]:
            parent = parent[key]
        parent[("root", *place)[-1]] = junk
        path.write_text(json.dumps(content if place else junk))
        errors = [p for p in check_annotations(path, Path(temporary) / "images") if p.severity == "error"]
        try:
            read_coco(path, Path(temporary) / "images")
        except InputError as error:
            # Of images, reading looks only at those with people to show; and an empty set is no fault of a file.
            assert errors or "no person has a labelled keypoint" in str(error)  # noqa: PT017
        else:
            assert all("the annotations say" in str(error) for error in errors)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": [,]}', r"broken JSON at line 1, column 13: Expecting value"),
        (b"", r"broken JSON at line 1, column 1"),
        (b"\xff\xfe{", r"not UTF-8 text"),
        (b"[1, 2]", r"not a COCO annotation file"),
        (b'{"images": [1], "annotations": [], "categories": []}', r"needs a list of objects \"images\""),
    ],
)
def test_files_that_are_no_annotations_are_refused(folder: Path, content: bytes, message: str) -> None:
    (folder / "annotations/person_keypoints_train.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_train(folder)
    assert any(re.search(message, str(problem)) for problem in check_coco(folder))


def test_missing_annotation_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.json: no such file"):
        read_coco(tmp_path / "nothing.json", tmp_path)
    with pytest.raises(InputError, match="is a folder"):
        read_coco(tmp_path, tmp_path)


def test_data_check_decodes_images_and_lists_everything(folder: Path) -> None:
    assert check_coco(folder) == []
    train = folder / "annotations/person_keypoints_train.json"
    edit(train, first(keypoints=[1.0] * 50))
    edit(train, lambda content: content["annotations"][3].pop("area"))
    (folder / "images/train_001.png").write_bytes(b"not an image")
    edit(train, lambda content: content["images"][2].update(width=999))
    (folder / "images/val_000.png").unlink()
    problems = check_coco(folder)
    found = [(p.severity, Path(p.where.split(": ")[0]).name, p.message.split(";")[0]) for p in problems]
    assert found == [
        ("error", "person_keypoints_train.json", "has 50 keypoint values, not 51 (17 × x, y, visibility)"),
        ("warning", "person_keypoints_train.json", 'has no "area"'),
        ("error", "train_001.png", "the image does not decode"),
        ("error", "train_002.png", "is 240 × 200 px, the annotations say 999 × 200"),
        ("error", "val_000.png", "no such image, but the annotations name it"),
    ]
    quick = [p.where for p in check_coco(folder, decode_images=False)]
    assert not any("train_001" in where for where in quick)


def test_bad_boxes_of_unused_annotations_are_warnings(folder: Path) -> None:
    edit(folder / "annotations/person_keypoints_train.json", first(bbox=[10, 10, 0, 20], iscrowd=1))
    read_train(folder)
    (problem,) = check_coco(folder)
    assert problem.severity == "warning"
    assert "no extent" in problem.message


@pytest.mark.parametrize(("name", "train", "val"), [("coco_real_mini", 3686, 668), ("coco_mini_orig", 86, 68)])
def test_real_folders(name: str, train: int, val: int) -> None:
    found = find_coco_folder(shared(f"data/{name}"))
    assert len(read_coco(found.train_annotations, found.train_images).instances) == train
    assert len(read_coco(found.val_annotations, found.val_images).instances) == val


def test_real_detections() -> None:
    folder = shared("data/coco_mini_orig/mmpose_tests_data_coco")
    annotations, detections = folder / "test_coco.json", folder / "test_coco_det_AP_H_56.json"
    entries = json.loads(detections.read_text())
    expected = sum(entry["category_id"] == 1 and entry["score"] >= 0.2 for entry in entries)
    people = read_coco(annotations, folder, detections, score_threshold=0.2)
    assert len(people.instances) == expected > 0
