"""Fusion of the previous frame's heatmaps with a feature of the present frame.

The paper (ViPNAS, CVPR 2021) names the operations Add, Mul and Cat and no more; the forms below are our choice:

    P = project(resize(H))                    1×1 convolution from K heatmaps to the feature's C channels, BatchNorm
    add   F + P
    mul   F · (1 + P)
    cat   F + mix([F, ReLU(P)])               1×1 convolution from 2C to C channels, BatchNorm

Each starts as the identity: the scale of its last BatchNorm is 0 at first. So a fusion never harms a network whose
weights are good already, and learns what it can add.

Heatmaps are brought to the feature's size by the mean over p×p pixels, or, where they are smaller, by repetition: for
whole factors both are exact in every runtime, and a peak is never missed between sampling points, as it would be by
bilinear sampling of a quarter or an eighth of the pixels. The projection runs at the smaller of the two sizes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import FusionChoice, PoseArchitecture
from search_spaces.video import resize_factors

from .blocks import ConvNorm

__all__ = ["Fusion"]


class Fusion(nn.Module):
    """Feature F_k ``(N, C, h, w)`` and the previous heatmaps ``(N, K, H/4, W/4)`` → the fused feature ``(N, C, h, w)``.

    Args:
        architecture: the frame's network.
        choice: where and how; not ``none``.
    """

    def __init__(self, architecture: PoseArchitecture, choice: FusionChoice) -> None:
        super().__init__()
        channels = architecture.features[choice.feature - 1].channels
        self.operation = choice.operation
        self.pooled, self.repeated = resize_factors(architecture, choice.feature)
        is_cat = self.operation == "cat"
        self.project = ConvNorm(architecture.keypoints, channels, 1, activation="relu" if is_cat else None)
        if is_cat:
            self.mix = ConvNorm(2 * channels, channels, 1, activation=None, inputs=2)

    def forward(self, feature: Tensor, heatmaps: Tensor) -> Tensor:
        projected = self.project(F.avg_pool2d(heatmaps, self.pooled) if self.pooled > 1 else heatmaps)
        if self.repeated > 1:
            projected = F.interpolate(projected, scale_factor=self.repeated, mode="nearest")
        if self.operation == "mul":
            return feature * (1 + projected)
        if self.operation == "cat":
            projected = self.mix(torch.cat([feature, projected], dim=1))
        return feature + projected

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Set the last BatchNorm's scale to 0."""
        last = self.mix if self.operation == "cat" else self.project
        torch.nn.init.zeros_(last.get_submodule("norm").get_parameter("weight"))
