"""A network's ONNX file with what comes before and after it in the graph: pixels of a crop in, keypoints out.

The decoding is that of ``nas.data.decoding``, operation by operation, in float32 where the package takes float64 for
the Newton step; keypoints differ by some thousandths of a pixel. All operations are of opset 13.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.codecs import Codec
from nas.data.decoding import blur_kernel_size
from nas.data.simcc import SimCCCodec, packed_arrays
from nas.data.tensors import IMAGE_MEAN, IMAGE_STD, to_tensor
from nas.deploy.onnx import require_same
from nas.deploy.onnx_graph import IR_VERSION, OPSET
from supernet import PoseNet

if TYPE_CHECKING:
    import onnx

__all__ = ["decoded_model", "require_same_keypoints"]

SAME = 0.01
"""Pixels, or of a score, by which the graph's float32 may differ from the package's decoding."""
NEVER = -1.0
"""Where a keypoint lies that was not found, in heatmap pixels."""


def decoded_model(network: bytes, codec: Codec) -> onnx.ModelProto:
    """The network's graph between a normalisation and a decoding.

    Args:
        network: as ``nas.deploy.onnx.onnx_bytes`` writes it: ``images`` → ``heatmaps``, or ``simcc_x`` and ``simcc_y``.

    Returns:
        A model ``crops`` (N, H, W, 3) uint8, red, green, blue → ``keypoints`` (N, K, 2) float32 in pixels of the crop,
        and ``scores`` (N, K) float32; nothing positive where nothing was found.
    """
    import onnx
    from onnx import TensorProto, helper

    inner = onnx.load_from_string(network).graph
    (images,) = inner.input
    batch = images.type.tensor_type.shape.dim[0]
    people: int | str = batch.dim_param or batch.dim_value
    height, width = codec.input_size
    keypoints = inner.output[0].type.tensor_type.shape.dim[1].dim_value
    before, after = _Operations("before"), _Operations("after")
    _normalise(before, images.name)
    if isinstance(codec, SimCCCodec):
        places, scores = _decode_simcc(after, [value.name for value in inner.output])
    else:
        places, scores = _decode_heatmaps(after, inner.output[0].name, codec, keypoints)
    after.named("keypoints", "Mul", places, after.constant(codec.stride.reshape(1, 1, 2)))
    after.named("scores", "Squeeze", scores, after.constant(np.array([2])))
    graph = helper.make_graph(
        [*before.nodes, *inner.node, *after.nodes],
        "vipnas",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, [people, height, width, 3])],
        [
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, [people, keypoints, 2]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [people, keypoints]),
        ],
        [*before.constants, *inner.initializer, *after.constants],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="vipnas"
    )


def require_same_keypoints(net: PoseNet, model: onnx.ModelProto, codec: Codec, path: Path) -> None:
    """Run a decoded model once, on two crops of noise, and hold it to torch and to the package's decoding.

    What the network gives is told apart from what is decoded of it, so that the maxima are those of the same heatmaps.
    Of these, the middle keypoint counts: in noise the Newton step has a map here and there for which it means nothing.

    Args:
        net: folded, in eval mode, fp32, on the CPU.
        model: of this network, as :func:`decoded_model` makes it.
        path: for messages.

    Raises:
        RuntimeError: onnxruntime's heatmaps differ from torch's, or its keypoints from those that ``codec`` decodes.
    """
    import onnxruntime
    from onnx import TensorProto, helper

    outputs = ["simcc_x", "simcc_y"] if isinstance(codec, SimCCCodec) else ["heatmaps"]
    told = type(model)()
    told.CopyFrom(model)
    told.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(told.SerializeToString(), options, providers=["CPUExecutionProvider"])
    crops = np.random.default_rng(0).integers(0, 256, (2, *codec.input_size, 3), dtype=np.uint8)
    keypoints, scores, *maps = session.run(["keypoints", "scores", *outputs], {"crops": crops})
    require_same(net, [to_tensor(crops)], maps, path, "onnxruntime")
    expected, expected_scores = codec.decode_batch(packed_arrays(*maps) if len(maps) == 2 else maps[0])
    for what, found, wanted in (("keypoints", keypoints, expected), ("scores", scores, expected_scores)):
        difference = float(np.median(np.abs(found - wanted)))
        if found.shape != wanted.shape or not difference <= SAME:
            raise RuntimeError(f"{path}: onnxruntime's {what} differ from the package's by {difference:.2g}")


class _Operations:
    """Nodes that are appended one after another; names begin with a word that no network's do."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; the name of its output."""
        return self.named(f"{self.prefix}/{len(self.nodes)}", kind, *inputs, **attributes)

    def named(self, name: str, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        label = f"{self.prefix}/{kind} {name}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=label, **attributes))
        return name

    def constant(self, value: NDArray[Any] | float | int) -> str:
        """Whole numbers become int64, others float32."""
        from onnx import numpy_helper

        array = np.asarray(value)
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        name = f"{self.prefix}/constant {len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def reduced(self, kind: str, source: str) -> str:
        """Over the last of three axes, which stays with length 1."""
        if kind == "ArgMax":
            return self(kind, source, axis=2, keepdims=1)
        return self(kind, source, axes=[2], keepdims=1)

    def all_of(self, *conditions: str) -> str:
        first, *others = conditions
        for other in others:
            first = self("And", first, other)
        return first


def _normalise(op: _Operations, name: str) -> None:
    """Grey levels (N, H, W, 3) to the network's images (N, 3, H, W)."""
    levels = op("Cast", "crops", to=1)
    centred = op("Sub", levels, op.constant(np.array(IMAGE_MEAN)))
    scaled = op("Mul", centred, op.constant(1 / np.array(IMAGE_STD, dtype=np.float32)))
    op.named(name, "Transpose", scaled, perm=[0, 3, 1, 2])


def _decode_simcc(op: _Operations, outputs: list[str]) -> tuple[str, str]:
    """Places (N, K, 2) in bins and scores (N, K, 1)."""
    bins = [op("Cast", op.reduced("ArgMax", name), to=1) for name in outputs]
    scores = op("Min", *(op.reduced("ReduceMax", name) for name in outputs))
    return op("Where", _positive(op, scores), op("Concat", *bins, axis=2), op.constant(NEVER)), scores


def _positive(op: _Operations, values: str) -> str:
    return op("Greater", values, op.constant(0.0))


class _Peaks:
    """The maxima of heatmaps, and what lies beside them."""

    def __init__(self, op: _Operations, heatmaps: str, codec: Codec) -> None:
        self.op = op
        self.height, self.width = codec.heatmap_size
        self.flat = op("Reshape", heatmaps, op.constant(np.array([0, 0, -1])))
        index = op.reduced("ArgMax", self.flat)
        self.scores = op.reduced("ReduceMax", self.flat)
        width = op.constant(self.width)
        self.y = op("Div", index, width)
        self.x = op("Sub", index, op("Mul", self.y, width))

    @property
    def places(self) -> str:
        """(N, K, 2)"""
        return self.op("Cast", self.op("Concat", self.x, self.y, axis=2), to=1)

    def at(self, source: str, dx: int, dy: int) -> str:
        """(N, K, 1) of maps (N, K, h w) beside the maxima; beyond the border, the border's value."""
        op = self.op
        x, y = (
            op("Max", op("Min", op("Add", at, op.constant(step)), op.constant(side - 1)), op.constant(0))
            for at, step, side in ((self.x, dx, self.width), (self.y, dy, self.height))
        )
        return op("GatherElements", source, op("Add", op("Mul", y, op.constant(self.width)), x), axis=2)

    def within(self, margins: tuple[int, int, int, int]) -> str:
        """Whether x > left, x < width - right, y > top and y < height - bottom."""
        left, right, top, bottom = margins
        op = self.op
        return op.all_of(
            op("Greater", self.x, op.constant(left)),
            op("Less", self.x, op.constant(self.width - right)),
            op("Greater", self.y, op.constant(top)),
            op("Less", self.y, op.constant(self.height - bottom)),
        )


def _decode_heatmaps(op: _Operations, heatmaps: str, codec: Codec, keypoints: int) -> tuple[str, str]:
    """Places (N, K, 2) in heatmap pixels and scores (N, K, 1)."""
    peaks = _Peaks(op, heatmaps, codec)
    found, scores = _positive(op, peaks.scores), peaks.scores
    if codec.name == "gaussian":
        move = _quarter_pixel(op, peaks)
    else:
        move, is_regular = _newton_step(op, peaks, heatmaps, codec, keypoints)
        if codec.name == "udp":
            scores = op("Where", op.all_of(found, is_regular), scores, op.constant(0.0))
    return op("Where", found, op("Add", peaks.places, move), op.constant(NEVER)), scores


def _quarter_pixel(op: _Operations, peaks: _Peaks) -> str:
    steps = []
    for (dx, dy), margins in (((1, 0), (1, 1, 0, 0)), ((0, 1), (0, 0, 1, 1))):
        ahead, behind = peaks.at(peaks.flat, dx, dy), peaks.at(peaks.flat, -dx, -dy)
        sign = op("Sign", op("Sub", ahead, behind))
        steps.append(op("Where", peaks.within(margins), sign, op.constant(0.0)))
    return op("Mul", op("Concat", *steps, axis=2), op.constant(0.25))


def _newton_step(
    op: _Operations, peaks: _Peaks, heatmaps: str, codec: Codec, keypoints: int
) -> tuple[str, str]:
    """The step (N, K, 2) of DARK and UDP, and where the Hessian has an inverse (N, K, 1)."""
    blurred = _blur(op, heatmaps, codec, keypoints)
    scales = op("Div", peaks.scores, op.reduced("ReduceMax", blurred))
    logarithms: dict[tuple[int, int], str] = {}

    def at(dx: int, dy: int) -> str:
        if (dx, dy) not in logarithms:
            value = op("Mul", peaks.at(blurred, dx, dy), scales)
            value = op("Max", value, op.constant(1e-10 if codec.name == "dark" else 1e-3))
            value = value if codec.name == "dark" else op("Min", value, op.constant(50.0))
            logarithms[dx, dy] = op("Log", value)
        return logarithms[dx, dy]

    def total(weight: float, *terms: tuple[int, int, int]) -> str:
        """``weight`` times the sum of factor × at(dx, dy)."""
        values = [op("Mul", at(dx, dy), op.constant(float(factor))) for factor, dx, dy in terms]
        return op("Mul", op("Sum", *values), op.constant(weight))

    dx, dy = total(0.5, (1, 1, 0), (-1, -1, 0)), total(0.5, (1, 0, 1), (-1, 0, -1))
    if codec.name == "dark":
        dxx = total(0.25, (1, 2, 0), (-2, 0, 0), (1, -2, 0))
        dyy = total(0.25, (1, 0, 2), (-2, 0, 0), (1, 0, -2))
        dxy = total(0.25, (1, 1, 1), (-1, 1, -1), (-1, -1, 1), (1, -1, -1))
    else:
        epsilon = op.constant(float(np.finfo(np.float32).eps))
        dxx = op("Add", total(1.0, (1, 1, 0), (-2, 0, 0), (1, -1, 0)), epsilon)
        dyy = op("Add", total(1.0, (1, 0, 1), (-2, 0, 0), (1, 0, -1)), epsilon)
        dxy = total(0.5, (1, 1, 1), (-1, 1, 0), (-1, 0, 1), (2, 0, 0), (-1, -1, 0), (-1, 0, -1), (1, -1, -1))
    determinant = op("Sub", op("Mul", dxx, dyy), op("Mul", dxy, dxy))
    is_regular = op("Not", op("Equal", determinant, op.constant(0.0)))
    moves = op.all_of(is_regular, peaks.within((1, 2, 1, 2))) if codec.name == "dark" else is_regular
    across = op("Sub", op("Mul", dxy, dy), op("Mul", dyy, dx))
    down = op("Sub", op("Mul", dxy, dx), op("Mul", dxx, dy))
    step = op("Div", op("Concat", across, down, axis=2), op("Where", moves, determinant, op.constant(1.0)))
    return op("Where", moves, step, op.constant(0.0)), is_regular


def _blur(op: _Operations, heatmaps: str, codec: Codec, keypoints: int) -> str:
    """The maps (N, K, h w) blurred by OpenCV's kernel, zeros around them."""
    height, width = codec.heatmap_size
    size = blur_kernel_size(codec.sigma)
    kernel = cv2.getGaussianKernel(size, 0, cv2.CV_32F).astype(np.float32)
    maps = op("Reshape", heatmaps, op.constant(np.array([-1, 1, height, width])))
    for shape, pads in (((1, 1, 1, size), [0, size // 2] * 2), ((1, 1, size, 1), [size // 2, 0] * 2)):
        maps = op("Conv", maps, op.constant(kernel.reshape(shape)), pads=pads, kernel_shape=list(shape[2:]))
    return op("Reshape", maps, op.constant(np.array([-1, keypoints, height * width])))
