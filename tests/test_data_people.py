"""People who cannot be evaluated and places that are no pixels: named by every reader, never an AP of 0."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators import CocoKeypointAP
from nas.data.coco import CocoKeypoints, read_coco
from nas.data.coco_check import check_annotations
from nas.data.config import DataConfig
from nas.data.pose_data import PoseData
from search_spaces.errors import InputError
from tests.coco_fixture import edit, write_part
from tests.program import assert_one_line, call

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three images of 240 × 200 px with two people each."""
    return write_part(tmp_path, "train", images=3, seed=1)


def read(file: Path) -> CocoKeypoints:
    return read_coco(file, file.parent.parent / "images")


def problems(file: Path) -> list[tuple[str, str]]:
    return [(p.severity, str(p)) for p in check_annotations(file, file.parent.parent / "images")]


def every(**values: Any) -> Change:
    return lambda document: [annotation.update(values) for annotation in document["annotations"]]  # type: ignore[return-value]


def first(**values: Any) -> Change:
    return lambda document: document["annotations"][0].update(values)


def keypoints(change: Callable[[np.ndarray], Any], people: slice = slice(None)) -> Change:
    """Change the labelled keypoints (n, 2) of people."""

    def apply(document: dict[str, Any]) -> None:
        for annotation in document["annotations"][people]:
            triplets = np.reshape(annotation["keypoints"], (-1, 3)).astype(float)
            labelled = triplets[:, 2] > 0
            triplets[labelled, :2] = change(triplets[labelled, :2])
            annotation["keypoints"] = triplets.ravel().tolist()

    return apply


def nobody(document: dict[str, Any]) -> None:
    every(keypoints=[0] * 51, num_keypoints=0)(document)


REFUSED: dict[str, tuple[Change, str]] = {
    "area 0": (every(area=0), r"annotation 10000: area is 0, and under 1 px² for all 6 people: no prediction can count"
               r'; leave "area" out'),
    "area as a part of the image": (every(area=0.2), r"annotation 10000: area is 0\.2, and under 1 px² for all 6"),
    "area negative": (first(area=-5), r'annotation 10000: "area" must be a number of square pixels, got -5; leave'),
    "area nan": (first(area=float("nan")), r'annotation 10000: "area" must be a number of square pixels, got nan'),
    "area text": (first(area="12"), r"annotation 10000: \"area\" must be a number of square pixels, got '12'"),
    "num_keypoints 0": (every(num_keypoints=0), r"annotation 10000: num_keypoints is 0 for all 6 people with labelled "
                        r"keypoints: AP leaves them out and would be -1; correct"),
    "crowds": (every(iscrowd=1), r"no person has a labelled keypoint and is not a crowd \(6 of 6 have iscrowd 1\)"),
    "nobody labelled": (nobody, r"no person has a labelled keypoint; is this a person_keypoints file"),
    "iscrowd in words": (first(iscrowd="0"), r"annotation 10000: \"iscrowd\" must be 0, 1, true or false, got '0'"),
    "iscrowd nothing": (first(iscrowd=None), r'annotation 10000: "iscrowd" must be 0, 1, true or false, got None'),
    "iscrowd 2": (first(iscrowd=2), r'annotation 10000: "iscrowd" must be 0, 1, true or false, got 2'),
    "keypoints as parts": (keypoints(lambda points: points / 240), r"annotation 10000: all keypoints lie between "
                           r"0 and 1: parts of the image, not pixels; convert them \(so are those of all 6 people\)"),
    "keypoints of elsewhere": (every(bbox=[230, 190, 5, 5]), r"annotation 10000: no labelled keypoint lies in or near "
                               r"its box \[230\.0, 190\.0, 5\.0, 5\.0\]; .* \(nor of any of 6 people\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_where_nobody_could_be_judged_reading_and_data_check_say_why(file: Path, case: str) -> None:
    change, message = REFUSED[case]
    edit(file, change)
    with pytest.raises(InputError, match=message) as caught:
        read(file)
    assert "\n" not in str(caught.value)
    assert str(caught.value) in [text for severity, text in problems(file) if severity == "error"]


def corners(document: dict[str, Any]) -> None:
    for annotation in document["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]


def one_file(document: dict[str, Any]) -> None:
    document["images"][2]["file_name"] = document["images"][0]["file_name"]


def labelled_at_origin(document: dict[str, Any]) -> None:
    for annotation in document["annotations"][:2]:
        annotation["keypoints"][0:6] = [0, 0, 1, 0, 0, 2]


TOLD: dict[str, tuple[Change, str, int]] = {
    "area 0": (first(area=0), 'annotation 10000: area is 0: no prediction can count; leave "area" out', 1),
    "num_keypoints 0": (lambda c: [a.update(num_keypoints=0) for a in c["annotations"][:3]], "annotation 10000: "
                        "num_keypoints is 0, but 14 keypoints are labelled: AP leaves the person out", 3),
    "num_keypoints of nobody": (first(keypoints=[0] * 51, num_keypoints=3), "annotation 10000: num_keypoints is 3, but "
                                "0 keypoints are labelled: AP counts the person as missed", 1),
    "id 0": (first(id=0), "annotation 0: the id is 0: pycocotools, and so AP, counts whoever is found there as", 1),
    "corners": (corners, "annotation 10001: bbox [124.0, 6.0, 236.0, 192.0] looks like corners x1, y1, x2, y2, as do 3 "
                "of 6; COCO has x, y, width, height", 1),
    "far outside": (keypoints(lambda points: points + 300.0, slice(0, 1)), "annotation 10000: keypoint", 1),
    "parts": (keypoints(lambda points: points / 240, slice(0, 2)), "annotation 10000: all keypoints lie between", 2),
    "elsewhere": (first(bbox=[230, 190, 5, 5]), "annotation 10000: no labelled keypoint lies in or near its box [230.0,"
                  " 190.0, 5.0, 5.0]; are they pixels of the whole image?", 1),
    "at the origin": (labelled_at_origin, "annotation 10000: 2 keypoints are labelled at (0, 0); where that means that "
                      "nobody knows, visibility must be 0", 2),
    "one file": (one_file, "image 1002: 'train_000.png' is the file of image 1000, too; make one image of them", 1),
}  # fmt: skip


@pytest.mark.parametrize("case", TOLD)
def test_what_would_change_results_in_silence_is_told_once_and_listed_by_data_check(
    file: Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    change, message, count = TOLD[case]
    edit(file, change)
    read(file)
    [told] = [record.getMessage() for record in caplog.records]
    assert f"{file}: {message}" in told
    assert told.endswith(f"(the first of {count} such; `vipnas data check` lists them)") == (count > 1)
    found = problems(file)
    assert [severity for severity, _ in found] == ["warning"] * count
    assert message in found[0][1]


def test_nothing_is_said_of_people_who_are_as_they_should_be(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    def change(document: dict[str, Any]) -> None:
        document["annotations"][0].update(num_keypoints=1, area=2.0)  # a little wrong, and small
        document["annotations"][1].update(iscrowd=True)
        document["annotations"][2].update(iscrowd=False)
        document["annotations"][3]["keypoints"][:3] = [-5, 3, 2]  # a hand reaches out of the picture

    edit(file, change)
    assert len(read(file).instances) == 5
    assert not caplog.records
    expected = f"{file}: annotation 10000: num_keypoints is 1, but 14 keypoints are labelled"
    assert problems(file) == [("warning", expected)]


def official(truth_document: dict[str, Any], results: list[dict[str, Any]]) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, **copy.deepcopy(truth_document)}
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(value) for value in evaluator.stats]


@pytest.mark.parametrize("case", ["area 0", "num_keypoints 0", "num_keypoints of nobody", "id 0", "one file"])
def test_ap_of_what_is_read_with_a_warning_is_pycocotools_own(file: Path, case: str) -> None:
    edit(file, TOLD[case][0])
    people = read(file)
    generator = np.random.default_rng(1)
    found = np.stack([person.keypoints_px for person in people.instances])
    found = found + generator.normal(0, 3, found.shape)
    scores = generator.permutation(len(found)) / 10
    ids = [person.image_id for person in people.instances]
    ours = CocoKeypointAP(people.ground_truth, people.sigmas).evaluate_arrays(ids, found, scores)
    results = [
        {"image_id": image_id, "category_id": 1, "score": float(score),
         "keypoints": np.concatenate([points, np.ones((17, 1))], axis=1).ravel().tolist()}
        for image_id, points, score in zip(ids, found, scores, strict=True)
    ]  # fmt: skip
    assert 0 < ours["AP"] < 1
    assert list(ours.values()) == pytest.approx(official(json.loads(file.read_text()), results), abs=1e-9)


def test_a_sample_in_which_nobody_counts_is_refused(tmp_path: Path) -> None:
    write_part(tmp_path, "train", images=1, seed=1)
    file = write_part(tmp_path, "val", images=4, seed=2)
    edit(file, lambda document: [a.update(num_keypoints=0) for a in document["annotations"][:6]])
    ids = [PoseData(DataConfig(folder=tmp_path, val_limit=1, sample_seed=seed)) for seed in range(8)]
    refused = 0
    for data in ids:
        try:
            assert any(a["num_keypoints"] for a in data.val.ground_truth["annotations"])
        except InputError as error:
            refused += 1
            assert "AP counts nobody of 2 annotated people in 1 images" in str(error)  # noqa: PT017
    assert 0 < refused < 8


# Boxes without extent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "box",
    [
        [100, 100, 1e-9, 50],
        [100, 100, 50, 1e-5],
        [100, 100, -3, 50],
        [238.9999, 20, 30, 30],
        [20, -10, 30, 10.000001],
        [-30, 20, 30.0001, 30],
    ],
)
def test_an_annotated_box_without_extent_in_its_image_is_refused_by_name(file: Path, box: list[float]) -> None:
    edit(file, first(bbox=box))
    message = r"annotation 10000: the box \[.*\] has no extent"
    with pytest.raises(InputError, match=message):
        read(file)
    assert any(severity == "error" and "has no extent" in text for severity, text in problems(file))
    edit(file, first(iscrowd=1))  # used by nobody
    read(file)
    assert all(severity == "warning" for severity, _ in problems(file))


def test_boxes_far_out_in_huge_images_need_more_extent_than_float32_blurs(file: Path) -> None:
    edit(file, lambda document: document["images"][0].update(width=900_000))
    edit(file, first(bbox=[800_000, 20, 0.1, 40]))
    with pytest.raises(InputError, match="has no extent within its image"):
        read(file)
    edit(file, first(bbox=[800_000, 20, 3, 40], keypoints=[800_001, 30, 2] * 17))
    read(file)


def test_the_command_line_refuses_them_in_one_line(tmp_path: Path) -> None:
    for part, seed in (("train", 1), ("val", 2)):
        edit(write_part(tmp_path, part, images=1, seed=seed), first(bbox=[100, 100, 1e-6, 1e-6]))
    assert_one_line(call("data", "check", tmp_path), "annotation 10000", "has no extent within its image (240 × 200")
