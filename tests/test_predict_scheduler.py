"""Key frames and propagated frames: who goes on from what, and which people share a run of the network."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.data.geometry import apply_affine
from nas.predict.scheduler import StepScheduler


class MemoryStep:
    """A video network that notes its calls; a heatmap is a person's crop value plus a hundredth of the one before."""

    input_size, heatmap_size, keypoints, channels_last = (8, 8), (2, 2), 1, False

    def __init__(self, length: int) -> None:
        self.length = length
        self.calls: list[tuple[int, list[int]]] = []
        self.maps: list[NDArray[np.float64] | None] = []

    def step(
        self,
        crops: NDArray[np.float32],
        previous_heatmaps: NDArray[np.float32] | None = None,
        position: int = 0,
        previous_from_current: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float32]:
        assert (previous_heatmaps is None) == (position == 0)
        self.calls.append((position, crops[:, 0, 0, 0].astype(int).tolist()))
        self.maps.append(previous_from_current)
        heatmaps = np.broadcast_to(crops[:, :1, :1, :1], (len(crops), 1, 2, 2)).copy()
        return heatmaps if previous_heatmaps is None else heatmaps + previous_heatmaps / 100


def run(scheduler: StepScheduler, people: list[int], previous: list[int], shift: float = 0.0) -> NDArray[np.float32]:
    crops = np.zeros((len(people), 3, 8, 8), dtype=np.float32)
    crops += np.array(people, dtype=np.float32)[:, None, None, None]
    matrix = np.array([[2.0, 0, shift], [0, 2.0, 0]])
    return scheduler.step(crops, np.repeat(matrix[None], len(people), axis=0), previous)


def test_an_image_network_has_a_key_frame_every_time() -> None:
    model = MemoryStep(0)
    scheduler = StepScheduler(model)
    for previous in (-1, 0, 0):
        run(scheduler, [5], [previous])
    assert model.calls == [(0, [5])] * 3


def test_a_key_frame_comes_every_t_plus_one_frames() -> None:
    model = MemoryStep(2)
    scheduler = StepScheduler(model)
    for index in range(7):
        run(scheduler, [1], [-1 if index == 0 else 0])
    assert [position for position, _ in model.calls] == [0, 1, 2, 0, 1, 2, 0]


def test_everyone_has_a_position_of_their_own_and_equals_go_together() -> None:
    model = MemoryStep(3)
    scheduler = StepScheduler(model)
    run(scheduler, [10, 20], [-1, -1])
    found = run(scheduler, [20, 30, 10], [1, -1, 0])  # 30 is new, the others have changed places
    assert model.calls == [(0, [10, 20]), (0, [30]), (1, [20, 10])]
    # Everybody got the heatmap of their own past, in their own row.
    assert found[:, 0, 0, 0] == pytest.approx([20.2, 30.0, 10.1])
    run(scheduler, [30, 10], [1, 2])
    assert model.calls[3:] == [(1, [30]), (2, [10])]


def test_who_is_lost_starts_with_a_key_frame() -> None:
    model = MemoryStep(3)
    scheduler = StepScheduler(model)
    run(scheduler, [1, 2], [-1, -1])
    scheduler.forget([1])
    run(scheduler, [1, 2], [0, 1])
    assert model.calls[1:] == [(0, [2]), (1, [1])]


def test_the_map_goes_from_this_crop_to_the_one_before() -> None:
    model = MemoryStep(1)
    scheduler = StepScheduler(model)
    run(scheduler, [1], [-1], shift=0.0)
    run(scheduler, [1], [0], shift=6.0)  # everything lies 6 input pixels further right than before
    assert model.maps[1] is not None
    assert apply_affine(model.maps[1], np.array([[[6.0, 4.0]]]))[0, 0] == pytest.approx([0.0, 4.0])


def test_a_frame_without_people() -> None:
    model = MemoryStep(1)
    scheduler = StepScheduler(model)
    assert run(scheduler, [], []).shape == (0, 1, 2, 2)
    run(scheduler, [1], [-1])
    assert run(scheduler, [], []).shape == (0, 1, 2, 2)
    assert model.calls == [(0, [1])]
