"""A user's own person detector, an ONNX file with one of the common layouts of outputs.

Three layouts are known by the shapes that the model gives for an empty picture:

- ``rows``: one output of rows x1, y1, x2, y2, score and perhaps class, (n, 5 or 6) or (1, n, 5 or 6). Beside it,
  (1, n) or (n,) labels may stand in an output of their own (RTMDet and other models of MMDetection);
- ``boxes, labels, scores``: (n, 4), (n,) and (n,) (torchvision);
- ``yolo``: one output (1, 4 + classes, anchors) of x, y (middle), width, height and a score a class (YOLOv8 and
  later). The doubles in it are left out here; the other two layouts come without doubles.

Boxes are in pixels of the model's input. The frame is shrunk to fit it, at its top left, the rest is grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.deploy.network_file import open_session
from search_spaces.errors import InputError

__all__ = ["DETECTOR_COLORS", "DetectorColors", "OnnxPersonDetector"]

Floats = NDArray[np.float64]
Layout = Literal["rows", "rows, labels", "boxes, labels, scores", "yolo"]
DetectorColors = Literal["rgb", "bgr", "rgb-normalized", "bgr-normalized"]
DETECTOR_COLORS: tuple[DetectorColors, ...] = ("rgb", "bgr", "rgb-normalized", "bgr-normalized")
"""``rgb`` and ``bgr`` are values from 0 to 1; the others less ImageNet's mean, by its standard deviation."""

FREE_SIZE = 640
"""Longer side of the picture for a model that takes any size."""
GREY = 114
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
NMS_IOU = 0.65
MOST_BOXES = 300
CONTRACT = "known are rows x1 y1 x2 y2 score [class], dets + labels, boxes + labels + scores, and YOLOv8's"


@dataclass(frozen=True)
class _Geometry:
    height: int
    width: int
    scale: float  # frame pixels to input pixels


class OnnxPersonDetector:
    """Finds the boxes of people in frames.

    Args:
        path: the ONNX file.
        min_score: weaker boxes are left out.
        person_class: None takes 1 for torchvision's layout, whose class 0 is the background, and 0 for the others.
        colors: None takes ``bgr-normalized`` for models with dets and labels (MMDetection's) and ``rgb`` for others.

    Raises:
        InputError: no such file, not an ONNX model, or inputs or outputs of another kind; it names those found.
    """

    def __init__(
        self,
        path: Path,
        *,
        min_score: float = 0.3,
        person_class: int | None = None,
        colors: DetectorColors | None = None,
        threads: int = 1,
    ) -> None:
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file; give a person detector as an ONNX file")
        self._path, self._min_score = Path(path), min_score
        self._session = open_session(self._path.read_bytes(), str(path), threads)
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape) if inputs else []
        is_picture = len(shape) in (3, 4) and (shape[-3] in (3, None) or isinstance(shape[-3], str))
        if len(inputs) != 1 or not is_picture:
            found = ", ".join(f"{value.name} {tuple(value.shape)}" for value in inputs) or "none"
            raise InputError(f"{path}: a detector takes one input (1, 3, H, W); found {found}")
        self._input, self._shape, self._dtype = inputs[0].name, shape, inputs[0].type
        self._colors: DetectorColors = colors or "rgb"
        self.layout = self._find_layout()
        if colors is None and self.layout == "rows, labels":
            self._colors = "bgr-normalized"
        is_torchvision = self.layout == "boxes, labels, scores"
        self._person_class = person_class if person_class is not None else int(is_torchvision)

    def __call__(self, frame_bgr: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Boxes (n, 4) x, y, width, height in pixels of the frame and scores (n,), the surest first."""
        outputs, geometry = self._run(frame_bgr)
        corners, scores, classes = self._read(outputs)
        sure = (scores >= self._min_score) & (classes == self._person_class) & np.isfinite(corners).all(axis=1)
        corners, scores = corners[sure], scores[sure]
        order = np.argsort(-scores, kind="stable")
        corners, scores = corners[order], scores[order]
        if self.layout == "yolo":
            kept = _without_doubles(corners)
            corners, scores = corners[kept], scores[kept]
        height, width = frame_bgr.shape[:2]
        corners = np.clip(corners / geometry.scale, 0, [width, height, width, height])
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        real = (boxes[:, 2:] > 1).all(axis=1)
        return boxes[real], scores[real]

    def _run(self, frame_bgr: NDArray[np.uint8]) -> tuple[list[NDArray[Any]], _Geometry]:
        geometry = self._geometry(*frame_bgr.shape[:2])
        picture = np.full((geometry.height, geometry.width, 3), GREY, dtype=np.uint8)
        size = [max(1, round(side * geometry.scale)) for side in frame_bgr.shape[1::-1]]
        size = [min(size[0], geometry.width), min(size[1], geometry.height)]
        picture[: size[1], : size[0]] = cv2.resize(frame_bgr, (size[0], size[1]), interpolation=cv2.INTER_LINEAR)
        try:
            outputs = self._session.run(None, {self._input: self._tensor(picture)})
        except Exception as error:  # onnxruntime's classes are not public
            reason = str(error).splitlines()[0]
            raise InputError(f"{self._path}: the detector fails on a picture ({reason})") from None
        return [np.asarray(output) for output in outputs], geometry

    def _geometry(self, height: int, width: int) -> _Geometry:
        fixed = [side if isinstance(side, int) and side > 0 else None for side in self._shape[-2:]]
        if fixed[0] is None or fixed[1] is None:
            scale = FREE_SIZE / max(height, width)
            sides = [-(-round(side * scale) // 32) * 32 for side in (height, width)]
            fixed = [fixed[0] or sides[0], fixed[1] or sides[1]]
        assert fixed[0] is not None
        assert fixed[1] is not None
        return _Geometry(fixed[0], fixed[1], min(fixed[0] / height, fixed[1] / width))

    def _tensor(self, picture_bgr: NDArray[np.uint8]) -> NDArray[Any]:
        pixels = picture_bgr if self._colors.startswith("bgr") else picture_bgr[..., ::-1]
        if self._dtype == "tensor(uint8)":
            values: NDArray[Any] = pixels
        elif self._colors.endswith("normalized"):
            turn = -1 if self._colors.startswith("bgr") else 1
            values = (pixels - MEAN[::turn]) / STD[::turn]
        else:
            values = pixels / np.float32(255)
        kinds = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16}
        tensor = np.ascontiguousarray(values.transpose(2, 0, 1), dtype=kinds.get(self._dtype, np.float32))
        return tensor if len(self._shape) == 3 else tensor[None]

    def _find_layout(self) -> Layout:
        outputs, _ = self._run(np.full((FREE_SIZE, FREE_SIZE, 3), GREY, dtype=np.uint8))
        shapes = [output.shape for output in outputs]
        flat = [shape[1:] if len(shape) > 1 and shape[0] == 1 and len(shape) != 2 else shape for shape in shapes]
        if len(flat) == 1 and len(flat[0]) == 2:
            if flat[0][1] in (5, 6):
                return "rows"
            if len(shapes[0]) == 3 and 5 <= flat[0][0] < flat[0][1]:
                return "yolo"
        names = [value.name for value in self._session.get_outputs()]
        if len(flat) == 2 and len(flat[0]) == 2 and flat[0][1] == 5 and np.prod(shapes[1]) == flat[0][0]:
            return "rows, labels"
        kinds = "".join(output.dtype.kind for output in outputs)
        if kinds == "fif" and len(flat[0]) == 2 and flat[0][1] == 4 and np.prod(shapes[1]) == np.prod(shapes[2]):
            return "boxes, labels, scores"
        found = ", ".join(f"{name} {shape}" for name, shape in zip(names, shapes, strict=True))
        raise InputError(f"{self._path}: outputs of an unknown layout: {found}; {CONTRACT} (1, 4 + classes, anchors)")

    def _read(self, outputs: list[NDArray[Any]]) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Corners (n, 4) in input pixels, scores (n,), classes (n,)."""
        first = outputs[0].astype(np.float64)
        if self.layout == "yolo":
            table = first[0]
            scores = table[4:]
            middle, half = table[:2].T, table[2:4].T / 2
            corners = np.concatenate([middle - half, middle + half], axis=1)
            return corners, scores.max(axis=0), scores.argmax(axis=0)
        rows = first.reshape(-1, first.shape[-1])
        if self.layout == "boxes, labels, scores":
            return rows, outputs[2].ravel().astype(np.float64), outputs[1].ravel().astype(np.int64)
        if self.layout == "rows, labels":
            return rows[:, :4], rows[:, 4], outputs[1].ravel().astype(np.int64)
        no_class = np.full(len(rows), self._person_class, dtype=np.int64)
        return rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64) if rows.shape[1] == 6 else no_class


def _without_doubles(corners: Floats) -> list[int]:
    """Indices of boxes (n, 4), the surest first, less those that overlap a surer one."""
    kept: list[int] = []
    areas = np.maximum(corners[:, 2:] - corners[:, :2], 0).prod(axis=1)
    rest = np.arange(len(corners))
    while len(rest) and len(kept) < MOST_BOXES:
        best, rest = int(rest[0]), rest[1:]
        kept.append(best)
        low, high = np.maximum(corners[best, :2], corners[rest, :2]), np.minimum(corners[best, 2:], corners[rest, 2:])
        common = np.maximum(high - low, 0).prod(axis=1)
        rest = rest[common <= NMS_IOU * (areas[best] + areas[rest] - common)]
    return kept
