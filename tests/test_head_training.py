"""One supernet with heads of several outputs: targets, losses, distillation, evaluation, and a run from end to end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data.codecs import Codec, CodecName
from nas.data.pose_data import PoseData
from nas.data.simcc import SimCCCodec, fitting_codec, packed
from nas.evaluation.config import EvaluationConfig
from nas.evaluation.crops import predict_keypoints
from nas.search.candidates.chain import Chains, Evaluated
from nas.training.goals import Goals, OutputKey, output_forms, resized_heatmaps
from nas.training.losses import simcc_loss
from nas.training.supernet import sampled_subnets, train_supernet
from search_spaces import HeadChoices, InputError, PoseArchitecture, PropagatedFrame, SearchSpace
from supernet import Supernet, calibrate
from tests.program import assert_one_line, call
from tests.training_fixture import pose_data, quick_config, small_space

HEADS = HeadChoices(
    width=(16,), layers=(1, 2), normalization="softmax", output=("heatmaps", "simcc"), attention=(0, 16)
)
PLACES = [[7.0, 9.0], [20.0, 30.0], [41.0, 55.0]]


def mixed_space(**head: Any) -> SearchSpace:
    """Heatmaps of (16, 12) and (32, 24), and SimCC, of inputs of (64, 48)."""
    return small_space().replace(head=dataclasses.replace(HEADS, **head))


def network(kind: str, space: SearchSpace | None = None) -> PoseArchitecture:
    return next(one for one in (space or mixed_space()).of_each_head() if one.head.kind == kind)


COARSE, FINE = network("1deconvolution-heatmaps"), network("2deconvolution-heatmaps")
BINS = network("2deconvolution-simcc16")


@pytest.fixture
def data(tmp_path: Path) -> PoseData:
    return pose_data(tmp_path / "people")


# Codecs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gaussian", "dark", "udp"])
@pytest.mark.parametrize("size", [(32, 24), (16, 12), (8, 6)])
def test_heatmaps_of_any_size_give_the_keypoints_back(name: CodecName, size: tuple[int, int]) -> None:
    codec = Codec.of(name, (64, 48)).resized(size)
    places = np.array([[[15.3, 20.1], [24.0, 31.7], [30.2, 40.4]]], dtype=np.float32)
    heatmaps, weights = codec.encode_batch(places, np.ones((1, 3)))
    assert heatmaps.shape[2:] == size
    found, _ = codec.decode_batch(heatmaps)
    limit = 0.51 if name == "gaussian" else 0.35  # of a heatmap pixel; its quarter is all that the plain codec refines
    assert np.abs(found - places).max() <= limit * codec.stride.max()
    assert (weights == 1).all()


def test_sigma_is_in_proportion_but_not_narrower_than_a_pixel() -> None:
    codec = Codec.of("gaussian", (256, 192))
    assert [codec.resized(size).sigma for size in ((128, 96), (64, 48), (32, 24), (16, 12))] == [4.0, 2.0, 1.0, 1.0]
    assert dataclasses.replace(codec, sigma=0.5).resized((32, 24)).sigma == 0.5


def test_a_network_s_output_is_decoded_by_a_codec_of_its_own_form() -> None:
    codec = Codec.of("gaussian", (64, 48))
    assert fitting_codec(codec, COARSE) is codec
    assert fitting_codec(codec, FINE) == codec.resized((32, 24))
    assert fitting_codec(codec, BINS) == SimCCCodec(input_size=(64, 48))
    assert fitting_codec(SimCCCodec(input_size=(64, 48)), FINE).heatmap_size == (32, 24)
    assert fitting_codec(codec, object()) is codec


# Targets and distillation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gaussian", "udp"])
def test_resized_heatmaps_stay_where_they_are_and_sum_to_what_targets_sum_to(name: CodecName) -> None:
    space = mixed_space(output="heatmaps", attention=0).replace(input_size=(128, 96))
    networks = space.of_each_head()
    base = Codec.of(name, (128, 96))
    forms = output_forms(networks, fitting_codec(base, networks[0]), lambda one: fitting_codec(base, one), "auto")
    fine, coarse = forms.values()
    places = torch.tensor([[[30.0, 44.0], [50.0, 60.0], [61.0, 83.0]]])
    for given, wanted in ((fine, coarse), (coarse, fine)):
        heatmaps, _ = given.codec.encode(places, torch.ones(1, 3))
        found = resized_heatmaps(heatmaps, given, wanted)
        assert found.shape[2:] == wanted.codec.heatmap_size
        target, _ = wanted.codec.encode(places, torch.ones(1, 3))
        torch.testing.assert_close(found.sum(dim=(2, 3)), target.sum(dim=(2, 3)), rtol=0.1, atol=0)
        for axis, stride in ((3, wanted.codec.stride[0]), (2, wanted.codec.stride[1])):
            mass = found.sum(dim=5 - axis)
            middle = (mass * torch.arange(mass.shape[2])).sum(dim=2) / mass.sum(dim=2) * stride
            exact = places[..., 3 - axis]
            # the plain codec's peaks lie on heatmap pixels, half a pixel from the keypoint at most
            limit = 0.51 * given.codec.stride.max() if name == "gaussian" else 0.1
            assert (middle - exact).abs().max() <= limit


def test_each_network_learns_targets_of_its_form_and_the_largest_teaches_heatmaps_alone(data: PoseData) -> None:
    space = mixed_space()
    assert space.largest() == FINE
    codec = data.codec_of(FINE)
    forms = output_forms(space.of_each_head(), codec, data.codec_of, "auto")
    batch = data.training_set((64, 48), heatmap_size=(32, 24)).batch(np.arange(3), np.random.default_rng(0))
    clip = batch.tensors()
    supernet = Supernet(space).train()
    outputs = {one: packed(supernet(clip.images[:, 0], one)) for one in (FINE, COARSE, BINS)}
    teacher = outputs[FINE].detach()

    def losses(share: float) -> dict[PoseArchitecture, torch.Tensor]:
        goals = Goals(forms, clip, batch, share)
        goals.teach(0, FINE, teacher)
        return {one: goals.loss(0, one, output) for one, output in outputs.items()}

    truth, taught = losses(0.0), losses(0.5)
    for architecture, codec_name in ((COARSE, "gaussian"), (BINS, "simcc")):
        own = data.codec_of(architecture)
        assert own.label == codec_name
        target, weights = (values[:, 0] for values in batch.targets(own))
        expected = forms[OutputKey.of(architecture)].loss(outputs[architecture], target, weights)
        assert torch.equal(truth[architecture], expected)
    target, weights = (values[:, 0] for values in batch.targets(data.codec_of(BINS)))
    assert torch.equal(taught[BINS], simcc_loss(outputs[BINS], target, weights, 96))
    assert not torch.equal(taught[COARSE], truth[COARSE])
    fine, coarse = forms[OutputKey.of(FINE)], forms[OutputKey.of(COARSE)]
    target, weights = (values[:, 0] for values in batch.targets(coarse.codec))
    goal = target.lerp(resized_heatmaps(teacher, fine, coarse), 0.5)
    assert torch.equal(taught[COARSE], coarse.loss(outputs[COARSE], goal, weights))


@pytest.mark.parametrize(
    ("loss", "codec", "message"), [("mse", "gaussian", "mse is for heatmaps"), ("auto", "udp", "one of heatmaps")]
)
def test_what_does_not_suit_one_of_the_outputs_is_refused_before_training(
    tmp_path: Path, loss: Any, codec: CodecName, message: str
) -> None:
    data = pose_data(tmp_path / "people", codec=codec)
    with pytest.raises(InputError, match=message) as error:
        train_supernet(mixed_space(), data, quick_config(loss=loss), tmp_path / "run")
    assert "\n" not in str(error.value)


def test_every_head_s_weights_are_trained(data: PoseData, tmp_path: Path) -> None:
    space, config = mixed_space(), quick_config(steps=6, random_subnets=5, seed=2, ema_decay=0.0)
    trained = train_supernet(space, data, config, tmp_path)
    begun = Supernet(space, generator=torch.Generator().manual_seed(2)).store
    drawn = {
        one.head.kind for step in range(6) for _, networks in sampled_subnets(space, config, step) for one in networks
    }
    assert len(drawn) == 6
    for name, value in trained.store.items():
        if name.startswith("head."):
            assert not torch.equal(value, begun[name]), name


# Evaluation ---------------------------------------------------------------------------------------------------------


def test_a_search_decodes_each_candidate_as_it_is_evaluated_alone(data: PoseData) -> None:
    supernet, codec = Supernet(mixed_space()), data.codec((64, 48))
    crops = data.validation_crops((64, 48))
    nothing: Any = None
    people = Evaluated(
        lambda chunk, position: crops.tensor(),
        nothing,
        lambda output, network: fitting_codec(codec, network).decode_batch(output.numpy()),
        (4.0, 4.0),
    )
    chains = Chains(supernet, (), (crops.tensor()[:, None], None), people)
    plain = EvaluationConfig(flip_test=False)
    for architecture in (FINE, COARSE, BINS):
        chain = chains.of((PropagatedFrame(architecture=architecture),))
        places, scores = chain.keypoints(0)
        net = calibrate(supernet.extract(architecture), [crops.tensor()])
        expected = predict_keypoints(net, crops, codec, data.val.flip_indices, plain, torch.device("cpu"))
        np.testing.assert_allclose(scores[:, 0], expected[1], rtol=1e-2, atol=1e-4)
        same = np.abs(places[:, 0] - expected[0]).max(axis=-1) < 1e-3
        assert same.mean() > 0.9  # ties of an untrained network's maxima may fall either way


SPACE = """
name: both
family: resnet
input_size: [64, 48]
keypoints: 17
stem: {width: 8, kernel_size: 3}
stages:
  - {width: 8, depth: 1, kernel_size: 3, groups: 1, attention: false, stride: 1}
  - {width: [8, 16], depth: 1, kernel_size: 3, groups: 1, attention: false, stride: 2}
head: {width: [8, 16], layers: [1, 2], upsampling: [deconvolution, nearest], normalization: softmax,
       kernel_size: [1, 3], output: [heatmaps, simcc], attention: [0, 16]}
"""


def test_a_run_with_both_outputs_goes_from_end_to_end(tmp_path: Path) -> None:
    from nas.data.synthetic import SyntheticConfig, synthesize

    config = SyntheticConfig(train_images=12, val_images=6, videos_train=0, videos_val=0, image_size=(128, 128))
    synthesize(tmp_path / "people", config)
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    settings, run = tmp_path / "config.yaml", tmp_path / "run"
    settings.write_text(
        f"""
run_dir: {run}
space: {tmp_path}/space.yaml
data: {{folder: {tmp_path}/people, cache: {tmp_path}/cache}}
train: {{steps: 3, batch_size: 4, bf16: false}}
search: {{evaluations: 8, objectives: [mean_oks, macs], algorithm: random, workers: 0}}
candidate: {{first_look: 3}}
retrain: {{epochs: 1, batch_size: 4, bf16: false}}
""",
        encoding="utf-8",
    )
    for command in ("train-supernet", "search"):
        done = call(command, settings)
        assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    heads = [record["architecture"]["head"] for record in records if "architecture" in record]
    assert {head.get("output", "heatmaps") for head in heads} == {"heatmaps", "simcc"}
    assert {head.get("upsampling", "deconvolution") for head in heads} == {"deconvolution", "nearest"}
    for output in ("heatmaps", "simcc"):
        chosen = next(
            record["id"] for record in records if record["architecture"]["head"].get("output", "heatmaps") == output
        )
        done = call("export", run, "--ids", chosen)
        assert done.returncode == 0, done.stderr
        assert (run / "export" / chosen / "model.onnx").is_file()
    done = call("retrain", settings, "--architecture", f"{run}:{chosen}")
    assert done.returncode == 0, done.stderr
    for words in (("report", run), ("spaces", tmp_path / "space.yaml")):
        done = call(*words)
        assert done.returncode == 0, done.stderr
    assert "head.upsampling" in done.stdout
    assert_one_line(call("train-supernet", settings, "--run-dir", tmp_path / "other", "--data.codec", "udp"),
                    "codec 'udp' is one of heatmaps")  # fmt: skip
