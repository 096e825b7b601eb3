"""Spaces in files: whole ones, those that extend another, and what `vipnas spaces` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces import InputError, get_space, space_names
from tests.paths import REPO
from tests.program import assert_one_line, call


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_says_what_is_different_from_a_space(tmp_path: Path) -> None:
    base = get_space("resnet-tiny")
    path = written(
        tmp_path / "hands.yaml",
        "extends: resnet-tiny\nkeypoints: 21\nstages: {3: {depth: [3, 4, 5]}}\nhead: {width: 96}\n",
    )
    space = get_space(path)
    assert (space.name, space.keypoints, space.input_size) == ("hands", 21, base.input_size)
    assert space.stages[2].depth == (3, 4, 5)
    assert space.stages[2].width == base.stages[2].width
    assert [space.stages[i] for i in (0, 1, 3)] == [base.stages[i] for i in (0, 1, 3)]
    assert (space.head.width, space.head.groups, space.head.layers) == ((96,), base.head.groups, base.head.layers)


def test_a_file_extends_one_beside_it_wherever_the_program_runs(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    written(tmp_path / "inner" / "base.yaml", "extends: resnet-tiny\nkeypoints: 21\n")
    path = written(tmp_path / "inner" / "mine.yaml", "extends: base.yaml\nname: other\ninput_size: [64, 64]\n")
    space = get_space(path)
    assert (space.name, space.keypoints, space.input_size) == ("other", 21, (64, 64))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: nonsense\n", "no search space 'nonsense'"),
        ("extends: absent.yaml\n", "absent.yaml"),
        ("extends: mine.yaml\n", "which extends this file"),
        ("extends: resnet-tiny\nstages: {5: {depth: [1]}}\n", "there is no stage 5; they are 1 to 4"),
        ("extends: resnet-tiny\nhead: 3\n", "head: expected the choices that are different"),
        ("extends: resnet-tiny\nstages: {1: {dept: [1]}}\n", "dept"),
        ("extends: resnet-tiny\nstages: {true: {depth: [1]}}\n", "there is no stage True"),
        ("extends: list.yaml\nkeypoints: 21\n", "what it extends is no space"),
        ("extends: poor.yaml\nstages: {1: {depth: [1]}}\n", "there is no stage 1"),
        ("extends: poor.yaml\nhead: {width: [32]}\n", "what it extends has no such part"),
    ],
)
def test_what_cannot_be_extended_is_said_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path / "mine.yaml", text)
    written(tmp_path / "list.yaml", "[1, 2]\n")
    written(tmp_path / "poor.yaml", "name: poor\nstages:\nhead: x\n")
    with pytest.raises(InputError, match=message) as error:
        get_space(path)
    assert "\n" not in str(error.value)


def test_what_excludes_another_choice_takes_its_place(tmp_path: Path) -> None:
    space = get_space(written(tmp_path / "a.yaml", "extends: resnet-tiny\nstages: {4: {group_width: [8, 16]}}\n"))
    assert (space.stages[3].group_width, space.stages[3].groups) == ((8, 16), ())
    simcc = "extends: resnet-nano\nhead: {layers: 0, output: simcc, attention: 64, kernel_size: 7}\n"
    assert get_space(written(tmp_path / "b.yaml", simcc)).head.output == "simcc"


@pytest.mark.parametrize("name", space_names())
def test_a_printed_space_is_the_space(name: str, tmp_path: Path) -> None:
    done = call("spaces", name, "--yaml")
    assert done.returncode == 0
    assert get_space(written(tmp_path / "space.yaml", done.stdout)) == get_space(name)


def test_a_space_is_shown_with_its_genes_and_costs() -> None:
    done = call("spaces", REPO / "configs" / "spaces" / "example.yaml")
    assert done.returncode == 0
    assert "stage3.depth" in done.stdout
    assert "head.layers" not in done.stdout, "what has no choice is no gene"
    assert "MMACs" in done.stdout


def test_a_space_is_not_described_as_a_network() -> None:
    assert_one_line(call("describe", "resnet-tiny"), "is a search space, of many networks; `vipnas spaces resnet-tiny`")
    path = REPO / "configs" / "spaces" / "example.yaml"
    assert_one_line(call("describe", path), "is no architecture", "vipnas spaces")
    assert_one_line(call("spaces", "--yaml"), "of which space")
