"""A data set that the project makes itself: articulated people in motion, as COCO images and PoseTrack18 videos."""

from .dataset import SyntheticConfig, SyntheticSummary, synthesize

__all__ = ["SyntheticConfig", "SyntheticSummary", "synthesize"]
