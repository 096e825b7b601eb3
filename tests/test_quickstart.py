"""The plan of a quickstart, and what it goes on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.config import save_config
from nas.run.folder import RunFolder
from nas.stages import quickstart as quickstart_module
from nas.stages.quickstart import latest_run_folder, new_run_folder, plan, planned, quickstart
from search_spaces.errors import InputError
from tests.program import assert_one_line, call


def test_paths_are_taken_as_they_are(tmp_path: Path) -> None:
    run, data = tmp_path / "a #1", tmp_path / "b: c"
    config, synthetic = plan(5, data, run)
    assert (config.run_dir, config.data.folder, synthetic) == (run, data, None)
    save_config(config, RunFolder(run).config)
    assert planned(run) == (config, None)


def test_an_interrupted_quickstart_goes_on_as_it_was_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart_module, "synthesize", interrupted)
    begun = plan(20, None, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        quickstart(*begun)
    assert planned(tmp_path / "run") == begun
    assert planned(tmp_path / "none") is None

    given: list[Any] = []
    monkeypatch.setattr(quickstart_module, "quickstart", lambda *arguments: given.extend(arguments) or interrupted())
    done = call("quickstart", "--run-dir", tmp_path / "run", "--resume")
    assert done.returncode == 130
    assert "--resume" in done.stderr
    assert tuple(given[:2]) == begun


def test_the_last_folder_is_gone_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert latest_run_folder(folder) == new_run_folder(folder) == folder
    for name in ("run", "run-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    assert latest_run_folder(folder) == tmp_path / "run-2"
    assert new_run_folder(folder) == tmp_path / "run-3"


def test_a_damaged_plan_is_one_line(tmp_path: Path) -> None:
    config, _ = plan(5, None, tmp_path)
    save_config(config, RunFolder(tmp_path).config)
    (tmp_path / "synthetic_people.json").write_text("{}", encoding="utf-8")
    assert_one_line(call("quickstart", "--run-dir", tmp_path, "--resume"), "synthetic_people.json: damaged")
    with pytest.raises(InputError, match="needs 2 minutes at least"):
        plan(1, None, tmp_path)
