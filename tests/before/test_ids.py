"""Networks keep their ids: files and folders of every run are named by them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from search_spaces import PoseArchitecture, VideoArchitecture, get_space, published, published_names, space_names
from tests.before.ids import ids_of, video_space
from tests.before.workspace import MADE

BEFORE: dict[str, Any] = json.loads((MADE / "ids.json").read_text(encoding="utf-8"))


def test_no_space_and_no_published_architecture_is_gone() -> None:
    assert set(space_names()) >= BEFORE["images"].keys()
    assert set(published_names()) >= BEFORE["published"].keys()


@pytest.mark.parametrize("name", BEFORE["images"])
def test_a_thousand_sampled_architectures_have_the_ids_of_before(name: str) -> None:
    assert_equal(ids_of(get_space(name)), BEFORE["images"][name])


@pytest.mark.parametrize("name", BEFORE["videos"])
def test_a_thousand_sampled_video_architectures_have_the_ids_of_before(name: str) -> None:
    assert_equal(ids_of(video_space(name)), BEFORE["videos"][name])


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        assert found[name] == value, name
    assert json.dumps(found["json"]) == json.dumps(expected["json"]), "the order of the fields"


@pytest.mark.parametrize("kind", ["images", "videos"])
def test_an_architecture_in_a_file_of_before_is_read_as_the_same(kind: str) -> None:
    architecture = PoseArchitecture if kind == "images" else VideoArchitecture
    for space in BEFORE[kind].values():
        for value, identity in zip(space["json"], space["first"], strict=False):
            read = architecture.from_json(value)
            assert read.id == identity
            assert read.to_json() == value


@pytest.mark.parametrize("name", BEFORE["published"])
def test_a_published_architecture_is_the_one_of_before(name: str) -> None:
    assert {"id": published(name).id, "json": published(name).to_json()} == BEFORE["published"][name]
