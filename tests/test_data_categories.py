"""Which categories are the people: one rule for annotations, detections and boxes; AP over several is one class's."""

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
from nas.data.categories import find_box_categories, find_person_categories
from nas.data.coco import read_coco
from nas.data.coco_check import check_annotations, check_coco
from nas.data.config import DataConfig
from nas.data.pose_data import PoseData
from nas.evaluation.crops import EvaluationConfig, evaluate
from search_spaces.errors import InputError
from tests.coco_fixture import edit, write_folder, write_part
from tests.program import assert_one_line, call
from tests.trained_fixture import people_document, trained_weights, write_people

NAMES = ["nose", "left_eye", "right_eye"]
FILE = Path("a.json")


def category(number: Any, name: str, *keypoints: str) -> dict[str, Any]:
    return {"id": number, "name": name, **({"keypoints": list(keypoints)} if keypoints else {})}


def of(*categories: dict[str, Any]) -> dict[str, Any]:
    return {"categories": list(categories)}


PERSON, BALL = category(1, "person", *NAMES), category(2, "ball")
CAT, DOG = category(4, "cat", *NAMES), category(5, "dog", *NAMES)
RULE: dict[str, tuple[dict[str, Any], str | int | None, list[int] | str]] = {
    "the only one": (of(PERSON), None, [1]),
    "the one with keypoints": (of(BALL, category(0, "pose", *NAMES)), None, [0]),
    "a root without": (of(category(0, "people"), category(1, "someone", *NAMES)), None, [1]),
    "the person of several": (of(CAT, PERSON), None, [1]),
    "in any case": (of(CAT, category(7, " Person", *NAMES)), None, [7]),
    "several of one kind": (of(CAT, DOG, BALL), None, [4, 5]),
    "several kinds": (of(CAT, category(3, "hand", "thumb")), None, r"2 categories have different keypoints, .*; there "
                      r"are 4 \(cat\), 3 \(hand\); choose with data\.category"),
    "none": (of(BALL), None, r"needs one category with a list of keypoint names; there are 2 \(ball\)"),
    "nothing": (of(), None, r"there are none"),
    "by id": (of(CAT, DOG), 5, [5]),
    "by id in words": (of(CAT, DOG), "5", [5]),
    "by name": (of(CAT, DOG, PERSON), "Dog", [5]),
    "by a name that there is not": (of(CAT, DOG), "horse", r"no category is 'horse' \(data\.category\); there are 4"),
    "by a name that is there twice": (of(CAT, category(6, "cat", *NAMES)), "cat", r"several categories are 'cat': 4"),
    "without keypoints": (of(PERSON, BALL), "ball", r"category 2 \(ball\) has no keypoints; those that have are 1"),
    "an id used twice": (of(PERSON, category(1, "ball")), None, r"category 'person': the id 1 is used twice"),
    "an id that is none": (of(category("1", "person", *NAMES)), None, r"\"id\" must be a whole number, got '1'"),
}  # fmt: skip


@pytest.mark.parametrize("case", RULE)
def test_people_are_the_category_asked_for_or_with_keypoints_or_named_person(case: str) -> None:
    document, wanted, expected = RULE[case]
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            find_person_categories(document, FILE, wanted)
    else:
        assert list(find_person_categories(document, FILE, wanted).names) == expected


BOXES: dict[str, tuple[dict[str, Any], str | int | None, list[int] | str]] = {
    "with keypoints": (of(BALL, category(0, "pose", *NAMES)), None, [0]),
    "named person": (of(category(0, "root"), category(1, "ball"), category(2, "Person")), None, [2]),
    "the only one": (of(category(9, "pedestrian")), None, [9]),
    "asked for": (of(BALL, category(9, "pedestrian")), "pedestrian", [9]),
    "nobody knows": (of(BALL, category(9, "pedestrian")), None, r"none is named person; there are 2 \(ball\), 9 \(ped"),
}


@pytest.mark.parametrize("case", BOXES)
def test_boxes_alone_go_by_the_same_rule_without_asking_for_keypoints(case: str) -> None:
    document, wanted, expected = BOXES[case]
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            find_box_categories(document, FILE, wanted)
    else:
        assert list(find_box_categories(document, FILE, wanted).names) == expected


# Several categories that count as one kind ------------------------------------------------------------------------


def two_kinds(document: dict[str, Any]) -> None:
    """Of the two people of every image, the second becomes another animal."""
    first = document["categories"][0]
    document["categories"] = [{**first, "id": 3, "name": "cat"}, category(4, "bowl"), {**first, "id": 5, "name": "dog"}]
    for annotation in document["annotations"]:
        annotation["category_id"] = 5 if annotation["id"] % 2 else 3


def test_several_categories_with_the_same_keypoints_are_read_together_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_part(tmp_path, "train", images=3, seed=1)
    edit(path, two_kinds)
    people = read_coco(path, tmp_path / "images")
    assert [person.category_id for person in people.instances] == [3, 5] * 3
    assert {annotation["category_id"] for annotation in people.ground_truth["annotations"]} == {3}
    assert [one["id"] for one in people.ground_truth["categories"]] == [3]
    expected = "2 categories have the same keypoints and count as one kind: 3 (cat), 5 (dog); data.category names one"
    assert [record.getMessage() for record in caplog.records] == [f"{path}: {expected}"]
    [note] = check_annotations(path, tmp_path / "images")
    assert (note.severity, note.message) == ("note", expected)
    dogs = read_coco(path, tmp_path / "images", category="dog")
    assert [person.category_id for person in dogs.instances] == [5] * 3


def test_a_person_beside_others_with_the_same_keypoints_is_read_alone_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_part(tmp_path, "train", images=2, seed=1)
    edit(path, two_kinds)
    edit(path, lambda document: document["categories"][2].update(name="person"))
    assert {person.category_id for person in read_coco(path, tmp_path / "images").instances} == {5}
    assert "5 (person) alone is read; left out: 3 (cat)" in caplog.text


def official_one_class(document: dict[str, Any], results: list[dict[str, Any]]) -> list[float]:
    """The official ten numbers with all of one category: its useCats = 0 finds nothing where there are keypoints."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    document = copy.deepcopy(document)
    for entry in [*document["annotations"], *results]:
        entry["category_id"] = 1
    document["categories"] = [{**document["categories"][0], "id": 1}]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, **document}
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(value) for value in evaluator.stats]


def test_ap_over_several_categories_is_that_of_one_class_by_pycocotools(tmp_path: Path) -> None:
    path = write_part(tmp_path, "val", images=6, seed=2)
    edit(path, two_kinds)
    people = read_coco(path, tmp_path / "images")
    generator = np.random.default_rng(0)
    found = np.stack([person.keypoints_px for person in people.instances])
    found = found + generator.normal(0, 4, found.shape)
    scores = generator.permutation(len(found)) / 100 + 0.1
    ours = CocoKeypointAP(people.ground_truth, people.sigmas).evaluate_arrays(
        [person.image_id for person in people.instances], found, scores
    )
    results = [
        {
            "image_id": person.image_id,
            "category_id": person.category_id,
            "keypoints": np.concatenate([points, np.ones((17, 1))], axis=1).ravel().tolist(),
            "score": float(score),
        }
        for person, points, score in zip(people.instances, found, scores, strict=True)
    ]
    assert 0.2 < ours["AP"] < 0.99
    assert list(ours.values()) == pytest.approx(official_one_class(json.loads(path.read_text()), results), abs=1e-9)


def test_an_evaluation_of_several_categories_is_right_and_its_results_keep_them(tmp_path: Path) -> None:
    document = people_document()
    two_kinds(document)
    folder = write_people(tmp_path / "animals", document)
    weights = trained_weights(tmp_path / "w.safetensors")
    data = PoseData(DataConfig(folder=folder, cache=tmp_path / "cache", codec="udp"), 17)
    measures = evaluate(None, weights, data, EvaluationConfig(), tmp_path / "out")
    assert measures["AP"] > 0.95
    results = json.loads((tmp_path / "out" / "keypoints.results.json").read_text())
    assert [result["category_id"] for result in results].count(3) == len(results) / 2 == 8
    official = official_one_class(document, results)
    assert official[0] == pytest.approx(measures["AP"], abs=1e-9)


def test_a_search_goes_over_files_that_have_other_categories_too(tmp_path: Path) -> None:
    """The evaluator of a search hands its people over without categories."""
    folder = write_folder(tmp_path / "coco", train_images=1, val_images=2)
    edit(folder / "annotations/person_keypoints_val.json", lambda c: c["categories"].append(category(2, "ball")))
    people = PoseData(DataConfig(folder=folder)).val
    found = np.stack([person.keypoints_px for person in people.instances])
    ap = CocoKeypointAP(people.ground_truth, people.sigmas)
    assert ap.evaluate_arrays([p.image_id for p in people.instances], found, np.ones(4))["AP"] == pytest.approx(1.0)


# The command line -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of people whom weights.safetensors knows."""
    folder = write_people(tmp_path_factory.mktemp("known"))
    trained_weights(folder / "weights.safetensors")
    return folder


def boxes_file(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The boxes of the people as annotations of other categories."""
    document = people_document()
    change(document)
    path.write_text(json.dumps(document))
    return path


def category_0(document: dict[str, Any]) -> None:
    document["categories"][0]["id"] = 0
    for annotation in document["annotations"]:
        annotation["category_id"] = 0


def ball_first(document: dict[str, Any]) -> None:
    """0 is the root, 1 the ball, 2 the person; none has keypoints."""
    people = document["annotations"]
    document["categories"] = [category(0, "things"), category(1, "ball"), category(2, "Person")]
    balls = [{"id": 900 + image["id"], "image_id": image["id"], "category_id": 1, "bbox": [0, 0, 9, 9]}
             for image in document["images"]]  # fmt: skip
    for annotation in people:
        annotation["category_id"] = 2
        del annotation["keypoints"]
    document["annotations"] = balls + people


@pytest.mark.parametrize(("change", "expected"), [(category_0, 0), (ball_first, 2)])
def test_predict_looks_at_the_boxes_of_people_whatever_their_number_and_results_keep_it(
    known: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], expected: int
) -> None:
    boxes = boxes_file(tmp_path / "boxes.json", change)
    arguments = ("predict", known / "images", "--model", known / "weights.safetensors", "--no-video", "--out", tmp_path)
    done = call(*arguments, "--boxes", boxes)
    assert done.returncode == 0, done.stderr
    results = json.loads(next(tmp_path.glob("*.results.json")).read_text())
    assert {result["category_id"] for result in results} == {expected}
    truth = [[round(value, 2) for value in annotation["bbox"]] for annotation in people_document()["annotations"]]
    assert sorted(result["bbox"] for result in results) == sorted(truth)


def test_predict_asks_which_category_is_meant_where_nobody_can_know(known: Path, tmp_path: Path) -> None:
    def nameless(document: dict[str, Any]) -> None:
        ball_first(document)
        document["categories"][2]["name"] = "player"

    boxes = boxes_file(tmp_path / "boxes.json", nameless)
    arguments = ("predict", known / "images", "--model", known / "weights.safetensors", "--no-video", "--out", tmp_path)
    assert_one_line(call(*arguments, "--boxes", boxes), "0 (things), 1 (ball), 2 (player)", "--category")
    assert not list(tmp_path.glob("*.results.json"))
    done = call(*arguments, "--boxes", boxes, "--category", "player")
    assert done.returncode == 0, done.stderr
    assert "16 poses" in done.stdout
    assert_one_line(call(*arguments, "--whole-frame", "--category", "player"), "--category: is of --boxes FILE")
    assert_one_line(call(*arguments, "--boxes", boxes, "--category", "horse"), "no category is 'horse'")


@pytest.mark.parametrize(
    ("ids", "options", "expected"),
    [
        ((0, 0), (), 16),
        ((7, 7), (), 16),
        ((1, 0), (), 8),
        ((0, 3), ("--category", "3"), 8),
        ((0, 3), (), "category ids 0, 3; which are people's"),
        ((0, 0), ("--category", "person"), "says no names of categories"),
        ((0, 0), ("--category", "9" * 5000), "says no names of categories"),
        ((0, 0), ("--category", "1"), "all 16 boxes are of other categories (0) than 1"),
    ],
)
def test_detections_of_predict_go_by_the_only_id_or_by_1_or_by_what_is_asked_for(
    known: Path, tmp_path: Path, ids: tuple[int, int], options: tuple[str, ...], expected: int | str
) -> None:
    boxes = [
        {"image_id": a["image_id"] - 1, "category_id": ids[a["id"] % 2], "bbox": a["bbox"], "score": 0.9}
        for a in people_document()["annotations"]
    ]  # the images are 000.png, 001.png …
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(boxes))
    arguments = ("predict", known / "images", "--model", known / "weights.safetensors", "--no-video", "--out", tmp_path)
    done = call(*arguments, "--boxes", path, *options)
    if isinstance(expected, str):
        assert_one_line(done, expected)
    else:
        assert done.returncode == 0, done.stderr
        assert f"{expected} poses" in done.stdout


def test_evaluate_and_data_check_take_the_category(known: Path, tmp_path: Path) -> None:
    document = people_document()
    hand = {"id": 2, "name": "hand", "keypoints": [f"joint {number}" for number in range(21)]}
    document["categories"] = [{**document["categories"][0], "name": "body"}, hand]
    folder = write_people(tmp_path / "two", document)
    assert_one_line(call("data", "check", folder), "there are 1 (body), 2 (hand)", "data.category")
    assert call("data", "check", folder, "--category", "body").returncode == 0
    (tmp_path / "c.yaml").write_text(f"run_dir: {tmp_path / 'run'}\ndata: {{folder: {folder}, codec: udp}}\n")
    arguments = ("evaluate", tmp_path / "c.yaml", "--weights", known / "weights.safetensors", "--out", tmp_path / "out",
                 "--data.cache", tmp_path / "cache")  # fmt: skip
    assert_one_line(call(*arguments), "there are 1 (body), 2 (hand)")
    for name in ("body", "1"):
        done = call(*arguments, "--category", name)
        assert done.returncode == 0, done.stderr
    assert_one_line(call(*arguments, "--category", "hand"), "no annotation has category_id 2 (hand); they have 1")


def test_annotations_of_no_category_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_part(tmp_path, "train", images=2, seed=1)
    edit(path, lambda c: [annotation.update(category_id=8) for annotation in c["annotations"][:2]])
    assert len(read_coco(path, tmp_path / "images").instances) == 2
    assert "annotation 10000: no category has the category_id 8; the annotation is left out (the first of 2" in (
        caplog.text
    )
    edit(path, lambda c: c["annotations"][0].update(category_id="1"))
    with pytest.raises(InputError, match="annotation 10000: category_id '1' is text"):
        read_coco(path, tmp_path / "images")


def test_notes_are_no_warnings(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "coco", train_images=1, val_images=1)
    for part in ("train", "val"):
        edit(folder / f"annotations/person_keypoints_{part}.json", two_kinds)
    done = call("data", "check", folder)
    assert done.returncode == 0
    assert done.stdout.count("note: ") == 2
    assert "can be used (0 warnings)" in done.stdout
    assert all(problem.severity == "note" for problem in check_coco(folder))
