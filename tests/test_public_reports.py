"""What people who do this work reported of other programs, tried on ours: one small input each, and what is right.

All inputs are made here. The network knows its eight pictures by heart (tests/trained_fixture.py), so that a wrong
reading of its data shows in its AP; what AP alone does not show is looked at in the topical tests.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES
from tests.program import assert_one_line, call

# Told with the rest of their subject; here once more, so that one command shows all reports.
from tests.test_predict_damage import network, test_predict_tells_what_is_missing_and_ends_well  # noqa: F401
from tests.test_predict_time import (  # noqa: F401
    test_an_odd_rate_is_written_without_a_word_on_stderr,
    test_predict_writes_a_video_of_the_input_s_length,
)
from tests.test_ray_session import test_ray_runs_where_the_job_has_a_temporary_folder_with_a_long_path  # noqa: F401
from tests.trained_fixture import people_document, trained_weights, write_people

Document = dict[str, Any]
Done = subprocess.CompletedProcess[str]


class Case:
    """A folder with the known people, the network that knows them, and a configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, write_people(folder / "people")
        self.weights = trained_weights(folder / "net.safetensors")
        self.config = folder / "c.yaml"
        content = {
            "run_dir": str(folder / "run"),
            "data": {"folder": str(self.data), "codec": "udp", "cache": str(folder / "cache")},
        }
        self.config.write_text(yaml.safe_dump(content), encoding="utf-8")

    def rewrite(self, document: Document) -> None:
        """Other annotations for the same pictures."""
        for part in ("train", "val"):
            path = self.data / "annotations" / f"person_keypoints_{part}.json"
            path.write_text(json.dumps(document), encoding="utf-8")

    def evaluate(self, *words: str | Path) -> tuple[Done, dict[str, Any]]:
        """The command, and results.json where it went well."""
        out = self.folder / "out"
        done = call("evaluate", self.config, "--weights", self.weights, "--out", out, *words)
        results = out / "results.json"
        return done, json.loads(results.read_text()) if done.returncode == 0 else {}

    def check(self) -> Done:
        return call("data", "check", self.data)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def renamed(rename: Callable[[str], str]) -> Document:
    return people_document([rename(name) for name in COCO_KEYPOINT_NAMES])


def swap_ends(name: str) -> str:
    side, _, part = name.rpartition("_")
    return f"{part}_{side[0]}" if side else part


NAMES: dict[str, Callable[[str], str]] = {
    "as COCO has them": str,
    "L_Eye, AP-10K": lambda name: name.title().replace("Left_", "L_").replace("Right_", "R_"),
    "shoulder_l": swap_ends,
    "Left Eye": lambda name: name.replace("_", " ").title(),
    "l-eye": lambda name: name.replace("left_", "l-").replace("right_", "r-"),
    "lefteye": lambda name: name.replace("_", ""),
}


@pytest.mark.parametrize("names", NAMES)
def test_keypoints_of_any_convention_are_mirrored_as_pairs(case: Case, names: str) -> None:
    case.rewrite(renamed(NAMES[names]))
    done, results = case.evaluate("--flip-test")
    assert done.returncode == 0, done.stderr
    assert results["metrics"]["AP"] > 0.95, results


def test_without_a_known_pair_nothing_is_mirrored_and_that_is_said(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    case.rewrite(people_document([str(index) for index in range(17)]))
    _, results = case.evaluate("--flip-test")
    assert results["metrics"]["AP"] > 0.95
    assert "mirror" in caplog.text
    assert results["settings"]["flip_test"] is False
    assert "mirror" in case.check().stdout


def test_keypoints_in_another_order_are_matched_by_their_names(case: Case) -> None:
    document = people_document()
    document["categories"][0]["keypoints"].reverse()
    for annotation in document["annotations"]:
        annotation["keypoints"] = np.reshape(annotation["keypoints"], (17, 3))[::-1].ravel().tolist()
    case.rewrite(document)
    _, results = case.evaluate()
    assert results["metrics"]["AP"] > 0.95


def test_other_keypoints_than_the_networks_are_refused_by_the_first_that_differs(case: Case) -> None:
    case.rewrite(people_document(["tail", *COCO_KEYPOINT_NAMES[1:]]))
    done, _ = case.evaluate()
    assert_one_line(done, "nose", "tail")


def test_a_photo_that_is_displayed_turned_is_not_cut_by_its_raw_size(case: Case) -> None:
    document = people_document()
    for image in document["images"]:
        image["height"], image["width"] = image["width"], image["height"]
    case.rewrite(document)
    done, _ = case.evaluate()
    assert_one_line(done, ".png: is 240 × 160 px, the annotations say 160 × 240")


@pytest.mark.parametrize("person", [0, 2])
def test_boxes_are_taken_of_the_category_of_people_whatever_its_number(case: Case, person: int) -> None:
    document = people_document()
    document["categories"][0]["id"] = person
    for annotation in document["annotations"]:
        annotation["category_id"] = person
    ball = {"id": 1, "name": "ball"}
    document["categories"].append(ball)
    first = document["annotations"][0]
    document["annotations"].append({"id": 999, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81.0})
    boxes = case.folder / "boxes.json"
    boxes.write_text(json.dumps(document), encoding="utf-8")
    picture, out = case.data / "images" / "000.png", case.folder / "poses"
    done = call("predict", picture, "--model", case.weights, "--boxes", boxes, "--no-video", "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "000_poses.keypoints.results.json").read_text())
    assert len(found) == 2
    assert min(np.abs(np.subtract(one["bbox"], first["bbox"])).max() for one in found) < 0.1


BAD_LABELS = {
    "area 0": ({"area": 0}, "area"),
    "num_keypoints 0": ({"num_keypoints": 0}, "num_keypoints"),
    "iscrowd as text": ({"iscrowd": "0"}, "iscrowd"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_people_whom_no_prediction_can_match_are_named(case: Case, kind: str) -> None:
    changes, named = BAD_LABELS[kind]
    document = people_document()
    for annotation in document["annotations"]:
        annotation.update(changes)
    case.rewrite(document)
    done, _ = case.evaluate()
    assert_one_line(done, "annotation 10", named)
    checked = case.check()
    assert named in checked.stdout + checked.stderr


def test_weights_that_are_not_finite_are_refused_by_name(case: Case) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(str(case.weights), framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["stem.conv.conv.weight"][0, 0, 0, 0] = float("nan")
    save_file(tensors, case.weights, metadata)
    done, _ = case.evaluate()
    assert_one_line(done, "stem.conv.conv.weight", "not finite")


def test_convert_never_writes_over_the_checkpoint(case: Case) -> None:
    from safetensors.torch import save_file

    from search_spaces import published
    from supernet import PoseNet
    from supernet.mmpose import mmpose_state_dict

    mine = case.folder / "mine.safetensors"
    state = mmpose_state_dict(PoseNet(published("s-vipnas-mobilenetv3")))
    save_file({name: value.contiguous() for name, value in state.items()}, mine)
    before = mine.read_bytes()
    call("convert", mine, "--architecture", "s-vipnas-mobilenetv3")
    assert mine.read_bytes() == before
    done = call("convert", mine, "--architecture", "s-vipnas-mobilenetv3", "--output", mine)
    assert_one_line(done, "mine.safetensors")
    assert mine.read_bytes() == before


def detections(document: Document, **changes: Any) -> list[dict[str, Any]]:
    keys = ("image_id", "category_id", "bbox")
    return [{**{key: a[key] for key in keys}, "score": 0.9, **changes} for a in document["annotations"]]


DETECTIONS: dict[str, tuple[Callable[[Document], Any], str]] = {
    "category 0": (lambda truth: detections(truth, category_id=0), "category_id 0"),
    "ids as text": (lambda truth: detections(truth, image_id="1"), "is text"),
    "none": (lambda truth: [], "holds no boxes"),
}


@pytest.mark.parametrize("kind", DETECTIONS)
def test_detections_that_fit_nothing_are_told_apart(case: Case, kind: str) -> None:
    make, expected = DETECTIONS[kind]
    boxes = case.folder / "detections.json"
    boxes.write_text(json.dumps(make(people_document())), encoding="utf-8")
    done, _ = case.evaluate("--detections", boxes)
    assert_one_line(done, expected)


def test_a_box_without_extent_is_named_or_left_out(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    document = people_document()
    document["annotations"][3]["bbox"] = [200.0, 50.0, 1e-6, 60.0]
    case.rewrite(document)
    done, _ = case.evaluate()
    assert_one_line(done, f"annotation {document['annotations'][3]['id']}", "no extent")
    case.rewrite(people_document())
    boxes = case.folder / "detections.json"
    found = detections(people_document())
    found[3]["bbox"] = [200.0, 50.0, 1e-6, 60.0]
    boxes.write_text(json.dumps(found), encoding="utf-8")
    done, _ = case.evaluate("--detections", boxes, "--data.codec", "gaussian")
    assert done.returncode == 0, done.stderr
    assert "no extent" in caplog.text


def test_file_names_may_be_written_with_jsons_escapes(case: Case) -> None:
    document = people_document()
    (case.data / "images" / "000.png").rename(case.data / "images" / "é.png")
    document["images"][0]["file_name"] = "é.png"
    for image in document["images"]:
        image["file_name"] = f"images/{image['file_name']}"
    for part in ("train", "val"):
        text = json.dumps(document).replace("/", "\\/")
        assert "\\u00e9" in text
        (case.data / "annotations" / f"person_keypoints_{part}.json").write_text(text)
    checked = case.check()
    assert checked.returncode == 0, checked.stderr
    _, results = case.evaluate()
    assert results["metrics"]["AP"] > 0.95


def test_the_name_of_a_joint_does_not_change_its_tolerance(case: Case) -> None:
    _, plain = case.evaluate("--no-flip-test")
    case.rewrite(renamed(NAMES["L_Eye, AP-10K"]))
    _, other = case.evaluate("--no-flip-test")
    assert other["metrics"] == plain["metrics"]
    assert list(other["sigmas"].values()) == list(plain["sigmas"].values())


def test_a_tolerance_that_is_guessed_is_said(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    weights = case.weights
    names = ["snout", *COCO_KEYPOINT_NAMES[1:]]
    case.weights = trained_weights(case.folder / "other.safetensors", names)
    case.rewrite(people_document(names))
    _, results = case.evaluate("--no-flip-test")
    assert "snout" in caplog.text
    caplog.clear()
    assert results["sigmas"]["snout"] == pytest.approx(0.05)
    given = people_document(names)
    given["categories"][0]["sigmas"] = [0.1] * 17
    case.rewrite(given)
    _, results = case.evaluate("--no-flip-test")
    assert "snout" not in caplog.text
    assert set(results["sigmas"].values()) == {0.1}
    case.weights = weights
