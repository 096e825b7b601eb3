"""A run on networks with SimCC, stage after stage; what is for heatmaps alone is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from nas.data.codecs import Codec
from nas.data.config import DataConfig, VideoDataConfig
from nas.data.simcc import SimCCCodec
from nas.data.video_data import VideoData
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import predict_keypoints
from nas.evaluation.prediction import predict_clips
from nas.export.mmpose_export import export_mmpose, mmpose_config
from nas.predict.model import load_pose_model, make_step
from nas.predict.pose_step import OnnxImageStep
from nas.training.config import RetrainConfig
from nas.training.retrain import retrain
from nas.weights.files import load_metadata, load_network, save_network
from nas.weights.mmpose import convert
from nas.weights.order import reordered
from search_spaces import InputError, PoseArchitecture, SearchSpace, get_space, published
from supernet import PoseNet, SimCC
from tests.posetrack_fixture import write_sequence
from tests.program import assert_one_line, call
from tests.training_fixture import pose_data

SPACE = """
name: two-stages
family: cspnext
input_size: [64, 48]
keypoints: 17
stem: {width: 16, kernel_size: 3, activation: silu}
stages:
  - {width: [16, 32], depth: [1, 2], kernel_size: [3, 5], group_width: [1], expansion: [2], attention: [false],
     activation: silu}
  - {width: [32], depth: 1, kernel_size: 5, group_width: [1], expansion: [2, 4], attention: [false, true], stride: 1,
     activation: silu, pyramid: true}
head: {layers: 0, output: simcc, kernel_size: 7, attention: 32}
"""


def small_space(folder: Path) -> SearchSpace:
    (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
    return get_space(folder / "space.yaml")


def network(folder: Path, seed: int = 0) -> PoseNet:
    """Random weights, BatchNorm statistics among them: nothing of the network is at a special value."""
    net = PoseNet(small_space(folder).largest(), torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator)
                value.copy_(noise + 0.5 if name.endswith("running_var") else value + (noise - 0.5) * 0.2)
    return net.eval()


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 64, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained and searched; its folder."""
    from nas.data.synthetic import SyntheticConfig, synthesize

    folder = tmp_path_factory.mktemp("simcc")
    config = SyntheticConfig(train_images=12, val_images=6, videos_train=0, videos_val=0, image_size=(128, 128))
    synthesize(folder / "people", config)
    (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
    (folder / "config.yaml").write_text(
        f"""
run_dir: {folder}/run
space: {folder}/space.yaml
data: {{folder: {folder}/people, cache: {folder}/cache}}
train: {{steps: 3, batch_size: 4, bf16: false}}
search: {{evaluations: 3, objectives: [mean_oks, macs], algorithm: random, workers: 0}}
retrain: {{epochs: 1, batch_size: 4, bf16: false}}
""",
        encoding="utf-8",
    )
    for command in ("train-supernet", "search"):
        done = call(command, folder / "config.yaml")
        assert done.returncode == 0, done.stderr
    return folder / "run"


def test_export_retrain_evaluate_predict_and_report(run: Path, tmp_path: Path) -> None:
    config = run.with_name("config.yaml")
    identity = json.loads((run / "pareto.json").read_text())["front"][0]["id"]
    for words in (("export", run, "--ids", identity), ("retrain", config, "--architecture", f"{run}:{identity}")):
        done = call(*words)
        assert done.returncode == 0, done.stderr
    for folder, weights in ((run / "export", "weights"), (run / "retrain", "best")):
        file = folder / identity / f"{weights}.safetensors"
        assert load_metadata(file)["codec"] == "simcc"
        model = onnx.load(folder / identity / "model.onnx")
        assert [value.name for value in model.graph.output] == ["simcc_x", "simcc_y"]
        card = (folder / identity / "card.md").read_text()
        assert "Outputs `simcc_x`: (N, 17, 96) and `simcc_y`: (N, 17, 128)" in card
    best = run / "retrain" / identity / "best.safetensors"
    done = call("evaluate", config, "--weights", best, "--out", tmp_path / "evaluation")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "evaluation/results.json").read_text())["codec"] == "simcc"
    results = []
    for model_file in (best, best.with_name("model.onnx")):
        out = tmp_path / model_file.stem
        source = run.with_name("people") / "images"
        done = call("predict", source, "--model", model_file, "--whole-frame", "--out", out, "--no-video")
        assert done.returncode == 0, done.stderr
        [file] = out.glob("*.keypoints.results.json")
        results.append(np.array([one["keypoints"] for one in json.loads(file.read_text())]))
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=1e-3)
    done = call("report", run)
    assert done.returncode == 0, done.stderr


def test_what_is_for_heatmaps_alone_is_refused(run: Path, tmp_path: Path) -> None:
    config = run.with_name("config.yaml")
    save_network(tmp_path / "net.safetensors", network(tmp_path))
    evaluating = ("evaluate", config, "--weights", tmp_path / "net.safetensors", "--out", tmp_path / "out")
    assert_one_line(call(*evaluating, "--codec", "udp"), "codec 'udp' is one of heatmaps")
    assert_one_line(call(*evaluating, "--evaluate.flip_shift", "true"), "flip_shift=true moves heatmaps")
    training = ("train-supernet", config, "--run-dir", tmp_path / "run")
    assert_one_line(call(*training, "--data.codec", "dark"), "codec 'dark' is one of heatmaps")
    assert_one_line(call(*training, "--train.loss", "mse"), "mse is for heatmaps")
    predicting = ("predict", run.with_name("people") / "images", "--model", tmp_path / "net.safetensors")
    predicting = (*predicting, "--whole-frame", "--out", tmp_path / "poses")
    assert_one_line(call(*predicting, "--codec", "dark"), "codec 'dark' is one of heatmaps")
    assert not (tmp_path / "run" / "supernet.safetensors").exists()


def test_the_videos_of_a_run_refuse_a_simcc_key(run: Path, tmp_path: Path) -> None:
    save_network(tmp_path / "key.safetensors", network(tmp_path))
    config = tmp_path / "video.yaml"
    config.write_text(
        f"run_dir: {tmp_path}/run\nspace: resnet-tiny\n"
        f"video: {{frames: 1, key: {tmp_path}/key.safetensors, train: {{steps: 1}}}}\n"
        f"data: {{folder: {run.with_name('people')}}}\n"
    )
    assert_one_line(call("train-supernet", config), "the key frame's network gives SimCC")


def test_on_videos_every_frame_is_seen_alone(tmp_path: Path) -> None:
    write_sequence(tmp_path, "val", 2, 5, absent=(3,))
    config = DataConfig(video=VideoDataConfig(folder=tmp_path), cache=tmp_path / "cache")
    data, net, settings = VideoData(config, 2), network(tmp_path), EvaluationConfig()
    clips, codec = data.validation_clips((64, 48)), data.codec((64, 48))
    flips = data.val.people.flip_indices
    places, scores = predict_clips(net, clips, codec, flips, settings)
    alone = predict_keypoints(net, clips.crops, codec, flips, settings, torch.device("cpu"))
    seen = clips.present
    np.testing.assert_allclose(places[seen], alone[0][clips.rows[seen]], atol=1e-4)
    np.testing.assert_allclose(scores[seen], alone[1][clips.rows[seen]], rtol=1e-4, atol=1e-5)


# Training -----------------------------------------------------------------------------------------------------------


def test_a_network_learns_and_a_simcc_teacher_teaches(tmp_path: Path) -> None:
    data = pose_data(tmp_path / "data")
    architecture = small_space(tmp_path).smallest()
    settings = {
        "epochs": 30, "batch_size": 4, "warmup_steps": 2, "bf16": False, "learning_rate": 5e-3, "ema_decay": 0.0,
        "log_every": 1, "validate_every": 30,
    }  # fmt: skip
    first = retrain(architecture, data, RetrainConfig(**settings), tmp_path / "first")
    lines = [json.loads(line) for line in (tmp_path / "first/metrics.jsonl").read_text().splitlines()]
    losses = [line["loss_train"] for line in lines if "loss_train" in line]
    assert losses[-1] < 0.5 * losses[0]
    taught = RetrainConfig(**{**settings, "epochs": 1}, teacher=first.path, distillation=0.5)
    retrain(architecture, data, taught, tmp_path / "second")
    other = PoseNet(get_space("resnet-tiny").smallest().replace(input_size=(64, 48)))
    save_network(tmp_path / "other.safetensors", other)
    with pytest.raises(InputError, match=f"the teacher gives heatmaps, the network {architecture.id} SimCC"):
        retrain(architecture, data, taught.replace(teacher=tmp_path / "other.safetensors"), tmp_path / "third")


# Files --------------------------------------------------------------------------------------------------------------


def test_keypoints_in_another_order_are_outputs_in_another_order(tmp_path: Path) -> None:
    net, order = network(tmp_path), np.random.default_rng(0).permutation(17)
    other = PoseNet(net.architecture).eval()
    other.load_state_dict(reordered(net.state_dict(), order.tolist()))
    with torch.no_grad():
        expected, found = net(images()), other(images())
    for before, after in zip(expected, found, strict=True):
        torch.testing.assert_close(after, before[:, order], rtol=1e-4, atol=1e-4 * float(before.std()))


def test_runtimes_give_the_same_packed_outputs(tmp_path: Path) -> None:
    net = network(tmp_path)
    crops = images(3).numpy()
    with torch.no_grad():
        output = net(images(3))
    for runtime in ("torch", "onnxruntime"):
        step = make_step(net, runtime)
        assert (step.output, step.heatmap_size) == ("simcc", (1, 224))
        for _ in range(4):  # a number of people that comes often is traced
            found = step.step(crops)
        assert found.shape == (3, 17, 1, 224)
        expected = np.concatenate([output.x.numpy(), output.y.numpy()], axis=2)[:, :, None]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * expected.std())


def test_other_bins_than_two_a_pixel_are_refused() -> None:
    class Other(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> SimCC:
            means = pixels.mean(dim=3)  # (N, 3, H)
            return SimCC(means, means)

    import io

    buffer = io.BytesIO()
    torch.onnx.export(
        Other(), (images(),), buffer, input_names=["images"], output_names=["simcc_x", "simcc_y"], dynamo=False,
        opset_version=17,
    )  # fmt: skip
    with pytest.raises(InputError, match="96 bins along the width and then 128 along the height"):
        OnnxImageStep(buffer.getvalue(), "other.onnx")


def test_a_converted_checkpoint_is_run_and_says_what_it_gives(tmp_path: Path) -> None:
    architecture = published("rtmpose-t").replace(input_size=(64, 48))
    net = PoseNet(architecture, torch.Generator().manual_seed(3)).eval()
    export_mmpose(net, tmp_path)
    convert(tmp_path / "mmpose_checkpoint.pth", architecture, tmp_path / "net.safetensors")
    model = load_pose_model(str(tmp_path / "net.safetensors"))
    assert isinstance(model.codec, SimCCCodec)
    assert load_network(tmp_path / "net.safetensors", PoseArchitecture).architecture == architecture
    done = call("export", tmp_path / "net.safetensors", "--output", tmp_path / "out", "--formats", "onnx", "mmpose")
    assert done.returncode == 0, done.stderr
    assert {"model.onnx", "mmpose_config.py", "card.md"} <= {file.name for file in (tmp_path / "out").iterdir()}


def test_the_config_for_mmpose_has_the_codec_and_loss_of_rtmpose() -> None:
    scope: dict[str, object] = {}
    exec(mmpose_config(published("rtmpose-s")), scope)
    codec, model = scope["codec"], scope["model"]
    assert isinstance(codec, dict)
    assert isinstance(model, dict)
    assert codec["type"] == "SimCCLabel"
    assert codec["input_size"] == (192, 256)
    assert codec["sigma"] == pytest.approx((4.9, 5.66), abs=0.004)
    assert (codec["simcc_split_ratio"], codec["normalize"], codec["use_dark"]) == (2.0, False, False)
    loss = {"type": "KLDiscretLoss", "use_target_weight": True, "beta": 10.0, "label_softmax": True}
    assert model["head"]["loss"] == loss
    assert model["head"]["decoder"] == codec
    assert model["test_cfg"] == {"flip_test": True}
    with pytest.raises(InputError, match="the network gives SimCC"):
        mmpose_config(published("rtmpose-s"), Codec())


def test_a_shift_of_heatmaps_is_refused_before_the_training(tmp_path: Path) -> None:
    config = RetrainConfig(
        epochs=1, batch_size=4, bf16=False, device="cpu", validation=EvaluationConfig(flip_shift=True)
    )
    data = pose_data(tmp_path / "coco")
    with pytest.raises(InputError, match=r"validation\.flip_shift: true moves heatmaps"):
        retrain(small_space(tmp_path).smallest(), data, config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
