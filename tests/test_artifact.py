"""A network without this package: what its files say of themselves, predict.py, pixels and decoding in the graph."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from evaluators.latency.fingerprint import device_fingerprint, machine_fingerprint
from nas.data.codec_name import CodecName
from nas.data.codecs import Codec
from nas.data.geometry import apply_affine, warp_image
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES
from nas.data.simcc import SimCCCodec
from nas.deploy.onnx_decoded import decoded_model
from nas.deploy.torch_export import FACTS
from nas.export import deployed_files
from nas.export.trained import export_weights
from nas.predict.crops import Cropper
from nas.predict.model import load_pose_model
from nas.run.files import atomic_write_json
from nas.weights.files import load_network, pose_metadata, save_network
from search_spaces import HeadChoices, SearchSpace, get_space
from supernet import PoseNet, SimCC, VideoPoseNet, fold, initialize
from tests.clip_toys import small_video_space
from tests.program import assert_one_line, call
from tests.trained_fixture import architecture, people_document, trained_weights, write_people

FORMS = ("gaussian", "dark", "udp", "simcc")
OURS = ("nas", "search_spaces", "supernet", "evaluators", "torch", "onnx", "scipy")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of each form, the folder of an export; heatmaps are of the network that knows the people."""
    root = tmp_path_factory.mktemp("exports")
    found = {}
    for form in FORMS:
        weights = trained_weights(root / f"{form}.safetensors") if form != "simcc" else simcc_weights(root)
        found[form] = root / form
        codec: CodecName | None = None if form == "simcc" else form  # type: ignore[assignment]
        pt2 = ["pt2"] if form in ("udp", "simcc") else []
        export_weights(weights, found[form], ["safetensors", "onnx", "onnx-decoded", *pt2], codec=codec)
    return found


def simcc_space() -> SearchSpace:
    head = HeadChoices(layers=0, output="simcc", kernel_size=7, attention=128)
    return get_space("cspnext-tiny").replace(head=head)


def simcc_weights(folder: Path) -> Path:
    net = PoseNet(next(one for one in simcc_space().of_each_head() if one.is_simcc))
    initialize(net, torch.Generator().manual_seed(0))
    said = pose_metadata(SimCCCodec(input_size=net.architecture.input_size), COCO_KEYPOINT_NAMES, 1.4)
    save_network(folder / "simcc.safetensors", net.eval(), said)
    return folder / "simcc.safetensors"


def facts_of(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def boxes_of(image: int) -> list[list[float]]:
    return [one["bbox"] for one in people_document()["annotations"] if one["image_id"] == image + 1]


# What a file says of itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_file_says_all_that_is_needed_to_use_it(exports: dict[str, Path], form: str) -> None:
    facts, net = facts_of(exports[form] / "model.onnx"), load_network(exports[form] / "weights.safetensors")
    assert isinstance(net, PoseNet)
    assert json.loads(facts["input_size"]) == list(net.architecture.input_size)
    assert (facts["codec"], facts["color_order"], facts["precision"]) == (form, "RGB", "fp32")
    assert (facts["padding"], facts["alignment"]) == (
        "1.4" if form == "simcc" else "1.25",
        "unbiased" if form == "udp" else "pixels",
    )
    assert json.loads(facts["mean"]) == [123.675, 116.28, 103.53]
    assert json.loads(facts["std"]) == [58.395, 57.12, 57.375]
    steps = {"udp": [47 / 11, 63 / 15], "simcc": [0.5, 0.5]}.get(form, [4.0, 4.0])
    assert json.loads(facts["stride"]) == pytest.approx(steps, rel=1e-6)
    assert facts["keypoints"].split(",") == list(COCO_KEYPOINT_NAMES)
    assert json.loads(facts["flip_pairs"]) == [[left, left + 1] for left in range(1, 17, 2)]
    assert json.loads(facts["sigmas"])[:3] == [0.026, 0.025, 0.025]
    assert [15, 13] in json.loads(facts["skeleton"])
    assert "blur_kernel" in facts if form in ("dark", "udp") else "blur_kernel" not in facts
    assert "latency" not in facts  # nobody has measured these
    card = (exports[form] / "card.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` | {value} |" in card for name, value in facts.items())


def test_what_is_not_known_of_keypoints_is_not_said(tmp_path: Path) -> None:
    weights = trained_weights(tmp_path / "net.safetensors", ["nose", *(f"point_{i}" for i in range(16))])
    export_weights(weights, tmp_path / "out", ("onnx",))
    facts = facts_of(tmp_path / "out" / "model.onnx")
    assert "flip_pairs" not in facts
    assert json.loads(facts["sigmas"]) == [0.026, *[None] * 16]
    assert json.loads(facts["skeleton"]) == []


@pytest.mark.parametrize("among_finalists", [False, True])
def test_a_latency_stands_with_machine_runtime_precision_and_protocol(tmp_path: Path, among_finalists: bool) -> None:
    folder = tmp_path / "retrain" / architecture().id
    weights = trained_weights(folder / "best.safetensors")
    machine = machine_fingerprint("onnxruntime", "1.32.0", 2, "fp32").to_json()
    record = {"id": folder.name, "architecture": architecture().to_json(), "objectives": {"ap": 0.5, "latency_ms": 3.0},
              "measured": {"latency_ms": 2.5}}  # fmt: skip
    front = {"objectives": {"ap": "max", "latency_ms": "min"}, "front": [record],
             "fingerprint": {"latency": {**machine, "batch": 4}}}  # fmt: skip
    atomic_write_json(tmp_path / "pareto.json", front)
    where = "2.50 ms, measured with the front; batch 4"
    if among_finalists:
        numbers = dict.fromkeys(("ap", "ap_se", "mean_oks", "mean_oks_se"), 0.5)
        entry = {"id": folder.name, "architecture": architecture().to_json(), "latency_ms": 1.75, **numbers,
                 "status": "complete", "reason": None, "near": None, "inherited": {}, "spread_ms": 0.1,
                 "on_front": True, "rungs": []}  # fmt: skip
        found = {"format": "vipnas-finalists/1", "fingerprint": machine, "batch": 1, "finalists": [entry], "front": [],
                 "recommended": []}  # fmt: skip
        atomic_write_json(tmp_path / "finalists.json", found)
        where = "1.75 ms, measured beside the other finalists; batch 1"
    export_weights(weights, tmp_path / "out", ("onnx",))
    text = facts_of(tmp_path / "out" / "model.onnx")["latency"]
    assert text.startswith(f"{where}, onnxruntime 1.32.0, fp32, 2 threads, ")
    assert "; the median of its time over that of a reference network" in text
    assert f"- Latency {text}." in (tmp_path / "out" / "card.md").read_text(encoding="utf-8")


def test_a_latency_by_a_command_is_as_the_command_printed_it(tmp_path: Path) -> None:
    folder = tmp_path / "retrain" / architecture().id
    weights = trained_weights(folder / "best.safetensors")
    record = {"id": folder.name, "architecture": architecture().to_json(), "objectives": {"ap": 0.5, "latency_ms": 3.0},
              "measured": {"latency_ms": 2.5}}  # fmt: skip
    machine = device_fingerprint("a telephone", "measure {file}", 0).to_json()
    front = {"objectives": {"ap": "max", "latency_ms": "min"}, "front": [record], "fingerprint": {"latency": machine}}
    atomic_write_json(tmp_path / "pareto.json", front)
    export_weights(weights, tmp_path / "out", ("onnx",))
    text = facts_of(tmp_path / "out" / "model.onnx")["latency"]
    assert text == (
        "2.50 ms, measured with the front; command measure {file}, fp32 files, a telephone; as the command printed it"
    )
    assert f"- Latency {text}." in (tmp_path / "out" / "card.md").read_text(encoding="utf-8")


def test_a_file_of_a_video_frame_says_what_it_takes_and_how_long_it_takes(tmp_path: Path) -> None:
    net = VideoPoseNet(small_video_space().largest(), torch.Generator().manual_seed(0), stride=(4.0, 4.0)).eval()
    described, identity = net.architecture.to_json(), net.architecture.id
    weights = tmp_path / "retrain" / identity / "best.safetensors"
    save_network(weights, net, {"codec": "gaussian", "padding": "1.25", "sigma": "1.0"})
    times = [2.0 + position for position in range(len(net.networks))]
    record = {"id": identity, "architecture": described, "objectives": {"ap": 0.5, "latency_ms": sum(times)},
              "measured": {"latency_ms": sum(times), "latency_by_position": times}}  # fmt: skip
    machine = machine_fingerprint("onnxruntime", "1.32.0", 2, "fp32").to_json()
    front = {"objectives": {"ap": "max", "latency_ms": "min"}, "front": [record], "fingerprint": {"latency": machine}}
    atomic_write_json(tmp_path / "pareto.json", front)
    export_weights(weights, tmp_path / "out", ("onnx",))
    height, width = net.architecture.heatmap_size
    for position, ms in enumerate(times):
        facts = facts_of(tmp_path / "out" / f"frame{position}.onnx")
        session = onnxruntime.InferenceSession(str(tmp_path / "out" / f"frame{position}.onnx"))
        takes = [one.name for one in session.get_inputs()]
        assert ("previous_heatmaps" in takes) == ("previous_heatmaps" in facts)
        if "previous_heatmaps" in facts:
            assert facts["previous_heatmaps"].startswith(f"float32 (N, 17, {height}, {width}), the second input: ")
        assert facts["latency"].startswith(f"{ms:.2f} ms this frame, measured with the front; onnxruntime")
    assert "previous_heatmaps" in takes, "the last frame of the largest network fuses"


def test_the_card_speaks_of_predict_py_only_where_it_is(tmp_path: Path) -> None:
    weights = trained_weights(tmp_path / "net.safetensors")

    def card() -> str:
        return (tmp_path / "out" / "card.md").read_text(encoding="utf-8")

    export_weights(weights, tmp_path / "out", ("safetensors",))
    assert "predict.py" not in card()
    export_weights(weights, tmp_path / "out", ("onnx",))
    assert "`predict.py`, beside `model.onnx`" in card()
    export_weights(weights, tmp_path / "out", ("safetensors",))
    assert (tmp_path / "out" / "predict.py").is_file()
    assert "`predict.py`, beside `model.onnx`" in card(), "what an earlier export has left stays"


# Beside the file, predict.py ----------------------------------------------------------------------------------------


def run_alone(folder: Path, cwd: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """``predict.py`` where nothing of ours, nor torch, can be imported, from another folder."""
    program = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({OURS!r})); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", program, str(folder / "predict.py"), *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60)


def package_keypoints(folder: Path, image: NDArray[np.uint8], box: list[float]) -> NDArray[np.float64]:
    """(K, 3) by the package's own way of online use."""
    model = load_pose_model(str(folder), "onnxruntime")
    cropper = Cropper(model.codec, model.padding, model.step.channels_last)
    matrices = cropper.matrices(np.array([box]))
    return cropper.keypoints(model.step.step(cropper.crops(image, matrices)), matrices)[0]


@pytest.mark.parametrize("form", FORMS)
def test_predict_py_finds_what_the_package_finds(
    exports: dict[str, Path], people: Path, form: str, tmp_path: Path
) -> None:
    for number, of_person in ((0, 0), (1, 1), (2, None)):
        path = people / "images" / f"{number:03d}.png"
        image = np.asarray(cv2.imread(str(path)), dtype=np.uint8)
        box = [0.0, 0.0, 240.0, 160.0] if of_person is None else boxes_of(number)[of_person]
        words = [] if of_person is None else [f"{value!r}" for value in box]
        done = run_alone(exports[form], tmp_path, path, *words, "--draw", tmp_path / "drawn.png")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert list(found) == list(COCO_KEYPOINT_NAMES)
        expected = package_keypoints(exports[form], image, box)
        np.testing.assert_allclose(np.array(list(found.values())), expected, atol=2e-3)
        if form != "simcc" and of_person is not None:
            assert (expected[:, 2] > 0.2).sum() > 12  # somebody is there to be found
        drawn = cv2.imread(str(tmp_path / "drawn.png"))
        assert drawn is not None
        assert drawn.shape == image.shape
        assert (drawn != image).any() == bool((expected[:, 2] > 0.2).any())


def test_predict_py_says_what_is_wrong(exports: dict[str, Path], people: Path, tmp_path: Path) -> None:
    none = run_alone(exports["udp"], tmp_path, "no.png")
    assert (none.returncode, "no.png: no such image" in none.stderr) == (2, True)
    half = run_alone(exports["udp"], tmp_path, people / "images" / "000.png", "3", "4")
    assert (half.returncode, "the box is X Y WIDTH HEIGHT" in half.stderr) == (2, True)


# Pixels in, keypoints out -------------------------------------------------------------------------------------------


def decoded_by(model: bytes | Path, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    given = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(given, providers=["CPUExecutionProvider"])
    keypoints, scores = session.run(["keypoints", "scores"], {"crops": crops})
    return keypoints, scores


@pytest.mark.parametrize("form", FORMS)
def test_pixels_in_and_keypoints_out_are_what_the_package_decodes(
    exports: dict[str, Path], people: Path, form: str
) -> None:
    folder = exports[form]
    model = load_pose_model(str(folder), "onnxruntime")
    cropper, codec = Cropper(model.codec, model.padding, False), model.codec
    crops, expected = [], []
    for number in range(4):
        image = np.asarray(cv2.imread(str(people / "images" / f"{number:03d}.png")), dtype=np.uint8)
        matrices = cropper.matrices(np.array(boxes_of(number)))
        crops += [warp_image(image, matrix, codec.input_size)[..., ::-1] for matrix in matrices]
        places = cropper.keypoints(model.step.step(cropper.crops(image, matrices)), matrices)
        expected.append(np.concatenate([apply_affine(matrices, places[..., :2]), places[..., 2:]], axis=-1))
    keypoints, scores = decoded_by(folder / "model_decoded.onnx", np.ascontiguousarray(crops))
    np.testing.assert_allclose(keypoints, np.concatenate(expected)[..., :2], atol=0.01)
    np.testing.assert_allclose(scores, np.concatenate(expected)[..., 2], atol=1e-4)
    one, _ = decoded_by(folder / "model_decoded.onnx", np.ascontiguousarray(crops[:1]))
    np.testing.assert_allclose(one, keypoints[:1], atol=1e-3)
    facts = facts_of(folder / "model_decoded.onnx")
    assert facts["input"].startswith("crops: uint8 (N, ")
    assert facts["decoding"].startswith("all of it is in the graph")
    assert "mean" not in facts
    onnx.checker.check_model(onnx.load(folder / "model_decoded.onnx"), full_check=True)


def given_model(codec: Codec, heatmaps: NDArray[np.float32]) -> bytes:
    """A decoded model whose network gives these heatmaps (N, K, h, w)."""
    from onnx import TensorProto, helper, numpy_helper

    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [len(heatmaps), 3, *codec.input_size])
    axes = [("heatmaps", heatmaps)]
    if isinstance(codec, SimCCCodec):
        split = 2 * codec.input_size[1]
        axes = [("simcc_x", heatmaps[:, :, 0, :split]), ("simcc_y", heatmaps[:, :, 0, split:])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in axes]
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.ascontiguousarray(value)))
        for name, value in axes
    ]
    graph = helper.make_graph(nodes, "given", [images], outputs)
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(decoded_model(network.SerializeToString(), codec).SerializeToString())


@pytest.mark.parametrize("size", [(64, 48), (256, 192)])
@pytest.mark.parametrize("form", FORMS)
def test_the_decoding_in_the_graph_holds_at_borders_and_where_nothing_is(form: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    codec: Codec = SimCCCodec(input_size=size) if form == "simcc" else Codec.of(form, size)  # type: ignore[arg-type]
    places = rng.uniform(-1, 1, (40, 5, 2)) * 0.6 * np.array(size[::-1]) + np.array(size[::-1]) / 2  # some outside
    places[:8, :, 0] = np.round(places[:8, :, 0] / 4) * 4
    heatmaps, _ = codec.encode_batch(places, np.ones((40, 5)))
    heatmaps = (heatmaps * rng.uniform(0.3, 1, (40, 5, 1, 1)) + rng.normal(0, 0.002, heatmaps.shape)).astype(np.float32)
    heatmaps[-2:] = 0
    heatmaps[-1] -= 0.5
    expected, scores = codec.decode_batch(heatmaps)
    found, found_scores = decoded_by(given_model(codec, heatmaps), np.zeros((40, *size, 3), np.uint8))
    np.testing.assert_allclose(found_scores, scores, atol=1e-6)
    clear = scores > 0.05  # in noise alone the logarithm's curvature has no meaning, and its sign hangs on the last bit
    assert clear.mean() > 0.5
    np.testing.assert_allclose(found[clear], expected[clear], atol=0.01)
    np.testing.assert_allclose(found[scores <= 0], expected[scores <= 0], atol=1e-6)
    assert (scores <= 0).sum() >= 10


@pytest.mark.parametrize("form", ["gaussian", "dark", "udp"])
def test_a_graph_that_decodes_otherwise_is_not_written(
    tmp_path: Path, form: CodecName, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded_otherwise(network: bytes, codec: Codec) -> onnx.ModelProto:
        model = decoded_model(network, codec)
        (last,) = [node for node in model.graph.node if node.output[0] == "keypoints"]
        (stride,) = [one for one in model.graph.initializer if one.name == last.input[1]]
        wrong = onnx.numpy_helper.to_array(stride) * np.float32(1.01)
        stride.CopyFrom(onnx.numpy_helper.from_array(wrong, stride.name))
        return model

    monkeypatch.setattr(deployed_files, "decoded_model", decoded_otherwise)
    weights = trained_weights(tmp_path / "net.safetensors")
    with pytest.raises(RuntimeError, match=r"model_decoded\.onnx: onnxruntime's keypoints differ from the package's"):
        export_weights(weights, tmp_path / "out", ("onnx-decoded",), codec=form)
    assert not (tmp_path / "out").exists()


# Further formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["udp", "simcc"])
def test_pt2_is_the_network(exports: dict[str, Path], form: str) -> None:
    net = load_network(exports[form] / "weights.safetensors")
    images = torch.randn(3, 3, *net.architecture.input_size, generator=torch.Generator().manual_seed(1))
    facts = {FACTS: ""}
    program = torch.export.load(exports[form] / "model.pt2", extra_files=facts)
    assert json.loads(facts[FACTS])["codec"] == form
    with torch.no_grad():
        found, output = program.module()(images), net(images)
    assert type(found) is (tuple if form == "simcc" else torch.Tensor)
    for one, expected in zip(found, output, strict=True):
        assert torch.allclose(one, expected, atol=1e-4)


@pytest.mark.slow
def test_pt2_needs_torch_alone(exports: dict[str, Path]) -> None:
    blocked = [name for name in OURS if name not in ("torch", "scipy")]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import torch; "
        f"program = torch.export.load({str(exports['simcc'] / 'model.pt2')!r}); "
        "print([list(one.shape) for one in program.module()(torch.zeros(5, 3, 128, 96))])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[[5, 17, 192], [5, 17, 256]]\n"


@pytest.mark.parametrize("form", ["udp", "simcc"])
def test_openvino_files_are_the_network(exports: dict[str, Path], form: str, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="the extra vipnas[openvino] is not installed")
    export_weights(exports[form] / "weights.safetensors", tmp_path, ("openvino",))
    net = load_network(exports[form] / "weights.safetensors")
    images = torch.randn(3, 3, *net.architecture.input_size, generator=torch.Generator().manual_seed(1))
    model = openvino.Core().read_model(tmp_path / "model.xml")
    assert model.get_rt_info(["vipnas", "codec"]).value == form
    found = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images.numpy())
    with torch.no_grad():
        output = net(images)
    for index, one in enumerate(output if isinstance(output, SimCC) else (output,)):
        assert np.allclose(found[index], one.numpy(), atol=1e-4)


def test_openvino_that_is_not_installed_is_told_in_one_line_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    weights = trained_weights(tmp_path / "net.safetensors")
    done = call("export", weights, "--output", tmp_path / "out", "--formats", "onnx", "openvino")
    assert_one_line(done, "export.formats: openvino: OpenVINO is not installed; pip install 'vipnas[openvino]'")
    assert not (tmp_path / "out").exists()


def test_a_video_network_has_pt2_files_and_no_form_with_decoding(tmp_path: Path) -> None:
    net = VideoPoseNet(small_video_space().largest(), torch.Generator().manual_seed(0), stride=(4.0, 4.0)).eval()
    save_network(tmp_path / "video.safetensors", net, {"codec": "gaussian", "padding": "1.25", "sigma": "1.0"})
    refused = call("export", tmp_path / "video.safetensors", "--output", tmp_path / "x", "--formats", "onnx-decoded")
    assert_one_line(refused, "there is no form with decoding; leave onnx-decoded out of the formats")
    export_weights(tmp_path / "video.safetensors", tmp_path / "out", ("pt2",))
    images = torch.randn(2, 3, *net.architecture.input_size, generator=torch.Generator().manual_seed(1))
    previous = torch.rand(2, 17, *net.architecture.heatmap_size, generator=torch.Generator().manual_seed(2))
    for position, network in enumerate(net.networks):
        facts = {FACTS: ""}
        program = torch.export.load(tmp_path / "out" / f"frame{position}.pt2", extra_files=facts)
        takes = [images, previous][: len(program.graph_signature.user_inputs)]
        with torch.no_grad():
            assert torch.allclose(program.module()(*takes), fold(network)(*takes), atol=1e-4)
        assert json.loads(facts[FACTS])["position"] == str(position)
