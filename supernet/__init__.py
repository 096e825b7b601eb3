"""The static networks, the weight sharing, BatchNorm calibration and subnet extraction."""

from .calibration import UncalibratedSubnet, UncalibratedVideo, calibrate, calibrate_video
from .folding import fold
from .networks import PoseNet, PropagatedNet, SimCC, VideoPoseNet, initialize, resample_heatmaps
from .sharing import Sharing
from .supernet import Network, Supernet

__all__ = [
    "Network",
    "PoseNet",
    "PropagatedNet",
    "Sharing",
    "SimCC",
    "Supernet",
    "UncalibratedSubnet",
    "UncalibratedVideo",
    "VideoPoseNet",
    "calibrate",
    "calibrate_video",
    "fold",
    "initialize",
    "resample_heatmaps",
]
