"""The examples for hands and animals: they can be read, and their stages run on small sets of that kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nas.config import load_config
from nas.weights.files import save_network
from search_spaces import get_space
from supernet import PoseNet
from tests.paths import REPO
from tests.program import call
from tests.test_keypoint_sets import AP10K, HAND

SIDE = 96
SMALL = """
name: small
family: resnet
input_size: [64, 64]
keypoints: {keypoints}
stem: {{width: 8}}
stages:
  - {{width: [8, 16], depth: 1, groups: [1], attention: [false], stride: 1}}
  - {{width: [16], depth: 1, groups: [1], attention: [false]}}
head: {{width: [8], groups: [1], layers: 1}}
"""


def write_set(folder: Path, names: Sequence[str], categories: Sequence[str]) -> Path:
    """A COCO folder of one subject an image, of each category in turn; the keypoints are discs."""
    generator = np.random.default_rng(len(names))
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    for part in ("train", "val"):
        document: dict[str, Any] = {"images": [], "annotations": []}
        document["categories"] = [
            {"id": number + 1, "name": name, "supercategory": "animal", "keypoints": list(names), "skeleton": [[1, 2]]}
            for number, name in enumerate(categories)
        ]
        for number in range(3):
            points = np.full((len(names), 3), 2.0)
            points[:, :2] = generator.uniform(12, SIDE - 12, (len(names), 2))
            image = np.full((SIDE, SIDE, 3), 90, np.uint8)
            for x, y, _ in points:
                cv2.circle(image, (round(x), round(y)), 3, (220, 200, 180), -1)
            name = f"{part}{number}.png"
            cv2.imwrite(str(folder / "images" / name), image)
            document["images"].append({"id": number + 1, "file_name": name, "width": SIDE, "height": SIDE})
            document["annotations"].append(
                {
                    "id": number + 1,
                    "image_id": number + 1,
                    "category_id": 1 + number % len(categories),
                    "bbox": [4, 4, SIDE - 8, SIDE - 8],
                    "area": 4000,
                    "iscrowd": 0,
                    "keypoints": points.ravel().tolist(),
                    "num_keypoints": len(names),
                }
            )
        (folder / "annotations" / f"person_keypoints_{part}.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(
    ("example", "names", "categories"),
    [("hand21", HAND, ["hand"]), ("animal_ap10k", AP10K, ["antelope"])],
    ids=["hand", "animal"],
)
def test_an_example_runs_on_a_set_of_its_kind(
    tmp_path: Path,
    example: str,
    names: Sequence[str],
    categories: Sequence[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(REPO)
    folder = write_set(tmp_path / "set", names, categories)
    config, run = REPO / "configs" / f"{example}.yaml", tmp_path / "run"
    assert get_space(load_config(config).space).keypoints == len(names)
    (tmp_path / "space.yaml").write_text(SMALL.format(keypoints=len(names)))  # the example's own takes minutes here
    places = ["--run-dir", run, "--data.cache", tmp_path / "cache"]
    for part in ("train", "val"):
        places += [f"--data.{part}_annotations", folder / f"annotations/person_keypoints_{part}.json"]
        places += [f"--data.{part}_images", folder / "images"]
    quick = ["--train.steps", "1", "--train.batch_size", "2", "--train.random_subnets", "0", "--train.bf16", "false"]
    done = call("train-supernet", config, "--space", tmp_path / "space.yaml", *places, *quick)
    assert done.returncode == 0, done.stderr
    space = get_space(tmp_path / "space.yaml")
    save_network(tmp_path / "w.safetensors", PoseNet(space.smallest()), {"keypoints": ",".join(names)})
    out = tmp_path / "out"
    done = call("evaluate", config, *places, "--weights", tmp_path / "w.safetensors", "--out", out)
    assert done.returncode == 0, done.stderr
    said = [message for message in caplog.messages if "mirror" in message or "sigma" in message]
    assert not said, "pairs and sigmas are known"
    results = json.loads((out / "results.json").read_text())
    assert results["settings"]["flip_test"] is True
    assert (results["persons"], results["guessed_sigmas"]) == (3, [])
    assert len(results["sigmas"]) == len(names) == space.keypoints


def test_data_check_has_nothing_to_say_of_hands_and_animals(tmp_path: Path) -> None:
    for names, category in ((HAND, "hand"), (AP10K, "antelope")):
        folder = write_set(tmp_path / category, names, [category])
        done = call("data", "check", folder)
        assert done.returncode == 0, done.stderr
        assert "can be used (0 warnings)" in done.stdout
