"""Where the paths of a configuration lie: beside the file that names them, and again where a run was moved to."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from nas.config import Config, load_config, save_config
from search_spaces import get_space
from tests.paths import REPO

FILE = """
run_dir: ../runs/mine
space: spaces/own.yaml
architecture: ../runs/other:3f
data: {folder: ../people, cache: ~/crops}
retrain: {initialize_from: start.safetensors}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("configs/spaces", "people", "runs/other"):
        (folder / name).mkdir(parents=True)
    (folder / "configs" / "spaces" / "own.yaml").write_text("extends: resnet-nano\n", encoding="utf-8")
    (folder / "configs" / "mine.yaml").write_text(FILE, encoding="utf-8")
    return folder


def test_paths_in_a_file_are_relative_to_it_from_wherever_it_is_read(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config("project/configs/mine.yaml")
    assert (config.run_dir, config.data.folder) == (Path("project/runs/mine"), Path("project/people"))
    assert config.space == "project/configs/spaces/own.yaml"
    assert config.architecture == "project/runs/other:3f"
    assert config.data.cache == Path.home() / "crops"
    assert config.retrain.initialize_from == "start.safetensors"  # neither there nor a path by its form: a word
    (project / "configs" / "start.safetensors").touch()
    assert load_config("project/configs/mine.yaml").retrain.initialize_from == "project/configs/start.safetensors"
    assert get_space(config.space).name == "own"
    monkeypatch.chdir(project / "configs")
    assert load_config("mine.yaml").data.folder == Path("../people")


def test_each_file_of_several_names_paths_from_its_own_folder(project: Path) -> None:
    (project / "first.yaml").write_text("extends: configs/mine.yaml\ndata: {val_images: shown}\n", encoding="utf-8")
    config = load_config(project / "first.yaml")
    assert config.data.folder == project / "people"
    assert config.data.val_images == project / "shown"


def test_paths_on_the_command_line_are_those_of_the_current_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(project / "configs" / "mine.yaml", [("data.folder", "people"), ("run_dir", "out")])
    assert (config.data.folder, config.run_dir) == (Path("people"), Path("out"))
    assert not caplog.messages


def test_a_file_of_before_means_the_current_folder_which_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = project / "configs" / "old.yaml"
    old.write_text("run_dir: runs/mine\nspace: configs/spaces/own.yaml\ndata: {folder: people}\n", encoding="utf-8")
    monkeypatch.chdir(project)
    config = load_config("configs/old.yaml")
    assert (config.data.folder, config.space) == (Path("people"), "configs/spaces/own.yaml")
    assert config.run_dir == Path("configs/runs/mine")  # new: by the rule
    assert any("configs/old.yaml:3: data.folder: there is no configs/people" in line for line in caplog.messages)
    (project / "runs" / "mine").mkdir()
    (project / "runs" / "mine" / "space.json").touch()
    assert load_config("configs/old.yaml").run_dir == Path("runs/mine")  # begun before


def test_names_are_no_paths_even_where_a_folder_is_called_so(tmp_path: Path) -> None:
    for name in ("resnet", "scratch", "s-vipnas-res50"):
        (tmp_path / name).mkdir()
    text = "space: resnet\narchitecture: s-vipnas-res50\nretrain: {initialize_from: scratch}\n"
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "c.yaml")
    found = (config.space, config.architecture, config.retrain.initialize_from)
    assert found == ("resnet", "s-vipnas-res50", "scratch")


def noted(project: Path, folder: str = "people") -> Config:
    """A run that has begun, with what a stage leaves in its folder."""
    config = load_config(project / "configs" / "mine.yaml")
    config = replace(config, data=replace(config.data, folder=project / folder, cache=None))
    save_config(config, config.run_dir / "config.yaml")
    (config.run_dir / "space.json").touch()
    (project / folder).mkdir(exist_ok=True)
    return config


def test_a_run_is_found_with_its_data_from_anywhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    noted(Path("."))
    monkeypatch.chdir(tmp_path)
    config = load_config("project/runs/mine/config.yaml")
    assert config.run_dir == Path("project/runs/mine")
    assert config.data.folder == project / "people"
    assert config.architecture == f"{project}/runs/other:3f"
    assert load_config("project/runs/mine/config.yaml", [("run_dir", "here")]).run_dir == Path("here")


@pytest.mark.parametrize("data", ["people", "runs/mine/data"])
def test_a_moved_run_finds_its_data(project: Path, tmp_path: Path, data: str) -> None:
    noted(project, data)
    alone = shutil.move(project / "runs" / "mine", tmp_path / "moved")
    config = load_config(alone / "config.yaml")
    assert config.run_dir == tmp_path / "moved"
    assert config.data.folder == (project / "people" if data == "people" else tmp_path / "moved" / "data")
    back = shutil.move(alone, project / "runs" / "mine")
    whole = shutil.move(project, tmp_path / "elsewhere")
    assert not back.exists()
    config = load_config(whole / "runs" / "mine" / "config.yaml")
    assert config.data.folder == whole / data
    assert config.space == str(whole / "configs" / "spaces" / "own.yaml")


def test_a_run_of_before_with_relative_paths_finds_its_data(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = noted(project)
    path = config.run_dir / "config.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["run_dir"], content["data"]["folder"] = "runs/mine", "people"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    for current in (project, tmp_path):
        monkeypatch.chdir(current)
        found = load_config(path)
        assert found.run_dir.samefile(config.run_dir)
        assert found.data.folder is not None
        assert found.data.folder.samefile(project / "people")


def test_a_copied_configuration_is_that_of_its_author(project: Path, tmp_path: Path) -> None:
    config = noted(project)
    shutil.copyfile(config.run_dir / "config.yaml", tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml").run_dir == config.run_dir


@pytest.mark.parametrize(("named", "is_at"), [("{}/new", "new"), ("../beside", "beside")])
def test_a_copied_configuration_may_name_a_run_that_is_not_there_yet(
    project: Path, tmp_path: Path, named: str, is_at: str
) -> None:
    path = tmp_path / "copied" / "config.yaml"
    path.parent.mkdir()
    content = yaml.safe_load((noted(project).run_dir / "config.yaml").read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**content, "run_dir": named.format(tmp_path)}), encoding="utf-8")
    config = load_config(path)
    assert config.run_dir == tmp_path / is_at
    assert config.data.folder == project / "people"


def test_a_moved_run_that_has_only_retrained_is_still_one(project: Path, tmp_path: Path) -> None:
    config = noted(project, "runs/mine/data")
    (config.run_dir / "space.json").unlink()
    (config.run_dir / "retrain" / "3f").mkdir(parents=True)
    (config.run_dir / "retrain" / "3f" / "architecture.json").touch()
    moved = shutil.move(config.run_dir, tmp_path / "moved")
    found = load_config(moved / "config.yaml")
    assert (found.run_dir, found.data.folder) == (tmp_path / "moved", tmp_path / "moved" / "data")


def test_what_is_in_both_places_is_taken_from_beside_the_file_which_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "configs" / "c.yaml").write_text("data: {folder: people}\n", encoding="utf-8")
    (project / "configs" / "people").symlink_to(project / "people")
    monkeypatch.chdir(project)
    load_config("configs/c.yaml")
    assert not caplog.messages  # one folder by two names
    (project / "configs" / "people").unlink()
    (project / "configs" / "people").mkdir()
    assert load_config("configs/c.yaml").data.folder == Path("configs/people")
    assert any("c.yaml:1: data.folder: configs/people is taken, and not people" in line for line in caplog.messages)


def test_the_examples_name_what_is_beside_them() -> None:
    for path in sorted((REPO / "configs").glob("*.yaml")):
        config = load_config(path)
        assert config.run_dir.parent.name == "runs" or config.run_dir.parent.parent.name == "runs"
        assert not config.space.endswith(".yaml") or Path(config.space).is_file()
