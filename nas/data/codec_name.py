"""The names of the ways from keypoints to heatmaps and back. No torch here: configurations are checked at once."""

from __future__ import annotations

import typing
from typing import Literal

__all__ = ["CODEC_NAMES", "CodecName"]

CodecName = Literal["gaussian", "dark", "udp"]
CODEC_NAMES: tuple[CodecName, ...] = typing.get_args(CodecName)
