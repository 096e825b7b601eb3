"""A run on networks of the ``fast`` family, stage after stage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession

from nas.weights.files import load_network
from search_spaces import PoseArchitecture, get_space
from supernet import Supernet
from tests.program import assert_one_line, call

SPACE = """
name: two-stages
extends: fast-tiny
input_size: [64, 48]
stages:
  - {width: 16, depth: [1, 2], kernel_size: 3, groups: 1, attention: false, expansion: 2, block: [basic, fused]}
  - {width: [16, 32], depth: 2, kernel_size: [3, 5], groups: 1, attention: [false, true], expansion: 2,
     block: [convnext, inverted]}
head: {width: 16, layers: 1}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained and searched; its folder."""
    from nas.data.synthetic import SyntheticConfig, synthesize

    folder = tmp_path_factory.mktemp("fast")
    config = SyntheticConfig(train_images=12, val_images=6, videos_train=0, videos_val=0, image_size=(128, 128))
    synthesize(folder / "people", config)
    (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
    (folder / "config.yaml").write_text(
        f"""
run_dir: {folder}/run
space: {folder}/space.yaml
data: {{folder: {folder}/people, cache: {folder}/cache}}
train: {{steps: 3, batch_size: 4, bf16: false}}
search: {{evaluations: 8, objectives: [mean_oks, macs], algorithm: evolution, population_size: 4, workers: 0}}
retrain: {{epochs: 1, batch_size: 4, bf16: false, initialization: kaiming}}
""",
        encoding="utf-8",
    )
    for command in ("train-supernet", "search"):
        done = call(command, folder / "config.yaml")
        assert done.returncode == 0, done.stderr
    return folder / "run"


def test_the_supernet_was_trained_in_every_kind(run: Path) -> None:
    space = get_space(run.with_name("space.yaml"))
    trained = Supernet.load(run / "supernet.safetensors", space)
    drawn = Supernet(space).store  # of the same seed: what was never read is as it was
    for part, choices in enumerate(space.stages):
        for kind in choices.block:
            prefix = f"stages.{part}.0.{kind}."
            own = [name for name in drawn if name.startswith(prefix)]
            assert own
            assert not all(torch.equal(trained.store[name], drawn[name]) for name in own), prefix


def test_export_retrain_evaluate_and_report(run: Path, tmp_path: Path) -> None:
    config = run.with_name("config.yaml")
    front = json.loads((run / "pareto.json").read_text())["front"]
    architecture = PoseArchitecture.from_json(front[0]["architecture"])
    identity = front[0]["id"]
    for words in (("export", run, "--ids", identity), ("retrain", config, "--architecture", f"{run}:{identity}")):
        done = call(*words)
        assert done.returncode == 0, done.stderr
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 48)).astype(np.float32)
    for folder, weights in ((run / "export", "weights"), (run / "retrain", "best")):
        net = load_network(folder / identity / f"{weights}.safetensors", architecture).eval()
        file = folder / identity / "model.onnx"
        [value] = onnx.load(file).graph.output
        assert value.name == "heatmaps"
        session = InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
        [found] = session.run(None, {session.get_inputs()[0].name: images})
        with torch.no_grad():
            expected = net(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        assert architecture.stages[0].block in (folder / identity / "card.md").read_text()
    best = run / "retrain" / identity / "best.safetensors"
    done = call("evaluate", config, "--weights", best, "--out", tmp_path / "evaluation")
    assert done.returncode == 0, done.stderr
    done = call("report", run)
    assert done.returncode == 0, done.stderr
    assert architecture.stages[0].block in (run / "report.html").read_text(encoding="utf-8")


def test_mmpose_has_no_class_for_it(run: Path, tmp_path: Path) -> None:
    identity = json.loads((run / "pareto.json").read_text())["front"][0]["id"]
    done = call("export", f"{run}:{identity}", "--formats", "mmpose", "--output", tmp_path / "out")
    assert_one_line(done, "MMPose has no")
