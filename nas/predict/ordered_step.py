"""A network whose heatmaps are wanted in another order than it gives them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.data.keypoint_order import OtherKeypointsError, are_coco_and_posetrack, keypoint_order
from nas.data.keypoint_sets import KeypointSet
from nas.predict.pose_step import PoseStep
from search_spaces.parts import HeadOutput

if TYPE_CHECKING:
    from nas.predict.model import PoseModel

__all__ = ["OrderedStep", "fit_to_boxes", "in_order_of"]

Floats32 = NDArray[np.float32]

_log = logging.getLogger(__name__)


class OrderedStep:
    """A :class:`PoseStep` with its K heatmaps in another order.

    Args:
        step: gives the heatmaps.
        order: which of them comes first, second, …
    """

    def __init__(self, step: PoseStep, order: Sequence[int]) -> None:
        self._step, self._order = step, np.array(order)
        self._inverse = np.argsort(self._order)
        self.input_size, self.heatmap_size = step.input_size, step.heatmap_size
        self.keypoints, self.length, self.channels_last = step.keypoints, step.length, step.channels_last

    @property
    def output(self) -> HeadOutput:
        """As the step's."""
        return self._step.output

    def step(
        self,
        crops: Floats32,
        previous_heatmaps: Floats32 | None = None,
        position: int = 0,
        previous_from_current: NDArray[np.float64] | None = None,
    ) -> Floats32:
        if previous_heatmaps is not None:
            previous_heatmaps = np.ascontiguousarray(previous_heatmaps[:, self._inverse])
        heatmaps = self._step.step(crops, previous_heatmaps, position, previous_from_current)
        return np.ascontiguousarray(heatmaps[:, self._order])


def in_order_of(step: PoseStep, found: Sequence[str], wanted: Sequence[str], what: str) -> PoseStep:
    """The step with the heatmaps of its keypoints ``found`` in the order of the ``wanted`` ones, which is said.

    Args:
        found: empty where they are not known.
        what: the two lists, for the messages: "net.onnx: the network's keypoints are not those of --keypoints".

    Raises:
        OtherKeypointsError: they are other keypoints.
    """
    order = keypoint_order(found, wanted, what)
    if order is None:
        return step
    _log.warning("%s, in their order; taken by their names", what)
    return OrderedStep(step, order)


def fit_to_boxes(model: PoseModel, names: Sequence[str], where: str) -> PoseModel:
    """The model with its keypoints in the order of those that the file of boxes names: the results are of its people.

    Other keypoints than the network's are only said: the boxes are as good. COCO's and PoseTrack18's are not even that,
    since the results are written in both.

    Args:
        names: of the file, which may have none.
        where: the file, for messages.
    """
    if not names:
        return model
    try:
        what = f"{model.file}: the network's keypoints are not those of {where}"
        step = in_order_of(model.step, model.keypoint_set.names, names, what)
    except OtherKeypointsError as error:
        if not are_coco_and_posetrack(names, model.keypoint_set.names):
            _log.warning("%s; the results hold the network's", error)
        return model
    return model if step is model.step else replace(model, step=step, keypoint_set=KeypointSet.of(names))
