"""The static networks, the weight sharing, BatchNorm calibration and subnet extraction."""

from .calibration import UncalibratedSubnet, calibrate
from .folding import fold
from .networks import PoseNet, PropagatedNet, VideoPoseNet, initialize, resample_heatmaps
from .sharing import Sharing
from .supernet import Supernet

__all__ = [
    "PoseNet",
    "PropagatedNet",
    "Sharing",
    "Supernet",
    "UncalibratedSubnet",
    "VideoPoseNet",
    "calibrate",
    "fold",
    "initialize",
    "resample_heatmaps",
]
