"""Image networks in files of other runtimes: ONNX by onnxruntime, OpenVINO's own by OpenVINO, on the CPU in fp32."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from nas.data.simcc import packed_arrays
from nas.deploy.openvino_ir import SECTION, require_openvino
from search_spaces.errors import InputError
from search_spaces.parts import SIMCC_SPLIT, HeadOutput

__all__ = ["ImageFile", "OnnxFile", "OpenVinoFile", "is_deployed", "open_image_file", "open_session"]

Floats32 = NDArray[np.float32]
Values = Sequence[tuple[str, Sequence[int | str]]]
"""Name and shape of a model's inputs or outputs; a side that is not fixed is a word."""
EXPECTED = "give a file that vipnas export or retrain wrote"
SUFFIXES = (".onnx", ".xml")


class ImageFile(ABC):
    """A network that maps images to heatmaps or to SimCC, as a file has it.

    Raises:
        InputError: it maps something else: not images (N, 3, H, W) to heatmaps (N, K, h, w), or to SimCC: (N, K, 2W)
            first, then (N, K, 2H).
    """

    runtime: ClassVar[Literal["onnxruntime", "openvino"]]
    keypoints: int
    """K"""
    heatmap_size: tuple[int, int]
    """Height and width of the heatmaps, or of packed SimCC."""

    def __init__(self, where: str, inputs: Values, outputs: Values, metadata: Mapping[str, str]) -> None:
        self.where, self.metadata = where, dict(metadata)
        signature = _signature(inputs, outputs)
        shape = inputs[0][1] if inputs else ()
        is_simcc = len(outputs) == 2 and all(len(one) == 3 for _, one in outputs)
        if "scores" in dict(outputs) and "keypoints" in dict(outputs):
            raise InputError(f"{where}: takes pixels and gives keypoints ({signature}); give model.onnx beside it")
        if len(inputs) != 1 or not (len(outputs) == 1 or is_simcc) or len(shape) != 4 or shape[1] != 3:
            raise InputError(f"{where}: not an image network: {signature}; {EXPECTED}")
        height, width = shape[2:]
        if not isinstance(height, int) or not isinstance(width, int):
            raise InputError(f"{where}: the input's height and width are not fixed ({list(shape)}); {EXPECTED}")
        self.input_size = (height, width)
        self.input_name = inputs[0][0]
        self.batch = shape[0] if isinstance(shape[0], int) else None
        """The number of images that the graph takes; None for any."""
        self.output: HeadOutput = "simcc" if is_simcc else "heatmaps"
        found = self._execute(np.zeros((self.batch or 1, 3, height, width), dtype=np.float32))
        if is_simcc:
            self._require_bins(found, signature)
        elif found[0].ndim != 4 or found[0].dtype != np.float32:
            raise InputError(f"{where}: gives no heatmaps: {signature}; {EXPECTED}")
        self.keypoints, *size = self._packed(found).shape[1:]
        self.heatmap_size = (size[0], size[1])

    @abstractmethod
    def _execute(self, images: Floats32) -> list[Floats32]:
        """The outputs in order, for as many images (N, 3, H, W) as the graph takes."""

    def run(self, images: Floats32) -> Floats32:
        """Heatmaps (N, K, h, w), or packed SimCC (:mod:`nas.data.simcc`), of any number of images (N, 3, H, W)."""
        images, count = np.ascontiguousarray(images), len(images)
        if self.batch is None or self.batch == count:
            return self._packed(self._execute(images))
        if count % self.batch:  # the last batch is filled up
            full = np.zeros((-count % self.batch, *images.shape[1:]), dtype=np.float32)
            images = np.concatenate([images, full])
        batches = range(0, len(images), self.batch)
        return np.concatenate(
            [self._packed(self._execute(images[begin : begin + self.batch])) for begin in batches]
        )[:count]

    def _packed(self, outputs: Sequence[Floats32]) -> Floats32:
        return packed_arrays(*outputs) if self.output == "simcc" else outputs[0]

    def _require_bins(self, outputs: Sequence[Floats32], signature: str) -> None:
        x, y = outputs
        bins = tuple(SIMCC_SPLIT * size for size in reversed(self.input_size))
        if (x.shape[2], y.shape[2]) != bins or x.shape[:2] != y.shape[:2]:
            raise InputError(
                f"{self.where}: two outputs are SimCC here, of {bins[0]} bins along the width and then {bins[1]} along "
                f"the height: {signature}; {EXPECTED}"
            )


class OnnxFile(ImageFile):
    """By onnxruntime; any ONNX model of this kind will do, also one that is not ours."""

    runtime = "onnxruntime"

    def __init__(self, model: bytes, where: str, threads: int = 1) -> None:
        self._session = open_session(model, where, threads)
        sides = [[(value.name, value.shape) for value in values]
                 for values in (self._session.get_inputs(), self._session.get_outputs())]  # fmt: skip
        super().__init__(where, sides[0], sides[1], self._session.get_modelmeta().custom_metadata_map)

    def _execute(self, images: Floats32) -> list[Floats32]:
        return cast(list[Floats32], self._session.run(None, {self.input_name: images}))


class OpenVinoFile(ImageFile):
    """By OpenVINO, from its own ``.xml`` with the ``.bin`` beside it.

    Raises:
        InputError: OpenVINO is not installed, or cannot read the file.
    """

    runtime = "openvino"

    def __init__(self, path: Path, threads: int = 1) -> None:
        require_openvino(str(path))
        import openvino

        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        try:
            core = openvino.Core()
            model = core.read_model(path)
            self._compiled = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"{path}: OpenVINO cannot load it ({reason}); give an .xml with its .bin") from None
        facts = model.get_rt_info(SECTION).value if model.has_rt_info(SECTION) else {}
        metadata = {name: str(getattr(value, "value", value)) for name, value in facts.items()}
        super().__init__(str(path), _shapes(self._compiled.inputs), _shapes(self._compiled.outputs), metadata)

    def _execute(self, images: Floats32) -> list[Floats32]:
        found = self._compiled([images])
        return [found[output] for output in self._compiled.outputs]


def is_deployed(path: Path) -> bool:
    """Whether a file's name says that it is for another runtime than torch."""
    return path.suffix in SUFFIXES


def open_image_file(path: Path, threads: int = 1) -> ImageFile:
    """The network in an ``.onnx`` or ``.xml`` file.

    Raises:
        InputError: no such file; its runtime cannot load it, or is not installed; no image network.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return OpenVinoFile(path, threads) if path.suffix == ".xml" else OnnxFile(path.read_bytes(), str(path), threads)


def open_session(model: bytes, where: str, threads: int = 1) -> Any:
    """An onnxruntime session on the CPU.

    Raises:
        InputError: not an ONNX model that onnxruntime can run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes are not public, and a damaged file raises several of them
        reason = str(error).splitlines()[0]
        raise InputError(f"{where}: onnxruntime cannot load it ({reason}); give an ONNX model") from None


def _shapes(values: Sequence[Any]) -> Values:
    """Of OpenVINO's ports."""
    return [
        (value.get_any_name(), [int(str(side)) if side.is_static else str(side) for side in value.get_partial_shape()])
        for value in values
    ]


def _signature(inputs: Values, outputs: Values) -> str:
    """Names and shapes of a model's inputs and outputs, for an error message."""
    sides = []
    for what, values in (("inputs", inputs), ("outputs", outputs)):
        sides.append(f"{what} " + ", ".join(f"{name} {tuple(shape)}" for name, shape in values))
    return ", ".join(sides)
