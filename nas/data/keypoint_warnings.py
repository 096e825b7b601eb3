"""What a user must be told of the keypoints of their data before numbers come of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from nas.data.keypoint_sets import DEFAULT_SIGMA, KeypointSet

__all__ = ["Teller", "mirror_warnings", "sigma_warnings"]

SHOWN = 6

_log = logging.getLogger(__name__)


def mirror_warnings(keypoints: KeypointSet) -> Iterator[str]:
    """Why nobody is mirrored, or what is left as it is in a mirror though its name says otherwise."""
    how = "data.flip_pairs names them: [[left name, right name], …], or [] where nothing changes places in a mirror"
    if not keypoints.can_mirror and keypoints.unpaired:
        which = _listing(keypoints.unpaired)
        yield f"mirroring is off, in training and in the flip test: no mirror partner is known of {which}; {how}"
    elif not keypoints.can_mirror:
        which = _listing(keypoints.names)
        yield f"mirroring is off, in training and in the flip test: no mirror pairs are known of {which}; {how}"
    if keypoints.pairs_left_out:
        which = _listing([f"{left} and {right}" for left, right in keypoints.pairs_left_out])
        yield f"the mirror pairs that are given leave out {which}: these do not change places in a mirrored image"


def sigma_warnings(keypoints: KeypointSet) -> Iterator[str]:
    """Whose tolerance is a guess."""
    if keypoints.guessed_sigmas:
        which = _listing(keypoints.guessed_sigmas)
        yield (
            f"no OKS sigma is known of {which}: {DEFAULT_SIGMA:g} is taken, by which AP goes up or down; "
            "data.sigmas gives it: {name: sigma}, or the data file: a list \"sigmas\" in the category"
        )


class Teller:
    """Warns once, however often a stage comes past."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, keypoints: KeypointSet, where: str, *, mirrors: bool, evaluates: bool) -> None:
        """Warn of what concerns this stage.

        Args:
            where: the data, for the message.
            mirrors: whether people are to be mirrored.
            evaluates: whether AP is measured.
        """
        warnings = [*(mirror_warnings(keypoints) if mirrors else ()), *(sigma_warnings(keypoints) if evaluates else ())]
        for warning in warnings:
            if warning not in self._told:
                self._told.add(warning)
                _log.warning("%s: %s", where, warning)


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
