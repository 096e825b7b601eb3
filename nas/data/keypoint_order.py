"""Whether two lists of keypoint names mean the same keypoints, and in which order.

Names are compared without their convention (``L_Eye`` is ``left_eye``). Keypoints that are numbered have no names to
compare: only their places are known.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluators import POSETRACK_KEYPOINTS
from nas.data.keypoint_names import are_numbered, plain_names
from nas.data.keypoint_sets import COCO_KEYPOINT_NAMES
from search_spaces.errors import InputError

__all__ = ["OtherKeypointsError", "are_coco_and_posetrack", "keypoint_order", "require_same_order"]

Order = tuple[int, ...]


class OtherKeypointsError(InputError):
    """Two lists are not of the same keypoints; ``wanted`` and ``found`` are the first that differ, None where there are
    more of one than of the other."""

    def __init__(self, message: str, wanted: str | None = None, found: str | None = None) -> None:
        super().__init__(message)
        self.wanted, self.found = wanted, found


def keypoint_order(found: Sequence[str], wanted: Sequence[str], what: str) -> Order | None:
    """Where each of the wanted keypoints lies among those that are found; None where all lie in their places.

    Args:
        found: K names; empty where they are not known, and their places have to do.
        what: begins the message, such as "best.safetensors: the network's keypoints are not the data's".

    Raises:
        OtherKeypointsError: a wanted keypoint is not there, or there are more or fewer.
    """
    if not found or tuple(found) == tuple(wanted):
        return None
    if len(found) != len(wanted):
        raise OtherKeypointsError(f"{what}: {len(found)}, not {len(wanted)}")
    theirs, ours = plain_names(found), plain_names(wanted)
    if theirs == ours:
        return None
    place = {name: index for index, name in enumerate(theirs)}
    if all(name in place for name in ours):
        return tuple(place[name] for name in ours)
    if are_numbered(found) or are_numbered(wanted):
        return None
    missing = next(index for index, name in enumerate(ours) if name not in place)
    raise OtherKeypointsError(
        f"{what}: number {missing + 1} is {found[missing]!r}, not {wanted[missing]!r}, which is missing",
        wanted[missing],
        found[missing],
    )


def are_coco_and_posetrack(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether one list is COCO's 17 keypoints and the other PoseTrack18's, in whichever order: they share 15."""
    both = {frozenset(plain_names(one)) for one in (COCO_KEYPOINT_NAMES, POSETRACK_KEYPOINTS)}
    return {frozenset(plain_names(names)), frozenset(plain_names(others))} == both


def require_same_order(found: Sequence[str], wanted: Sequence[str], what: str) -> None:
    """As :func:`keypoint_order`, where another order cannot be mended.

    Raises:
        OtherKeypointsError: the keypoints differ, or lie in another order.
    """
    order = keypoint_order(found, wanted, what)
    if order is None:
        return
    first = next(index for index, place in enumerate(order) if index != place)
    raise OtherKeypointsError(
        f"{what}: number {first + 1} is {found[first]!r}, not {wanted[first]!r}; write both in one order",
        wanted[first],
        found[first],
    )
