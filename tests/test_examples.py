"""The files of examples/: they can be read, their commands exist, and their stages run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nas.cli.commands import find_command
from nas.config import load_config
from search_spaces import get_space, published, states_keypoints
from tests.paths import REPO
from tests.program import call
from tests.test_example_sets import SMALL

EXAMPLES = REPO / "examples"
SPACES = sorted(path for path in EXAMPLES.glob("*.yaml") if re.search(r"^(family|extends):", path.read_text(), re.M))
CONFIGS = sorted(set(EXAMPLES.glob("*.yaml")) - set(SPACES))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_is_read_from_anywhere(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(path)
    assert config.run_dir == REPO / "runs" / path.stem
    assert not states_keypoints(config.space)
    if config.architecture is None:
        config.train.budget()
        assert config.train.minutes is not None
        assert config.data.folder is not None
        assert config.data.folder.parent == REPO
    else:
        assert published(config.architecture).family == get_space(config.space).family


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_a_space_is_shown(path: Path) -> None:
    done = call("spaces", path)
    assert done.returncode == 0, done.stderr
    assert "keypoints as in the data" in done.stdout


@pytest.mark.parametrize("path", [*CONFIGS, *SPACES, REPO / "docs" / "own_data.md"], ids=lambda path: path.name)
def test_commands_in_them_exist_and_name_files_that_are_there(path: Path) -> None:
    commands = re.findall(r"(?:^#   |\$ )vipnas (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert commands or path in SPACES
    for line in commands:
        words = line.split("#")[0].split()
        find_command(words)
        assert all((REPO / word).is_file() for word in words if word.startswith(("examples/", "configs/")))


def test_the_python_among_them_compiles() -> None:
    done = subprocess.run([sys.executable, "-m", "compileall", "-q", "-f", str(EXAMPLES)], check=False)
    shutil.rmtree(EXAMPLES / "__pycache__", ignore_errors=True)
    assert done.returncode == 0


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example") / "people"
    words = [sys.executable, str(EXAMPLES / "draw_people.py"), str(folder), "--train", "6", "--val", "3"]
    done = subprocess.run(words, cwd=REPO, env={"PYTHONPATH": str(REPO)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_drawn_people_have_keypoints_of_their_own(people: Path) -> None:
    document = json.loads((people / "annotations" / "person_keypoints_train.json").read_text(encoding="utf-8"))
    names = document["categories"][0]["keypoints"]
    assert len(names) == 14
    assert all(len(one["keypoints"]) == 42 for one in document["annotations"])
    done = call("data", "check", people)
    assert done.returncode == 0, done.stderr
    assert "14 keypoints" in done.stdout
    assert "no OKS sigma is known of head, throat" in done.stdout
    assert "mirroring is off" not in done.stdout


def test_four_lines_run_every_stage(people: Path) -> None:
    """As examples/own_data.yaml, with networks and minutes so small that it takes seconds."""
    folder = people.parent
    (folder / "space.yaml").write_text(SMALL.format(keypoints=0).replace("keypoints: 0\n", ""), encoding="utf-8")
    text = "run_dir: run\nspace: space.yaml\ndata: {folder: people}\nminutes: 0.05\n"
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    quick = ["--data.cache", folder / "cache", "--search.workers", "0", "--finalists.workers", "0"]
    quick += ["--latency.rounds", "1", "--train.bf16", "false", "--retrain.bf16", "false", "--finalists.bf16", "false"]
    stages = (
        ("train-supernet", folder / "mine.yaml", *quick),
        ("search", folder / "mine.yaml", *quick),
        ("export", folder / "run", "--networks", "1"),
        ("retrain", folder / "mine.yaml", *quick),
        ("evaluate", folder / "mine.yaml", *quick),
        ("choose", folder / "run"),
        ("finalists", folder / "mine.yaml", *quick),
        ("report", folder / "run", "--no-pictures"),
    )
    for words in stages:
        done = call(*words)
        assert done.returncode == 0, (words, done.stderr)
    [exported] = (folder / "run" / "retrain").glob("*/model.onnx")
    assert json.loads((exported.parent / "architecture.json").read_text(encoding="utf-8"))["head"]["keypoints"] == 14
