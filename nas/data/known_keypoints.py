"""Published sets of keypoints: their OKS sigmas, and mirror pairs where the names do not say them.

A sigma is the standard deviation of human labels, in units of the square root of the object's area. Keypoints are known
by their names, in any convention (:mod:`nas.data.keypoint_names`) and any order. Sources of the figures:

- COCO's 17: cocoapi, ``cocoeval.py``.
- COCO-WholeBody's feet, face and hands: its ``evaluation/myeval_wholebody.py``; MMPose has the same. Each group is
  known within any set that has all of it.
- CrowdPose's 14: its ``crowdposetools/cocoeval.py``; MMPose has the same.
- Halpe's 26 and 136: its ``halpecocotools/cocoeval.py``. (MMPose has others for 9 of the 26.)
- AP-10K's 17 and Animal-Pose's 20: MMPose, by which results on them are published. Their authors gave none, and the
  figures are COCO's in the order of the list, so that some differ between left and right.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["COCO_TENFOLD_SIGMAS", "known_pairs", "known_sigmas", "mirrors_freely"]

COCO_TENFOLD_SIGMAS = {
    "nose": 0.26,
    "eye": 0.25,
    "ear": 0.35,
    "shoulder": 0.79,
    "elbow": 0.72,
    "wrist": 0.62,
    "hip": 1.07,
    "knee": 0.87,
    "ankle": 0.89,
}
"""In tenths, as COCO's own code has them, so that the quotients are equal to the last bit."""

_FEET = {
    "left bigtoe": 0.068,
    "left smalltoe": 0.066,
    "left heel": 0.066,
    "right bigtoe": 0.092,
    "right smalltoe": 0.094,
    "right heel": 0.094,
}
_FACE = (
    *(0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037, 0.038, 0.043, 0.041),
    *(0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009, 0.007, 0.007, 0.007, 0.012),
    *(0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034),
    *(0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008),
    *(0.008, 0.008, 0.010, 0.008),
)
"""Of ``face-0`` to ``face-67``: the 68 points of iBUG's 300-W."""
_FACE_MIRRORED = (
    *((index, 16 - index) for index in range(8)),  # jaw
    *((17 + index, 26 - index) for index in range(5)),  # brows
    *((31, 35), (32, 34)),  # nose
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),  # eyes
    *((48, 54), (49, 53), (50, 52), (59, 55), (58, 56)),  # outer lips
    *((60, 64), (61, 63), (67, 65)),  # inner lips
)
_HAND_ROOT = 0.029
_FINGERS = {
    "thumb": (0.022, 0.035, 0.037, 0.047),
    "forefinger": (0.026, 0.025, 0.024, 0.035),
    "middlefinger": (0.018, 0.024, 0.022, 0.026),
    "ringfinger": (0.017, 0.021, 0.021, 0.032),
    "pinkyfinger": (0.020, 0.019, 0.022, 0.031),
}
_FINGER_NAMES = {
    "thumb": ("thumb",),
    "forefinger": ("forefinger", "index", "indexfinger"),
    "middlefinger": ("middlefinger", "middle"),
    "ringfinger": ("ringfinger", "ring"),
    "pinkyfinger": ("pinkyfinger", "pinky", "littlefinger", "little"),
}
_HAND_ROOTS = ("handroot", "wrist")
_LIMBS = {
    f"{side} {part}": COCO_TENFOLD_SIGMAS[part] / 10
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
}
_BODY = {"nose": 0.026, **{f"{side} {part}": COCO_TENFOLD_SIGMAS[part] / 10 for part in ("eye", "ear")
                           for side in ("left", "right")}, **_LIMBS}  # fmt: skip
_CROWDPOSE = {**_LIMBS, "head": 0.079, "neck": 0.079}
_HALPE_26 = {**_BODY, **dict.fromkeys(("head", "neck", "hip"), 0.08), **dict.fromkeys(_FEET, 0.089)}
_HALPE_OTHERS = 0.015
_AP10K = dict(
    zip(
        (
            *("left eye", "right eye", "nose", "neck", "tailbase", "left shoulder", "left elbow", "left frontpaw"),
            *("right shoulder", "right elbow", "right frontpaw", "left hip", "left knee", "left backpaw"),
            *("right hip", "right knee", "right backpaw"),
        ),
        (
            *(0.025, 0.025, 0.026, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087),
            *(0.087, 0.089, 0.089),
        ),
        strict=True,
    )
)
_ANIMAL_POSE = dict(
    zip(
        (
            *("left eye", "right eye", "left earbase", "right earbase", "nose", "throat", "tailbase", "withers"),
            *("left frontelbow", "right frontelbow", "left backelbow", "right backelbow", "left frontknee"),
            *("right frontknee", "left backknee", "right backknee", "left frontpaw", "right frontpaw"),
            *("left backpaw", "right backpaw"),
        ),
        (
            *(0.025, 0.025, 0.026, 0.035, 0.035, 0.1, 0.1, 0.1, 0.107, 0.107, 0.107, 0.107, 0.087, 0.087),
            *(0.087, 0.087, 0.089, 0.089, 0.089, 0.089),
        ),
        strict=True,
    )
)
_SYNONYMS = {
    "rootoftail": "tailbase", "tailroot": "tailbase", "tophead": "head", "headtop": "head", "littletoe": "smalltoe",
    "fpaw": "frontpaw", "forepaw": "frontpaw", "fknee": "frontknee", "felbow": "frontelbow",
    "bpaw": "backpaw", "hindpaw": "backpaw", "bknee": "backknee", "belbow": "backelbow",
}


def known_sigmas(plain: Sequence[str]) -> dict[int, float]:
    """The published sigma of each keypoint that is of a known set, by its place.

    Args:
        plain: the plain names of a whole set (``NamedSides.plain``).
    """
    places = _places(plain)
    for whole in (_CROWDPOSE, _HALPE_26, _AP10K, _ANIMAL_POSE):
        if places.keys() == whole.keys() and len(places) == len(plain):
            return {place: whole[name] for name, place in places.items()}
    found: dict[int, float] = {}
    face, hands = _face_places(places), {side: _hand_places(places, side) for side in ("", "left ", "right ")}
    found |= {place: _FACE[number] for number, place in enumerate(face)}
    for sigma_of_place in hands.values():
        found |= sigma_of_place
    if _FEET.keys() <= places.keys():
        found |= {places[name]: sigma for name, sigma in _FEET.items()}
    is_halpe = len(plain) == 136 and len(found) == 116 and _HALPE_26.keys() <= places.keys()
    if is_halpe:
        found = {**dict.fromkeys(found, _HALPE_OTHERS), **{places[name]: sigma for name, sigma in _HALPE_26.items()}}
    return found


def known_pairs(plain: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Places of the mirror pairs that a known set has and its names do not say: those of a face of 68 points."""
    face = _face_places(_places(plain))
    return tuple((face[a], face[b]) for a, b in _FACE_MIRRORED) if face else ()


def mirrors_freely(plain: Sequence[str]) -> bool:
    """Whether the set is one hand, whichever: in a mirror it is the other one, with the same keypoints."""
    return len(plain) == 21 and len(_hand_places(_places(plain), "")) == 21


def _places(plain: Sequence[str]) -> dict[str, int]:
    """By name, in the words of the tables above."""
    found: dict[str, int] = {}
    for place, name in enumerate(plain):
        side, _, rest = name.rpartition(" ")
        known = _SYNONYMS.get(rest, rest)
        found.setdefault(f"{side} {known}".strip(), place)
    return found


def _face_places(places: Mapping[str, int]) -> list[int]:
    """Of the 68 points of a face, counted from 0 or from 1; empty where not all are there."""
    first = 0 if "face0" in places else 1
    names = [f"face{number + first}" for number in range(len(_FACE))]
    is_whole = all(name in places for name in names) and f"face{len(_FACE) + first}" not in places
    return [places[name] for name in names] if is_whole else []


def _hand_places(places: Mapping[str, int], side: str) -> dict[int, float]:
    """Sigmas of the fingers of one hand, and of its root where that is no wrist of a body, by place; none without all
    of the fingers."""
    found = {}
    for name, sigma in _finger_sigmas().items():
        if f"{side}{name}" in places:
            found[places[f"{side}{name}"]] = sigma
    if len(found) != 4 * len(_FINGERS):
        return {}
    root = next((f"{side}{name}" for name in _HAND_ROOTS if f"{side}{name}" in places), None)
    if root is not None and not (root.endswith("wrist") and f"{side}elbow" in places):
        found[places[root]] = _HAND_ROOT
    return found


@functools.cache
def _finger_sigmas() -> dict[str, float]:
    return dict(_named_fingers())


def _named_fingers() -> Iterator[tuple[str, float]]:
    """Every name of a finger's joint: counted from the palm, or as MediaPipe calls them."""
    for finger, sigmas in _FINGERS.items():
        joints = ("cmc", "mcp", "ip", "tip") if finger == "thumb" else ("mcp", "pip", "dip", "tip")
        for name in _FINGER_NAMES[finger]:
            for number, (joint, sigma) in enumerate(zip(joints, sigmas, strict=True), 1):
                yield f"{name}{number}", sigma
                yield f"{name}{joint}", sigma
