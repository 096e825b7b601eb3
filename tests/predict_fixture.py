"""A world in which the right answer is known: a red, a green and a blue dot make a person, and a network finds them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["dots_px", "draw_person", "frame_of", "write_detections", "write_detector", "write_network", "write_video"]

SIZE = (96, 72)
"""The network's input: height, width."""
FRAME = (120, 240)
DOTS = ((0, -25), (-8, 0), (8, 25))
"""Red, green and blue, from the person's middle."""
BOX = (36, 70)
"""Width and height of the person's box."""


LEVEL = 1.8
"""By which the heatmaps are raised: darkness is then just below 0, and half a dot above it."""


def dots_px(middle: tuple[float, float]) -> NDArray[np.float64]:
    return np.array(DOTS, dtype=np.float64) + middle


def box_of(middle: tuple[float, float]) -> list[float]:
    return [middle[0] - BOX[0] / 2, middle[1] - BOX[1] / 2, *BOX]


def draw_person(frame_bgr: NDArray[np.uint8], middle: tuple[float, float]) -> None:
    for channel, (x, y) in zip((2, 1, 0), dots_px(middle), strict=True):
        color = [0, 0, 0]
        color[channel] = 255
        cv2.circle(frame_bgr, (round(x), round(y)), 4, color, -1)


def frame_of(*middles: tuple[float, float], size: tuple[int, int] = FRAME) -> NDArray[np.uint8]:
    frame = np.zeros((*size, 3), dtype=np.uint8)
    for middle in middles:
        draw_person(frame, middle)
    return frame


def write_network(path: Path, metadata: dict[str, str] | None = None, outputs: int = 1) -> Path:
    """Heatmap k of the network is channel k of the image, brought to a quarter of its size."""
    shape = ["N", 3, *SIZE]
    quarter = ["N", 3, SIZE[0] // 4, SIZE[1] // 4]
    names = ["heatmaps", "more"][:outputs]
    level = numpy_helper.from_array(np.array(LEVEL, np.float32))
    nodes = [helper.make_node("Constant", [], ["level"], value=level)]
    for name in names:
        # Windows of 5 pixels around every fourth: the convention of the codec, whose heatmap pixel k is at 4 k.
        window = {"kernel_shape": [5, 5], "strides": [4, 4], "pads": [2, 2, 2, 2]}
        nodes.append(helper.make_node("AveragePool", ["images"], [f"{name} 0"], **window))
        nodes.append(helper.make_node("Add", [f"{name} 0", "level"], [name]))
    graph = helper.make_graph(
        nodes,
        "dots",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, quarter) for name in names],
    )
    model = _model(graph)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def write_detector(path: Path, **outputs: NDArray) -> Path:
    """A detector with an input of 64 × 64 that always gives these outputs."""
    constants = {name: numpy_helper.from_array(value) for name, value in outputs.items()}
    nodes = [helper.make_node("Constant", [], [name], value=value) for name, value in constants.items()]
    kinds = {"f": TensorProto.FLOAT, "i": TensorProto.INT64}
    infos = [helper.make_tensor_value_info(name, kinds[v.dtype.kind], v.shape) for name, v in outputs.items()]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
    path.write_bytes(_model(helper.make_graph(nodes, "detector", [images], infos)).SerializeToString())
    return path


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_video(path: Path, frames: list[NDArray[np.uint8]], fps: float = 10.0) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def write_detections(path: Path, middles: list[list[tuple[float, float]]]) -> Path:
    """COCO detections by frame number."""
    entries = [
        {"image_id": index, "category_id": 1, "bbox": box_of(middle), "score": 0.9}
        for index, people in enumerate(middles)
        for middle in people
    ]
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path
