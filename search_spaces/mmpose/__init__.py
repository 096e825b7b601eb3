"""Architectures from the dictionaries of an MMPose config, and back."""

from .architectures import from_mmpose, to_mmpose

__all__ = ["from_mmpose", "to_mmpose"]
