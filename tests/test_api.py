"""The Python face: the worked example of docs/api.md, as it stands there, on a few people."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nas
from nas.data.synthetic import SyntheticConfig, synthesize
from tests.paths import REPO

BLOCKS = re.findall(r"```python\n(.*?)```", (REPO / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The example, with less to do, and where it ran."""
    folder = tmp_path_factory.mktemp("example")
    images = SyntheticConfig(train_images=12, val_images=6, videos_train=0, videos_val=0, image_size=(128, 128))
    synthesize(folder / "birds", images)
    text = BLOCKS[0]
    for given, smaller in (
        ("[128, 128]", "[64, 64]"),
        ("\ntrain: {minutes: 60,", "\ntrain: {steps: 2, batch_size: 2, bf16: false,"),
        ("retrain: {minutes: 60, epochs: null,", "retrain: {epochs: 1, batch_size: 4, bf16: false,"),
        ("{evaluations: 500}", "{evaluations: 6, population_size: 4, workers: 0}\nlatency: {rounds: 5}"),
        ("export: {networks: 4}", "export: {networks: 1}"),
        ('LatencyConfig(runtime="onnxruntime")', 'LatencyConfig(runtime="onnxruntime", rounds=5)'),
    ):
        assert text.count(given) == 1, given
        text = text.replace(given, smaller)
    (folder / "example.py").write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(REPO), "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    return folder, done


def test_the_worked_example_runs_to_its_end(example: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = example
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\d+ candidates, \d+ networks on the front$", done.stdout, re.MULTILINE)
    assert re.search(r"^[0-9a-f]{10}: AP 0\.\d{3}, \d+\.\d\d ms$", done.stdout, re.MULTILINE)
    run = folder / "runs" / "birds"
    assert (run / "report.html").is_file()
    assert list((run / "retrain").glob("*/model.onnx"))
    assert list((folder / "poses").glob("*.keypoints.results.json"))


def test_a_searcher_of_ones_own(
    example: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(example[0])
    names: dict[str, object] = {}
    exec(compile(BLOCKS[2], "docs/api.md", "exec"), names)
    front = names["own_search"]("runs/birds", 4)  # type: ignore[operator]
    assert front
    assert all(0 <= ap <= 1 and macs > 0 for ap, macs in front)


def test_a_narrator_is_told(
    example: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, object] = {}
    exec(compile(BLOCKS[1], "docs/api.md", "exec"), names)
    folder = example[0]
    moved = {"run_dir": tmp_path / "run", "space": folder / "birds.yaml", "data.folder": folder / "birds"}
    overrides = [(name, str(path)) for name, path in moved.items()]
    config = nas.load_config(folder / "runs" / "birds" / "config.yaml", overrides)
    nas.train_supernet(config, narrator=names["narrator"])  # type: ignore[arg-type]
    told = capsys.readouterr().out
    assert "training the supernet of birds" in told
    assert "100%" in told
    with pytest.raises(nas.InputError, match="go on with --resume"):
        nas.train_supernet(config)


def test_every_name_of_the_face_is_there_and_documented() -> None:
    text = (REPO / "docs" / "api.md").read_text(encoding="utf-8")
    for name in nas.__all__:
        assert getattr(nas, name) is not None
    functions = [name for name in nas.__all__ if name[0].islower() and name not in ("get_space", "published")]
    assert all(f"`{name}(" in text or name == "load_config" for name in functions)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nas.nonsense  # noqa: B018


def test_networks_of_another_kind_than_the_configuration_is_about_are_refused(tmp_path: Path) -> None:
    config = nas.Config(run_dir=tmp_path / "run").with_sections({"video.frames": 2})
    with pytest.raises(nas.InputError, match="is an image network, and the configuration is about a video network"):
        nas.retrain_networks(config, ["s-vipnas-res50"])
