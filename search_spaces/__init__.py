"""Architectures as immutable values, the spaces they come from, and the published architectures. No torch here."""

from .architecture import PoseArchitecture
from .catalogue import get_space, published, published_names, space_names, states_keypoints
from .choices import HeadChoices, StageChoices, StemChoices
from .errors import InputError
from .families import family_names
from .mmpose import from_mmpose, to_mmpose
from .parts import Head, Stage, Stem
from .space import SearchSpace
from .video import FusionChoice, PropagatedFrame, VideoArchitecture
from .video_space import VideoSearchSpace, get_video_space

__all__ = [
    "FusionChoice",
    "Head",
    "HeadChoices",
    "InputError",
    "PoseArchitecture",
    "PropagatedFrame",
    "SearchSpace",
    "Stage",
    "StageChoices",
    "Stem",
    "StemChoices",
    "VideoArchitecture",
    "VideoSearchSpace",
    "family_names",
    "from_mmpose",
    "get_space",
    "get_video_space",
    "published",
    "published_names",
    "space_names",
    "states_keypoints",
    "to_mmpose",
]
