"""Which keypoints of a body are joined to be looked at: a skeleton, by the names of the keypoints."""

from __future__ import annotations

from collections.abc import Sequence

from nas.data.keypoint_names import plain_names

__all__ = ["skeleton_of"]

# From the head down; where a set has a neck or a pelvis, limbs hang there, too.
BONES = (
    *(("ankle", "knee"), ("knee", "hip"), ("hip", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist")),
    *(
        ("ear", "eye"),
        ("ear", "shoulder"),
        ("heel", "ankle"),
        ("big_toe", "ankle"),
        ("small_toe", "ankle"),
        ("foot", "ankle"),
    ),
)
MIDDLE_BONES = (
    *(("left_hip", "right_hip"), ("left_shoulder", "right_shoulder"), ("left_eye", "right_eye")),
    *(("nose", "left_eye"), ("nose", "right_eye"), ("nose", "head_bottom"), ("head_bottom", "head_top")),
    *(("head_bottom", "left_shoulder"), ("head_bottom", "right_shoulder"), ("neck", "left_shoulder")),
    *(("neck", "right_shoulder"), ("neck", "head"), ("neck", "head_top"), ("neck", "nose"), ("thorax", "pelvis")),
    *(("thorax", "neck"), ("thorax", "left_shoulder"), ("thorax", "right_shoulder"), ("upper_neck", "head_top")),
    *(("upper_neck", "thorax"), ("pelvis", "left_hip"), ("pelvis", "right_hip")),
)


def skeleton_of(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of keypoint indices to join, for the names that COCO, PoseTrack18, MPII and their like have, in any
    convention.

    Names that say nothing of a body give no bones.
    """
    index = {name.replace(" ", ""): place for place, name in enumerate(plain_names(names))}
    sided = [(f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in BONES]
    joined = [(a.replace("_", ""), b.replace("_", "")) for a, b in (*sided, *MIDDLE_BONES)]
    return tuple((index[a], index[b]) for a, b in joined if a in index and b in index)
