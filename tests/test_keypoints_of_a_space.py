"""A space that does not say how many keypoints has those of the data; one that says it is held to it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nas.config import Config
from nas.data.config import DataConfig
from nas.stages.context import StageContext
from search_spaces import InputError, get_space, get_video_space, states_keypoints
from tests.program import assert_one_line, call
from tests.test_example_sets import SMALL, write_set

NAMES = ("left_hand", "right_hand", "tip", "heel")
UNSAID = SMALL.format(keypoints=0).replace("keypoints: 0\n", "")


def test_who_says_it(tmp_path: Path) -> None:
    files = {"base.yaml": UNSAID, "said.yaml": f"{UNSAID}keypoints: 17\n", "of_base.yaml": "extends: base.yaml\n",
             "of_said.yaml": "extends: said.yaml\n", "own.yaml": "extends: base.yaml\nkeypoints: 4\n",
             "of_package.yaml": "extends: resnet-tiny\n"}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "noted.json").write_text(json.dumps(get_space("resnet-tiny").to_json()), encoding="utf-8")
    say = {name for name in (*files, "noted.json") if states_keypoints(tmp_path / name)}
    assert say == {"said.yaml", "of_said.yaml", "own.yaml", "noted.json"}
    assert not states_keypoints("resnet")
    (tmp_path / "base.yaml").write_text("extends: of_base.yaml\n", encoding="utf-8")
    with pytest.raises(InputError, match="one of them must be whole"):
        states_keypoints(tmp_path / "of_base.yaml")


def test_a_space_of_the_package_takes_those_of_the_data(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", NAMES, ["person"])
    context = StageContext(Config(space="resnet-nano", data=DataConfig(folder=folder)))
    space = context.space()
    assert space.keypoints == 4
    assert space.largest().keypoints == 4
    assert context.images(4) is context.images(None)  # read once
    of_coco = StageContext(Config(space="resnet-nano", data=DataConfig(folder=write_coco17(tmp_path)))).space()
    assert of_coco == get_space("resnet-nano")
    assert of_coco.id == get_space("resnet-nano").id


def write_coco17(tmp_path: Path) -> Path:
    from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES

    return write_set(tmp_path / "coco", COCO_KEYPOINT_NAMES, ["person"])


def test_frames_of_a_video_have_those_of_the_key_network(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(UNSAID, encoding="utf-8")
    key = replace(get_space(tmp_path / "s.yaml"), keypoints=4).smallest()
    assert get_video_space(tmp_path / "s.yaml", 2, key).keypoints == 4
    (tmp_path / "s.yaml").write_text(f"{UNSAID}keypoints: 17\n", encoding="utf-8")
    with pytest.raises(InputError, match="keypoints"):
        get_video_space(tmp_path / "s.yaml", 2, key)


def test_supernet_and_search_go_by_the_data_and_a_moved_project_goes_on(tmp_path: Path) -> None:
    project = tmp_path / "project"
    folder = write_set(project / "set", NAMES, ["person"])
    (project / "s.yaml").write_text(UNSAID, encoding="utf-8")
    (project / "c.yaml").write_text(
        f"run_dir: run\nspace: s.yaml\ndata: {{folder: {folder.name}, cache: cache}}\n"
        "train: {steps: 1, batch_size: 2, random_subnets: 0, bf16: false}\n"
        "search: {evaluations: 3, workers: 0, objectives: [mean_oks, macs]}\n",
        encoding="utf-8",
    )
    done = call("train-supernet", project / "c.yaml")
    assert done.returncode == 0, done.stderr
    assert json.loads((project / "run" / "space.json").read_text(encoding="utf-8"))["keypoints"] == 4
    done = call("search", project / "c.yaml")
    assert done.returncode == 0, done.stderr
    assert (project / "run" / "pareto.json").is_file()
    moved = Path(shutil.move(project, tmp_path / "moved"))
    done = call("export", moved / "run", "--networks", "1", "--formats", "safetensors")
    assert done.returncode == 0, done.stderr
    assert call("search", moved / "run" / "config.yaml", "--resume", "--search.evaluations", "4").returncode == 0
    (moved / "s.yaml").write_text(f"{UNSAID}keypoints: 17\n", encoding="utf-8")
    refused = call("train-supernet", moved / "c.yaml", "--run-dir", tmp_path / "other")
    assert_one_line(refused, "the annotations have 4 keypoints, the network predicts 17", "or leave it out")
    assert not (tmp_path / "other").exists()
