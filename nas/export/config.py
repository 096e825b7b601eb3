"""The section ``export`` of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from nas.run.ranges import PositiveInt, Ranged
from search_spaces import InputError

__all__ = ["FORMATS", "ExportConfig"]

FORMATS = ("safetensors", "onnx", "onnx-decoded", "pt2", "openvino", "mmpose")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Ranged):
    """Which networks of the front are written, and how."""

    networks: PositiveInt | None = None
    """How many networks of the front to export, spread evenly over its latencies; empty: all of them."""
    formats: tuple[str, ...] = ("safetensors", "onnx")
    """Beside architecture.json and the card: safetensors, onnx (and predict.py), onnx-decoded (a crop's pixels in,
    keypoints out), pt2 (torch.export), openvino (an extra: pip install 'vipnas[openvino]'), mmpose (a config and a
    checkpoint for MMPose 1.x)."""
    calibration_crops: PositiveInt = 512
    """Training crops (of video networks: clips) for the BatchNorm statistics."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.formats:
            if name not in FORMATS:
                raise InputError(f"export.formats: {name!r} is not known; choose from {', '.join(FORMATS)}")
