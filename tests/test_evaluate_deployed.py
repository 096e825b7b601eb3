"""AP and milliseconds of the file that is shipped, by its own runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from evaluators.latency.fingerprint import machine_fingerprint
from evaluators.latency.protocol import Measurement
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES
from nas.data.simcc import SimCCCodec
from nas.deploy.network_file import OnnxFile
from nas.deploy.onnx import export_onnx
from nas.export.trained import export_weights
from nas.latency.config import LatencyConfig
from nas.latency.deployed import measure_file
from nas.stages import evaluate as evaluate_module
from nas.weights.files import load_network, pose_metadata, save_network
from search_spaces import get_space
from supernet import PoseNet, fold, initialize
from tests.predict_fixture import write_network
from tests.program import assert_one_line, call
from tests.trained_fixture import INPUT_SIZE, trained_weights, write_people

MEASURES = ("AP", "AP50", "AP75", "AR")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture
def config(people: Path, tmp_path: Path) -> Path:
    text = f"run_dir: {tmp_path}/run\ndata: {{folder: {people}, cache: {people}/cache, codec: udp}}\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "mine.yaml"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return trained_weights(tmp_path / "net" / "weights.safetensors")


@pytest.fixture
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement takes a process and some seconds; one test below makes one."""

    def measured(path: Path, config: LatencyConfig) -> Measurement:
        return Measurement(
            latency_ms=1.25, spread_ms=0.5, rounds=15, reference_ms=1.0, batch=config.batch, input_size=INPUT_SIZE,
            fingerprint=machine_fingerprint("onnxruntime", "1", config.threads, "fp32"),
        )  # fmt: skip

    monkeypatch.setattr(evaluate_module, "measure_file", measured)


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("flip", ["--flip-test", "--no-flip-test"])
def test_the_file_has_the_ap_of_the_network(
    config: Path, weights: Path, tmp_path: Path, flip: str, no_measuring: None
) -> None:
    export_weights(weights, tmp_path / "out", ("onnx",))
    for file in (weights, tmp_path / "out" / "model.onnx"):
        done = call("evaluate", config, "--weights", file, flip)
        assert done.returncode == 0, done.stderr
    assert "1.25 ± 0.50" in done.stdout
    assert "ms: " in done.stdout
    ours, theirs = results(weights.parent / "evaluation"), results(tmp_path / "out" / "evaluation_model_onnx")
    assert ours["metrics"]["AP"] > 0.9
    for name in MEASURES:
        assert theirs["metrics"][name] == pytest.approx(ours["metrics"][name], abs=1e-3)
    assert (theirs["runtime"], theirs["latency"]["latency_ms"]) == ("onnxruntime", 1.25)
    assert theirs["settings"]["flip_test"] == (flip == "--flip-test")
    assert theirs["architecture"] == ours["architecture"]


def test_a_file_of_one_batch_size_and_another_order_of_keypoints(
    config: Path, weights: Path, tmp_path: Path, no_measuring: None, caplog: pytest.LogCaptureFixture
) -> None:
    order = np.random.default_rng(0).permutation(17)
    net = load_network(weights)
    assert isinstance(net, PoseNet)
    with torch.no_grad():
        for name in ("head.final.weight", "head.final.bias"):
            value = net.get_parameter(name)
            value.copy_(value[order].clone())
    names = [COCO_KEYPOINT_NAMES[index] for index in order]
    said = {"codec": "udp", "keypoints": ",".join(names), "padding": "1.25"}
    export_onnx(fold(net), tmp_path / "three.onnx", INPUT_SIZE, batch=3, metadata=said)
    done = call("evaluate", config, "--weights", tmp_path / "three.onnx")
    assert done.returncode == 0, done.stderr
    assert "three.onnx: the network's keypoints lie in another order than the data's" in caplog.text
    call("evaluate", config, "--weights", weights)
    found = results(tmp_path / "evaluation_three_onnx")["metrics"]["AP"]
    assert found == pytest.approx(results(weights.parent / "evaluation")["metrics"]["AP"], abs=1e-3)


def test_simcc_in_a_file_has_the_ap_of_the_network(people: Path, tmp_path: Path, no_measuring: None) -> None:
    net = PoseNet(get_space("cspnext-tiny").smallest())
    initialize(net, torch.Generator().manual_seed(0))
    codec = SimCCCodec(input_size=net.architecture.input_size)
    save_network(tmp_path / "weights.safetensors", net.eval(), pose_metadata(codec, COCO_KEYPOINT_NAMES))
    export_weights(tmp_path / "weights.safetensors", tmp_path / "out", ("onnx",))
    text = f"run_dir: {tmp_path}/run\ndata: {{folder: {people}, cache: {people}/cache, sigmas: {[1.0] * 17}}}\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    for file in (tmp_path / "weights.safetensors", tmp_path / "out" / "model.onnx"):
        done = call("evaluate", tmp_path / "mine.yaml", "--weights", file)
        assert done.returncode == 0, done.stderr
    ours = results(tmp_path / "evaluation")["metrics"]
    theirs = results(tmp_path / "out" / "evaluation_model_onnx")["metrics"]
    assert ours["AP"] > 0.1  # by tolerances of half a person
    assert theirs["AP"] == pytest.approx(ours["AP"], abs=1e-3)


def test_openvinos_file_has_the_ap_of_the_network(
    config: Path, weights: Path, tmp_path: Path, no_measuring: None
) -> None:
    pytest.importorskip("openvino", reason="the extra vipnas[openvino] is not installed")
    export_weights(weights, tmp_path / "out", ("openvino",))
    for file in (weights, tmp_path / "out" / "model.xml"):
        done = call("evaluate", config, "--weights", file)
        assert done.returncode == 0, done.stderr
    theirs = results(tmp_path / "out" / "evaluation_model_xml")
    assert theirs["runtime"] == "openvino"
    assert theirs["metrics"]["AP"] == pytest.approx(
        results(weights.parent / "evaluation")["metrics"]["AP"], abs=1e-3
    )
    (tmp_path / "out" / "model.bin").unlink()
    assert_one_line(call("evaluate", config, "--weights", tmp_path / "out" / "model.xml"), "OpenVINO cannot load it")


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_milliseconds_are_those_of_the_file(weights: Path, tmp_path: Path, name: str) -> None:
    if name == "model.xml":
        pytest.importorskip("openvino", reason="the extra vipnas[openvino] is not installed")
    export_weights(weights, tmp_path, ("onnx",) if name == "model.onnx" else ("openvino",))
    config = LatencyConfig(rounds=3, batch=2, runtime="torch", precision="bf16")
    found = measure_file(tmp_path / name, config, own_process=False)
    assert found.latency_ms > 0
    assert (found.batch, found.input_size, found.fingerprint.precision) == (2, INPUT_SIZE, "fp32")
    assert found.runtime == ("onnxruntime" if name == "model.onnx" else "openvino")


def test_what_cannot_be_evaluated_is_told_in_one_line(
    config: Path, weights: Path, tmp_path: Path, no_measuring: None
) -> None:
    export_weights(weights, tmp_path / "out", ("onnx", "onnx-decoded"))
    model = tmp_path / "out" / "model.onnx"

    def refused(file: Path, *expected: str, options: tuple[str, ...] = ()) -> None:
        assert_one_line(call("evaluate", config, "--weights", file, *options), *expected)

    refused(tmp_path / "none.onnx", "none.onnx: no such file")
    (tmp_path / "bad.onnx").write_bytes(b"no")
    refused(tmp_path / "bad.onnx", "bad.onnx: onnxruntime cannot load it")
    others = write_network(tmp_path / "others.onnx")
    refused(others, "does not say what its output means (no `codec` in its metadata)")
    refused(tmp_path / "out" / "model_decoded.onnx", "takes pixels and gives keypoints", "give model.onnx beside it")
    other = ("--codec", "gaussian")
    refused(model, "data.codec: is gaussian, and ", "was made for udp; give --codec udp", options=other)
    refused(model, "evaluate.bf16: ", "in its own precision", options=("--evaluate.bf16", "true"))
    refused(model, "is evaluated on still images alone", options=("--videos",))
    wrong = onnx.load(model)
    for entry in wrong.metadata_props:
        if entry.key == "input_size":
            entry.value = "[256, 192]"
    onnx.save(wrong, tmp_path / "wrong.onnx")
    refused(tmp_path / "wrong.onnx", "says that it takes [256, 192], and takes [64, 48]")
    assert not list(tmp_path.glob("**/results.json"))


def test_any_number_of_images_goes_through_a_graph_of_one_number(weights: Path, tmp_path: Path) -> None:
    net = load_network(weights)
    export_onnx(fold(net), tmp_path / "three.onnx", INPUT_SIZE, batch=3)
    file = OnnxFile((tmp_path / "three.onnx").read_bytes(), "three.onnx")
    images = torch.randn(7, 3, *INPUT_SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net(images).numpy()
    for count in (1, 3, 7):
        assert np.allclose(file.run(images[:count].numpy()), expected[:count], atol=1e-4)
