"""The SimCC heads: each keypoint's map is flattened and classified into bins along the width and along the height.

SimCC (Li et al., ECCV 2022, arXiv 2107.03332); with a gated attention unit between the keypoints it is the head of
RTMPose (Jiang et al. 2023, arXiv 2303.07399), whose unit is that of Hua et al. 2022 (arXiv 2202.10447) without
positions, with keypoints as its tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Head
from search_spaces.layers import ATTENTION_EXPANSION, ATTENTION_KEYS, FeatureMap

from .head import MapsHead

__all__ = ["GatedAttention", "Linear", "ScaleNorm", "SimCC", "SimCCHead"]


class SimCC(NamedTuple):
    """Scores of keypoints over bins of half an input pixel; neither is normalised."""

    x: Tensor
    """(N, K, 2W), along the width."""
    y: Tensor
    """(N, K, 2H), along the height."""

    def float(self) -> SimCC:
        """In float32."""
        return SimCC(self.x.float(), self.y.float())


class Linear(nn.Linear):
    """As :class:`Conv2d`: not drawn when made."""

    def reset_parameters(self) -> None:
        pass


class ScaleNorm(nn.Module):
    """Vectors scaled to a length of sqrt(C) times one learned number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.factor = width**-0.5
        self.scale = nn.Parameter(torch.empty(1))

    def forward(self, x: Tensor) -> Tensor:  # (…, C)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * self.factor
        return x / length.clamp_min(1e-5) * self.scale


class GatedAttention(nn.Module):
    """Gated attention unit over K tokens: squared ReLU in place of a softmax, a scaled shortcut.

    Scales and shifts of queries, then of keys, are one vector: a matrix would be taken by optimizers for a layer's.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = ATTENTION_EXPANSION * width
        self.norm = ScaleNorm(width)
        self.enter = Linear(width, 2 * self.inner + ATTENTION_KEYS, bias=False)
        self.gamma = nn.Parameter(torch.empty(2 * ATTENTION_KEYS))
        self.beta = nn.Parameter(torch.empty(2 * ATTENTION_KEYS))
        self.leave = Linear(self.inner, width, bias=False)
        self.shortcut = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:  # (N, K, C)
        gate, values, base = F.silu(self.enter(self.norm(x))).split([self.inner, self.inner, ATTENTION_KEYS], dim=2)
        queries = base * self.gamma[:ATTENTION_KEYS] + self.beta[:ATTENTION_KEYS]
        keys = base * self.gamma[ATTENTION_KEYS:] + self.beta[ATTENTION_KEYS:]
        kernel = F.relu(torch.matmul(queries, keys.transpose(1, 2)) * ATTENTION_KEYS**-0.5).square()  # (N, K, K)
        return x * self.shortcut + self.leave(gate * torch.matmul(kernel, values))


class SimCCHead(MapsHead):
    """(N, C, h, w) → :class:`SimCC` of an input of 2W / 2 by 2H / 2 pixels.

    Args:
        features: what enters; the linear layers fit its size alone.
        head: the architecture's.
        bins: along the width and along the height.
    """

    def __init__(self, features: FeatureMap, head: Head, bins: tuple[int, int]) -> None:
        super().__init__(features.channels, head)
        height, width = features.size
        places = height * width * 4 ** len(head.widths)
        self.mixer: nn.Module = nn.Identity()
        if head.attention:
            self.mixer = nn.Sequential(
                ScaleNorm(places), Linear(places, head.attention, bias=False), GatedAttention(head.attention)
            )
            places = head.attention
        self.x = Linear(places, bins[0], bias=not head.attention)
        self.y = Linear(places, bins[1], bias=not head.attention)

    def forward(self, features: Tensor) -> SimCC:
        keypoints = self.mixer(self.maps(features).flatten(2))  # (N, K, places)
        return SimCC(self.x(keypoints), self.y(keypoints))
