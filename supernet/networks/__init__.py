"""The static networks: one file a family, one head, one :class:`PoseNet`."""

from .blocks import ContextBlock, ConvNorm
from .head import PoseHead
from .pose_net import PoseNet, build_part, initialize, part_name

__all__ = ["ContextBlock", "ConvNorm", "PoseHead", "PoseNet", "build_part", "initialize", "part_name"]
