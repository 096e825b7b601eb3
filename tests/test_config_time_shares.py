"""Minutes for all stages together, where none says how long it may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.config import Config, load_config, note_config

MINIMAL = "run_dir: run\nspace: resnet-nano\ndata: {folder: people}\nminutes: 20\n"


def read(tmp_path: Path, text: str, *overrides: tuple[str, str]) -> Config:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    return load_config(tmp_path / "c.yaml", overrides)


def test_every_stage_has_a_share(tmp_path: Path) -> None:
    config = read(tmp_path, MINIMAL)
    minutes = [config.section(name).minutes for name in config.timed]
    assert minutes == [10, 1, 6, 3]
    assert config.export.networks == 3
    assert config.train.minutes is not None
    assert config.train.minutes + config.search.minutes + 3 * config.retrain.minutes == minutes[0] + 1 + 9  # the whole
    config.train.budget()
    assert config.retrain.budget(10).steps is None
    assert config.retrain.initialize_from == "inherited"
    assert read(tmp_path, MINIMAL.replace("minutes: 20\n", ""), ("minutes", "20")) == config


def test_a_run_on_videos_shares_them_too(tmp_path: Path) -> None:
    config = read(tmp_path, MINIMAL + "video: {frames: 2}\n")
    assert sum(config.section(name).minutes for name in config.timed) == pytest.approx(20)
    assert config.video.train.batch_size == 12
    assert config.train.minutes is None


OWN = ("train: {minutes: 3}", "train: {steps: 9}", "search: {minutes: 3}", "retrain: {epochs: 2}")


@pytest.mark.parametrize("own", OWN)
def test_a_budget_of_a_stage_leaves_the_others_alone(tmp_path: Path, own: str) -> None:
    text = MINIMAL.replace("minutes: 20\n", "") + own + "\n"
    config = read(tmp_path, text, *((("minutes", "20"),) if "minutes" in own else ()))
    assert (config.retrain.optimizer, config.export.networks) == ("adam", None)


def test_what_is_said_stays_and_an_optimizer_has_its_own_rate(tmp_path: Path) -> None:
    config = read(tmp_path, MINIMAL + "train: {optimizer: adam}\nretrain: {batch_size: 7}\nexport: {networks: 5}\n")
    assert (config.train.optimizer, config.train.learning_rate, config.train.batch_size) == ("adam", 5e-4, 48)
    assert (config.retrain.optimizer, config.retrain.learning_rate, config.retrain.batch_size) == ("muon", 3e-2, 7)
    assert config.export.networks == 5


def test_the_finalists_epochs_are_no_budget_of_their_own(tmp_path: Path) -> None:
    config = read(tmp_path, MINIMAL + "finalists: {epochs: 8}\n")
    assert (config.finalists.epochs, config.finalists.minutes, config.train.minutes) == (8, 6, 10)


def test_people_are_turned_where_they_are_seen_often(tmp_path: Path) -> None:
    assert read(tmp_path, MINIMAL).data.augmentation.rotation_probability == 0
    assert read(tmp_path, MINIMAL, ("minutes", "30")).data.augmentation == Config().data.augmentation


def test_what_is_noted_is_not_shared_again(tmp_path: Path) -> None:
    config = read(tmp_path, MINIMAL)
    note_config(config, config.run_dir / "config.yaml", ("train",))
    note_config(config, config.run_dir / "config.yaml", ("minutes", "search"))
    noted = load_config(config.run_dir / "config.yaml")
    assert [noted.section(name).minutes for name in noted.timed] == [10, 1, 6, 3]
