"""The published architectures and the spaces that come with the package: one module a family."""

from .published import get_space, published, published_names, space_names, states_keypoints

__all__ = ["get_space", "published", "published_names", "space_names", "states_keypoints"]
