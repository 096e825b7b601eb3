"""Heads as genes: how many layers, which upsampling, the last kernel, heatmaps or SimCC, the attention unit's width."""

from __future__ import annotations

import dataclasses
import json
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from evaluators.complexity import count_module
from nas.deploy.onnx import onnx_bytes
from nas.latency.blocks import blocks_of, build_block, space_blocks
from nas.latency.meter import network_of
from nas.latency.table import block_name
from search_spaces import (
    Head,
    HeadChoices,
    InputError,
    PoseArchitecture,
    SearchSpace,
    StageChoices,
    StemChoices,
    get_space,
    get_video_space,
    published,
    to_mmpose,
)
from search_spaces.complexity import count
from search_spaces.words import architecture_lines
from supernet import PoseNet, Sharing, SimCC, Supernet, calibrate, fold
from supernet.mmpose import mmpose_state_dict
from supernet.sharing import readers
from tests.sharing_rules import SHARINGS

SIZE = (64, 48)
EVERYTHING: dict[str, Any] = {
    "width": (8, 16), "groups": (1, 2), "layers": (0, 1, 2), "normalization": "softmax",
    "upsampling": ("deconvolution", "nearest"), "kernel_size": (1, 3), "output": ("heatmaps", "simcc"),
    "attention": (0, 16, 32),
}  # fmt: skip


def space_of(**head: Any) -> SearchSpace:
    """Features of an eighth of the input, so that one layer gives heatmaps of a quarter."""
    return SearchSpace(
        name="heads",
        family="resnet",
        input_size=SIZE,
        stem=StemChoices(width=(8,), kernel_size=(3,)),
        stages=(StageChoices(width=(8, 12), depth=(1,), groups=(1,), attention=(False,), stride=2),),
        head=HeadChoices(**{**EVERYTHING, **head}),
    )


def images(count: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def tensors(output: torch.Tensor | SimCC) -> tuple[torch.Tensor, ...]:
    return tuple(output) if isinstance(output, SimCC) else (output,)


def perturbed(space: SearchSpace, sharing: Sharing | None = None) -> Supernet:
    """A supernet none of whose parameters is at its special initial value."""
    supernet, generator = Supernet(space, sharing), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return supernet


KINDS = space_of().of_each_head()


# Values and vectors -------------------------------------------------------------------------------------------------


def test_size_counts_every_different_head_once() -> None:
    space = space_of()
    networks = {space.decode(vector) for vector in product(*(range(size) for size in space.gene_sizes))}
    assert space.size == len(networks)
    assert len({space.encode(network) for network in networks}) == len(networks)
    for network in networks:
        assert space.decode(space.encode(network)) == network
    kinds = {network.head.kind for network in networks}
    assert {network.head.kind for network in space.of_each_head()} == kinds
    assert len(kinds) == 5 * (1 + 3)  # no layers, or one or two of two kinds; heatmaps, or SimCC with three attentions


def test_one_choice_is_no_gene_and_is_written_as_a_value() -> None:
    space = get_space("resnet-tiny")
    assert [gene.field for gene in space.genes if gene.name.startswith("head.")] == ["width", "groups"]
    fields = space.to_json()
    fields["head"] |= {"layers": [2], "output": ["heatmaps"], "kernel_size": [1], "attention": [0]}
    again = SearchSpace.from_json(json.loads(json.dumps(fields)))
    assert again == space
    assert again.id == space.id
    assert again.to_json()["head"]["layers"] == 2


def test_a_space_with_heads_round_trips_through_json_and_names_its_genes() -> None:
    space = space_of()
    assert SearchSpace.from_json(json.loads(json.dumps(space.to_json()))) == space
    names = [gene.name for gene in space.genes if gene.name.startswith("head.")]
    assert names == [f"head.{name}" for name in ("width", "groups", "layers", "upsampling", "kernel_size", "output",
                                                 "attention")]  # fmt: skip


def test_the_extremes_have_the_first_output_and_upsampling_and_the_ends_of_the_rest() -> None:
    low, high = space_of().smallest().head, space_of().largest().head
    assert (len(low.widths), low.kernel_size, low.output) == (0, 1, "heatmaps")
    assert (high.widths, high.groups, high.kernel_size) == ((16, 16), (1, 1), 3)
    assert (high.output, high.upsampling, high.normalization) == ("heatmaps", "deconvolution", "softmax")
    turned = space_of(output=("simcc", "heatmaps"), upsampling=("nearest", "deconvolution")).largest().head
    assert (turned.output, turned.upsampling, turned.attention) == ("simcc", "nearest", 32)


def test_operators_stay_in_the_space() -> None:
    space, rng = space_of(), np.random.default_rng(0)
    for _ in range(50):
        first, second = space.sample(rng), space.sample(rng)
        for architecture in (space.mutate(first, rng), space.crossover(first, second, rng)):
            assert space.contains(architecture)
            if architecture.is_simcc:
                assert architecture.head.normalization == "none"
            else:
                assert architecture.head.attention == 0
                assert architecture.head.normalization == "softmax"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": ()}, "layers has no choice"),
        ({"layers": (1, 9)}, "layers=9; from 0 to 8"),
        ({"layers": (1, 1)}, "names a choice twice"),
        ({"layers": 0}, "no layer whose width, groups or upsampling"),
        ({"output": "heatmaps"}, "attention=16 is of output='simcc'"),
        ({"output": "simcc"}, "normalization='softmax' is of heatmaps"),
        ({"kernel_size": (1, 4)}, "kernel_size=4"),
        ({"attention": tuple(range(17))}, "attention has 17 choices; at most 16"),
        ({"width": ()}, "width has no choice"),
    ],
)
def test_choices_that_contradict_themselves_are_named_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        space_of(**change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["heatmap", [1, "nearest"], 3])
def test_unknown_words_are_named(value: Any) -> None:
    fields = space_of().to_json()
    fields["head"]["upsampling"] = value
    with pytest.raises(InputError, match=r"head\.upsampling"):
        SearchSpace.from_json(fields)


def test_heads_whose_weights_would_fill_the_memory_are_refused() -> None:
    """Each of them alone would be possible."""
    with pytest.raises(InputError, match=r"billion shared weights of all kinds of blocks and heads are too many"):
        space_of(layers=7, output="simcc", normalization="none", upsampling="deconvolution", width=(1,), groups=(1,),
                 kernel_size=1, attention=(0, *range(256, 271)))  # fmt: skip


def test_a_head_without_layers_has_no_upsampling() -> None:
    with pytest.raises(InputError, match="upsampling='nearest' of no layer"):
        Head(widths=(), groups=(), kernel_sizes=(), upsampling="nearest")
    with pytest.raises(InputError, match="head nearest 1: kernel_size=4; choose from 3"):
        Head(widths=(8,), groups=(1,), kernel_sizes=(4,), upsampling="nearest")


def test_a_file_that_extends_a_space_of_both_outputs_may_choose_one(tmp_path: Any) -> None:
    for output, layers in (("heatmaps", 2), ("simcc", 0)):
        path = tmp_path / f"{output}.yaml"
        path.write_text(f"extends: cspnext-tiny\nhead: {{output: {output}, layers: {layers}}}\n", encoding="utf-8")
        space = get_space(path)
        assert {network.is_simcc for network in space.of_each_head()} == {output == "simcc"}


# Networks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", KINDS, ids=lambda one: one.head.kind)
def test_counted_costs_are_the_network_s_and_onnx_writes_it(architecture: PoseArchitecture) -> None:
    with torch.device("meta"):
        net = PoseNet(architecture)
    measured = count_module(net, SIZE)
    assert count(architecture)[:2] == (measured.parameters, measured.macs)
    outputs = tensors(net(torch.zeros(2, 3, *SIZE, device="meta")))
    if architecture.is_simcc:
        assert [tuple(one.shape[1:]) for one in outputs] == [(17, 96), (17, 128)]
    else:
        assert [tuple(one.shape[1:]) for one in outputs] == [(17, *architecture.heatmap_size)]
    deployed = network_of(architecture)
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_bytes(deployed, (images(),)), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: images().numpy()})
    for ours, theirs in zip(tensors(deployed(images())), found, strict=True):
        assert np.abs(ours.numpy() - theirs).max() < 1e-3 * float(ours.std())


def test_what_mmpose_has_not_does_not_go_out() -> None:
    head = Head(widths=(8,) * 3, groups=(1,) * 3, kernel_sizes=(3,) * 3, upsampling="nearest")
    architecture = published("s-vipnas-res50").replace(head=head, input_size=SIZE)
    with torch.device("meta"):
        net = PoseNet(architecture)
    for export in (lambda: to_mmpose(architecture), lambda: mmpose_state_dict(net)):
        with pytest.raises(InputError, match="upsampling=nearest: MMPose's heads have deconvolutions alone") as error:
            export()
        assert "\n" not in str(error.value)


def test_heads_are_told_apart_in_words() -> None:
    texts = [architecture_lines(network)[-1] for network in KINDS]
    assert len(set(texts)) == len(texts)
    assert "head: 2 × 16 nearest, SimCC k3 att 32" in texts


def test_frames_of_a_video_hand_on_heatmaps_of_one_size(tmp_path: Any) -> None:
    path = tmp_path / "space.json"
    for head, message in (({"layers": 2}, "give SimCC"), ({"output": "heatmaps", "attention": 0}, "heatmap_size is")):
        path.write_text(json.dumps(space_of(**head).to_json()), encoding="utf-8")
        with pytest.raises(InputError, match=message):
            get_video_space(path, 2)
    alone = space_of(output="heatmaps", attention=0, layers=1)
    path.write_text(json.dumps(alone.to_json()), encoding="utf-8")
    assert get_video_space(path, 2).heatmap_size == (16, 12)


# A supernet ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", SHARINGS, ids=str)
def test_a_subnet_with_any_head_equals_the_extracted_network_and_its_gradients_are_scattered(sharing: Sharing) -> None:
    supernet, rng = perturbed(space_of(), sharing), np.random.default_rng(3)
    for architecture in (*KINDS[::3], *(supernet.space.sample(rng) for _ in range(4))):
        supernet.zero_grad(set_to_none=True)
        through_views = tensors(supernet(images(), architecture))
        net = supernet.extract(architecture).module
        extracted = tensors(net(images()))
        assert all(torch.equal(*pair) for pair in zip(through_views, extracted, strict=True))
        sum(one.square().mean() for one in through_views).backward()  # type: ignore[union-attr]
        sum(one.square().mean() for one in extracted).backward()  # type: ignore[union-attr]
        store = {name: value.detach().requires_grad_() for name, value in supernet.store.items()}
        reading = readers(net, sharing, supernet._layout)
        views = [read(store) for read in reading.values()]
        torch.autograd.backward(views, [net.get_parameter(name).grad for name in reading])
        for name, value in supernet.store.items():
            assert (value.grad is None) == (store[name].grad is None), name
            assert value.grad is None or torch.equal(value.grad, store[name].grad), name


def test_the_first_layers_are_shared_and_what_follows_them_is_each_kind_s_own() -> None:
    supernet = perturbed(space_of())
    one, two, simcc = (
        next(network for network in KINDS if network.head.kind == kind)
        for kind in ("1deconvolution-heatmaps", "2deconvolution-heatmaps", "2deconvolution-simcc16")
    )
    nets = [supernet.extract(network).module for network in (one, two, simcc)]
    for name in ("conv.weight", "norm.weight"):
        first = [net.get_parameter(f"head.deconvolutions.0.{name}") for net in nets]
        assert torch.equal(first[0], first[1])
        assert torch.equal(first[1], first[2])
    finals = [net.get_parameter("head.final.weight") for net in nets]
    assert not torch.equal(finals[0], finals[1])
    assert not torch.equal(finals[1], finals[2])
    small = two.replace(head=dataclasses.replace(two.head, kernel_size=1))
    centre = supernet.extract(small).module.get_parameter("head.final.weight")
    assert torch.equal(centre, finals[1][..., 1:2, 1:2])
    names = [name for name in supernet.store if name.startswith("head.")]
    assert "head.upsamplings.0.conv.weight" in names
    assert "head.final.weight@1deconvolution-heatmaps" in names


def test_with_one_kind_of_head_names_are_those_of_the_network() -> None:
    for name in ("resnet-nano", "cspnext"):
        assert not [name for name in Supernet(get_space(name)).store if "@" in name]


def test_a_head_s_weights_are_adopted_saved_and_read_again(tmp_path: Any) -> None:
    supernet = perturbed(space_of())
    other = Supernet(supernet.space, generator=torch.Generator().manual_seed(9))
    for architecture in KINDS[::4]:
        net = supernet.extract(architecture).module
        other.adopt(net)
        other.save(tmp_path / "supernet.safetensors")
        again = Supernet.load(tmp_path / "supernet.safetensors").extract(architecture).module
        assert all(torch.equal(again.get_parameter(name), value) for name, value in net.named_parameters())


def test_folding_changes_nothing_but_rounding() -> None:
    for architecture in KINDS[::3]:
        net = calibrate(perturbed(space_of()).extract(architecture), [images(seed=1)]).double()
        with torch.no_grad():
            expected, found = tensors(net(images().double())), tensors(fold(net)(images().double()))
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


# Blocks of the latency table ----------------------------------------------------------------------------------------


def test_every_head_of_a_space_is_a_block_that_costs_what_is_counted() -> None:
    space, rng = space_of(attention=(0, 16)), np.random.default_rng(1)
    blocks = {block_name(block): (block, carrier) for block, carrier in space_blocks(space).items()}
    for _ in range(30):
        names = [block_name(block) for block, _ in blocks_of(space.sample(rng))]
        assert set(names) <= set(blocks)
    generator = torch.Generator().manual_seed(0)
    for block, carrier in list(blocks.values())[::20]:
        module, _ = build_block(block, carrier, 1, generator)
        if block.part < 0:
            [inputs] = block.inputs
            assert count_module(module, inputs.size, inputs.channels).macs == carrier.parts[-1].macs


@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_a_network_that_is_measured_keeps_its_signal_to_a_softmax(activation: Any) -> None:
    """Else its heatmaps are constant but for rounding, and runtimes could not be compared."""
    net = published("rtmpose-t")
    stages = tuple(dataclasses.replace(stage, activation=activation) for stage in net.stages)
    head = Head(widths=(16,) * 3, groups=(1,) * 3, normalization="softmax")
    network = net.replace(stages=stages, stem=dataclasses.replace(net.stem, activation=activation), head=head,
                          input_size=(64, 64))  # fmt: skip
    heatmaps = network_of(network)(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    assert 0.3 < float((heatmaps.flatten(2).std(dim=2) / heatmaps.flatten(2).mean(dim=2)).mean()) < 5


def test_a_simcc_head_s_block_has_its_bins_in_its_name() -> None:
    head = Head(widths=(), groups=(), kernel_sizes=(), output="simcc")
    network = published("rtmpose-t").replace(head=head)
    first, *others = network.stages
    half = network.replace(input_size=(128, 96), stages=(dataclasses.replace(first, stride=1), *others))
    pair = [list(blocks_of(one))[-1][0] for one in (network, half)]
    assert pair[0].inputs == pair[1].inputs
    assert pair[0].spec == pair[1].spec
    assert [block.bins for block in pair] == [(384, 512), (192, 256)]
    assert block_name(pair[0]) != block_name(pair[1])
    heatmaps = list(blocks_of(published("s-vipnas-res50")))[-1][0]
    assert block_name(heatmaps).endswith("}]")  # as in tables that were measured before
