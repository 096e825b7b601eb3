"""The One-Euro filter: a low-pass whose cut-off rises with the speed.

Casiez, Roussel and Vogel, "1€ filter: a simple speed-based low-pass filter for noisy input in interactive systems",
CHI 2012. Still joints stop trembling, quick ones are hardly delayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["OneEuroFilter"]

Floats = NDArray[np.float64]
FORGOTTEN_S = 10.0
"""A track that is not seen for so long is forgotten: a camera that runs for days sees many people."""


@dataclass(slots=True)
class _State:
    time_s: float
    places: Floats  # (K, 2) px
    speeds: Floats  # (K, 2) person sizes a second


class OneEuroFilter:
    """Smooths the keypoints of every track on its own.

    Speeds are measured in person sizes a second, so that the same settings serve people near and far.

    Args:
        min_cutoff_hz: of a keypoint that does not move; lower is calmer.
        speed_gain: by which the cut-off rises, in Hz for each person size a second; higher follows more closely.
        speed_cutoff_hz: of the speed itself.
    """

    def __init__(self, min_cutoff_hz: float = 1.5, speed_gain: float = 10.0, speed_cutoff_hz: float = 1.0) -> None:
        self.min_cutoff_hz, self.speed_gain, self.speed_cutoff_hz = min_cutoff_hz, speed_gain, speed_cutoff_hz
        self._states: dict[int, _State] = {}

    def __call__(self, track_id: int, places_px: Floats, size_px: float, time_s: float) -> Floats:
        """The smoothed places (K, 2) of one person of size ``size_px`` at that time."""
        self._forget(time_s)
        state = self._states.pop(track_id, None)
        if state is None or time_s <= state.time_s:
            self._states[track_id] = _State(time_s, places_px.copy(), np.zeros_like(places_px))
            return places_px
        seconds = time_s - state.time_s
        speeds = (places_px - state.places) / seconds / max(size_px, 1.0)
        state.speeds += _weight(self.speed_cutoff_hz, seconds) * (speeds - state.speeds)
        speed = np.linalg.norm(state.speeds, axis=-1, keepdims=True)
        weight = _weight(self.min_cutoff_hz + self.speed_gain * speed, seconds)
        state.places = state.places + weight * (places_px - state.places)
        state.time_s = time_s
        self._states[track_id] = state
        return state.places.copy()

    def _forget(self, now_s: float) -> None:
        """The states are in the order in which they were last seen."""
        while self._states:
            track_id, state = next(iter(self._states.items()))
            if 0 <= now_s - state.time_s <= FORGOTTEN_S:  # a time to come is of before the clock was set back
                return
            del self._states[track_id]


def _weight(cutoff_hz: float | Floats, seconds: float) -> float | Floats:
    """What a new value counts in a first-order low-pass."""
    step = 2 * np.pi * cutoff_hz * seconds
    return step / (step + 1)
