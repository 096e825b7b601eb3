"""A run on networks of several branches, stage after stage."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from tests.program import call

SPACE = """
name: two-branches
family: hrnet
input_size: [64, 64]
keypoints: 17
stem: {width: [64], kernel_size: 3}
stages:
  - {width: [32, 64], depth: 1, groups: [1], expansion: [4], attention: [false], stride: 1}
  - {width: [4, 8], depth: [1, 2], groups: [1], attention: [false], stride: 1, branches: 2}
  - {depth: 1, groups: [1], attention: [false], stride: 1, branches: 3, modules: [1, 2]}
  - {depth: 1, groups: [1], attention: [false], stride: 1, branches: 4, merge: true}
head: {layers: 0}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nas.data.synthetic import SyntheticConfig, synthesize

    folder = tmp_path_factory.mktemp("hrnet")
    people = SyntheticConfig(train_images=12, val_images=6, videos_train=0, videos_val=0, image_size=(128, 128))
    synthesize(folder / "people", people)
    (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
    file = folder / "config.yaml"
    file.write_text(
        f"""
run_dir: {folder}/run
space: {folder}/space.yaml
data: {{folder: {folder}/people, cache: {folder}/cache}}
train: {{steps: 2, batch_size: 4, bf16: false}}
search: {{evaluations: 3, objectives: [mean_oks, macs], algorithm: random, workers: 0}}
""",
        encoding="utf-8",
    )
    return file


def test_train_search_export_and_report(config: Path) -> None:
    run = config.with_name("run")
    for command in ("train-supernet", "search"):
        done = call(command, config)
        assert done.returncode == 0, done.stderr
    identity = json.loads((run / "pareto.json").read_text())["front"][0]["id"]
    for words in (
        ("export", run, "--ids", identity, "--formats", "onnx", "mmpose"),
        ("report", run),
    ):
        done = call(*words)
        assert done.returncode == 0, done.stderr
    exported = run / "export" / identity
    assert {"mmpose_config.py", "mmpose_checkpoint.pth"} <= {file.name for file in exported.iterdir()}
    model = onnx.load(exported / "model.onnx")
    assert [value.name for value in model.graph.output] == ["heatmaps"]
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "× 4/8/16/32" in text or "× 8/16/32/64" in text
