"""Video architectures and their search spaces: values, vectors, operators, files, costs."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from evaluators.complexity import count_module
from search_spaces import (
    FusionChoice,
    InputError,
    PropagatedFrame,
    SearchSpace,
    VideoArchitecture,
    VideoSearchSpace,
    get_space,
    get_video_space,
    published,
    space_names,
)
from search_spaces.complexity import count
from search_spaces.video import resize_factors
from search_spaces.video_costs import count_frame, count_video

OF_HEATMAPS = [name for name in space_names() if get_space(name).head.output == "heatmaps"]
"""Frames of a video hand heatmaps on."""
MINUTE = {
    "name": "minute",
    "family": "resnet",
    "input_size": [64, 64],
    "keypoints": 5,
    "stem": {"width": 8},
    "stages": [
        {"width": [8, 12], "depth": 1, "groups": [2, 4, 3], "attention": False, "stride": 1},
        {"width": 16, "depth": 1, "groups": [4], "attention": False, "stride": 2},
    ],
    "head": {"width": 8, "groups": [1], "layers": 1},
}


def minute(**changes: object) -> VideoSearchSpace:
    """A space of (4 networks × 3 fusions)² members."""
    spatial = SearchSpace.from_json(json.loads(json.dumps(MINUTE)))
    space = VideoSearchSpace(
        name="minute", spatial=spatial, key=spatial.largest(), features=(2,), operations=("add", "cat"), length=2
    )
    return space.replace(**changes)


def test_size_counts_every_different_network_once() -> None:
    space = minute()
    architectures = {space.decode(vector) for vector in product(*(range(size) for size in space.gene_sizes))}
    assert space.size == len(architectures) == (space.spatial.size * 3) ** 2
    assert len({space.encode(architecture) for architecture in architectures}) == len(architectures)
    assert len({architecture.id for architecture in architectures}) == len(architectures)
    assert all(space.contains(architecture) for architecture in architectures)


@given(st.sampled_from(OF_HEATMAPS), st.integers(0, 2**32 - 1), st.floats(0.0, 1.0), st.integers(1, 5))
def test_operators_stay_in_the_space(name: str, seed: int, rate: float, frames: int) -> None:
    space, rng = get_video_space(name, frames), np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    assert first.length == frames
    mutant = space.mutate(first, rng, rate)
    assert mutant != first
    assert space.contains(mutant)
    child = space.crossover(first, second, rng)
    assert space.contains(child)
    assert space.decode(space.encode(child)) == child
    genes = zip(space.encode(first), space.encode(second), strict=True)
    assert all(len({*pair}) <= 2 for pair in genes)


@given(st.sampled_from(OF_HEATMAPS), st.integers(0, 2**32 - 1))
def test_any_vector_is_a_network_and_its_canonical_form_is_stable(name: str, seed: int) -> None:
    space, rng = get_video_space(name), np.random.default_rng(seed)
    architecture = space.decode([int(rng.integers(size)) for size in space.gene_sizes])
    assert space.decode(space.encode(architecture)) == architecture
    again = VideoArchitecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert again == architecture
    assert (again.id, hash(again)) == (architecture.id, hash(architecture))


@pytest.mark.parametrize("name", OF_HEATMAPS)
def test_every_space_round_trips_through_json(name: str) -> None:
    space = get_video_space(name)
    again = VideoSearchSpace.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert again.id == space.id == space.replace(name="other").id
    assert again.id != space.replace(length=4).id
    assert len(space.gene_names) == len(set(space.gene_names)) == len(space.gene_sizes)


def test_the_defaults_are_the_largest_key_frame_and_every_feature() -> None:
    space = get_video_space("resnet-tiny")
    assert space.key == get_space("resnet-tiny").largest()
    assert (space.length, space.features, space.operations) == (3, (1, 2, 3, 4), ("add", "mul", "cat"))
    assert get_video_space("mobilenetv3").features == (1, 2, 3, 4, 5, 6)


def test_the_extremes() -> None:
    space = get_video_space("resnet-tiny")
    macs = [count_video(member).macs for member in (space.smallest(), space.largest())]
    rng = np.random.default_rng(0)
    assert all(macs[0] <= count_video(space.sample(rng)).macs <= macs[1] for _ in range(50))
    assert all(frame.fusion.is_none for frame in space.smallest().frames)
    assert {frame.fusion.operation for frame in space.largest().frames} == {"cat"}


def test_a_space_without_fusion_has_one_value_for_it() -> None:
    space = minute(operations=())
    assert space.fusions == (FusionChoice.none(),)
    assert space.size == space.spatial.size**2


def test_a_users_files(tmp_path: Path) -> None:
    spatial, video = tmp_path / "spatial.yaml", tmp_path / "video.yaml"
    spatial.write_text(yaml.safe_dump(MINUTE))
    assert get_video_space(spatial, 2).spatial == minute().spatial
    member = minute().spatial.smallest()
    fields = {"spatial": MINUTE, "length": 5, "operations": ["mul"], "key": member.to_json()}
    video.write_text(yaml.safe_dump(fields))
    space = get_video_space(video)
    assert (space.length, space.operations, space.features, space.key) == (5, ("mul",), (1, 2), member)
    video.write_text("spatial: resnet-tiny\n")
    assert get_video_space(video) == get_video_space("resnet-tiny")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"feature": 1, "operation": "none"}, "exclude each other"),
        ({"feature": 0, "operation": "add"}, "exclude each other"),
        ({"feature": 1, "operation": "sum"}, "choose from none, add, mul, cat"),
        ({"feature": -1, "operation": "add"}, "from 0 (none) to"),
    ],
)
def test_a_fusion_has_one_form(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        FusionChoice(**fields)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_what_does_not_fit_is_named() -> None:
    space, network = minute(), get_space("resnet-tiny").smallest()
    with pytest.raises(InputError, match="F1 to F4"):
        PropagatedFrame(architecture=network, fusion=FusionChoice(feature=5, operation="add"))
    with pytest.raises(InputError, match="multiple of the network's stride"):
        PropagatedFrame(
            architecture=network.replace(input_size=(101, 77)), fusion=FusionChoice(feature=1, operation="add")
        )
    with pytest.raises(InputError, match="frame 1: keypoints is 17, the key frame's is 5"):
        VideoArchitecture(key=space.key, frames=(PropagatedFrame(architecture=network),))
    with pytest.raises(InputError, match="from 1 to 64"):
        VideoArchitecture(key=space.key, frames=())
    with pytest.raises(InputError, match="from 1 to 64"):
        get_video_space("resnet", 65)
    with pytest.raises(InputError, match="did you mean 'resnet-tiny'"):
        get_video_space("resnet-tinyy")
    with pytest.raises(InputError, match="names a choice twice"):
        minute(features=(1, 1))
    with pytest.raises(InputError, match="F1 to F2"):
        minute(features=(3,))
    with pytest.raises(InputError, match="expected an object with the field spatial"):
        VideoSearchSpace.from_json({"name": "x"})
    with pytest.raises(InputError, match="did you mean 'length'"):
        VideoSearchSpace.from_json({"spatial": MINUTE, "lenght": 2})
    member = space.largest()
    assert not space.contains(member.replace(key=space.spatial.smallest()))
    assert not space.contains(member.replace(frames=member.frames[:1]))
    other = PropagatedFrame(architecture=space.key, fusion=FusionChoice(feature=1, operation="add"))
    with pytest.raises(InputError, match="frame 2: fusion F1 add is not a choice; none, F2 add, F2 cat are"):
        space.encode(member.replace(frames=(member.frames[0], other)))


def test_features_are_smaller_and_larger_than_heatmaps() -> None:
    assert [resize_factors(get_space("mobilenetv3").largest(), f) for f in (1, 2, 3, 6)] == [
        (1, 2), (1, 1), (2, 1), (8, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("name", OF_HEATMAPS)
def test_formula_equals_the_built_network(name: str) -> None:
    from torch import Tensor, nn, zeros_like

    from supernet import PropagatedNet

    class Alone(nn.Module):
        """With heatmaps of its own, so that one input counts it."""

        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, images: Tensor) -> Tensor:
            height, width = self.net.architecture.heatmap_size
            return self.net(images, zeros_like(images[:, :1, :height, :width]).expand(-1, 17, -1, -1))

    space, rng = get_video_space(name), np.random.default_rng(5)
    for fusion in space.fusions[1:]:
        frame = PropagatedFrame(architecture=space.spatial.sample(rng), fusion=fusion)
        complexity = count_frame(frame)
        net = Alone(PropagatedNet(frame))
        assert count_module(net, frame.architecture.input_size) == complexity[:2]
        assert sum(part.macs for part in complexity.by_part) == complexity.macs
        at = complexity.by_part[frame.fusion.feature + 1]
        assert (at.name, at.output_size) == ("fusion", complexity.by_part[frame.fusion.feature].output_size)


def test_a_video_costs_what_its_frames_cost() -> None:
    member = get_video_space("resnet-tiny").sample(np.random.default_rng(2))
    complexity = count_video(member)
    assert complexity.by_frame == (count(member.key), *(count_frame(frame) for frame in member.frames))
    assert complexity.macs == sum(frame.macs for frame in complexity.by_frame)
    alone = PropagatedFrame(architecture=member.key)
    assert count_frame(alone) == count(member.key)


def test_simcc_has_no_heatmaps_to_hand_on() -> None:
    with pytest.raises(InputError, match="SimCC, and frames of a video hand heatmaps on"):
        get_video_space("cspnext", 2)
    with pytest.raises(InputError, match=r"heatmap_size is .*; all frames need the same"):
        get_video_space("cspnext-tiny", 2)
    key = published("rtmpose-t")
    with pytest.raises(InputError, match="the key frame's network gives SimCC"):
        VideoArchitecture(key=key, frames=(PropagatedFrame(architecture=key),))
    with pytest.raises(InputError, match="SimCC, not heatmaps"):
        PropagatedFrame(architecture=key, fusion=FusionChoice(feature=1, operation="add"))
