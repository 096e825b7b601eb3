"""The static networks: one file a family, the heads of all of them, one :class:`PoseNet`."""

from .blocks import ContextBlock, ConvNorm
from .fusion import Fusion
from .head import MapsHead, PoseHead
from .pose_net import PoseNet, build_part, further_block, initialize, part_name, run_part
from .simcc import SimCC
from .video import PropagatedNet, VideoPoseNet, build_frame, resample_heatmaps

__all__ = [
    "ContextBlock",
    "ConvNorm",
    "Fusion",
    "MapsHead",
    "PoseHead",
    "PoseNet",
    "PropagatedNet",
    "SimCC",
    "VideoPoseNet",
    "build_frame",
    "build_part",
    "further_block",
    "initialize",
    "part_name",
    "resample_heatmaps",
    "run_part",
]
