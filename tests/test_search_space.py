"""Architectures and search spaces: values, vectors, operators, files."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import InputError, PoseArchitecture, SearchSpace, get_space, published, space_names

SMALL = {
    "name": "small",
    "family": "resnet",
    "input_size": [64, 64],
    "keypoints": 5,
    "stem": {"width": 8, "kernel_size": [3, 5]},
    "stages": [
        {"width": [8, 12], "depth": [1, 2], "kernel_size": [3], "groups": [2, 4, 3], "attention": False, "stride": 1},
        {"width": [12, 16], "depth": 1, "kernel_size": [3], "groups": [4, 8], "attention": [False, True]},
    ],
    "head": {"width": [8, 12], "groups": [4, 3, 1], "layers": 2},
}


def small() -> SearchSpace:
    return SearchSpace.from_json(json.loads(json.dumps(SMALL)))


def test_the_published_network_is_a_member_of_the_resnet_space() -> None:
    space, architecture = get_space("resnet"), published("s-vipnas-res50")
    assert space.contains(architecture)
    assert space.decode(space.encode(architecture)) == architecture
    assert not get_space("resnet-tiny").contains(architecture)


@pytest.mark.parametrize("name", space_names())
def test_every_space_round_trips_through_json(name: str) -> None:
    space = get_space(name)
    again = SearchSpace.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert again.id == space.id


def test_size_counts_every_different_network_once() -> None:
    space = small()
    every_vector = product(*(range(size) for size in space.gene_sizes))
    networks = {space.decode(vector) for vector in every_vector}
    assert space.size == len(networks)
    assert len({space.encode(network) for network in networks}) == len(networks)
    assert all(space.contains(network) for network in networks)


@given(st.sampled_from(space_names()), st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_operators_stay_in_the_space(name: str, seed: int, rate: float) -> None:
    space, rng = get_space(name), np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    mutant = space.mutate(first, rng, rate)
    assert mutant != first
    assert space.contains(mutant)
    child = space.crossover(first, second, rng)
    assert space.contains(child)
    assert space.decode(space.encode(child)) == child


@given(st.sampled_from(space_names()), st.integers(0, 2**32 - 1))
def test_any_vector_is_a_network_and_its_canonical_form_is_stable(name: str, seed: int) -> None:
    space, rng = get_space(name), np.random.default_rng(seed)
    vector = [int(rng.integers(size)) for size in space.gene_sizes]
    architecture = space.decode(vector)
    assert space.decode(space.encode(architecture)) == architecture


@pytest.mark.parametrize("name", space_names())
def test_the_extremes_bound_every_gene(name: str) -> None:
    space, rng = get_space(name), np.random.default_rng(0)
    low, high = space.smallest(), space.largest()
    for _ in range(50):
        a = space.sample(rng)
        for smallest, stage, largest in zip(low.stages, a.stages, high.stages, strict=True):
            assert smallest.width <= stage.width <= largest.width
            assert smallest.depth <= stage.depth <= largest.depth
            assert smallest.kernel_size <= stage.kernel_size <= largest.kernel_size
            assert smallest.attention <= stage.attention <= largest.attention


def test_sampling_is_a_function_of_the_generator() -> None:
    space = get_space("resnet-tiny")
    ids = [[space.sample(np.random.default_rng(7)).id for _ in range(3)] for _ in range(2)]
    assert ids[0] == ids[1]


def test_an_architecture_is_a_hashable_value_with_a_stable_id() -> None:
    architecture = published("s-vipnas-res50")
    again = PoseArchitecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert again == architecture
    assert hash(again) == hash(architecture)
    assert architecture.id == "034f6712c8"
    assert architecture.heatmap_size == (64, 48)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": [5]}, "none of groups [5] divides"),
        ({"groups": []}, "either groups or group_width"),
        ({"width": []}, "width has no choice"),
        ({"width": [8, 8]}, "names a choice twice"),
        ({"width": [0]}, "1 or more"),
        ({"kernel_size": [4]}, "odd sizes"),
        ({"widht": [8]}, "did you mean 'width'"),
        ({"width": ["8"]}, "expected int"),
        ({"depth": [1000]}, "from 1 to 64"),
    ],
)
def test_a_bad_space_is_named_in_one_line(change: dict[str, object], message: str) -> None:
    fields = json.loads(json.dumps(SMALL))
    fields["stages"][0].update(change)
    with pytest.raises(InputError) as error:
        SearchSpace.from_json(fields)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_architecture_cannot_ask_for_terabytes() -> None:
    fields = published("s-vipnas-res50").to_json()
    fields["stages"][3].update(width=16384, depth=64, kernel_size=31, groups=1)
    with pytest.raises(InputError, match="billion weights"):
        PoseArchitecture.from_json(fields)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "stages: [", "a: !!python/object:os.system {}"])
def test_unreadable_space_files(text: str, tmp_path: object) -> None:
    path = tmp_path / "space.yaml"  # type: ignore[operator]
    path.write_text(text)
    with pytest.raises(InputError, match=r"space\.yaml"):
        get_space(str(path))


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'resnet-tiny'"):
        get_space("resnet-tin")
    with pytest.raises(InputError, match="did you mean 's-vipnas-res50'"):
        published("s-vipnas-res5")
