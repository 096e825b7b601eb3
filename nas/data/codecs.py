"""Keypoints to heatmaps and back, in the three ways of the official code.

- ``gaussian``: a Gaussian around the nearest heatmap pixel; decoded by its maximum and a quarter pixel towards the
  larger neighbour (Xiao et al., ECCV 2018, "MSRA" in MMPose);
- ``dark``: a Gaussian around the exact place; decoded by a Taylor expansion of the blurred logarithm
  (Zhang et al., "Distribution-aware coordinate representation for human pose estimation", CVPR 2020);
- ``udp``: the same idea in unbiased coordinates, where sizes are steps between pixel centres
  (Huang et al., "The devil is in the details", CVPR 2020). Its crops need ``warp_matrices(..., udp=True)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from nas.data.codec_name import CODEC_NAMES, CodecName
from nas.data.decoding import blur_kernel_size, heatmap_maxima, refine_dark, refine_quarter_pixel, refine_udp
from search_spaces.errors import InputError

__all__ = ["Codec", "CodecName", "is_whole_part"]


def is_whole_part(heatmap_size: tuple[int, int], input_size: tuple[int, int]) -> bool:
    """Whether heatmaps are a half, a third, a quarter … of the input, along both axes: else they lie beside it."""
    strides = {divmod(size, steps) for size, steps in zip(input_size, heatmap_size, strict=True)}
    stride, rest = min(strides)
    return len(strides) == 1 and stride > 1 and rest == 0


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How keypoints become heatmaps and heatmaps become keypoints, for one size of input.

    Keypoints are in input pixels: the coordinates that the codec's own warp (``warp_matrices(..., udp=codec.udp)``)
    gives, so that the inverse of that warp takes decoded keypoints to the image. MMPose scales UDP's decoded keypoints
    by size in place of size - 1 and undoes it on the way to the image; :meth:`mmpose_input_px` gives those.

    Raises:
        InputError: an unknown name, a size or a sigma that is not positive.
    """

    name: CodecName = "gaussian"
    input_size: tuple[int, int] = (256, 192)
    """Height and width of the network's input."""
    heatmap_size: tuple[int, int] = (64, 48)
    """Height and width of its heatmaps."""
    sigma: float = 2.0
    """Standard deviation of the target, in heatmap pixels."""

    def __post_init__(self) -> None:
        if self.name not in CODEC_NAMES:
            raise InputError(f"codec {self.name!r} is unknown; choose from {', '.join(CODEC_NAMES)}")
        if min(*self.input_size, *self.heatmap_size) < 2:
            raise InputError(f"codec: sizes of at least 2 pixels, got {self.input_size} and {self.heatmap_size}")
        if not self.sigma > 0:
            raise InputError(f"codec: sigma must be positive, got {self.sigma}")

    @staticmethod
    def of(name: CodecName, input_size: tuple[int, int], sigma: float | None = None) -> Codec:
        """The codec for a network whose heatmaps are a quarter of its input (height, width).

        Without ``sigma``, 2 at an input height of 256 as published, in proportion at another, never under 1.
        """
        heatmap_size = (input_size[0] // 4, input_size[1] // 4)
        sigma = max(1.0, input_size[0] / 128) if sigma is None else sigma
        return Codec(name=name, input_size=input_size, heatmap_size=heatmap_size, sigma=sigma)

    def resized(self, heatmap_size: tuple[int, int]) -> Codec:
        """The codec for heatmaps (height, width) of another size of the same input.

        Sigma changes in proportion, but is not made smaller than a pixel: narrower targets are missed between pixels.
        """
        sigma = self.sigma * heatmap_size[0] / self.heatmap_size[0]
        return replace(self, heatmap_size=heatmap_size, sigma=max(sigma, min(self.sigma, 1.0)))

    @property
    def label(self) -> str:
        """What files call it."""
        return self.name

    @property
    def sigma_text(self) -> str:
        """:attr:`sigma` as files have it."""
        return str(self.sigma)

    @property
    def udp(self) -> bool:
        """Whether crops are warped by the unbiased convention."""
        return self.name == "udp"

    @property
    def flip_shift(self) -> bool:
        """Whether a flip test moves mirrored heatmaps by one pixel: needed where the warp is the plain one."""
        return not self.udp

    @property
    def stride(self) -> NDArray[np.float32]:
        """(2,) input pixels (x, y) a heatmap pixel."""
        return self._size_ratio(step=1 if self.udp else 0)

    def _size_ratio(self, step: int) -> NDArray[np.float32]:
        sizes = np.array([self.input_size, self.heatmap_size], dtype=np.float32)[:, ::-1] - np.float32(step)
        return sizes[0] / sizes[1]

    def encode(self, keypoints_px: torch.Tensor, visibility: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets of keypoints (N, K, 2), in input pixels, and visibility (N, K), on the tensors' device.

        Returns:
            Heatmaps (N, K, h, w) float32 and weights (N, K) float32. The weight is the visibility, and 0 where the
            target would leave no trace on the map; a keypoint of visibility under 0.5 has an empty map.
        """
        centers = keypoints_px.float() / torch.from_numpy(self.stride).to(keypoints_px.device)
        # The place of the window: the nearest pixel, rounded as the official code rounds (towards zero after + 0.5).
        windows = centers if self.name == "dark" else torch.trunc(centers + 0.5)
        peaks = windows if self.name == "gaussian" else centers
        height, width = self.heatmap_size
        radius = 3 * self.sigma if self.name == "dark" else float(int(3 * self.sigma))
        limit = torch.tensor([width, height], device=centers.device)
        inside = ((windows - radius < limit) & (windows + radius + 1 >= 0)).all(dim=-1)
        weights = visibility.float() * inside
        profiles = []
        for axis, size in ((0, width), (1, height)):
            grid = torch.arange(size, dtype=torch.float32, device=centers.device)
            profile = torch.exp((grid - peaks[..., axis, None]).square() * (-0.5 / self.sigma**2))
            if self.name != "dark":
                profile = profile * ((grid - windows[..., axis, None]).abs() <= radius)
            profiles.append(profile)
        columns, rows = profiles
        rows = rows * (inside & (visibility >= 0.5))[..., None]
        return rows[..., :, None] * columns[..., None, :], weights

    def encode_batch(
        self, keypoints_px: ArrayLike, visibility: ArrayLike
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As :meth:`encode`, arrays in and out."""
        keypoints = torch.from_numpy(np.asarray(keypoints_px, dtype=np.float32))
        heatmaps, weights = self.encode(keypoints, torch.from_numpy(np.asarray(visibility, dtype=np.float32)))
        return heatmaps.numpy(), weights.numpy()

    def decode_heatmap_px(self, heatmaps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As :meth:`decode_batch`, but the keypoints in heatmap pixels."""
        heatmaps = np.ascontiguousarray(heatmaps, dtype=np.float32)
        keypoints, scores = heatmap_maxima(heatmaps)
        if self.name == "gaussian":
            refined = refine_quarter_pixel(heatmaps, keypoints)
        else:
            refine = refine_dark if self.name == "dark" else refine_udp
            refined = refine(heatmaps, keypoints, blur_kernel_size(self.sigma))
        broken = ~(np.isfinite(refined).all(axis=-1) & np.isfinite(scores))
        return np.where(broken[..., None], keypoints, refined), np.where(broken, np.float32(0), scores)

    def decode_batch(self, heatmaps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Keypoints (N, K, 2), in input pixels, and scores (N, K) of heatmaps (N, K, h, w).

        The score is the maximum of the map. Without a positive value there is no keypoint: it lies at heatmap pixel
        (-1, -1) with the (not positive) maximum as score. Where the official code gives NaN (an empty map under UDP, a
        map that holds NaN), the score is 0: NaN never reaches a result.
        """
        keypoints, scores = self.decode_heatmap_px(heatmaps)
        return keypoints * self.stride, scores

    def mmpose_input_px(self, keypoints_heatmap_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keypoints in heatmap pixels to what MMPose calls input pixels (differs from ours for UDP alone).

        UDP's round trip through these is off by up to one heatmap pixel's share, by MMPose's definition.
        """
        if not self.udp:
            return keypoints_heatmap_px * self.stride
        height, width = self.heatmap_size
        steps = np.array([width - 1, height - 1], dtype=np.float32)
        return keypoints_heatmap_px / steps * np.array(self.input_size[::-1], dtype=np.float32)
