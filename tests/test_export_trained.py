"""The trained network in hand: what retraining leaves beside its weights, and the export of any weights of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import nas.deploy.onnx as onnx_export_module
from nas.config import Config, load_config, save_config
from nas.data.config import DataConfig
from nas.data.pose_data import PoseData
from nas.evaluation.crops import EvaluationConfig, evaluate_network
from nas.export.origin import INHERITED, weights_key
from nas.export.trained import export_weights
from nas.run.files import atomic_write_json
from nas.run.folder import RunFolder
from nas.stages.context import StageContext
from nas.stages.retrain import export_once, retrain_stage
from nas.training.config import RetrainConfig
from nas.training.retrain import retrain
from nas.weights.files import load_metadata, load_network, save_network
from nas.weights.mmpose import convert
from search_spaces import HeadChoices, InputError
from supernet import PoseNet, Supernet, VideoPoseNet, initialize
from supernet.mmpose import mmpose_state_dict
from tests.clip_toys import small_video_space
from tests.finalists_fixture import record as evaluated
from tests.program import assert_one_line, call
from tests.trained_fixture import INPUT_SIZE, architecture, trained_weights, write_people
from tests.training_fixture import pose_data, small_space

IMAGE_FILES = {"architecture.json", "card.md", "facts.json", "model.onnx", "predict.py"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def first_line(folder: Path) -> str:
    return (folder / "card.md").read_text(encoding="utf-8").splitlines()[0]


def with_header(source: Path, out: Path, **header: str) -> Path:
    """The weights of a file with another header."""
    save_network(out, load_network(source), header)
    return out


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return trained_weights(tmp_path / "net.safetensors")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture
def config(people: Path, tmp_path: Path) -> Path:
    """One epoch of a training that begins with the network that knows the people."""
    described = trained_weights(tmp_path / "known.safetensors")
    (tmp_path / "net.json").write_text(json.dumps(architecture().to_json()), encoding="utf-8")
    text = f"""
run_dir: {tmp_path}/run
architecture: {tmp_path}/net.json
data: {{folder: {people}, cache: {people}/cache, codec: udp, padding: 1.3}}
retrain:
  {{epochs: 1, batch_size: 16, bf16: false, learning_rate: 1.0e-6, warmup_steps: 0, ema_decay: 0.0,
  initialize_from: {described}, validation: {{flip_test: false}}}}
"""
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "mine.yaml"


class OnnxNet(nn.Module):
    """An ONNX file as a network."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def forward(self, images: Tensor) -> Tensor:
        (heatmaps,) = self.session.run(None, {"images": images.contiguous().numpy()})
        return torch.from_numpy(heatmaps)


def test_the_exported_network_is_the_trained_one(weights: Path, people: Path, tmp_path: Path) -> None:
    exported = export_weights(weights, tmp_path / "out", ("safetensors", "onnx"))
    assert names(tmp_path / "out") == IMAGE_FILES | {"weights.safetensors"}
    assert exported.architecture == architecture()
    net, ours = load_network(weights), load_network(tmp_path / "out" / "weights.safetensors")
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in net.state_dict().items())
    onnx = OnnxNet(tmp_path / "out" / "model.onnx")
    images = torch.randn(3, 3, *INPUT_SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(onnx(images), net(images), atol=1e-4)
    data = PoseData(DataConfig(folder=people, cache=people / "cache", codec="udp"), 17)
    crops, codec = data.validation_crops(INPUT_SIZE), data.codec(INPUT_SIZE)
    plain = EvaluationConfig(flip_test=False)
    aps = [evaluate_network(one, crops, data.val, codec, plain).metrics["AP"] for one in (net, ours, onnx)]
    assert aps[0] > 0.9
    assert aps[1] == aps[0]
    assert aps[2] == pytest.approx(aps[0], abs=1e-9)


def test_retraining_leaves_the_whole_export_beside_the_weights(config: Path, people: Path, tmp_path: Path) -> None:
    done = call("retrain", config, "--export.formats", "[safetensors, onnx, mmpose]")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run" / "retrain" / architecture().id
    made = IMAGE_FILES | {"mmpose_config.py", "mmpose_checkpoint.pth"}
    assert f"{folder}: architecture.json" not in done.stdout  # the training had written it
    assert f"{folder}: card.md, mmpose_checkpoint.pth, mmpose_config.py, model.onnx, predict.py\n" in done.stdout
    training = {"best.safetensors", "checkpoint.pt", "metrics.jsonl", "results.json", "tensorboard"}
    assert names(folder) == made | training
    assert first_line(folder).startswith("Retrained weights")
    results = json.loads((folder / "results.json").read_text())
    card = (folder / "card.md").read_text(encoding="utf-8")
    assert f"- AP {results['best']['AP']:.3f}, AP50 {results['best']['AP50']:.3f}" in card
    assert "as validated in training on 16 people" in card
    assert 'load_network(Path("best.safetensors"))' in card
    assert "1.3 times the person's box" in card
    best = load_network(folder / "best.safetensors")
    images = torch.randn(2, 3, *INPUT_SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(OnnxNet(folder / "model.onnx")(images), best(images), atol=1e-4)
    convert(folder / "mmpose_checkpoint.pth", architecture(), tmp_path / "back.safetensors")
    back = load_network(tmp_path / "back.safetensors").state_dict()
    assert all(torch.equal(value, back[name]) for name, value in best.state_dict().items())

    words = ("--whole-frame", "--no-video", "--out")
    for runtime in ("torch", "onnxruntime"):
        found = call("predict", people / "images", "--model", folder, "--runtime", runtime, *words, tmp_path / runtime)
        assert found.returncode == 0, found.stderr
    assert call("evaluate", config).returncode == 0
    assert (folder / "evaluation" / "results.json").is_file()
    done = call("report", tmp_path / "run", "--no-pictures")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f'<a href="retrain/{architecture().id}/model.onnx">model.onnx</a>' in page

    before = (folder / "card.md").read_text(encoding="utf-8")
    (folder / "card.md").unlink()
    (folder / ".partial-killed").mkdir()
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    done = call("export", folder)
    assert done.returncode == 0, done.stderr
    after = (folder / "card.md").read_text(encoding="utf-8")
    assert set(before.splitlines()) < set(after.splitlines())  # what vipnas evaluate has found is new
    assert "by `vipnas evaluate`, ground-truth boxes, " in after
    assert names(folder) == made | training | {"notes.txt", "evaluation"}
    assert not list(folder.glob(".partial-*"))


def test_an_export_that_fails_keeps_the_trained_weights_and_says_how_to_export_again(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run" / "retrain" / architecture().id
    with monkeypatch.context() as patch:
        patch.setattr(onnx_export_module, "TOLERANCE", -1.0)
        failed = call("retrain", config)
    assert failed.returncode == 2
    told = failed.stderr.splitlines()[-1]
    begin = f"vipnas: error: {folder / 'best.safetensors'}: is trained and whole, and its export failed: "
    assert told.startswith(begin)
    assert told.endswith(f"deviations; `vipnas export {folder}` writes it again")
    assert "Retrained networks" in failed.stdout
    load_network(folder / "best.safetensors")
    assert not names(folder) & {"card.md", "facts.json", "model.onnx"}
    assert not list(folder.glob(".partial*"))
    again = call("export", f"{tmp_path / 'run'}:{architecture().id[:5]}")
    assert again.returncode == 0, again.stderr
    assert names(folder) >= IMAGE_FILES


def test_a_new_best_takes_the_old_export_away_before_it_is_written(tmp_path: Path) -> None:
    data = pose_data(tmp_path / "coco")
    settings = RetrainConfig(epochs=1, batch_size=4, validate_every=1, warmup_steps=2, bf16=False, device="cpu")
    folder, seen = tmp_path / "out", []
    retrain(small_space().smallest(), data, settings, folder)
    assert call("export", folder).returncode == 0
    assert names(folder) >= IMAGE_FILES
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    retrain(small_space().smallest(), data, replace(settings, seed=1), folder, progress=lambda *_: seen.append(1))
    assert names(folder) == {"architecture.json", "best.safetensors", "checkpoint.pt", "metrics.jsonl", "notes.txt",
                             "results.json", "tensorboard"}  # fmt: skip


def test_a_network_of_the_front_without_a_form_for_mmpose_is_exported_in_the_other_formats(
    people: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    space = small_space().replace(
        head=HeadChoices(width=(16,), groups=(1,), layers=1, upsampling=("deconvolution", "nearest"))
    )
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_space(space)
    Supernet(space).save(run.supernet)
    network, without = sorted(space.of_each_head(), key=lambda one: one.head.upsampling)
    records = [evaluated(without, 0.1, 1.0), evaluated(network, 0.2, 2.0)]
    front_file = {"objectives": {"ap": "max", "latency_ms": "min"}, "constraints": [], "front": records}
    atomic_write_json(run.front, front_file)
    run.journal.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    data = DataConfig(folder=people, cache=people / "cache", codec="udp")
    save_config(Config(run_dir=run.path, data=data), run.config)
    done = call("export", run.path, "--formats", "onnx", "mmpose", "--export.calibration_crops", "4")
    assert done.returncode == 0, done.stderr
    folder = run.export(without.id)
    assert f"{folder}: exported without a form for MMPose: head.upsampling=nearest" in caplog.text
    assert "mmpose_config.py" not in names(folder)
    assert "mmpose_config.py" in names(run.export(network.id))
    assert "model.onnx" in names(folder) & names(run.export(network.id))


def test_a_teacher_that_does_not_fit_the_last_network_is_refused_before_the_first_is_trained(
    config: Path, weights: Path, tmp_path: Path
) -> None:
    fits, other = architecture(), architecture().replace(input_size=(96, 64))
    context = StageContext(load_config(config, [("retrain.teacher", str(weights))]))
    with pytest.raises(InputError, match=rf"teacher's input_size is .*, that of the network {other.id} \(96, 64\)"):
        retrain_stage(context, [fits, other])
    assert not (tmp_path / "run" / "retrain").exists()


def test_only_the_first_process_exports(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    with_header(weights, folder / "best.safetensors", **load_metadata(weights))
    monkeypatch.setenv("RANK", "1")
    assert export_once(folder, ("onnx",)) == (None, "")
    assert names(folder) == {"best.safetensors"}
    monkeypatch.setenv("RANK", "0")
    exported, failure = export_once(folder, ("onnx",))
    assert (exported.folder, failure) == (folder, "")
    assert names(folder) == {"best.safetensors"} | IMAGE_FILES


def retrained(weights: Path, folder: Path) -> Path:
    return with_header(weights, folder / "a.safetensors", **load_metadata(weights), steps="40", ap="0.75")


def inherited(weights: Path, folder: Path) -> Path:
    atomic_write_json(folder / "facts.json", {"evaluation": {}, "inherited": {"AP": 0.125, "AP50": 0.5, "AR": 0.25}})
    return with_header(weights, folder / "a.safetensors", **load_metadata(weights), origin=INHERITED)


def inherited_of_a_run(weights: Path, folder: Path) -> Path:
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "config.yaml").touch()
    return inherited(weights, folder / "run" / "export" / architecture().id)


def converted(weights: Path, folder: Path) -> Path:
    folder.mkdir()
    torch.save(mmpose_state_dict(load_network(weights)), folder / "best_ap.pth")
    convert(folder / "best_ap.pth", architecture(), folder / "a.safetensors")
    return folder / "a.safetensors"


@pytest.mark.parametrize(
    ("made", "line", "figure"),
    [
        (retrained, "Retrained weights, of step 40 of their training.", "AP 0.750, as validated in training."),
        (inherited, "Weights inherited from the supernet: not meant to be shipped; retrain first: `vipnas retrain "
                    "CONFIG --architecture FILE.json`", "AP 0.125, AP50 0.500, AR 0.250 with **inherited** weights"),
        (inherited_of_a_run, "not meant to be shipped; retrain first: `vipnas retrain {0}/run/config.yaml "
                             "--architecture {0}/run:{1}`", "AP 0.125"),
        (converted, "Converted from the MMPose checkpoint best_ap.pth.", "AP: not measured"),
        (lambda weights, _: weights, "Weights of unknown origin", "AP: not measured"),
    ],
)  # fmt: skip
def test_the_first_line_of_a_card_says_whose_weights_these_are(
    made: Callable[[Path, Path], Path], line: str, figure: str, weights: Path, tmp_path: Path
) -> None:
    source = made(weights, tmp_path / "source")
    done = call("export", source, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "out") == IMAGE_FILES | {"weights.safetensors"}
    assert line.format(tmp_path / "source", architecture().id) in first_line(tmp_path / "out")
    assert first_line(tmp_path / "out") in done.stdout
    assert figure in (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    again = call("export", tmp_path / "out", "--output", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert first_line(tmp_path / "again").split(":")[0] == first_line(tmp_path / "out").split(":")[0]


def test_what_a_file_does_not_say_is_assumed_or_given_and_stands_in_the_card(
    weights: Path, people: Path, tmp_path: Path
) -> None:
    source = converted(weights, tmp_path / "source")
    done = call("export", source, "--output", tmp_path / "assumed")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "assumed" / "card.md").read_text(encoding="utf-8")
    assert "**Assumed**, since the file of the weights does not say it: codec, keypoints, padding (--codec," in card
    given = ("--codec", "udp", "--keypoints", people / "annotations" / "person_keypoints_val.json", "--padding", "1.4")
    done = call("export", source, "--output", tmp_path / "given", *given)
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "given" / "card.md").read_text(encoding="utf-8")
    assert "Assumed" not in card
    assert "codec `udp`, sigma 1. Crops are 1.4 times the person's box." in card
    found = load_metadata(tmp_path / "given" / "weights.safetensors")
    assert (found["codec"], found["padding"], found["keypoints"][:13]) == ("udp", "1.4", "nose,left_eye")
    session = onnxruntime.InferenceSession(str(tmp_path / "given" / "model.onnx"))
    assert session.get_modelmeta().custom_metadata_map["codec"] == "udp"
    words = ("--whole-frame", "--no-video", "--out", tmp_path / "poses")
    assert call("predict", people / "images", "--model", tmp_path / "given", *words).returncode == 0


def test_what_vipnas_evaluate_has_found_of_these_very_weights_is_in_the_card(
    config: Path, weights: Path, tmp_path: Path
) -> None:
    assert call("evaluate", config, "--weights", weights, "--no-flip-test").returncode == 0
    export_weights(weights, tmp_path / "one", ("onnx",))
    assert "by `vipnas evaluate`, ground-truth boxes, no flip test." in (tmp_path / "one" / "card.md").read_text()
    assert json.loads((tmp_path / "one" / "facts.json").read_text())["measures"]["AP"] > 0.9
    other = load_network(weights)
    with torch.no_grad():
        other.get_parameter("head.final.bias").add_(1)
    save_network(weights, other, load_metadata(weights))
    export_weights(weights, tmp_path / "two", ("onnx",))
    assert "AP: not measured" in (tmp_path / "two" / "card.md").read_text()


def test_nothing_of_others_is_written_over(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.onnx").write_text("mine", encoding="utf-8")
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    refused = call("export", weights, "--output", out)
    assert_one_line(refused, f"{out / 'model.onnx'}: is there and is no export of these weights; move it, or name")
    assert names(out) == {"model.onnx", "notes.txt"}
    assert (out / "model.onnx").read_text(encoding="utf-8") == "mine"
    (out / "model.onnx").unlink()
    assert call("export", weights, "--output", out).returncode == 0
    assert call("export", weights, "--output", out).returncode == 0  # again
    assert names(out) == IMAGE_FILES | {"notes.txt", "weights.safetensors"}
    assert call("export", weights, "--output", out, "--formats", "mmpose").returncode == 0  # other formats stay
    assert names(out) >= IMAGE_FILES | {"weights.safetensors", "mmpose_config.py"}

    other = load_network(weights)
    with torch.no_grad():
        other.get_parameter("head.final.bias").add_(1)
    save_network(tmp_path / "other.safetensors", other, load_metadata(weights))
    before = {name: (out / name).read_bytes() for name in names(out)}
    assert_one_line(call("export", tmp_path / "other.safetensors", "--output", out), "is no export of these weights")
    assert_one_line(call("export", out, "--output", out), f"{out / 'weights.safetensors'}: is read by this command")
    assert_one_line(call("export", weights, "--output", weights), "net.safetensors")
    assert before == {name: (out / name).read_bytes() for name in names(out)}


def test_the_two_forms_of_the_command_are_told_apart(weights: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").touch()
    whole = call("export", run, "--output", tmp_path / "x")
    assert_one_line(whole, "--output: is for weights, and ", "is a run, whose")
    assert_one_line(call("export", weights), f"{weights}: say where its export goes: --output DIR")
    out = ("--output", tmp_path / "x")
    assert_one_line(call("export", weights, *out, "--ids", "ab"), "--ids: is for a run")
    assert_one_line(call("export", weights, *out, "--networks", "2"), "--networks: is for a run")
    assert_one_line(call("export", weights, *out, "--data.folder", "x"), "--data.folder: is for a run")
    assert_one_line(call("export", weights, *out, "--formats", "onxx"), "'onxx' is not known")
    assert_one_line(call("export", weights, *out, "--padding", "-1"), "--padding: must be positive")
    assert_one_line(call("export", tmp_path / "none.safetensors", *out), "none.safetensors: no such file or folder")
    folder = tmp_path / "of onnx"
    assert call("export", weights, "--output", folder, "--formats", "onnx").returncode == 0
    assert "load_network" not in (folder / "card.md").read_text(encoding="utf-8")
    assert_one_line(call("export", folder, *out), "model.onnx: is an ONNX file already; name weights")
    assert not (tmp_path / "x").exists()


def test_a_network_that_mmpose_does_not_have_is_exported_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from nas.export.trained import export_retrained
    from search_spaces import get_space

    net = PoseNet(get_space("resnet-tiny").smallest())  # its heatmaps go through a softmax
    initialize(net, torch.Generator().manual_seed(0))
    save_network(tmp_path / "net" / "best.safetensors", net.eval())
    export_retrained(tmp_path / "net", ("onnx", "mmpose"))
    assert names(tmp_path / "net") == IMAGE_FILES | {"best.safetensors"}
    [record] = caplog.records
    assert "net: exported without a form for MMPose: head.normalization=softmax" in record.message
    with pytest.raises(InputError, match=r"MMPose has no such head.*leave mmpose out of the formats"):
        export_weights(tmp_path / "net" / "best.safetensors", tmp_path / "out", ("mmpose",))
    assert not (tmp_path / "out").exists()


# Videos -------------------------------------------------------------------------------------------------------------


def video_network(path: Path, **header: str) -> VideoPoseNet:
    net = VideoPoseNet(small_video_space().largest(), torch.Generator().manual_seed(0), stride=(4.0, 4.0))
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.add_(0.1)
    save_network(path, net.eval(), {"codec": "gaussian", "padding": "1.25", "sigma": "1.0", **header})
    return net


def test_a_video_network_is_exported_frame_by_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = video_network(tmp_path / "video.safetensors")
    done = call("export", tmp_path / "video.safetensors", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    frames = {"frame0.onnx", "frame1.onnx", "frame2.onnx"}
    assert names(tmp_path / "out") == {"architecture.json", "card.md", "facts.json", "weights.safetensors"} | frames
    again = load_network(tmp_path / "out" / "weights.safetensors")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in net.state_dict().items())
    size, heatmap_size = net.architecture.input_size, net.architecture.heatmap_size
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    previous = torch.rand(2, 17, *heatmap_size, generator=torch.Generator().manual_seed(2))
    for position, network in enumerate(net.networks):
        session = onnxruntime.InferenceSession(str(tmp_path / "out" / f"frame{position}.onnx"))
        given = [images, previous][: len(session.get_inputs())]
        with torch.no_grad():
            expected = network(*given)
        inputs = zip(session.get_inputs(), given, strict=True)
        (found,) = session.run(None, {value.name: one.numpy() for value, one in inputs})
        assert np.allclose(found, expected.numpy(), atol=1e-4)
    card = (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    assert "| 2 | " in card
    refused = call("export", tmp_path / "video.safetensors", "--output", tmp_path / "x", "--formats", "mmpose")
    assert_one_line(refused, "video.safetensors: MMPose has no video networks; leave mmpose out of the formats")
    code: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path / "out")
    exec(card.split("```python")[1].split("```")[0], code)
    assert code["net"].architecture == net.architecture


@pytest.mark.parametrize("train_key", [True, False])
def test_a_key_network_that_was_trained_on_has_an_export_of_its_own(train_key: bool, tmp_path: Path) -> None:
    from nas.export.trained import export_retrained

    folder = tmp_path / "video"
    net = video_network(folder / "best.safetensors", steps="9", ap="0.5")
    best = {"AP": 0.5, "mean_oks": 0.6, "AP_frame0": 0.625, "AP_frame1": 0.375, "AP_frame2": -1.0}
    results: dict[str, Any] = {"best": best, "validations": [best], "config": {"train_key": train_key}}
    atomic_write_json(folder / "results.json", results)
    export_retrained(folder, ("safetensors", "onnx", "mmpose"))
    assert names(folder) - {"key"} == {"architecture.json", "best.safetensors", "card.md", "facts.json", "frame0.onnx",
                                       "frame1.onnx", "frame2.onnx", "results.json"}  # fmt: skip
    card = (folder / "card.md").read_text(encoding="utf-8")
    assert "AP 0.500, mean OKS 0.600, as validated in training" in card
    assert [line.split(" | ")[-1] for line in card.splitlines() if line.startswith(("| 0", "| 1", "| 2"))] == [
        "0.625 |", "0.375 |", "– |"
    ]  # fmt: skip
    assert (folder / "key").exists() == train_key
    if train_key:
        mmpose = {"mmpose_config.py", "mmpose_checkpoint.pth"}
        assert names(folder / "key") == IMAGE_FILES | {"weights.safetensors"} | mmpose
        assert first_line(folder / "key").startswith("Retrained weights: the key frame's network of the video network ")
        assert "AP 0.625 on the key frames" in (folder / "key" / "card.md").read_text(encoding="utf-8")
        key = load_network(folder / "key" / "weights.safetensors").state_dict()
        assert all(torch.equal(value, key[name]) for name, value in net.key.state_dict().items())
    assert weights_key(folder / "best.safetensors") == json.loads((folder / "facts.json").read_text())["weights_key"]
