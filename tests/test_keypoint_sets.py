"""What is known of the keypoints of published sets, what a data file and a configuration state, and what is guessed."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators import COCO_SIGMAS
from nas.data.coco_check import check_coco
from nas.data.config import DataConfig
from nas.data.keypoint_category import category_keypoints
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES, COCO_KEYPOINT_SET, DEFAULT_SIGMA, KeypointSet
from nas.data.keypoint_warnings import Teller, mirror_warnings, sigma_warnings
from nas.data.pose_data import PoseData
from nas.data.posetrack import POSETRACK_KEYPOINT_SET
from search_spaces import InputError
from tests.coco_fixture import edit, write_folder

FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
HAND = ("wrist", *(f"{finger}{joint}" for finger in FINGERS for joint in range(1, 5)))
MEDIAPIPE_HAND = (
    "WRIST",
    *(f"THUMB_{joint}" for joint in ("CMC", "MCP", "IP", "TIP")),
    *(f"{finger}_{joint}" for finger in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
      for joint in ("MCP", "PIP", "DIP", "TIP")),
)  # fmt: skip
TOES = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel"))
HANDS = tuple(f"{side}_{name.replace('wrist', 'hand_root')}" for side in ("left", "right") for name in HAND)
FACE = tuple(f"face-{index}" for index in range(68))
WHOLE_BODY = (*COCO_KEYPOINT_NAMES, *TOES, *FACE, *HANDS)
LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
CROWDPOSE = (*(f"{side}_{part}" for part in LIMBS for side in ("left", "right")), "top_head", "neck")
AP10K = (
    *("L_Eye", "R_Eye", "Nose", "Neck", "Root of tail", "L_Shoulder", "L_Elbow", "L_F_Paw", "R_Shoulder", "R_Elbow"),
    *("R_F_Paw", "L_Hip", "L_Knee", "L_B_Paw", "R_Hip", "R_Knee", "R_B_Paw"),
)
AP10K_IN_WORDS = (
    *("left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw"),
    *("right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw", "right_hip"),
    *("right_knee", "right_back_paw"),
)
HALPE = (*COCO_KEYPOINT_NAMES, "head", "neck", "hip", *TOES)


def known(names: Sequence[str]) -> KeypointSet:
    """The set, of which everything must be known."""
    keypoints = KeypointSet.of(names)
    assert keypoints.can_mirror
    assert not keypoints.guessed_sigmas
    assert not [*mirror_warnings(keypoints), *sigma_warnings(keypoints)]
    return keypoints


# Published sets -----------------------------------------------------------------------------------------------------


def test_cocos_sigmas_are_its_own_to_the_bit_in_any_convention() -> None:
    np.testing.assert_array_equal(known(COCO_KEYPOINT_NAMES).sigmas, COCO_SIGMAS)
    renamed = [name.replace("left_", "L_").replace("right_", "R_") for name in COCO_KEYPOINT_NAMES]
    np.testing.assert_array_equal(known(renamed).sigmas, COCO_SIGMAS)


def test_a_whole_body_has_the_sigmas_of_its_parts_and_mirrored_points_of_the_face() -> None:
    body = known(WHOLE_BODY)
    np.testing.assert_array_equal(body.sigmas[:17], COCO_SIGMAS)
    np.testing.assert_allclose(body.sigmas[17:23], [0.068, 0.066, 0.066, 0.092, 0.094, 0.094])
    np.testing.assert_allclose(body.sigmas[[23, 31, 90]], [0.042, 0.02, 0.008])
    np.testing.assert_allclose(body.sigmas[91:112], body.sigmas[112:])
    np.testing.assert_allclose(body.sigmas[91:96], [0.029, 0.022, 0.035, 0.037, 0.047])
    assert body.sigmas.sum() == pytest.approx(3.861), "as the published list of 133 adds up"
    mirror = {WHOLE_BODY[a]: WHOLE_BODY[b] for pair in body.flip_pairs for a, b in (pair, pair[::-1])}
    assert mirror["face-0"] == "face-16"
    assert mirror["face-36"] == "face-45"
    assert mirror["face-67"] == "face-65"
    assert mirror["left_pinky_finger4"] == "right_pinky_finger4"
    assert "face-8" not in mirror
    assert len(body.flip_pairs) == 8 + 3 + 29 + 21


@pytest.mark.parametrize("first", [0, 1])
def test_a_face_of_68_points_is_known_by_its_names_alone(first: int) -> None:
    face = known([f"face_{index + first}" for index in range(68)])
    assert face.flip_indices[48] == 54
    np.testing.assert_allclose(face.sigmas[[0, 47]], [0.042, 0.034])
    for others in ([f"kpt-{index}" for index in range(68)], [f"face_{index}" for index in range(98)]):
        unknown = KeypointSet.of(others)
        assert not unknown.can_mirror
        assert len(unknown.guessed_sigmas) == len(others)


@pytest.mark.parametrize("names", [HAND, MEDIAPIPE_HAND], ids=["COCO-WholeBody", "MediaPipe"])
def test_one_hand_is_mirrored_without_exchange(names: tuple[str, ...]) -> None:
    hand = known(names)
    assert hand.flip_pairs == ()
    np.testing.assert_allclose(hand.sigmas[:9], [0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035])
    assert not KeypointSet.of([f"left_{name}" for name in names]).can_mirror, "left hands alone: who knows"


def test_the_sigmas_of_crowdpose_ap10k_and_halpe() -> None:
    np.testing.assert_allclose(known(CROWDPOSE).sigmas[[0, 11, 12, 13]], [0.079, 0.089, 0.079, 0.079])
    np.testing.assert_allclose(known(HALPE).sigmas[[0, 17, 18, 19, 20, 25]], [0.026, 0.08, 0.08, 0.08, 0.089, 0.089])
    animal = known(AP10K)
    np.testing.assert_allclose(animal.sigmas[[0, 2, 4, 5, 8, 16]], [0.025, 0.026, 0.035, 0.079, 0.072, 0.089])
    np.testing.assert_allclose(known(AP10K_IN_WORDS).sigmas, animal.sigmas)
    shuffled = known(AP10K[::-1])
    np.testing.assert_allclose(shuffled.sigmas, animal.sigmas[::-1])


def test_the_hind_of_an_animal_is_its_lower_body() -> None:
    lower = {name for name, is_lower in zip(AP10K, KeypointSet.of(AP10K).is_lower_body, strict=True) if is_lower}
    assert lower == {"Root of tail", "L_Hip", "L_Knee", "L_B_Paw", "R_Hip", "R_Knee", "R_B_Paw"}
    others = KeypointSet.of(["Left Knee", "LHip", "left_F_Knee", "Left Hind Paw", "left_shoulder", "Neck"])
    assert others.is_lower_body.tolist() == [True, True, False, True, False, False]


def test_what_nobody_published_is_guessed_and_said() -> None:
    assert POSETRACK_KEYPOINT_SET.can_mirror
    assert POSETRACK_KEYPOINT_SET.guessed_sigmas == ("head_bottom", "head_top")
    [text] = sigma_warnings(POSETRACK_KEYPOINT_SET)
    assert "no OKS sigma is known of head_bottom, head_top: 0.05 is taken" in text
    assert POSETRACK_KEYPOINT_SET.sigmas[1] == DEFAULT_SIGMA


# Who may be mirrored ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("a b c", "no mirror pairs are known of a, b, c"),
        ("0 1 2 3 4 5 6 7 8", "no mirror p.* known of 0, 1, 2, 3, 4, 5 and 3 more"),
        ("nose", "no mirror pairs are known of nose"),
        ("left_eye right_eye left_ear", "no mirror partner is known of left_ear"),
        ("left_eye right_eye m0 m1 m2 m3 m4 m5", "no mirror partner is known of m0, m1"),
    ],
)
def test_nobody_is_mirrored_where_a_partner_is_not_known(names: str, said: str) -> None:
    keypoints = KeypointSet.of(names.split())
    assert not keypoints.can_mirror
    [text] = mirror_warnings(keypoints)
    assert "mirroring is off" in text
    assert "data.flip_pairs" in text
    assert re.search(said, text)


def test_the_configuration_names_pairs_in_place_of_the_names() -> None:
    keypoints = KeypointSet.of(["port", "starboard", "bow", "left_x"])
    assert not keypoints.can_mirror
    named = keypoints.stating([["port", "starboard"]], None)
    assert named.can_mirror
    assert named.flip_indices.tolist() == [1, 0, 2, 3]
    assert not list(mirror_warnings(named))
    free = keypoints.stating([], None)
    assert free.can_mirror
    assert free.flip_pairs == ()
    assert not list(mirror_warnings(free))


def test_a_pair_that_the_configuration_leaves_out_is_said() -> None:
    keypoints = COCO_KEYPOINT_SET.stating([["L_Eye", "R_Eye"]], None)
    assert keypoints.flip_pairs == ((1, 2),)
    [text] = mirror_warnings(keypoints)
    assert "leave out left_ear and right_ear" in text


@pytest.mark.parametrize(
    ("pairs", "sigmas", "said"),
    [
        ([["left_eye", "oeil"]], None, "data.flip_pairs: 'oeil' is no keypoint of the data; they are nose, left_eye"),
        ([["left_eye", "right_eye"], ["L_eye", "nose"]], None, "data.flip_pairs: 'left_eye' stands twice"),
        ([["nose", "nose"]], None, "data.flip_pairs: 'nose' stands twice"),
        (None, {"oeil": 0.1}, "data.sigmas: 'oeil' is no keypoint"),
        (None, {"nose": 0.0}, "data.sigmas: the sigma of 'nose' is 0.0; it must be a number from 1e-6 to 100"),
        (None, {"nose": float("nan")}, "data.sigmas: the sigma of 'nose' is nan"),
        (None, {"L_eye": 0.1, "left_eye": 0.1}, "data.sigmas: 'left_eye' and 'L_eye' are the same keypoint"),
        (None, (0.1,) * 16, "data.sigmas: 16 numbers for 17 keypoints"),
    ],
)
def test_a_configuration_that_does_not_fit_the_data_is_refused(
    tmp_path: Path, pairs: Any, sigmas: Any, said: str
) -> None:
    data = PoseData(DataConfig(folder=write_folder(tmp_path), flip_pairs=pairs, sigmas=sigmas))
    with pytest.raises(InputError) as caught:
        data.val  # noqa: B018
    assert str(caught.value).startswith(said)


# Where a sigma comes from -------------------------------------------------------------------------------------------


def test_a_sigma_is_the_configurations_then_the_files_then_the_published_one(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    of_file = [0.3] * 17
    edit(folder / "annotations/person_keypoints_val.json", lambda d: d["categories"][0].update(sigmas=of_file))
    data = PoseData(DataConfig(folder=folder, sigmas={"left_ear": 0.4}))
    assert data.val.sigmas.tolist() == [0.3] * 3 + [0.4] + [0.3] * 13
    assert data.train.sigmas.tolist() == [0.4 if i == 3 else sigma for i, sigma in enumerate(COCO_SIGMAS.tolist())]
    listed = PoseData(DataConfig(folder=folder, sigmas=tuple(np.linspace(0.1, 0.9, 17).tolist())))
    assert listed.val.sigmas.tolist() == np.linspace(0.1, 0.9, 17).tolist()


NAMES = ["left_eye", "right_eye", "nose"]


@pytest.mark.parametrize(
    ("category", "pairs"),
    [
        ({"flip_pairs": [["left_eye", "right_eye"]]}, ((0, 1),)),
        ({"flip_pairs": [["right_eye", "left_eye"]]}, ((0, 1),)),
        ({"flip_pairs": [[0, 1]]}, ((0, 1),)),
        ({"flip_pairs": [[1, 2]]}, ((0, 1),)),  # from 1: by the names
        ({"swap": ["right_eye", "left_eye", ""]}, ((0, 1),)),
        ({"swap": {"left_eye": "right_eye", "right_eye": "left_eye"}}, ((0, 1),)),
        ({"swap": [["left_eye", "nose"]]}, ((0, 2),)),
        ({"flip_idx": [1, 0, 2]}, ((0, 1),)),
        ({"keypoint_info": {"0": {"name": "left_eye", "swap": "right_eye"},
                            "1": {"name": "right_eye", "swap": "left_eye"}}}, ((0, 1),)),
        ({"keypoint_info": [{"name": "nose", "id": 2}]}, None),  # says nothing of mirrors
        ({"swap": ["", "", None]}, None),  # nothing changes places? the names say otherwise
        ({"sigmas": []}, None),
    ],
)  # fmt: skip
def test_a_category_states_pairs_in_many_forms(category: dict[str, Any], pairs: Any) -> None:
    assert category_keypoints({"keypoints": NAMES, **category}, "f.json").stated_pairs == pairs


def test_a_category_may_state_that_nothing_changes_places() -> None:
    keypoints = category_keypoints({"keypoints": ["a", "b"], "swap": ["", ""]}, "f.json")
    assert keypoints.can_mirror
    assert keypoints.flip_pairs == ()


@pytest.mark.parametrize(
    ("category", "said"),
    [
        ({"flip_pairs": [["left_eye", "oeil"]]}, '"flip_pairs": \'oeil\' is no keypoint; they are left_eye, right_eye'),
        ({"flip_pairs": [["left_eye", "right_eye"], ["left_eye", "nose"]]}, '"flip_pairs": \'left_eye\' stands twice'),
        ({"flip_pairs": "eyes"}, '"flip_pairs": must be a list of pairs'),
        ({"flip_pairs": [[0, 3]]}, '"flip_pairs": 3 is no keypoint'),
        ({"swap": ["right_eye", "nose", "left_eye"]}, "'left_eye' becomes 'right_eye', but 'right_eye' becomes 'nose'"),
        ({"swap": ["right_eye", "", ""]}, "'left_eye' becomes 'right_eye', but 'right_eye' becomes nothing"),
        ({"swap": ["right_eye"]}, '"swap": must be a list of 3 names'),
        ({"keypoint_info": 3}, '"keypoint_info": must hold an object with a name for each keypoint'),
        ({"sigmas": [0.1, 0.2]}, '"sigmas" must be a list of 3 numbers, one a keypoint, got 2'),
        ({"sigmas": {"nose": 0.1}}, '"sigmas" must be a list of 3 numbers, one a keypoint, got dict'),
        ({"sigmas": [0.1, 0.2, True]}, "that of 'nose' is True; it must be a number from 1e-6 to 100"),
        ({"sigmas": [0.1, -1, 1]}, "that of 'right_eye' is -1; it must be a number from"),
        ({"sigmas": [10**400, 1, 1]}, "that of 'left_eye' is a number of more than 64 bits"),
        ({"sigmas": [float("nan"), 1, 1]}, "that of 'left_eye' is nan; it must be a number from"),
    ],
)
def test_a_category_that_contradicts_itself_is_refused(category: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        category_keypoints({"keypoints": NAMES, **category}, "f.json: category 'person'")
    assert str(caught.value).startswith("f.json: category 'person': ")
    assert said in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 5) | st.integers() | st.floats() | st.sampled_from(NAMES) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*NAMES, "name", "swap"]), inner),
    max_leaves=8,
)


@given(key=st.sampled_from(["flip_pairs", "swap", "flip_idx", "keypoint_info", "sigmas"]), value=JSON)
def test_whatever_a_category_states_is_read_or_refused_in_one_line(key: str, value: Any) -> None:
    refused, keypoints = "", KeypointSet.of(NAMES)
    try:
        keypoints = category_keypoints({"keypoints": NAMES, key: value}, "f.json")
    except InputError as error:
        refused = str(error)
    assert not refused or refused.startswith("f.json: ")
    assert len(refused.splitlines()) <= 1
    assert sorted(keypoints.flip_indices[keypoints.flip_indices].tolist()) == [0, 1, 2]
    assert np.isfinite(keypoints.sigmas).all()


def test_indices_that_may_count_from_0_or_from_1_are_refused() -> None:
    with pytest.raises(InputError, match="may count from 0 or from 1; write names"):
        category_keypoints({"keypoints": ["a", "b", "c", "d"], "flip_pairs": [[1, 2]]}, "f.json")


# What the user hears ------------------------------------------------------------------------------------------------


def test_data_check_warns_of_mirrors_and_of_sigmas(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    assert check_coco(folder) == []
    path = folder / "annotations/person_keypoints_val.json"
    edit(path, lambda d: d["categories"][0].update(keypoints=[str(number) for number in range(17)]))
    problems = check_coco(folder)
    assert [problem.severity for problem in problems] == ["warning", "warning"]
    assert all(problem.where == f"{path}: category 'person'" for problem in problems)
    assert "no mirror partner is known of 0, 1, 2, 3, 4, 5 and 11 more" in problems[0].message
    assert "no OKS sigma is known of 0, 1" in problems[1].message
    edit(path, lambda d: d["categories"][0].update(sigmas=[0.1] * 17, flip_pairs=[["1", "2"]]))
    assert check_coco(folder) == []
    edit(path, lambda d: d["categories"][0].update(sigmas=[0.1] * 16))
    [problem] = check_coco(folder)
    assert problem.severity == "error"


def test_a_stage_is_told_once_of_what_concerns_it(caplog: pytest.LogCaptureFixture) -> None:
    keypoints, teller = KeypointSet.of(["a", "b"]), Teller()
    with caplog.at_level(logging.WARNING):
        teller.tell(keypoints, "x.json", mirrors=False, evaluates=False)
        assert not caplog.messages
        teller.tell(keypoints, "x.json", mirrors=True, evaluates=False)
        teller.tell(keypoints, "y.json", mirrors=True, evaluates=True)
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("x.json: mirroring is off")
    assert caplog.messages[1].startswith("y.json: no OKS sigma is known of a, b")
