"""What names say of left and right: every convention in use, and words that only look like a side."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data.keypoint_names import are_numbered, plain_names, read_sides
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES

CONVENTIONS: dict[str, Callable[[str, str], str]] = {
    "left_eye": lambda side, part: f"{side}_{part}",
    "L_Eye": lambda side, part: f"{side[0].upper()}_{part.title()}",
    "eye_left": lambda side, part: f"{part}_{side}",
    "eye_l": lambda side, part: f"{part}_{side[0]}",
    "Left Eye": lambda side, part: f"{side} {part}".title(),
    "LEFT-EYE": lambda side, part: f"{side}-{part}".upper(),
    "l-eye": lambda side, part: f"{side[0]}-{part}",
    "lefteye": lambda side, part: side + part,
    "eyeleft": lambda side, part: part + side,
    "LEFTEYE": lambda side, part: (side + part).upper(),
    "leftEye": lambda side, part: side + part.title(),
    "LEye": lambda side, part: side[0].upper() + part.title(),
    "lEye": lambda side, part: side[0] + part.title(),
    "EyeL": lambda side, part: part.title() + side[0].upper(),
    "eye.L": lambda side, part: f"{part}.{side[0].upper()}",
    "L Eye": lambda side, part: f"{side[0].upper()} {part.title()}",
    "eye (left)": lambda side, part: f"{part} ({side})",
    "leye": lambda side, part: side[0] + part,
    "Leye": lambda side, part: side[0].upper() + part,
    "LEYE": lambda side, part: (side[0] + part).upper(),
    "eyel": lambda side, part: part + side[0],
    "Rt eye": lambda side, part: {"left": "Lt", "right": "Rt"}[side] + " " + part,
    "body_left_eye_1": lambda side, part: f"body_{side}_{part}_1",
    "body/eye:l": lambda side, part: f"body/{part}:{side[0]}",
}


def coco_in(convention: Callable[[str, str], str]) -> tuple[str, ...]:
    names = (name.partition("_") for name in COCO_KEYPOINT_NAMES)
    return tuple(convention(side, part) if part else side for side, _, part in names)


@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=CONVENTIONS)
def test_the_pairs_of_coco_are_found_in_every_convention(convention: Callable[[str, str], str]) -> None:
    sides = read_sides(coco_in(convention))
    assert sides.pairs == tuple((i, i + 1) for i in range(1, 17, 2))
    assert not sides.doubtful
    assert not sides.numbered


@pytest.mark.parametrize("convention", [key for key in CONVENTIONS if "body" not in key])
def test_two_conventions_mean_the_same_keypoints(convention: str) -> None:
    assert plain_names(coco_in(CONVENTIONS[convention])) == plain_names(COCO_KEYPOINT_NAMES)


@given(
    order=st.permutations(range(17)),
    chosen=st.lists(st.sampled_from(list(CONVENTIONS)[:10]), min_size=17, max_size=17),
)
def test_pairs_are_found_in_any_order_and_mixture(order: list[int], chosen: list[str]) -> None:
    """Both names of a pair are in one convention, whose pairs do not need the others to be understood."""
    names = [coco_in(CONVENTIONS[chosen[(i + 1) // 2]])[i] for i in range(17)]
    sides = read_sides(tuple(names[i] for i in order))
    found = {frozenset(order[i] for i in pair) for pair in sides.pairs}
    assert found == {frozenset((i, i + 1)) for i in range(1, 17, 2)}
    assert all("left" in COCO_KEYPOINT_NAMES[order[left]] for left, _ in sides.pairs)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        ("thumb1_left_hand thumb1_right_hand left_hand_1 right_hand_1", [(0, 1), (2, 3)]),
        ("L_F_Paw R_F_Paw L_B_Paw R_B_Paw", [(0, 1), (2, 3)]),
        ("LFPaw RFPaw LRPaw RRPaw", [(0, 1), (2, 3)]),
        ("wheel_fl wheel_fr wheel_rl wheel_rr", [(0, 1), (2, 3)]),
        ("paw_r_l paw_r_r paw_f_l paw_f_r", [(0, 1), (2, 3)]),
        ("LASI RASI LPSI RPSI", [(0, 1), (2, 3)]),
        ("R L", [(1, 0)]),
        ("top_left top_right bottom_right bottom_left", [(0, 1), (3, 2)]),
        ("left_eye_left_corner right_eye_right_corner left_eye_right_corner right_eye_left_corner", [(0, 1), (2, 3)]),
        ("L_eye eye_right", [(0, 1)]),
    ],
)
def test_pairs_of_other_kinds_of_names(names: str, pairs: list[tuple[int, int]]) -> None:
    sides = read_sides(tuple(names.split()))
    assert sides.pairs == tuple(pairs)
    assert not sides.doubtful


@pytest.mark.parametrize(
    "names",
    ["clavicle tail lip collar", "lower_lip upper_lip nose", "cleft_lip bright_spot upright rear", "L1 L2 L3 T1 élbow"],
)
def test_words_that_only_look_like_a_side_are_none(names: str) -> None:
    sides = read_sides(tuple(names.split()))
    assert not sides.pairs
    assert not sides.doubtful


@pytest.mark.parametrize(
    ("names", "doubtful"),
    [
        ("nose nose_l", ["nose_l"]),
        ("left_eye right_eye left_ear", ["left_ear"]),
        ("lefteye nose", ["lefteye"]),
        ("left_eye LeftEye right_eye", ["left_eye", "LeftEye", "right_eye"]),  # two lefts for one right
        ("rl rr ll lr", ["rl", "rr", "ll", "lr"]),  # rear left, or right and left?
        ("lamp ramp left_eye right_eye", ["lamp", "ramp"]),  # most likely no pair, but who knows
    ],
)
def test_a_side_without_exactly_one_partner_is_doubtful(names: str, doubtful: list[str]) -> None:
    words = names.split()
    assert [words[index] for index in read_sides(tuple(words)).doubtful] == doubtful


def test_numbers_alone_say_nothing_of_mirrors() -> None:
    for names in ("0 1 2 3 4 5 6", "keypoint_1 keypoint_2", "kp01 kp02 kp10"):
        words = names.split()
        assert are_numbered(words)
        assert not read_sides(tuple(words)).pairs
    assert not are_numbered(["nose", "p1"])
    assert not are_numbered(["thumb1", "forefinger1"])
    mixed = ("left_eye", "right_eye", *(f"mouth_{i}" for i in range(12)), "spine1", "spine2")
    assert read_sides(mixed).numbered == tuple(range(2, 14)), "a spine of two joints is on the middle line"


@given(st.lists(st.text(max_size=12), min_size=1, max_size=12, unique=True))
def test_any_names_can_be_read(names: list[str]) -> None:
    sides = read_sides(tuple(names))
    paired = [index for pair in sides.pairs for index in pair]
    assert len(set(paired)) == len(paired)
    assert not set(paired) & set(sides.doubtful)
    assert len(set(sides.plain)) == len(names)
