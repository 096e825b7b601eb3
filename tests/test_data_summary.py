"""What `vipnas data check` says that it has found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.data.coco_summary import summarize_coco
from tests.program import assert_one_line, call
from tests.test_example_sets import write_set

NAMES = ("left_hand", "right_hand", "tip")


def changed(folder: Path, part: str, **of_first: object) -> Path:
    path = folder / "annotations" / f"person_keypoints_{part}.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["annotations"][0].update(of_first)
    path.write_text(json.dumps(document), encoding="utf-8")
    return folder


def test_people_and_keypoints_are_counted(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", NAMES, ["person"])
    changed(folder, "train", keypoints=[40, 40, 1, 0, 0, 0, 50, 50, 2], bbox=[10, 10, 40, 10], num_keypoints=2)
    changed(folder, "val", keypoints=[0] * 9, num_keypoints=0)
    found = summarize_coco(folder)
    assert (found.train.images, found.train.people, found.train.unlabelled) == (3, 3, 0)
    assert found.train.labelled.tolist() == [3, 2, 3]
    assert found.train.hidden.tolist() == [1, 0, 0]
    assert found.train.image_sizes == ((96, 96), (96, 96))
    assert found.train.box_sizes == (20.0, 88.0, 88.0)
    assert (found.val.images, found.val.empty_images, found.val.people, found.val.unlabelled) == (2, 1, 2, 1)
    assert [one.mirror for one in found.keypoints] == ["right_hand", "left_hand", ""]
    assert [one.is_guessed for one in found.keypoints] == [True, True, True]


def test_it_is_printed_by_name(tmp_path: Path) -> None:
    folder = changed(write_set(tmp_path / "set", NAMES, ["person"]), "val", keypoints=[40, 40, 2, 0, 0, 0, 0, 0, 0])
    for part in ("train", "val"):
        path = folder / "annotations" / f"person_keypoints_{part}.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        for one in document["annotations"]:
            one["keypoints"][5] = 0
            one.pop("num_keypoints")
        path.write_text(json.dumps(document), encoding="utf-8")
    done = call("data", "check", folder)
    assert done.returncode == 0, done.stderr
    words = [line.split() for line in done.stdout.splitlines()]
    assert ["left_hand", "3", "(0)", "3", "(0)", "right_hand", "0.05", "(guessed)"] in words
    assert ["tip", "3", "(0)", "2", "(0)", "–", "0.05", "(guessed)"] in words
    assert "  3 images of 96 × 96 px, 3 people" in done.stdout
    assert "train: never labelled: right_hand" in done.stdout
    assert "can be used (2 warnings)" in done.stdout


def test_parts_with_different_keypoints_are_an_error(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", NAMES, ["person"])
    path = folder / "annotations" / "person_keypoints_val.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"tip"', '"top"'), encoding="utf-8")
    assert_one_line(call("data", "check", folder), "person_keypoints_val.json: its keypoints are not those of", "'top'")


@pytest.mark.parametrize("stated", ["keypoints: 17\n", ""])
def test_spaces_say_whether_their_keypoints_are_the_datas(tmp_path: Path, stated: str) -> None:
    (tmp_path / "space.yaml").write_text(f"extends: resnet-nano\n{stated}", encoding="utf-8")
    text = call("spaces", tmp_path / "space.yaml").stdout
    assert ("17 keypoints" in text) == bool(stated)
    assert ("keypoints as in the data" in text) != bool(stated)
