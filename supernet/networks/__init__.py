"""The static networks: one file a family, one head, one :class:`PoseNet`."""

from .blocks import ContextBlock, ConvNorm
from .head import PoseHead
from .pose_net import PoseNet, initialize

__all__ = ["ContextBlock", "ConvNorm", "PoseHead", "PoseNet", "initialize"]
