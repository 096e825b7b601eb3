"""Keypoints to distributions along the width and the height, and back (SimCC, Li et al., ECCV 2022), as RTMPose has it.

Where outputs are kept, joined or mixed they lie *packed*: those along the width and those along the height side by
side, (N, K, 1, 2W + 2H), so that they go the ways of heatmaps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.codecs import Codec
from search_spaces import PoseArchitecture, VideoArchitecture
from search_spaces.errors import InputError
from search_spaces.parts import SIMCC_SPLIT
from supernet import SimCC

__all__ = ["SHARPNESS", "SimCCCodec", "fitting_codec", "packed", "packed_arrays", "projected", "unpacked"]

SHARPNESS = 10.0
"""By which outputs and targets are multiplied before their softmax in the loss (RTMPose)."""


def packed(output: Tensor | SimCC) -> Tensor:
    """Heatmaps as they are; of SimCC (N, K, 1, 2W + 2H)."""
    return torch.cat([*output], dim=-1).unsqueeze(2) if isinstance(output, SimCC) else output


def packed_arrays(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """As :func:`packed`, of arrays (N, K, 2W) and (N, K, 2H)."""
    return np.concatenate([x, y], axis=-1)[:, :, None]


def unpacked(output: Tensor, input_size: tuple[int, int]) -> SimCC:
    """The inverse of :func:`packed` for SimCC of an input of (height, width)."""
    x, y = output.squeeze(2).split([SIMCC_SPLIT * size for size in reversed(input_size)], dim=-1)
    return SimCC(x, y)


def projected(output: SimCC) -> Tensor:
    """The products of both axes' bins, (N, K, 2H, 2W), negative ones counted as 0: to be looked at as heatmaps."""
    return output.y.clamp_min(0)[..., None] * output.x.clamp_min(0)[..., None, :]


def fitting_codec(codec: Codec, network: object) -> Codec:
    """The codec by which a network's output is decoded: the given one, for SimCC and for heatmaps of its size.

    What targets are drawn by is ``PeopleData.codec_of``: the sigmas of one output do not tell those of another.

    Args:
        network: an architecture, or a module; one without an ``architecture`` gives what the codec is for.

    Raises:
        InputError: the codec is one of heatmaps alone, and the network gives SimCC.
    """
    architecture = getattr(network, "architecture", network)
    if not isinstance(architecture, PoseArchitecture | VideoArchitecture):
        return codec
    if isinstance(architecture, PoseArchitecture) and architecture.is_simcc:
        is_simcc = isinstance(codec, SimCCCodec)
        return codec if is_simcc else SimCCCodec(name=codec.name, input_size=codec.input_size)
    if isinstance(codec, SimCCCodec):
        codec = Codec.of(codec.name, codec.input_size)
    size = architecture.heatmap_size
    return codec if size == codec.heatmap_size else codec.resized(size)


@dataclass(frozen=True, kw_only=True)
class SimCCCodec(Codec):
    """As :class:`Codec`; targets and outputs are packed, and a pixel has two bins.

    A target is a Gaussian of height 1 around the nearest bin; a keypoint lies at the bin of the maximum.
    """

    heatmap_size: tuple[int, int] = field(init=False, repr=False)
    sigma: float = field(default=0.0, init=False, repr=False)
    sigmas: tuple[float, float] | None = None
    """Standard deviations of the target along width and height, in bins; None is RTMPose's, the root of an eighth of
    the input's size: 4.9 and 5.66 at 192 and 256 pixels."""

    def __post_init__(self) -> None:
        if self.name != "gaussian":
            raise InputError(f"codec {self.name!r} is one of heatmaps; the network gives SimCC: choose gaussian")
        if min(self.input_size) < 2:
            raise InputError(f"codec: sizes of at least 2 pixels, got {self.input_size}")
        if not min(self.axis_sigmas) > 0:
            raise InputError(f"codec: sigmas must be positive, got {self.sigmas}")
        object.__setattr__(self, "heatmap_size", (1, SIMCC_SPLIT * sum(self.input_size)))

    @property
    def label(self) -> str:
        return "simcc"

    @property
    def axis_sigmas(self) -> tuple[float, float]:
        """:attr:`sigmas`, those of RTMPose where none are given."""
        height, width = self.input_size
        return self.sigmas or ((width / 8) ** 0.5, (height / 8) ** 0.5)

    @property
    def sigma_text(self) -> str:
        return ",".join(map(str, self.axis_sigmas))

    @property
    def flip_shift(self) -> bool:
        """A flip test moves nothing, as upstream: two maxima of one place lie half a pixel apart in it."""
        return False

    @property
    def stride(self) -> NDArray[np.float32]:
        """(2,) input pixels (x, y) a bin."""
        return np.full(2, 1 / SIMCC_SPLIT, dtype=np.float32)

    def encode(self, keypoints_px: Tensor, visibility: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`Codec.encode`; a keypoint of visibility under 0.5 keeps it as its weight, wherever it is."""
        bins = torch.round(keypoints_px.float() * SIMCC_SPLIT)
        visible = visibility >= 0.5
        weights = visibility.float()
        profiles = []
        for axis, (size, sigma) in enumerate(zip(reversed(self.input_size), self.axis_sigmas, strict=True)):
            middle, radius, count = bins[..., axis, None], 3 * sigma, SIMCC_SPLIT * size
            outside = (middle[..., 0] - radius >= count) | (middle[..., 0] + radius + 1 < 0)
            weights = torch.where(visible & outside, 0.0, weights)
            grid = torch.arange(count, dtype=torch.float32, device=bins.device)
            profiles.append(torch.exp((grid - middle).square() * (-0.5 / sigma**2)))
        seen = visible & (weights > 0)
        return torch.cat(profiles, dim=-1).mul_(seen[..., None]).unsqueeze(2), weights

    def decode_heatmap_px(self, heatmaps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As :meth:`decode_batch`, but the keypoints in bins."""
        split = SIMCC_SPLIT * self.input_size[1]
        axes = np.split(np.asarray(heatmaps, dtype=np.float32)[:, :, 0], [split], axis=-1)
        bins = np.stack([axis.argmax(axis=-1) for axis in axes], axis=-1).astype(np.float32)
        scores = np.minimum(*(axis.max(axis=-1) for axis in axes))
        bins[scores <= 0] = -1
        return bins, np.where(np.isfinite(scores), scores, np.float32(0)).astype(np.float32)
