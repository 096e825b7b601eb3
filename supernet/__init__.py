"""The static networks, the weight sharing, BatchNorm calibration and subnet extraction."""

from .calibration import UncalibratedSubnet, calibrate
from .folding import fold
from .networks import PoseNet, initialize
from .sharing import Sharing
from .supernet import Supernet

__all__ = ["PoseNet", "Sharing", "Supernet", "UncalibratedSubnet", "calibrate", "fold", "initialize"]
